//! The calls of one invocation, counted as they go.

use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Calls of one invocation.
#[derive(Debug, Default)]
pub struct Tally {
    /// The `X-Amzn-Trace-Id` that they carry.
    pub trace_id: Option<Arc<str>>,
    /// Attempts at requests, repeated ones included.
    pub attempts: AtomicUsize,
    /// Attempts after the first at the same request.
    pub retries: AtomicUsize,
    /// Second calls.
    pub hedges: AtomicUsize,
    /// Calls that ended by Overload.
    pub throttles: AtomicUsize,
    /// Attempts that had no answer within `CALL_TIMEOUT_MS`.
    pub timeouts: AtomicUsize,
    /// Requests that were split.
    pub splits: AtomicUsize,
    /// How long each attempt took that was answered, in microseconds.
    latencies_us: Mutex<Vec<u32>>,
}

impl Tally {
    /// No calls yet, and what they will carry.
    pub fn new(trace_id: Option<Arc<str>>) -> Self {
        Self {
            trace_id,
            ..Self::default()
        }
    }

    /// How long each attempt took that was answered, in microseconds: the longest is over an hour.
    pub fn latencies_us(&self) -> Vec<u32> {
        self.latencies().clone()
    }

    pub(super) fn answered(&self, latency: Duration) {
        let latency_us = latency.as_micros().try_into().unwrap_or(u32::MAX);
        self.latencies().push(latency_us);
    }

    fn latencies(&self) -> MutexGuard<'_, Vec<u32>> {
        self.latencies_us.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
