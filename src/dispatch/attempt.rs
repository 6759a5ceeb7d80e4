//! One attempt at an inference request: a call, and a second one where the first is slow and `HEDGE` is on.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::{Either, select};
use tokio::time::{Instant, sleep, timeout};

use crate::dispatch::capacity::{Capacity, Ended, Permit};
use crate::dispatch::evidence::Answers;
use crate::dispatch::hedge::Hedge;
use crate::endpoint::{Endpoint, Response, trace};
use crate::inference::InferenceRequest;
use crate::inference::read_prediction;
use crate::inference::split;
use crate::outcome::Prediction;
use crate::outcome::{Fault, FaultKind, Load};

pub use super::call_stats::Tally;

/// What all calls of the process share.
#[derive(Debug)]
pub struct Caller<E> {
    endpoint: E,
    call_timeout: Duration,
    answers: Answers,
    capacity: Capacity,
    hedge: Option<Hedge>,
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
            return Self::Predictions(vec![read_prediction(response)]);
        }
        split(response, request.records().len()).map_or(Self::Unassignable, Self::Predictions)
    }
}

impl<E: Endpoint> Caller<E> {
    /// Calls `endpoint`, with `call_timeout` for each attempt; second calls by `hedge` need permits that are spare in
    /// `capacity`.
    pub fn new(endpoint: E, call_timeout: Duration, capacity: Capacity, hedge: Option<Hedge>) -> Self {
        Self {
            endpoint,
            call_timeout,
            answers: Answers::default(),
            capacity,
            hedge,
        }
    }

    /// The permits that all calls need.
    pub fn capacity(&self) -> &Capacity {
        &self.capacity
    }

    /// The endpoint that is called.
    pub fn endpoint(&self) -> &E {
        &self.endpoint
    }

    /// Makes one attempt, for which the permit is held already: the clock starts here, so waiting in the queue is not
    /// charged. Calls that pass the timeout are cancelled.
    ///
    /// # Errors
    ///
    /// The [`Fault`] that the attempt ended with. A doubtful one is settled, as Refused, or else as Misconfigured; the
    /// latter stays in doubt.
    pub async fn attempt(
        &self,
        request: &Arc<InferenceRequest>,
        permit: &mut Permit,
        tally: &Tally,
    ) -> Result<Answer, Fault> {
        tally.attempts.fetch_add(1, Ordering::Relaxed);
        if let Err(fault) = self.endpoint.ready().await {
            permit.ended(if fault.kind == FaultKind::Unreachable {
                Ended::Unreachable
            } else {
                Ended::Otherwise
            });
            return Err(fault);
        }
        let started = Instant::now();
        let mut firsts = None;
        let calls = trace::carrying(&tally.trace_id, self.hedged(request, permit, &mut firsts, tally));
        match timeout(self.call_timeout, calls).await {
            Ok(Ok(response)) => {
                let latency = started.elapsed();
                self.answers.add(request, latency);
                tally.answered(latency);
                Ok(Answer::of(response, request))
            }
            Ok(Err(fault)) => Err(self.judge(fault, request)),
            Err(_elapsed) => {
                permit.ended(Ended::TimedOut);
                tally.timeouts.fetch_add(1, Ordering::Relaxed);
                Err(firsts.unwrap_or_else(|| self.timed_out()))
            }
        }
    }

    fn timed_out(&self) -> Fault {
        let timeout_ms = self.call_timeout.as_millis();
        let summary = format!("no answer within CALL_TIMEOUT_MS, {timeout_ms} ms");
        Fault::new(FaultKind::Suspect, summary)
    }

    /// The first call's answer, or that of a second one, which begins if the first is slow. The first answer or refusal
    /// wins, and the other call is cancelled; a transient fault of one leaves the other running. The first call's is in
    /// `firsts` meanwhile: it is the attempt's, if nothing better comes.
    async fn hedged(
        &self,
        request: &InferenceRequest,
        permit: &mut Permit,
        firsts: &mut Option<Fault>,
        tally: &Tally,
    ) -> Result<Response, Fault> {
        let Some(hedge) = &self.hedge else {
            return self.call(request, permit, tally).await;
        };
        let started = Instant::now();
        let delay = hedge.begin();
        let first = pin!(self.call(request, permit, tally));
        let answer = match delay {
            None => first.await,
            Some(delay) => match select(first, pin!(self.spare_when_slow(hedge, delay))).await {
                Either::Left((answer, _)) => answer,
                Either::Right((mut spare, first)) => {
                    tally.hedges.fetch_add(1, Ordering::Relaxed);
                    // Its permit goes back when it has ended, though the first call may go on.
                    let second = pin!(async move { self.call(request, &mut spare, tally).await });
                    either(first, second, firsts).await
                }
            },
        };
        if answer.is_ok() {
            hedge.answered(started.elapsed());
        }
        answer
    }

    /// Waits until a call is slow, and then for a permit that nobody else wants, without a place in the queue.
    async fn spare_when_slow(&self, hedge: &Hedge, delay: Duration) -> Permit {
        const AGAIN: Duration = Duration::from_millis(5);
        sleep(delay).await;
        loop {
            // The permit first: it comes back if there is no second call left to make.
            if let Some(permit) = self.capacity.spare()
                && hedge.spend()
            {
                return permit;
            }
            sleep(delay.max(AGAIN)).await;
        }
    }

    /// One call, whose permit is told how it ended.
    async fn call(&self, request: &InferenceRequest, permit: &mut Permit, tally: &Tally) -> Result<Response, Fault> {
        // Boxed: else the futures around it are as large, and are moved about with every call.
        let answer = Box::pin(self.endpoint.invoke(request.call())).await;
        if answer.as_ref().is_err_and(|fault| fault.kind == FaultKind::Overload) {
            tally.throttles.fetch_add(1, Ordering::Relaxed);
        }
        permit.ended(match &answer {
            Ok(_) => Ended::Answered,
            Err(fault) => match (fault.load, fault.kind) {
                (Load::OneModels, _) => Ended::Otherwise,
                (Load::Rate, _) => Ended::OverRate,
                (Load::Away, _) | (Load::AsItsKind, FaultKind::Unreachable) => Ended::Unreachable,
                (Load::AsItsKind, FaultKind::Overload) => Ended::Overload,
                (Load::AsItsKind, FaultKind::Refused | FaultKind::Suspect | FaultKind::Misconfigured) => {
                    Ended::Otherwise
                }
            },
        });
        if let Some(time) = answer.as_ref().err().and_then(|fault| fault.retry_after) {
            permit.is_followed_by_rest(time);
        }
        answer
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

/// What comes first of two calls for one request, unless it is a transient fault: then the other's answer, or the first
/// call's fault where that fails for a while as well.
async fn either(
    first: impl Future<Output = Result<Response, Fault>> + Unpin,
    second: impl Future<Output = Result<Response, Fault>> + Unpin,
    firsts: &mut Option<Fault>,
) -> Result<Response, Fault> {
    match select(first, second).await {
        Either::Left((Err(fault), second)) if fault.kind.is_transient() => {
            *firsts = Some(fault.clone());
            match second.await {
                Err(other) if other.kind.is_transient() => Err(fault),
                answer => answer,
            }
        }
        Either::Right((Err(fault), first)) if fault.kind.is_transient() => first.await,
        Either::Left((answer, _)) | Either::Right((answer, _)) => answer,
    }
}

#[cfg(test)]
mod tests;
