//! The effect of the results of calls on the limit and on the rate.

use std::time::Duration;

use tokio::time::Instant;

use super::{CALL_INTERVAL_MAX, Call, Limiter, PROBE_INTERVAL_MIN};
use crate::dispatch::capacity::Feedback;

/// Fraction by which a throttled call or a timeout lowers the limit.
const DECREASE: f64 = 0.1;
/// An answer raises the limit by this number of calls divided by the limit, within the bounds of the smallest and the
/// largest step. The shares of processes that share an endpoint become similar in this way.
const INCREASE: f64 = 0.065;
/// Smallest step of a large limit, at first.
const MIN_INCREASE: f64 = 0.015;
/// Largest step as a fraction of the limit, at first. It is smaller than the decrease, so that most calls are answered
/// below a limit of one.
const MAX_INCREASE_FRACTION: f64 = 0.02;
/// Number of steps after which the smallest and the largest step have doubled, then tripled, and so on until the limit
/// is lowered. An endpoint that has grown is soon used.
const RAISES_PER_SPEEDUP: f64 = 64.0;
/// Lowest limit, in calls. A thousand processes can then share an endpoint that one call at a time uses fully.
pub(super) const MIN_LIMIT: f64 = 0.001;
/// Number of calls over which the throttled share is smoothed.
const THROTTLED_SHARE_WINDOW_CALLS: f64 = 16.0;
/// Smallest fraction by which a call that is throttled for the rate lowers the rate. The calls that the plan saves up
/// meanwhile are used when the rate is too high again.
const RATE_DECREASE: f64 = 0.4;
/// Fraction by which an answer raises a rate of one call a second. The step is proportional to the square root of the
/// interval between calls.
const RATE_INCREASE: f64 = 0.03;
/// The endpoint is down after this many consecutive failed calls, once no other call is in flight.
pub(super) const DOWN_AFTER_FAILURES: u32 = 8;
/// Longest interval between probes.
const PROBE_INTERVAL_MAX: Duration = Duration::from_secs(2);
/// From this share of the latest calls on, timeouts are attributed to the endpoint.
pub(super) const TIMEOUT_SHARE_THRESHOLD: f64 = 0.25;
/// Number of calls over which the timeout share is smoothed. The hanging calls of a batch end together, long after the
/// other calls.
const TIMEOUT_SHARE_WINDOW_CALLS: f64 = 64.0;
/// Number of answers over which the round trip is smoothed.
const ROUND_TRIP_WINDOW_ANSWERS: u32 = 16;

impl Limiter {
    /// Processes the result of a call that ended `now`.
    pub(in crate::dispatch::capacity) fn on_feedback(&mut self, call: Call, feedback: Feedback, now: Instant) {
        self.in_flight -= 1;
        let has_timed_out = feedback == Feedback::TimedOut;
        smooth(&mut self.timeout_share, has_timed_out, TIMEOUT_SHARE_WINDOW_CALLS);
        if matches!(feedback, Feedback::Overload | Feedback::RateLimit) {
            self.overloaded_at = Some(now);
        }
        if !self.is_adaptive {
            return;
        }
        match feedback {
            Feedback::Answered => self.on_answered(call, now),
            Feedback::Overload | Feedback::RateLimit | Feedback::Unreachable => self.on_failure(call, feedback, now),
            Feedback::TimedOut => self.on_timeout(call, now),
            Feedback::OtherFault => self.on_response(),
        }
    }

    /// Lowers the limit if many calls time out. One hanging record proves nothing. If many calls hang, the endpoint may
    /// be overloaded, or the records may be at fault.
    fn on_timeout(&mut self, call: Call, now: Instant) {
        if self.timeout_share >= TIMEOUT_SHARE_THRESHOLD && call.started >= self.lowered_at {
            self.overloaded_at = Some(now);
            self.lower(DECREASE, self.limit.min(1.0), now);
        }
    }

