//! One attempt at an inference request.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use crate::answers::Answers;
use crate::endpoint::{Endpoint, Fault, FaultKind, Response};
use crate::prediction::Prediction;
use crate::prediction::split::split;
use crate::request::InferenceRequest;

/// What all calls of the process share.
#[derive(Debug)]
pub struct Caller<E> {
    endpoint: E,
    call_timeout: Duration,
    answers: Answers,
}

/// What an endpoint's answer is to the records of its request.
#[derive(Debug)]
pub enum Answer {
    /// A prediction for each, in their order.
    Predictions(Vec<Prediction>),
    /// Predictions of another number, so that nobody knows which is whose.
    Unassignable,
}

impl Answer {
    fn of(response: Response, request: &InferenceRequest) -> Self {
        if !request.is_packed() {
            return Self::Predictions(vec![Prediction::read(response)]);
        }
        split(response, request.records().len()).map_or(Self::Unassignable, Self::Predictions)
    }
}

impl<E: Endpoint> Caller<E> {
    /// Calls `endpoint`, with `call_timeout` for each call.
    pub fn new(endpoint: E, call_timeout: Duration) -> Self {
        Self {
            endpoint,
            call_timeout,
            answers: Answers::default(),
        }
    }

    /// The endpoint that is called.
    pub fn endpoint(&self) -> &E {
        &self.endpoint
    }

    /// Makes one attempt, for which the permit is held already: the clock starts here, so waiting in the queue is not
    /// charged. A call that passes the timeout is cancelled.
    ///
    /// # Errors
    ///
    /// The [`Fault`] that the attempt ended with. A doubtful one is settled, as Refused, or else as Misconfigured; the
    /// latter stays in doubt.
    pub async fn attempt(&self, request: &Arc<InferenceRequest>) -> Result<Answer, Fault> {
        let started = Instant::now();
        let answer = timeout(self.call_timeout, self.endpoint.invoke(request)).await;
        match answer {
            Ok(Ok(response)) => {
                self.answers.add(request, started.elapsed());
                Ok(Answer::of(response, request))
            }
            Ok(Err(fault)) => Err(self.judge(fault, request)),
            Err(_elapsed) => {
                let timeout_ms = self.call_timeout.as_millis();
                let summary = format!("no answer within CALL_TIMEOUT_MS, {timeout_ms} ms");
                Err(Fault::new(FaultKind::Suspect, summary))
            }
        }
    }

    /// Settles whose fault a doubtful one is.
    fn judge(&self, fault: Fault, request: &InferenceRequest) -> Fault {
        if !fault.is_doubtful {
            return fault;
        }
        if self.answers.testify_against(request) {
            let is_doubtful = false;
            return Fault { is_doubtful, ..fault };
        }
        let kind = FaultKind::Misconfigured;
        Fault { kind, ..fault }
    }

    /// What the endpoint answered lately.
    pub fn answers(&self) -> &Answers {
        &self.answers
    }

    /// What a last attempt takes at most: the call itself, and about as much as usual for a call before and one after it.
    pub fn longest_last_attempt(&self) -> Duration {
        const ROOM: Duration = Duration::from_millis(100);
        self.call_timeout + self.answers.median_latency().unwrap_or_default() * 4 + ROOM
    }

    /// Whether a call that starts at `start` would likely be cut at `end`: less is left than the median of the latest
    /// calls.
    pub fn is_too_late(&self, start: Instant, end: Instant) -> bool {
        let left = end.saturating_duration_since(start);
        // An answer took no longer than the timeout, so most calls need no look at the latest ones.
        left.is_zero() || left < self.call_timeout && self.answers.median_latency().is_some_and(|median| left < median)
    }
}
