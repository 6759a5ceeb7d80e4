//! `kinesis:STREAM`: a record of a data stream for each line, with the partition key of the record that it comes from.

use std::time::Duration;

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::config::retry::RetryConfig;
use aws_sdk_kinesis::config::timeout::TimeoutConfig;
use aws_sdk_kinesis::config::{self, StalledStreamProtectionConfig};
use aws_sdk_kinesis::error::{ProvideErrorMetadata as _, SdkError};
use aws_sdk_kinesis::operation::put_records::PutRecordsError;
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::PutRecordsRequestEntry;
use tokio::time::{Instant, sleep, timeout_at};

use super::{Delivered, DeliveryError, Entry};
use crate::aws_error::{causes, is_throttling, lacks_credentials, shorten};
use crate::retry::Backoff;

/// `PutRecords` takes so many records at once, and so many bytes of data and partition keys:
/// <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_PutRecords.html>. A stream may be set up for more bytes.
const RECORDS_MAX: usize = 500;
const REQUEST_BYTES_MAX: usize = 5 * 1024 * 1024;
/// What any stream takes for one record, its partition key included. A stream may be set up for more.
const RECORD_BYTES_MAX: usize = 1024 * 1024;
/// A partition key has at most so many characters.
const PARTITION_KEY_MAX: usize = 256;
/// A connection that died while Lambda had the process frozen must not take all the time for delivery.
const ATTEMPT_MAX: Duration = Duration::from_secs(5);
/// Records that the service did not take in are tried again until the time for delivery is over.
const AGAIN: Backoff = Backoff {
    base: Duration::from_millis(50),
    cap: Duration::from_secs(2),
};

/// A data stream in the function's account and region.
#[derive(Debug)]
pub struct Kinesis {
    client: Client,
    stream: String,
}

impl Kinesis {
    /// The data stream of this name.
    pub fn new(environment: &aws_config::SdkConfig, stream: String) -> Self {
        let timeouts = TimeoutConfig::builder().operation_attempt_timeout(ATTEMPT_MAX).build();
        let config = config::Builder::from(environment)
            .timeout_config(timeouts)
            // Records that were not taken in are put again here, until the time for delivery is over.
            .retry_config(RetryConfig::disabled())
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .build();
        Self {
            client: Client::from_conf(config),
            stream,
        }
    }

    /// How long a line may be for its record to fit, in bytes: the longest partition key fits beside it.
    pub(super) const LINE_BYTES_MAX: usize = RECORD_BYTES_MAX - 4 * PARTITION_KEY_MAX;

    /// Whether `stream_arn` is this very stream, for a function of this `account`. Where an account is not known, it is
    /// taken for the same.
    pub(super) fn is(&self, stream_arn: &str, account: Option<&str>) -> bool {
        let mut parts = stream_arn.splitn(6, ':').skip(3);
        let (region, owner, resource) = (parts.next(), parts.next(), parts.next());
        let own_region = self.client.config().region().map(AsRef::as_ref);
        let same = |its: Option<&str>, own: Option<&str>| own.is_none() || its == own;
        // A consumer's ARN begins with its stream's.
        let name = resource.and_then(|resource| resource.strip_prefix("stream/")?.split('/').next());
        name == Some(&*self.stream) && same(region, own_region) && same(owner, account)
    }

    /// Puts `entries` into the stream, until `end` at the latest. Those that the service does not take in at first are
    /// put alone again, so that their order among the others may change.
    pub(super) async fn deliver(&self, entries: &[Entry], end: Instant) -> Delivered {
        let mut count = 0;
        for request in requests(entries) {
            let delivered = self.put(request, end).await;
            count += delivered.count;
            if delivered.error.is_some() {
                return Delivered { count, ..delivered };
            }
        }
        Delivered { count, error: None }
    }

    /// Puts the entries of one request, again and again what of it was not taken in.
    async fn put(&self, entries: &[Entry], end: Instant) -> Delivered {
        let mut left: Vec<(usize, &Entry)> = entries.iter().enumerate().collect();
        for attempts in 1.. {
            let refusal = match timeout_at(end, self.put_once(&mut left)).await {
                Ok(Ok(())) => break,
                Ok(Err(refusal)) => refusal,
                Err(_elapsed) => return Delivered::up_to(first(&left), DeliveryError::OutOfTime),
            };
            let wait = AGAIN.wait(attempts);
            if refusal.is_final || Instant::now() + wait >= end {
                let (destination, reason) = ("kinesis:", refusal.reason);
                return Delivered::up_to(first(&left), DeliveryError::Refused { destination, reason });
            }
            sleep(wait).await;
        }
        Delivered {
            count: entries.len(),
            error: None,
        }
    }

