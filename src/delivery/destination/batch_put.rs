//! Delivery to a service of AWS: in requests that fit, again what was not taken, until the time for delivery is over.

use std::future::Future;
use std::time::Duration;

use aws_config::SdkConfig;
use aws_sdk_sagemakerruntime::config::StalledStreamProtectionConfig;
use aws_sdk_sagemakerruntime::config::retry::RetryConfig;
use aws_sdk_sagemakerruntime::config::timeout::TimeoutConfig;
use aws_sdk_sagemakerruntime::error::{ProvideErrorMetadata, SdkError};
use futures_util::future::join_all;
use tokio::time::{Instant, sleep, timeout_at};

use super::{Delivered, DeliveryError, Entry};
use crate::dispatch::retry::Backoff;
use crate::endpoint::aws_error::{self, causes, lacks_credentials, refusal, shorten};

/// What a service did not take is tried again until the time for delivery is over.
const AGAIN: Backoff = Backoff {
    base: Duration::from_millis(50),
    cap: Duration::from_secs(2),
};

/// A connection that died while Lambda had the process frozen must not take all the time for delivery.
const ATTEMPT_MAX: Duration = Duration::from_secs(5);

/// What the client of a service is made from. The SDK's own retries are off: what was not taken is sent again by us.
pub(super) fn client_config(environment: &SdkConfig) -> SdkConfig {
    let timeouts = TimeoutConfig::builder().operation_attempt_timeout(ATTEMPT_MAX).build();
    let config = environment.clone().into_builder().timeout_config(timeouts);
    let config = config.retry_config(RetryConfig::disabled());
    config
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .build()
}

/// What fits into one request, and how many requests may be under way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) entries: usize,
    pub(super) bytes: usize,
    /// One where the order of the entries matters.
    pub(super) at_once: usize,
}

/// A service that takes several entries a request.
pub(super) trait Service: Sync {
    /// How OUTPUT names it.
    const NAME: &'static str;

    fn limits(&self) -> Limits;

    /// How much of a request's bytes the entry takes.
    fn size(entry: &Entry) -> usize;

    /// Makes one request. For each entry, in order: nothing if it was taken, else the service's code for why not.
    fn put(&self, entries: &[&Entry]) -> impl Future<Output = Result<Vec<Option<String>>, Refusal>> + Send;
}

/// Why entries were not taken.
#[derive(Debug)]
pub(super) struct Refusal {
    reason: String,
    /// Sending them again would not help.
    is_final: bool,
}

impl Refusal {
    /// Something that passes, in words that a log may show.
    pub(super) fn passing(reason: &str) -> Self {
        Self {
            reason: shorten(reason),
            is_final: false,
        }
    }

    /// Of a whole request. The service's message stays out of it: one about a value quotes it.
    pub(super) fn of<E: ProvideErrorMetadata + std::error::Error + 'static>(error: &SdkError<E>) -> Self {
        let Some(refusal) = refusal(error) else {
            return Self {
                reason: causes(error),
                is_final: lacks_credentials(error),
            };
        };
        let is_final = !refusal.passes();
        let aws_error::Refusal { status, code } = refusal;
        let remedy = if is_final {
            "; check the destination's name and the function's role"
        } else {
            ""
        };
        Self {
            reason: format!("{code} with status {status}{remedy}"),
            is_final,
        }
    }
}

/// How many entries keep the service busy.
pub(super) fn worth_a_delivery(service: &impl Service) -> usize {
    let Limits { entries, at_once, .. } = service.limits();
    entries.saturating_mul(at_once)
}

/// Delivers `entries` to the service, until `end` at the latest. Those that it does not take at first are sent alone
/// again, so that their order among the others may change. After a request that came to nothing, no other is made.
pub(super) async fn deliver<S: Service>(service: &S, entries: &[Entry], end: Instant) -> Delivered {
    let requests: Vec<_> = requests::<S>(entries, service.limits()).collect();
    let mut all = Delivered::default();
    let mut sent = 0;
    for together in requests.chunks(service.limits().at_once) {
        let delivered = join_all(together.iter().map(|request| put_all(service, request, end))).await;
        for (request, Delivered { left, error }) in together.iter().zip(delivered) {
            all.left.extend(left.into_iter().map(|index| sent + index));
            all.error = all.error.or(error);
            sent += request.len();
        }
        if all.error.is_some() {
            all.left.extend(sent..entries.len());
            break;
        }
    }
    all
}

