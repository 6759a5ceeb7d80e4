//! One attempt at an inference request: a call with a timeout, and the report of its result.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::capacity::{Capacity, Feedback, Permit};
use super::latency::RecentLatencies;
use super::retry::Backoff;
use crate::endpoint::{Call, Endpoint, Response};
use crate::format::json_path::JsonPath;
use crate::inference::{
    AnswerForm, InferenceRequest, NotJson, Predictions, describe_shape, read_prediction, split_response,
};
use crate::outcome::{AnswerMemory, AnswerReservation, Fault, FaultKind, LoadSignal};

pub use super::call_stats::CallStats;

/// The number of latencies of which the median is taken.
const LATENCY_WINDOW: usize = 64;

/// Makes the attempts. One instance for each process.
#[derive(Debug)]
pub struct Invoker<E> {
    endpoint: E,
    call_timeout: Duration,
    latencies: Mutex<RecentLatencies<LATENCY_WINDOW>>,
    capacity: Capacity,
    memory: AnswerMemory,
    /// The setting `PREDICTIONS`.
    predictions: Option<JsonPath>,
}

/// The answer to a request, assigned to its records.
#[derive(Debug)]
pub enum RecordOutputs {
    /// One prediction for each record.
    Predictions(Predictions),
    /// The number of predictions differs from the number of records, so they cannot be assigned. Holds a description of
    /// the answer, without its content.
    CountMismatch(String),
}

impl RecordOutputs {
    fn from_response(response: &Response, request: &InferenceRequest, path: Option<&JsonPath>) -> Result<Self, Fault> {
        let whole = |prediction| Predictions {
            each: vec![prediction],
            form: AnswerForm::Whole,
        };
        let predictions = if request.is_list() || path.is_some() {
            split_response(response, request.records().len(), path)
        } else {
            read_prediction(response).map(|prediction| Some(whole(prediction)))
        };
        let predictions = predictions.map_err(|NotJson| Fault {
            remedy: "check ACCEPT, and the content type that the model sends",
            ..Fault::new(
                FaultKind::Suspect,
                "the content type of the response is JSON, but its body is not",
            )
        })?;
        let mismatch = || Self::CountMismatch(describe_shape(response));
        Ok(predictions.map_or_else(mismatch, Self::Predictions))
    }

    /// Returns the same predictions, which hold the memory of their answer.
    fn holding(mut self, memory: AnswerReservation) -> Self {
        if let Self::Predictions(predictions) = &mut self {
            let memory = Arc::new(memory);
            for prediction in &mut predictions.each {
                prediction.memory = Some(Arc::clone(&memory));
            }
        }
        self
    }
}

impl<E: Endpoint> Invoker<E> {
    /// Creates an invoker that calls `endpoint`, with `call_timeout` for each attempt, the permits of `capacity`, and
    /// `memory` for the answers.
    pub fn new(endpoint: E, call_timeout: Duration, capacity: Capacity, memory: AnswerMemory) -> Self {
        Self {
            endpoint,
            call_timeout,
            latencies: Mutex::default(),
            capacity,
            memory,
            predictions: None,
        }
    }

    /// Returns the invoker with the place of the list of predictions in an answer. Without a place, lists with common
    /// names are found.
    #[must_use]
    pub fn with_predictions_at(self, predictions: Option<JsonPath>) -> Self {
        Self { predictions, ..self }
    }

    /// Returns the memory for answers, which all calls need.
    pub fn memory(&self) -> &AnswerMemory {
        &self.memory
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
            let summary = "the credentials, the API key or the host's address did not arrive before the deadline";
            Fault::new(FaultKind::Unreachable, summary)
        };
        timeout_at(end, prepared)
            .await
            .unwrap_or_else(|_elapsed| Err(latest.unwrap_or_else(late)))
    }

    /// Makes one attempt. The caller has [prepared](Self::prepare) it and holds the permit, so neither wait counts.
    /// Calls that exceed the call timeout are cancelled. The predictions hold the `memory` of the answer.
    ///
    /// # Errors
    ///
    /// Returns the [`Fault`] of the attempt.
    pub async fn attempt(
        &self,
        request: &Arc<InferenceRequest>,
        memory: AnswerReservation,
        permit: &mut Permit,
        stats: &Arc<CallStats>,
    ) -> Result<RecordOutputs, Fault> {
        stats.attempts.fetch_add(1, Ordering::Relaxed);
        let started = Instant::now();
        // Boxed, because the futures around it would otherwise be as large, and are moved with every call.
        let call = Call {
            memory: Some(&memory),
            ..request.call()
        };
        let call = Box::pin(self.endpoint.invoke(call));
        let answer = timeout(self.call_timeout, stats.scope(call)).await;
        let answer = answer.unwrap_or_else(|_elapsed| {
            stats.timeouts.fetch_add(1, Ordering::Relaxed);
            Err(self.timeout_fault())
        });
        let latency = started.elapsed();
        let outputs = answer.and_then(|response| {
            let memory = memory.keep(response.body.len());
            let outputs = RecordOutputs::from_response(&response, request, self.predictions.as_ref())?;
            Ok(outputs.holding(memory))
        });
        report(&outputs, permit, stats);
        let outputs = outputs?;
        self.latencies().add(latency);
        stats.record_answer(latency);
        Ok(outputs)
    }

    fn timeout_fault(&self) -> Fault {
        let timeout_ms = self.call_timeout.as_millis();
        let summary = format!("no answer within CALL_TIMEOUT_MS, {timeout_ms} ms");
        Fault {
            load: LoadSignal::TimedOut,
            ..Fault::new(FaultKind::Suspect, summary)
        }
    }

    fn median_latency(&self) -> Option<Duration> {
        self.latencies().percentile(50)
    }

    fn latencies(&self) -> MutexGuard<'_, RecentLatencies<LATENCY_WINDOW>> {
        self.latencies.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the time for the probes before and after a last attempt: four times the median latency, and a margin.
    pub fn probe_reserve(&self) -> Duration {
        const MARGIN: Duration = Duration::from_millis(100);
        self.median_latency().unwrap_or_default() * 4 + MARGIN
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
        left.is_zero() || left < self.call_timeout && self.median_latency().is_some_and(|median| left < median)
    }
}

/// Reports the result of a call to its permit, unless the result shows nothing about the endpoint.
pub(super) fn report<T>(answer: &Result<T, Fault>, permit: &mut Permit, stats: &CallStats) {
    let Err(fault) = answer else {
        return permit.report(Feedback::Answered);
    };
    if fault.kind == FaultKind::Overload {
        stats.throttles.fetch_add(1, Ordering::Relaxed);
    }
    permit.report(match (fault.load, fault.kind) {
        (LoadSignal::Unprepared | LoadSignal::NoRoom, _) => return,
        (LoadSignal::TimedOut, _) => Feedback::TimedOut,
        (LoadSignal::SingleModelOnly, _) => Feedback::OtherFault,
        (LoadSignal::RateLimit, _) => Feedback::RateLimit,
        (LoadSignal::FromKind, FaultKind::Unreachable) => Feedback::Unreachable,
        (LoadSignal::FromKind, FaultKind::Overload) => Feedback::Overload,
        (LoadSignal::FromKind, FaultKind::Refused | FaultKind::Suspect | FaultKind::Misconfigured) => {
            Feedback::OtherFault
        }
    });
    if let Some(time) = fault.retry_after {
        permit.hold_other_calls(time);
    }
}

#[cfg(test)]
mod tests;
