//! Delivery to an AWS service. Lines are sent in requests within the service's limits. Lines that the service does not
//! accept are retried until the delivery end.

use std::future::Future;
use std::time::Duration;

use aws_config::SdkConfig;
use aws_sdk_sagemakerruntime::config::StalledStreamProtectionConfig;
use aws_sdk_sagemakerruntime::config::retry::RetryConfig;
use aws_sdk_sagemakerruntime::config::timeout::TimeoutConfig;
use aws_sdk_sagemakerruntime::error::{ProvideErrorMetadata, SdkError};
use futures_util::future::join_all;
use tokio::time::{Instant, sleep, timeout_at};

use super::{DeliveryError, DeliveryResult, OutputLine};
use crate::dispatch::retry::Backoff;
use crate::endpoint::aws_error::{self, causes, is_missing_credentials, service_error, shorten};

/// The backoff between attempts to send undelivered lines.
const PUT_BACKOFF: Backoff = Backoff {
    base: Duration::from_millis(50),
    cap: Duration::from_secs(2),
};

/// The timeout of one attempt. A connection can break while Lambda has the process frozen, and must not use up all of
/// the delivery time.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(5);

/// Returns the configuration of a service's client. The SDK's retries are off, because [`deliver`] retries.
pub(super) fn client_config(environment: &SdkConfig) -> SdkConfig {
    let timeouts = TimeoutConfig::builder()
        .operation_attempt_timeout(ATTEMPT_TIMEOUT)
        .build();
    let config = environment.clone().into_builder().timeout_config(timeouts);
    let config = config.retry_config(RetryConfig::disabled());
    config
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .build()
}

/// The limits of one request and the number of concurrent requests.
#[derive(Debug, Clone, Copy)]
pub(super) struct BatchLimits {
    /// The maximum number of lines in a request.
    pub(super) lines: usize,
    /// The maximum size of a request's lines, as [`Service::size`] counts them.
    pub(super) bytes: usize,
    /// The maximum number of concurrent requests. 1 if the order of the lines matters.
    pub(super) concurrent_requests: usize,
}

/// An AWS service that accepts several lines in one request.
pub(super) trait Service: Sync {
    /// The service's prefix in the settings, such as `kinesis:`.
    const NAME: &'static str;

    fn limits(&self) -> BatchLimits;

    /// Returns the bytes that the line counts towards the request limit.
    fn size(line: &OutputLine) -> usize;

    /// Makes one request. Returns, for each line in order, `None` if the service accepted it, otherwise the error code.
    fn put(&self, lines: &[&OutputLine]) -> impl Future<Output = Result<Vec<Option<String>>, PutError>> + Send;
}

/// The reason why lines were not accepted.
#[derive(Debug)]
pub(super) struct PutError {
    /// The reason, without any part of a record, so that a log may show it.
    reason: String,
    /// `true` if a retry cannot succeed.
    is_final: bool,
}

impl PutError {
    /// An error that a retry may resolve. The reason must not quote a record, because logs show it.
    pub(super) fn transient(reason: &str) -> Self {
        Self {
            reason: shorten(reason),
            is_final: false,
        }
    }

