//! Detection of outages, and the intervals between probes while the endpoint is down.

use std::time::Duration;

const DOWN_AFTER_FAILURES: u32 = 3;
const PROBE_INTERVAL_MIN: Duration = Duration::from_millis(50);
const PROBE_INTERVAL_MAX: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(super) struct Outage {
    pub(super) failures: u32,
    is_down: bool,
    probe_interval: Duration,
}

impl Outage {
    pub(super) fn new() -> Self {
        Self { failures: 0, is_down: false, probe_interval: PROBE_INTERVAL_MIN }
    }

    pub(super) fn is_down(&self) -> bool {
        self.is_down
    }

    /// Processes a failed call. Returns the time until the next probe if the endpoint is down.
    pub(super) fn on_failure(&mut self, in_flight: usize) -> Option<Duration> {
        self.failures += 1;
        self.is_down |= in_flight == 0 && self.failures >= super::limiter::tuned("DOWN", 8.0) as u32;
        self.is_down.then(|| {
            let interval = self.probe_interval;
            self.probe_interval = (interval * 2).min(PROBE_INTERVAL_MAX);
            interval.mul_f64(0.5 + fastrand::f64() / 2.0)
        })
    }

    pub(super) fn on_response(&mut self) {
        self.failures = 0;
        self.is_down = false;
    }

    pub(super) fn on_answered(&mut self) {
        self.probe_interval = (self.probe_interval / 2).max(PROBE_INTERVAL_MIN);
    }
}
