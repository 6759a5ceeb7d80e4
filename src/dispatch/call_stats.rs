//! The statistics of the calls of one invocation.

use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task_local;

use crate::endpoint::trace::with_trace_id;

task_local! {
    static CURRENT: Arc<CallStats>;
}

/// The counters of one invocation, and the trace that its calls belong to.
#[derive(Debug, Default)]
pub struct CallStats {
    /// The value of the `X-Amzn-Trace-Id` header of each call.
    pub trace_id: Option<Arc<str>>,
    /// Attempts at requests, retries included.
    pub attempts: AtomicUsize,
    /// Retries: attempts at a request after its first.
    pub retries: AtomicUsize,
    /// Hedged calls.
    pub hedges: AtomicUsize,
    /// Calls that ended with Overload.
    pub throttles: AtomicUsize,
    /// Attempts without an answer within `CALL_TIMEOUT_MS`.
    pub timeouts: AtomicUsize,
    /// Requests that were split.
    pub splits: AtomicUsize,
    /// Records of requests whose answers had the wrong number of predictions. Each record gets a call of its own.
    pub miscounted_records: AtomicUsize,
    /// Models for which packing was turned off, because their answers had the wrong number of predictions.
    pub packing_off: AtomicUsize,
    /// The latency of each answered attempt, in microseconds.
    latencies_us: Mutex<Vec<u32>>,
}

impl CallStats {
    /// Creates empty statistics for calls with this trace header.
    pub fn new(trace_id: Option<Arc<str>>) -> Self {
        Self {
            trace_id,
            ..Self::default()
        }
    }

    /// Runs the calls of `work` for this invocation: with its trace header, and with these as the
    /// [current](Self::current) statistics.
    pub(super) fn scope<T>(self: &Arc<Self>, work: impl Future<Output = T>) -> impl Future<Output = T> {
        with_trace_id(&self.trace_id, CURRENT.scope(Arc::clone(self), work))
    }

    /// Returns the statistics of the invocation that the current task works for. Outside of an invocation, returns
    /// statistics that nobody reads.
    pub(super) fn current() -> Arc<Self> {
        CURRENT.try_with(Arc::clone).unwrap_or_default()
    }

    /// Returns the latency of each answered attempt, in microseconds, up to `u32::MAX` (more than an hour).
    pub fn latencies_us(&self) -> Vec<u32> {
        self.latencies().clone()
    }

    pub(super) fn record_answer(&self, latency: Duration) {
        let latency_us = latency.as_micros().try_into().unwrap_or(u32::MAX);
        self.latencies().push(latency_us);
    }

    fn latencies(&self) -> MutexGuard<'_, Vec<u32>> {
        self.latencies_us.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
