//! Delivery to an AWS service. Lines are sent in requests within the service's limits. Lines that the service does not
//! accept are retried until the delivery end. A line that it will never accept is refused and does not affect the
//! others.

use std::collections::HashSet;
use std::future::Future;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aws_config::SdkConfig;
use aws_sdk_sagemakerruntime::config::StalledStreamProtectionConfig;
use aws_sdk_sagemakerruntime::config::retry::RetryConfig;
use aws_sdk_sagemakerruntime::config::timeout::TimeoutConfig;
use futures_util::future::join_all;
use tokio::time::Instant;

use super::{DeliveryResult, OutputLine};

mod error;
mod put;

pub(super) use error::PutError;

use put::Put;

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
    /// The maximum number of concurrent requests. 1 if all lines are sent in order.
    pub(super) concurrent_requests: usize,
}

/// An AWS service that accepts several lines in one request.
pub(super) trait Service: Sync {
    /// The service's prefix in the settings, such as `kinesis:`.
    const NAME: &'static str;

    fn limits(&self) -> BatchLimits;

    /// Returns the time at which this service last accepted a line.
    fn last_accepted(&self) -> &LastAccepted;

    /// Returns the bytes that the line counts towards the request limit.
    fn size(line: &OutputLine) -> usize;

    /// Returns the group of the line, if the service keeps the lines of a group in order.
    fn group<'l>(&self, _line: &'l OutputLine) -> Option<&'l str> {
        None
    }

    /// Makes one request. Returns, for each line in order, `None` if the service accepted it, otherwise the error.
    fn put(&self, lines: &[&OutputLine]) -> impl Future<Output = Result<Vec<Option<PutError>>, PutError>> + Send;
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

/// Delivers `lines` to the service. Stops at `end` at the latest. Lines that fail are retried without their accepted
/// neighbours, so that their order in the destination can change, but never within a [group](Service::group). After a
/// request with undelivered lines, no further request starts.
pub(super) async fn deliver<S: Service>(service: &S, lines: &[OutputLine], end: Instant) -> DeliveryResult {
    let mut all = Put::default();
    let mut unsent: Vec<usize> = (0..lines.len()).collect();
    while !unsent.is_empty() && all.error.is_none() {
        let requests = take_requests(service, lines, &mut unsent);
        let puts = requests
            .into_iter()
            .map(|request| Put::run(service, lines, request, end));
        join_all(puts).await.into_iter().for_each(|put| all.add(put));
    }
    all.confirm(service, lines, end).await;
    all.unsent.push_back(unsent);
    let is_lone_line_refused = lines.len() == 1 && service.last_accepted().is_recent();
    if all.has_accepted {
        service.last_accepted().set_now();
    }
    all.into_result(S::NAME, is_lone_line_refused)
}

/// The time at which a service last accepted a line, in this process.
#[derive(Debug, Default)]
pub(super) struct LastAccepted(Mutex<Option<Instant>>);

impl LastAccepted {
    /// The time for which an accepted line shows that the service accepts lines. An outage of the service that looks
    /// like a refusal of each line can reject lone lines for this long.
    const RECENT: Duration = Duration::from_mins(10);

    fn set_now(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    fn is_recent(&self) -> bool {
        let accepted = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        accepted.is_some_and(|accepted| accepted.elapsed() < Self::RECENT)
    }
}

/// Removes and returns the next requests from `unsent`: as many as may run concurrently, each within the limits of the
/// service. Together, they hold at most one line of each group. A line over the size limit gets a request of its own.
fn take_requests<S: Service>(service: &S, lines: &[OutputLine], unsent: &mut Vec<usize>) -> Vec<Vec<usize>> {
    let limits = service.limits();
    let mut groups = HashSet::new();
    let mut requests: Vec<Vec<usize>> = Vec::new();
    let mut bytes = 0;
    let mut is_full = false;
    unsent.retain(|index| {
        let Some(line) = lines.get(*index) else { return false };
        if is_full || service.group(line).is_some_and(|group| !groups.insert(group)) {
            return true;
        }
        bytes += S::size(line);
        let request = requests.last_mut();
        if let Some(request) = request.filter(|request| request.len() < limits.lines && bytes <= limits.bytes) {
            request.push(*index);
            return false;
        }
        is_full = requests.len() == limits.concurrent_requests;
        if !is_full {
            requests.push(vec![*index]);
            bytes = S::size(line);
        }
        is_full
    });
    requests
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::destination::LineKind;

    #[derive(Debug, Default)]
    struct FakeService {
        is_grouped: bool,
        last_accepted: LastAccepted,
    }

    impl Service for FakeService {
        const NAME: &'static str = "fake:";

        fn limits(&self) -> BatchLimits {
            BatchLimits {
                lines: 500,
                bytes: 5000,
                concurrent_requests: 2,
            }
        }

        fn last_accepted(&self) -> &LastAccepted {
            &self.last_accepted
        }

        fn size(line: &OutputLine) -> usize {
            line.text.len() + line.partition_key.len()
        }

        fn group<'l>(&self, line: &'l OutputLine) -> Option<&'l str> {
            self.is_grouped.then_some(&*line.partition_key)
        }

        async fn put(&self, lines: &[&OutputLine]) -> Result<Vec<Option<PutError>>, PutError> {
            Ok(vec![None; lines.len()])
        }
    }

    fn line_of(bytes: usize) -> OutputLine {
        OutputLine {
            kind: LineKind::Prediction,
            text: "x".repeat(bytes),
            partition_key: "key".to_owned(),
            id: String::new(),
            arrival_ms: 0,
        }
    }

    #[test]
    fn a_request_has_at_most_the_maximum_number_of_lines_and_bytes() {
        let sizes = |lines: Vec<OutputLine>| {
            let mut unsent: Vec<usize> = (0..lines.len()).collect();
            let mut requests = Vec::new();
            while !unsent.is_empty() {
                let together = take_requests(&FakeService::default(), &lines, &mut unsent);
                assert!((1..=2).contains(&together.len()));
                requests.extend(together);
            }
            assert!(requests.iter().flatten().copied().eq(0..lines.len()), "in order");
            requests.iter().map(Vec::len).collect::<Vec<_>>()
        };
        assert_eq!(sizes(Vec::new()), [0; 0]);
        assert_eq!(sizes((0..1001).map(|_| line_of(1)).collect()), [500, 500, 1]);
        assert_eq!(sizes((0..7).map(|_| line_of(997)).collect()), [5, 2]);
        assert_eq!(sizes((0..7).map(|_| line_of(998)).collect()), [4, 3]);
        assert_eq!(sizes(vec![line_of(1), line_of(9000), line_of(1)]), [1, 1, 1]);
    }

    #[test]
    fn concurrent_requests_hold_one_line_of_each_group() {
        let keys = ["a", "b", "a", "c", "a", "b"];
        let line = |key: &&str| OutputLine {
            partition_key: (*key).to_owned(),
            ..line_of(1)
        };
        let lines: Vec<_> = keys.iter().map(line).collect();
        let service = FakeService {
            is_grouped: true,
            ..FakeService::default()
        };
        let mut unsent: Vec<usize> = (0..lines.len()).collect();
        for expected in [&[0, 1, 3][..], &[2, 5], &[4]] {
            assert_eq!(take_requests(&service, &lines, &mut unsent), [expected]);
        }
        assert!(unsent.is_empty());
    }
}
