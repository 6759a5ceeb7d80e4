//! The pace of calls to an endpoint that limits the number of calls a second, as a usage plan does. Such an endpoint
//! counts calls, whatever their duration and the number in flight.
//!
//! Pacing begins with the first call that is throttled for the rate. A throttled call lowers the rate by at least two
//! fifths, and each answer raises it. The lower the rate, the larger is the step, so that processes that share a plan
//! get similar rates.

use std::time::Duration;

use tokio::time::Instant;

/// Smallest fraction by which a throttled call lowers the rate. The calls that the plan saves up meanwhile are used
/// when the rate is too high again.
const DECREASE: f64 = 0.4;
/// Fraction by which an answer raises a rate of one call a second. The step is proportional to the square root of the
/// interval between calls.
const INCREASE: f64 = 0.03;
/// Lowest rate: one call every ten seconds.
const MIN_CALLS_PER_SECOND: f64 = 0.1;

/// The rate of calls, once the endpoint has throttled it.
#[derive(Debug, Default)]
pub(super) struct Pacer {
    calls_per_second: Option<f64>,
    next_call_at: Option<Instant>,
}

impl Pacer {
    /// Returns the allowed calls a second, if calls are paced.
    pub(super) fn calls_per_second(&self) -> Option<f64> {
        self.calls_per_second
    }

    /// Returns the earliest start of the next call, if calls are paced.
    pub(super) fn next_call_at(&self) -> Option<Instant> {
        self.next_call_at
    }

    /// Allows one call without delay.
    pub(super) fn skip_wait(&mut self) {
        self.next_call_at = None;
    }

    /// Sets the earliest start of the call after the one that starts `now`.
    pub(super) fn on_start(&mut self, now: Instant) {
        let interval = |rate: f64| Duration::from_secs_f64(rate.recip());
        self.next_call_at = self.calls_per_second.map(|rate| now + interval(rate));
    }

    /// Lowers the rate, which was `unpaced` before the first call that was throttled for it.
    pub(super) fn lower(&mut self, fraction: f64, unpaced: f64, now: Instant) {
        let lowered = self.calls_per_second.unwrap_or(unpaced) * (1.0 - fraction.max(DECREASE));
        self.calls_per_second = Some(lowered.max(MIN_CALLS_PER_SECOND));
        self.on_start(now);
    }

    /// Raises the rate after an answer. Above the `unpaced` rate, pacing ends.
    pub(super) fn raise(&mut self, unpaced: f64) {
        let raised = |rate: f64| rate * (1.0 + INCREASE * rate.sqrt().recip());
        self.calls_per_second = self.calls_per_second.map(raised).filter(|rate| *rate < unpaced);
    }
}
