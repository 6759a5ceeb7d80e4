//! One request with its retries.

use std::collections::VecDeque;
use std::mem;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

use super::{PutError, Service};
use crate::delivery::destination::{DeliveryError, DeliveryResult, OutputLine};
use crate::dispatch::retry::Backoff;

/// The backoff between attempts to send undelivered lines.
const BACKOFF: Backoff = Backoff {
    base: Duration::from_millis(50),
    cap: Duration::from_secs(2),
};
/// The maximum number of requests that a service refuses as a whole before it accepts a line. A request of 500 lines
/// with one line that is refused takes at most nine.
const REFUSED_REQUESTS_MAX: usize = 20;

/// The results for some of the lines of a delivery.
#[derive(Default)]
pub(super) struct Put {
    /// The lines that are neither accepted nor refused, in the parts in which they are sent.
    pub(super) unsent: VecDeque<Vec<usize>>,
    pub(super) error: Option<DeliveryError>,
    /// The lines with a final error, and the error.
    suspects: Vec<(usize, PutError)>,
    /// The lines that were refused again after another line was accepted.
    convicted: Vec<(usize, PutError)>,
    pub(super) has_accepted: bool,
    failures: u32,
    refused_requests: usize,
}

impl Put {
    /// Sends the lines of one request. Retries the lines that fail until `end`. If the service refuses the whole
    /// request, it is halved until the line that is the cause stands alone.
    pub(super) async fn run<S: Service>(service: &S, lines: &[OutputLine], request: Vec<usize>, end: Instant) -> Self {
        let mut put = Self {
            unsent: VecDeque::from([request]),
            ..Self::default()
        };
        while let Some(part) = put.unsent.pop_front() {
            let request: Vec<_> = part.iter().filter_map(|index| lines.get(*index)).collect();
            let failed = match timeout_at(end, service.put(&request)).await {
                Ok(Ok(errors)) => put.record(part, errors),
                Ok(Err(error)) if error.is_refusal() => put.halve(part, error),
                Ok(Err(error)) => put.keep(part, error),
                Err(_elapsed) => {
                    put.unsent.push_front(part);
                    put.error = Some(DeliveryError::OutOfTime);
                    break;
                }
            };
            let Err(error) = failed else { continue };
            put.failures += 1;
            let wait = BACKOFF.wait(put.failures);
            if !error.is_transient() || Instant::now() + wait >= end {
                put.error = Some(error.into_delivery_error(S::NAME));
                break;
            }
            sleep(wait).await;
        }
        put
    }

    fn keep(&mut self, part: Vec<usize>, error: PutError) -> Result<(), PutError> {
        self.unsent.push_front(part);
        Err(error)
    }

    /// Records the result of each line of a request. Returns the latest error that a retry may resolve.
    fn record(&mut self, part: Vec<usize>, errors: Vec<Option<PutError>>) -> Result<(), PutError> {
        if errors.len() != part.len() {
            let reason = "the response does not have a result for every record";
            return self.keep(part, PutError::transient(reason));
        }
        let mut failed = Vec::new();
        let mut latest = None;
        for (index, error) in part.into_iter().zip(errors) {
            match error {
                None => self.has_accepted = true,
                Some(error) if error.is_refusal() => self.suspects.push((index, error)),
                Some(error) => {
                    failed.push(index);
                    latest = Some(error);
                }
            }
        }
        match latest {
            Some(error) => self.keep(failed, error),
            None => Ok(()),
        }
    }

    /// Halves a request that was refused as a whole. Without an accepted line, the cause may be another than a line, so
    /// the number of requests is limited.
    fn halve(&mut self, part: Vec<usize>, error: PutError) -> Result<(), PutError> {
        self.refused_requests += 1;
        if !self.has_accepted && self.refused_requests > REFUSED_REQUESTS_MAX {
            return self.keep(part, error);
        }
        match part.as_slice() {
            [line] => self.suspects.push((*line, error)),
            lines => {
                let (first, second) = lines.split_at(lines.len() / 2);
                self.unsent.push_front(second.to_vec());
                self.unsent.push_front(first.to_vec());
            }
        }
        Ok(())
    }

    /// Sends each suspect once more, alone, if the service has accepted other lines: the error may have passed. In a
    /// group, a line that is accepted then would come after later lines of its group, so it is not sent again.
    pub(super) async fn confirm<S: Service>(&mut self, service: &S, lines: &[OutputLine], end: Instant) {
        if !self.has_accepted || self.error.is_some() {
            return;
        }
        for (index, error) in mem::take(&mut self.suspects) {
            let has_group = lines.get(index).is_some_and(|line| service.group(line).is_some());
            if error.is_about_line() || has_group {
                self.convicted.push((index, error));
                continue;
            }
            let mut again = Self::run(service, lines, vec![index], end).await;
            self.convicted.append(&mut again.suspects);
            self.add(again);
        }
    }

    /// Adds the results of another request of the same delivery.
    pub(super) fn add(&mut self, other: Self) {
        self.unsent.extend(other.unsent);
        self.error = self.error.take().or(other.error);
        self.suspects.extend(other.suspects);
        self.convicted.extend(other.convicted);
        self.has_accepted |= other.has_accepted;
    }

    /// Decides which lines are refused: the [confirmed](Self::confirm) ones, and those with a final error whose code is
    /// about the line, or with `is_lone_line_refused`. Otherwise, the service may refuse every line, and none is to
    /// blame.
    pub(super) fn into_result(self, destination: &'static str, is_lone_line_refused: bool) -> DeliveryResult {
        let mut error = self.error;
        let convicted = self.convicted.into_iter();
        let mut refused: Vec<_> = convicted.map(|(line, cause)| (line, cause.describe())).collect();
        let mut undelivered: Vec<_> = self.unsent.into_iter().flatten().collect();
        for (index, cause) in self.suspects {
            if is_lone_line_refused || cause.is_about_line() {
                refused.push((index, cause.describe()));
            } else {
                undelivered.push(index);
                error.get_or_insert(cause.into_delivery_error(destination));
            }
        }
        undelivered.sort_unstable();
        DeliveryResult {
            undelivered,
            refused,
            error,
        }
    }
}