    /// Puts what is `left`, and keeps of it what was not taken in.
    async fn put_once(&self, left: &mut Vec<(usize, &Entry)>) -> Result<(), Refusal> {
        let records = left.iter().map(|(_, entry)| record(entry)).collect();
        let request = self.client.put_records().stream_name(&self.stream);
        let answer = request.set_records(Some(records)).send().await;
        let results = answer.map_err(|error| Refusal::of(&error))?.records;
        if results.len() != left.len() {
            return Err(Refusal::passing("the answer does not tell of each record"));
        }
        let codes: Vec<_> = results.iter().map(|result| result.error_code()).collect();
        let mut taken = codes.iter().map(Option::is_none);
        left.retain(|_| taken.next() == Some(false));
        let refused = codes.into_iter().flatten().next();
        refused.map_or(Ok(()), |code| Err(Refusal::passing(code)))
    }
}

/// Why records were not taken in.
struct Refusal {
    reason: String,
    /// Putting them again would not help.
    is_final: bool,
}

impl Refusal {
    fn passing(reason: &str) -> Self {
        Self {
            reason: shorten(reason),
            is_final: false,
        }
    }

    /// Of a whole request. The service's message stays out of it: one about a value quotes it.
    fn of(error: &SdkError<PutRecordsError>) -> Self {
        let Some(raw) = error.raw_response().filter(|_| error.as_service_error().is_some()) else {
            return Self {
                reason: causes(error),
                is_final: lacks_credentials(error),
            };
        };
        let (status, code) = (raw.status().as_u16(), error.code().unwrap_or("an error"));
        let is_final = status < 500 && status != 429 && !is_throttling(code);
        let remedy = if is_final {
            "; check the stream's name and the function's role"
        } else {
            ""
        };
        Self {
            reason: format!("{code} with status {status}{remedy}"),
            is_final,
        }
    }
}

fn first(left: &[(usize, &Entry)]) -> usize {
    left.first().map_or(0, |(index, _)| *index)
}

fn record(entry: &Entry) -> PutRecordsRequestEntry {
    let key: String = entry.partition_key.chars().take(PARTITION_KEY_MAX).collect();
    PutRecordsRequestEntry::builder()
        .data(Blob::new(entry.line.as_bytes()))
        .partition_key(key)
        .build()
        .expect("data and partition key are all that a record needs")
}

/// The entries in portions that fit one request each.
fn requests(entries: &[Entry]) -> impl Iterator<Item = &[Entry]> {
    let mut rest = entries;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fits = |entry: &&Entry| {
            bytes += entry.line.len() + entry.partition_key.len();
            bytes <= REQUEST_BYTES_MAX
        };
        let count = rest.iter().take(RECORDS_MAX).take_while(fits).count();
        let (request, behind) = rest.split_at_checked(count.max(1))?;
        rest = behind;
        Some(request)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(bytes: usize) -> Entry {
        Entry {
            line: "x".repeat(bytes),
            partition_key: "key".to_owned(),
        }
    }

    #[test]
    fn requests_hold_so_many_records_and_bytes_and_no_more() {
        let sizes = |entries: Vec<Entry>| requests(&entries).map(<[Entry]>::len).collect::<Vec<_>>();
        assert_eq!(sizes(Vec::new()), [0; 0]);
        assert_eq!(sizes((0..1001).map(|_| entry(1)).collect()), [500, 500, 1]);
        assert_eq!(sizes((0..7).map(|_| entry(1_000_000)).collect()), [5, 2]);
        let (full, one_more) = (REQUEST_BYTES_MAX / 5 - 3, REQUEST_BYTES_MAX / 5 - 2);
        assert_eq!(sizes((0..5).map(|_| entry(full)).collect()), [5]);
        assert_eq!(sizes((0..5).map(|_| entry(one_more)).collect()), [4, 1]);
    }
}
