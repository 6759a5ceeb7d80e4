//! One attempt at an inference request: a call, and a hedged call if the first is slow and `HEDGE` is on.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::{Either, select};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::capacity::{Capacity, Feedback, Permit};
use super::hedge::Hedge;
use super::latency::RecentLatencies;
use super::retry::Backoff;
use crate::endpoint::{Endpoint, Response, trace};
use crate::inference::{InferenceRequest, read_prediction, split_response};
use crate::outcome::{Fault, FaultKind, LoadSignal, Prediction};

pub use super::call_stats::CallStats;

/// Makes the attempts. One instance for each process.
#[derive(Debug)]
pub struct Invoker<E> {
    endpoint: E,
    call_timeout: Duration,
    latencies: RecentLatencies,
    capacity: Capacity,
    hedge: Option<Hedge>,
}

/// The answer to a request, assigned to its records.
#[derive(Debug)]
pub enum RecordOutputs {
    /// One prediction for each record, in the order of the records.
    Predictions(Vec<Prediction>),
    /// The number of predictions differs from the number of records, so they cannot be assigned.
    CountMismatch,
}

impl RecordOutputs {
    fn from_response(response: Response, request: &InferenceRequest) -> Self {
        if !request.is_multi_record() {
            return Self::Predictions(vec![read_prediction(response)]);
        }
        split_response(response, request.records().len()).map_or(Self::CountMismatch, Self::Predictions)
    }
}

impl<E: Endpoint> Invoker<E> {
    /// Creates an invoker that calls `endpoint`, with `call_timeout` for each attempt. Hedged calls by `hedge` use only
    /// spare permits of `capacity`.
    pub fn new(endpoint: E, call_timeout: Duration, capacity: Capacity, hedge: Option<Hedge>) -> Self {
        Self {
            endpoint,
            call_timeout,
            latencies: RecentLatencies::default(),
            capacity,
            hedge,
        }
    }

    /// Returns the permits, which all calls need.
    pub fn capacity(&self) -> &Capacity {
        &self.capacity
    }

    /// Returns the endpoint that is called.
    pub fn endpoint(&self) -> &E {
        &self.endpoint
    }

    /// Waits until a call has what it needs from other services, such as credentials. The caller acquires its permit
    /// afterwards, so the wait holds no permit, spends no attempt and is not part of a round trip. Transient faults are
    /// retried until `end`.
    ///
    /// # Errors
    ///
    /// Returns the [`Fault`] that no retry can change, or at `end` the latest transient fault.
    pub async fn prepare(&self, end: Instant) -> Result<(), Fault> {
        const BACKOFF: Backoff = Backoff {
            base: Duration::from_millis(100),
            cap: Duration::from_secs(2),
        };
        let mut latest = None;
        let prepared = async {
            let mut failures = 0;
            loop {
                match self.endpoint.prepare().await {
                    Err(fault) if fault.kind.is_transient() => latest = Some(fault),
                    ended => return ended,
                }
                failures += 1;
                sleep(BACKOFF.wait(failures)).await;
            }
        };
        let late = || {
            let summary = "the credentials or the API key did not arrive before the deadline";
            Fault::new(FaultKind::Unreachable, summary)
        };
        timeout_at(end, prepared)
            .await
            .unwrap_or_else(|_elapsed| Err(latest.unwrap_or_else(late)))
    }

    /// Makes one attempt. The caller has [prepared](Self::prepare) it and holds the permit, so neither wait counts.
    /// Calls that exceed the call timeout are cancelled.
    ///
    /// # Errors
    ///
    /// Returns the [`Fault`] of the attempt.
    pub async fn attempt(
        &self,
        request: &Arc<InferenceRequest>,
        permit: &mut Permit,
        stats: &CallStats,
    ) -> Result<RecordOutputs, Fault> {
        stats.attempts.fetch_add(1, Ordering::Relaxed);
        let started = Instant::now();
        let mut first_fault = None;
        let calls = trace::with_trace_id(
            &stats.trace_id,
            self.call_with_hedge(request, permit, &mut first_fault, stats),
        );
        match timeout(self.call_timeout, calls).await {
            Ok(Ok(response)) => {
                let latency = started.elapsed();
                self.latencies.add(latency);
                stats.record_answer(latency);
                Ok(RecordOutputs::from_response(response, request))
            }
            Ok(Err(fault)) => Err(fault),
            Err(_elapsed) => {
                permit.report(Feedback::TimedOut);
                stats.timeouts.fetch_add(1, Ordering::Relaxed);
                Err(first_fault.unwrap_or_else(|| self.timeout_fault()))
            }
        }
    }

    fn timeout_fault(&self) -> Fault {
        let timeout_ms = self.call_timeout.as_millis();
        let summary = format!("no answer within CALL_TIMEOUT_MS, {timeout_ms} ms");
        Fault {
            load: LoadSignal::TimedOut,
            ..Fault::new(FaultKind::Suspect, summary)
        }
    }