    /// The error of a whole request. The reason omits the service's message, which can quote a value of a record.
    pub(super) fn from_sdk_error<E: ProvideErrorMetadata + std::error::Error + 'static>(error: &SdkError<E>) -> Self {
        let Some(service_error) = service_error(error) else {
            return Self {
                reason: causes(error),
                is_final: is_missing_credentials(error),
            };
        };
        let is_final = !service_error.is_transient();
        let aws_error::ServiceError { status, code } = service_error;
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

/// Returns the number of lines that fill all concurrent requests.
pub(super) fn full_request_lines(service: &impl Service) -> usize {
    let BatchLimits {
        lines,
        concurrent_requests,
        ..
    } = service.limits();
    lines.saturating_mul(concurrent_requests)
}

/// Delivers `lines` to the service. Stops at `end` at the latest. Rejected lines are retried without their accepted
/// neighbours, so that their order in the destination can change. After a request with undelivered lines, no further
/// request starts.
pub(super) async fn deliver<S: Service>(service: &S, lines: &[OutputLine], end: Instant) -> DeliveryResult {
    let requests: Vec<_> = split_into_requests::<S>(lines, service.limits()).collect();
    let mut all = DeliveryResult::default();
    let mut sent = 0;
    for together in requests.chunks(service.limits().concurrent_requests) {
        let delivered = join_all(together.iter().map(|request| put_with_retries(service, request, end))).await;
        for (request, DeliveryResult { undelivered, error }) in together.iter().zip(delivered) {
            all.undelivered
                .extend(undelivered.into_iter().map(|index| sent + index));
            all.error = all.error.or(error);
            sent += request.len();
        }
        if all.error.is_some() {
            all.undelivered.extend(sent..lines.len());
            break;
        }
    }
    all
}

/// Sends the lines of one request, and retries the undelivered ones until `end` or a final error.
async fn put_with_retries<S: Service>(service: &S, lines: &[OutputLine], end: Instant) -> DeliveryResult {
    let mut undelivered: Vec<usize> = (0..lines.len()).collect();
    for attempts in 1.. {
        let put_error = match timeout_at(end, put_undelivered(service, lines, &mut undelivered)).await {
            Ok(Ok(())) => break,
            Ok(Err(put_error)) => put_error,
            Err(_elapsed) => {
                let error = Some(DeliveryError::OutOfTime);
                return DeliveryResult { undelivered, error };
            }
        };
        let wait = PUT_BACKOFF.wait(attempts);
        if put_error.is_final || Instant::now() + wait >= end {
            let (destination, reason) = (S::NAME, put_error.reason);
            let error = Some(DeliveryError::NotAccepted { destination, reason });
            return DeliveryResult { undelivered, error };
        }
        sleep(wait).await;
    }
    DeliveryResult::default()
}

/// Sends the `undelivered` lines in one request, and removes the indexes of the accepted lines from `undelivered`.
async fn put_undelivered<S: Service>(
    service: &S,
    lines: &[OutputLine],
    undelivered: &mut Vec<usize>,
) -> Result<(), PutError> {
    let request: Vec<_> = undelivered.iter().filter_map(|index| lines.get(*index)).collect();
    let codes = service.put(&request).await?;
    if codes.len() != undelivered.len() {
        return Err(PutError::transient(
            "the response does not have a result for every record",
        ));
    }
    let mut is_accepted = codes.iter().map(Option::is_none);
    undelivered.retain(|_| is_accepted.next() == Some(false));
    let first_code = codes.into_iter().flatten().next();
    first_code.map_or(Ok(()), |code| Err(PutError::transient(&code)))
}

/// Splits the lines into slices that fit into one request each. A line over the limit gets a request of its own.
fn split_into_requests<S: Service>(lines: &[OutputLine], limits: BatchLimits) -> impl Iterator<Item = &[OutputLine]> {
    let mut rest = lines;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fits = |line: &&OutputLine| {
            bytes += S::size(line);
            bytes <= limits.bytes
        };
        let count = rest.iter().take(limits.lines).take_while(fits).count();
        let (request, remaining) = rest.split_at_checked(count.max(1))?;
        rest = remaining;
        Some(request)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct FakeService;

    impl Service for FakeService {
        const NAME: &'static str = "fake:";

        fn limits(&self) -> BatchLimits {
            BatchLimits {
                lines: 500,
                bytes: 5000,
                concurrent_requests: 1,
            }
        }

        fn size(line: &OutputLine) -> usize {
            line.text.len() + line.partition_key.len()
        }

        async fn put(&self, lines: &[&OutputLine]) -> Result<Vec<Option<String>>, PutError> {
            Ok(vec![None; lines.len()])
        }
    }

    fn line_of(bytes: usize) -> OutputLine {
        OutputLine {
            text: "x".repeat(bytes),
            partition_key: "key".to_owned(),
            id: String::new(),
            arrival_ms: 0,
        }
    }

    #[test]
    fn a_request_has_at_most_the_maximum_number_of_lines_and_bytes() {
        let sizes = |lines: Vec<OutputLine>| {
            let requests = split_into_requests::<FakeService>(&lines, FakeService.limits());
            requests.map(<[OutputLine]>::len).collect::<Vec<_>>()
        };
        assert_eq!(sizes(Vec::new()), [0; 0]);
        assert_eq!(sizes((0..1001).map(|_| line_of(1)).collect()), [500, 500, 1]);
        assert_eq!(sizes((0..7).map(|_| line_of(997)).collect()), [5, 2]);
        assert_eq!(sizes((0..7).map(|_| line_of(998)).collect()), [4, 3]);
        assert_eq!(sizes(vec![line_of(1), line_of(9000), line_of(1)]), [1, 1, 1]);
    }
}
