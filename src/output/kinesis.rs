//! `kinesis:STREAM`: a record of a data stream for each line, with the partition key of the record that it comes from.

use std::time::Duration;

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::error::DisplayErrorContext;
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::PutRecordsRequestEntry;
use tokio::time::{Instant, sleep, timeout_at};

use super::{Delivered, DeliveryError, Entry};
use crate::endpoint::FaultKind;
use crate::retry::Retry;

/// `PutRecords` takes so many records at once, and so many bytes of data and partition keys:
/// <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_PutRecords.html>. A stream may be set up for more bytes.
const RECORDS_MAX: usize = 500;
const REQUEST_BYTES_MAX: usize = 5 * 1024 * 1024;
/// What any stream takes for one record, its partition key included. A stream may be set up for more.
const RECORD_BYTES_MAX: usize = 1024 * 1024;
/// A partition key has at most so many characters.
const PARTITION_KEY_MAX: usize = 256;
/// Records that the service did not take in are tried again until the time for delivery is over.
const AGAIN: Retry = Retry {
    max_attempts: u32::MAX,
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
        Self {
            client: Client::new(environment),
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
        let name = resource.and_then(|resource| resource.strip_prefix("stream/"));
        name == Some(&self.stream) && same(region, own_region) && same(owner, account)
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
            let error = match timeout_at(end, self.put_once(&mut left)).await {
                Ok(Ok(None)) => break,
                Ok(Ok(Some(code))) => DeliveryError::Refused {
                    destination: "kinesis:",
                    source: code.into(),
                },
                Ok(Err(error)) => return Delivered::up_to(first(&left), error),
                Err(_elapsed) => return Delivered::up_to(first(&left), DeliveryError::OutOfTime),
            };
            let wait = AGAIN.backoff(attempts, FaultKind::Overload).unwrap_or(AGAIN.cap);
            if Instant::now() + wait >= end {
                return Delivered::up_to(first(&left), error);
            }
            sleep(wait).await;
        }
        Delivered {
            count: entries.len(),
            error: None,
        }
    }

    /// Puts what is `left`, keeps of it what was not taken in, and returns the first reason.
    async fn put_once(&self, left: &mut Vec<(usize, &Entry)>) -> Result<Option<String>, DeliveryError> {
        let records = left.iter().map(|(_, entry)| record(entry)).collect();
        let request = self.client.put_records().stream_name(&self.stream);
        let answer = request.set_records(Some(records)).send().await;
        let answer = answer.map_err(|error| DeliveryError::Refused {
            destination: "kinesis:",
            source: DisplayErrorContext(error).to_string().into(),
        })?;
        // An answer that does not tell of each record tells of none.
        let mut results = answer.records.iter();
        let mut reason = None;
        left.retain(|_| {
            let code = results.next().map_or(Some("no answer"), |result| result.error_code());
            if let Some(code) = code {
                reason.get_or_insert_with(|| code.to_owned());
            }
            code.is_some()
        });
        Ok(reason)
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
