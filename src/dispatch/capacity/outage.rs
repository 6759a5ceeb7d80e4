//! Detection of outages, and the intervals between probes while the endpoint is down.

use std::time::Duration;

/// The endpoint is down after this many consecutive failed calls, once no other call is in flight.
const DOWN_AFTER_FAILURES: u32 = 8;
/// Shortest interval between probes of an endpoint that is down. Each failed probe doubles the interval, and each
/// answer halves it.
const PROBE_INTERVAL_MIN: Duration = Duration::from_millis(50);
/// Longest interval between probes.
const PROBE_INTERVAL_MAX: Duration = Duration::from_secs(2);

/// Counts consecutive failed calls. Timeouts and cancelled calls are not counted.
#[derive(Debug)]
pub(super) struct OutageDetector {
    consecutive_failures: u32,
    is_down: bool,
    /// The next interval between probes while the endpoint is down.
    probe_interval: Duration,
}

impl OutageDetector {
    pub(super) fn new() -> Self {
        Self {
            consecutive_failures: 0,
            is_down: false,
            probe_interval: PROBE_INTERVAL_MIN,
        }
    }

    pub(super) fn is_down(&self) -> bool {
        self.is_down
    }

    /// Returns whether the latest call to end, timeouts aside, failed.
    pub(super) fn is_failing(&self) -> bool {
        self.consecutive_failures > 0
    }

    /// Processes a failed call while `in_flight` other calls are in flight. If the endpoint is down, returns the time
    /// until the next probe. The time is random, so that processes that lost the endpoint together probe it at
    /// different times.
    pub(super) fn on_failure(&mut self, in_flight: usize) -> Option<Duration> {
        self.consecutive_failures += 1;
        self.is_down |= in_flight == 0 && self.consecutive_failures >= DOWN_AFTER_FAILURES;
        self.is_down.then(|| {
            let interval = self.probe_interval;
            self.probe_interval = (interval * 2).min(PROBE_INTERVAL_MAX);
            interval.mul_f64(0.5 + fastrand::f64() / 2.0)
        })
    }

    /// Ends the outage because of a different response.
    pub(super) fn on_response(&mut self) {
        self.consecutive_failures = 0;
        self.is_down = false;
    }

    /// Shortens the interval between probes after an answer.
    pub(super) fn on_answered(&mut self) {
        self.probe_interval = (self.probe_interval / 2).max(PROBE_INTERVAL_MIN);
    }
}