/// Sends the entries of one request, again and again what of it was not taken.
async fn put_all<S: Service>(service: &S, entries: &[Entry], end: Instant) -> Delivered {
    let mut left: Vec<usize> = (0..entries.len()).collect();
    for attempts in 1.. {
        let refusal = match timeout_at(end, put_left(service, entries, &mut left)).await {
            Ok(Ok(())) => break,
            Ok(Err(refusal)) => refusal,
            Err(_elapsed) => {
                let error = Some(DeliveryError::OutOfTime);
                return Delivered { left, error };
            }
        };
        let wait = AGAIN.wait(attempts);
        if refusal.is_final || Instant::now() + wait >= end {
            let (destination, reason) = (S::NAME, refusal.reason);
            let error = Some(DeliveryError::Refused { destination, reason });
            return Delivered { left, error };
        }
        sleep(wait).await;
    }
    Delivered::default()
}

/// Sends what is `left`, and keeps of it what was not taken.
async fn put_left<S: Service>(service: &S, entries: &[Entry], left: &mut Vec<usize>) -> Result<(), Refusal> {
    let these: Vec<_> = left.iter().filter_map(|index| entries.get(*index)).collect();
    let codes = service.put(&these).await?;
    if codes.len() != left.len() {
        return Err(Refusal::passing("the answer does not tell of each record"));
    }
    let mut taken = codes.iter().map(Option::is_none);
    left.retain(|_| taken.next() == Some(false));
    let refused = codes.into_iter().flatten().next();
    refused.map_or(Ok(()), |code| Err(Refusal::passing(&code)))
}

/// The entries in portions that fit one request each.
fn requests<S: Service>(entries: &[Entry], limits: Limits) -> impl Iterator<Item = &[Entry]> {
    let mut rest = entries;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fits = |entry: &&Entry| {
            bytes += S::size(entry);
            bytes <= limits.bytes
        };
        let count = rest.iter().take(limits.entries).take_while(fits).count();
        let (request, behind) = rest.split_at_checked(count.max(1))?;
        rest = behind;
        Some(request)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Pigeon;

    impl Service for Pigeon {
        const NAME: &'static str = "pigeon:";

        fn limits(&self) -> Limits {
            Limits {
                entries: 500,
                bytes: 5000,
                at_once: 1,
            }
        }

        fn size(entry: &Entry) -> usize {
            entry.line.len() + entry.partition_key.len()
        }

        async fn put(&self, entries: &[&Entry]) -> Result<Vec<Option<String>>, Refusal> {
            Ok(vec![None; entries.len()])
        }
    }

    fn entry(bytes: usize) -> Entry {
        Entry {
            line: "x".repeat(bytes),
            partition_key: "key".to_owned(),
            id: String::new(),
            arrival_ms: 0,
        }
    }

    #[test]
    fn requests_hold_so_many_records_and_bytes_and_no_more() {
        let sizes = |entries: Vec<Entry>| {
            let requests = requests::<Pigeon>(&entries, Pigeon.limits());
            requests.map(<[Entry]>::len).collect::<Vec<_>>()
        };
        assert_eq!(sizes(Vec::new()), [0; 0]);
        assert_eq!(sizes((0..1001).map(|_| entry(1)).collect()), [500, 500, 1]);
        assert_eq!(sizes((0..7).map(|_| entry(997)).collect()), [5, 2]);
        assert_eq!(sizes((0..7).map(|_| entry(998)).collect()), [4, 3]);
        assert_eq!(sizes(vec![entry(1), entry(9000), entry(1)]), [1, 1, 1]);
    }
}