    /// Makes a call, and a hedged call if the first is slow. The first answer or permanent fault wins, and the other
    /// call is cancelled. After a transient fault of one call, the other continues. A transient fault of the first call
    /// is stored in `first_fault`: it is the result if the attempt times out before the hedged call ends.
    async fn call_with_hedge(
        &self,
        request: &InferenceRequest,
        permit: &mut Permit,
        first_fault: &mut Option<Fault>,
        stats: &CallStats,
    ) -> Result<Response, Fault> {
        let Some(hedge) = &self.hedge else {
            return self.call(request, permit, stats).await;
        };
        let started = Instant::now();
        let delay = hedge.begin();
        let first = pin!(self.call(request, permit, stats));
        let answer = match delay {
            None => first.await,
            Some(delay) => match select(first, pin!(self.acquire_spare_when_slow(hedge, delay))).await {
                Either::Left((answer, _)) => answer,
                Either::Right((mut spare, first)) => {
                    stats.hedges.fetch_add(1, Ordering::Relaxed);
                    // The hedged call owns its permit, which is released when this call ends.
                    let hedged = pin!(async move { self.call(request, &mut spare, stats).await });
                    first_conclusive(first, hedged, first_fault).await
                }
            },
        };
        if answer.is_ok() {
            hedge.record_answer(started.elapsed());
        }
        answer
    }

    /// Waits until a call is slow, and then polls for a spare permit, without a place in the queue for permits.
    async fn acquire_spare_when_slow(&self, hedge: &Hedge, delay: Duration) -> Permit {
        const SPARE_POLL_INTERVAL: Duration = Duration::from_millis(5);
        sleep(delay).await;
        loop {
            // Takes the permit first, because it is returned if the hedge budget is empty.
            if let Some(permit) = self.capacity.try_acquire_for_hedge()
                && hedge.try_withdraw()
            {
                return permit;
            }
            sleep(delay.max(SPARE_POLL_INTERVAL)).await;
        }
    }

    /// Makes one call and reports its result to the permit, unless it shows nothing about the endpoint.
    async fn call(
        &self,
        request: &InferenceRequest,
        permit: &mut Permit,
        stats: &CallStats,
    ) -> Result<Response, Fault> {
        // Boxed, because the futures around it would otherwise be as large, and are moved with every call.
        let answer = Box::pin(self.endpoint.invoke(request.call())).await;
        if answer.as_ref().is_err_and(|fault| fault.kind == FaultKind::Overload) {
            stats.throttles.fetch_add(1, Ordering::Relaxed);
        }
        permit.report(match &answer {
            Ok(_) => Feedback::Answered,
            Err(fault) => match (fault.load, fault.kind) {
                (LoadSignal::Unprepared, _) => return answer,
                (LoadSignal::SingleModelOnly, _) => Feedback::OtherFault,
                (LoadSignal::RateLimit, _) => Feedback::RateLimit,
                (LoadSignal::Unreachable, _) | (LoadSignal::FromKind, FaultKind::Unreachable) => Feedback::Unreachable,
                (LoadSignal::TimedOut, _) => Feedback::TimedOut,
                (LoadSignal::FromKind, FaultKind::Overload) => Feedback::Overload,
                (LoadSignal::FromKind, FaultKind::Refused | FaultKind::Suspect | FaultKind::Misconfigured) => {
                    Feedback::OtherFault
                }
            },
        });
        if let Some(time) = answer.as_ref().err().and_then(|fault| fault.retry_after) {
            permit.hold_other_calls(time);
        }
        answer
    }

    /// Returns the time for the probes before and after a last attempt: four times the median latency, and a margin.
    pub fn probe_reserve(&self) -> Duration {
        const MARGIN: Duration = Duration::from_millis(100);
        self.latencies.median().unwrap_or_default() * 4 + MARGIN
    }

    /// Returns the maximum time of an attempt.
    pub fn call_timeout(&self) -> Duration {
        self.call_timeout
    }

    /// Returns whether a call that starts at `start` would probably be cancelled at `end`: the time left is zero, or
    /// less than the median latency.
    pub fn is_too_late(&self, start: Instant, end: Instant) -> bool {
        let left = end.saturating_duration_since(start);
        // No answer took longer than the timeout, so most calls do not need the median.
        left.is_zero() || left < self.call_timeout && self.latencies.median().is_some_and(|median| left < median)
    }
}

/// Returns the result of the call that ends first, unless it is a transient fault. Then returns the result of the other
/// call. If both calls fail transiently, returns the fault of the first call.
async fn first_conclusive(
    first: impl Future<Output = Result<Response, Fault>> + Unpin,
    hedged: impl Future<Output = Result<Response, Fault>> + Unpin,
    first_fault: &mut Option<Fault>,
) -> Result<Response, Fault> {
    match select(first, hedged).await {
        Either::Left((Err(fault), hedged)) if fault.kind.is_transient() => {
            *first_fault = Some(fault.clone());
            match hedged.await {
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