    fn on_answered(&mut self, call: Call, now: Instant) {
        let latency = now - call.started;
        let mean = self.mean_round_trip.unwrap_or(latency);
        self.mean_round_trip = Some((mean * (ROUND_TRIP_WINDOW_ANSWERS - 1) + latency) / ROUND_TRIP_WINDOW_ANSWERS);
        smooth(&mut self.failed_share, false, THROTTLED_SHARE_WINDOW_CALLS);
        self.on_response();
        self.probe_interval = (self.probe_interval / 2).max(PROBE_INTERVAL_MIN);
        if call.is_confirmation && self.congestion.on_confirmed(false) {
            self.recovery_target = self.max;
        }
        let has_reached_limit = self.limit_reached_at.is_some_and(|reached| reached >= call.started);
        if has_reached_limit && self.timeout_share < TIMEOUT_SHARE_THRESHOLD {
            self.raise();
        }
        self.raise_rate();
    }

    /// Processes a response other than a failure.
    fn on_response(&mut self) {
        self.failures_in_row = 0;
        self.held_until = None;
    }

    fn on_failure(&mut self, call: Call, feedback: Feedback, now: Instant) {
        smooth(&mut self.failed_share, true, THROTTLED_SHARE_WINDOW_CALLS);
        if call.is_confirmation {
            self.congestion.on_confirmed(true);
        }
        self.failures_in_row += 1;
        if self.in_flight == 0 && self.failures_in_row >= DOWN_AFTER_FAILURES {
            // The interval is random, so that processes that lost the endpoint together probe it at different times.
            let interval = self.probe_interval.mul_f64(0.5 + fastrand::f64() / 2.0);
            self.held_until = Some(now + interval);
            self.probe_interval = (self.probe_interval * 2).min(PROBE_INTERVAL_MAX);
            self.recovery_target = self.recovery_target.max(self.limit);
            self.limit = self.limit.min(1.0);
        } else if self.congestion.on_throttled(call.in_flight, now) {
            if self.failures_in_row == 1 && call.started >= self.lowered_at {
                self.lower_for_congestion(feedback, now);
            }
            // If no answer can be expected, one call at a time starts from now on.
            let wait = if self.in_flight > 0 {
                self.hold_duration()
            } else {
                Duration::ZERO
            };
            self.held_until = self.held_until.max(Some(now + wait));
        } else {
            // The next call confirms this one, so it does not wait.
            self.next_start = None;
        }
    }

    /// Lowers the limit or the rate by a larger fraction if more than half of the latest calls failed.
    fn lower_for_congestion(&mut self, feedback: Feedback, now: Instant) {
        let fraction = DECREASE.max(self.failed_share - 0.5);
        if feedback == Feedback::RateLimit {
            self.lowered_at = now;
            let rate = self.calls_per_second.unwrap_or(self.unpaced_rate());
            let lowered = rate * (1.0 - fraction.max(RATE_DECREASE));
            self.calls_per_second = Some(lowered.max(CALL_INTERVAL_MAX.as_secs_f64().recip()));
            self.next_start = self.call_interval().map(|interval| now + interval);
        } else {
            self.lower(fraction, MIN_LIMIT, now);
        }
    }

    fn lower(&mut self, fraction: f64, min: f64, now: Instant) {
        self.lowered_at = now;
        self.raises = 0.0;
        self.limit = (self.limit * (1.0 - fraction)).max(min);
        self.recovery_target = self.recovery_target.min(self.limit);
    }

    fn raise(&mut self) {
        let step = if self.limit < self.recovery_target {
            (self.recovery_target - self.limit).min(1.0)
        } else {
            self.raises += 1.0;
            let speedup = 1.0 + self.raises / RAISES_PER_SPEEDUP;
            (INCREASE / self.limit)
                .max(MIN_INCREASE * speedup)
                .min(self.limit * MAX_INCREASE_FRACTION * speedup)
        };
        self.limit = (self.limit + step).min(self.max);
        self.recovery_target = self.recovery_target.max(self.limit);
    }

    /// Raises the rate after an answer. When only the limit restricts the calls, pacing ends.
    fn raise_rate(&mut self) {
        let raised = |rate: f64| rate * (1.0 + RATE_INCREASE * rate.sqrt().recip());
        let unpaced = self.unpaced_rate();
        self.calls_per_second = self.calls_per_second.map(raised).filter(|rate| *rate < unpaced);
    }
}

/// Adds a result to the share of the latest `window` calls.
fn smooth(share: &mut f64, is_counted: bool, window: f64) {
    *share += (f64::from(u8::from(is_counted)) - *share) / window;
}
