//! Detection of outages: the hold after a failed call, and the intervals between probes while the endpoint is down.

use std::time::Duration;

use tokio::time::Instant;

/// The endpoint is down after this many consecutive failed calls with no other call in flight.
const DOWN_AFTER_FAILURES: u32 = 3;
/// After this many consecutive failed calls, no further attempt of this invocation is expected to succeed.
const CONFIRMED_DOWN_AFTER_FAILURES: u32 = 10;
/// Shortest interval between probes of an endpoint that is down. Each failed probe doubles the interval, and each
/// answer halves it.
const PROBE_INTERVAL_MIN: Duration = Duration::from_millis(50);
/// Longest interval between probes.
const PROBE_INTERVAL_MAX: Duration = Duration::from_secs(2);

/// Counts consecutive failed calls, and holds further calls after them. A call fails with Overload, `RateLimit` or
/// Unreachable. Timeouts and cancelled calls are not counted.
#[derive(Debug)]
pub(super) struct OutageDetector {
    consecutive_failures: u32,
    hold: Option<Hold>,
    /// The next interval between probes while the endpoint is down.
    probe_interval: Duration,
}

/// The hold after a failed call, until a different response arrives.
#[derive(Debug)]
struct Hold {
    /// No call starts before this moment. Then one call at a time starts.
    until: Instant,
    /// Whether the number of calls in flight at the end of the hold shows the endpoint's capacity.
    shows_capacity: bool,
    is_down: bool,
}

impl OutageDetector {
    pub(super) fn new() -> Self {
        Self {
            consecutive_failures: 0,
            hold: None,
            probe_interval: PROBE_INTERVAL_MIN,
        }
    }

    /// Returns whether a failed call holds the next calls.
    pub(super) fn is_held(&self) -> bool {
        self.hold.is_some()
    }

    pub(super) fn is_down(&self) -> bool {
        self.hold.as_ref().is_some_and(|hold| hold.is_down)
    }

    pub(super) fn is_confirmed_down(&self) -> bool {
        self.consecutive_failures >= CONFIRMED_DOWN_AFTER_FAILURES && self.is_down()
    }

    /// Returns whether the latest call to end, timeouts aside, failed.
    pub(super) fn is_failing(&self) -> bool {
        self.consecutive_failures > 0
    }

    /// Returns the moment before which no call starts.
    pub(super) fn held_until(&self) -> Option<Instant> {
        self.hold.as_ref().map(|hold| hold.until)
    }

    /// Counts a call that starts during a hold. The next call starts after `wait`.
    pub(super) fn on_start(&mut self, now: Instant, wait: Duration) {
        if let Some(hold) = &mut self.hold {
            hold.until = now + wait;
        }
    }

    /// Extends the hold to `until`, if there is a hold.
    pub(super) fn hold_off_until(&mut self, until: Instant) {
        if let Some(hold) = &mut self.hold {
            hold.until = hold.until.max(until);
        }
    }

    /// Processes the cancellation of a call. The calls that remain in flight then do not show the endpoint's capacity.
    pub(super) fn on_cancelled(&mut self) {
        if let Some(hold) = &mut self.hold {
            hold.shows_capacity = false;
        }
    }

    /// Processes a failed call while `in_flight` other calls are expected to be answered within `wait`.
    /// `shows_capacity` is true if the limit had been reached, so that these calls show the endpoint's capacity.
    /// Returns whether the outage begins with this call.
    pub(super) fn on_failure(&mut self, now: Instant, in_flight: usize, wait: Duration, shows_capacity: bool) -> bool {
        self.consecutive_failures += 1;
        let previous = self.hold.take();
        let shows_capacity = previous
            .as_ref()
            .map_or(shows_capacity, |previous| previous.shows_capacity);
        let was_down = previous.is_some_and(|previous| previous.is_down);
        let is_down = was_down || in_flight == 0 && self.consecutive_failures >= DOWN_AFTER_FAILURES;
        let wait = if is_down {
            let interval = self.probe_interval;
            self.probe_interval = (interval * 2).min(PROBE_INTERVAL_MAX);
            // The random interval lets processes that lost the endpoint together probe at different times.
            interval.mul_f64(0.5 + fastrand::f64() / 2.0)
        } else if in_flight > 0 {
            wait
        } else {
            Duration::ZERO
        };
        self.hold = Some(Hold {
            until: now + wait,
            shows_capacity,
            is_down,
        });
        is_down && !was_down
    }

    /// Ends the hold because of a different response. Returns whether the number of calls in flight shows the
    /// endpoint's capacity.
    pub(super) fn on_response(&mut self) -> bool {
        self.consecutive_failures = 0;
        let hold = self.hold.take();
        hold.is_some_and(|hold| hold.shows_capacity && !hold.is_down)
    }

    /// Shortens the interval between probes after an answer.
    pub(super) fn on_answered(&mut self) {
        self.probe_interval = (self.probe_interval / 2).max(PROBE_INTERVAL_MIN);
    }
}
