//! The limit of calls in flight, adjusted by the results of the calls.
//!
//! - **Throttling because of the load**, which the [detector of congestion](super::congestion) tells from throttling at
//!   random, lowers the limit by a tenth, and by more if most calls are throttled. It does so once a round trip, and
//!   not again before a different response arrives. No further call starts until then or until two round trips have
//!   passed. **Throttling at random** has no effect, because fewer calls would be throttled as often. When it turns out
//!   to be random, the limit returns to CAPACITY.
//! - **An answer** to a call with which the limit was reached raises the limit. The step is smaller at a higher limit,
//!   so that processes that share an endpoint get similar shares.
//! - **Below one**, the interval between calls is one round trip divided by the limit.
//! - **Too many calls a second**, which an endpoint behind a URL reports with 429, lowers the [rate](super::pacing) and
//!   not the limit.
//! - **Failed calls only**, eight at least and with no other call in flight, mean that the
//!   [endpoint is down](super::outage). The limit becomes one, and single calls probe the endpoint, up to two seconds
//!   apart. After the outage, each answer raises the limit by one, up to its value before the outage.
//! - **Retry-After** holds off all calls, not only the call that received it, for ten seconds at most or until an
//!   answer arrives.
//! - **Timeouts** lower the limit by a tenth, down to one, if they are a quarter of the latest calls. A few hanging
//!   records do not lower it. The limit stays at one or more because the cause of many timeouts is unknown: it may be
//!   the records.
//!
//! A call *fails* if it is throttled or if the endpoint cannot be reached. `tests/fleet/` simulates the effect with up
//! to a thousand processes on one endpoint.

use std::num::NonZeroUsize;
use std::time::Duration;

use tokio::time::Instant;

use super::Feedback;
use super::congestion::CongestionDetector;
use super::outage::OutageDetector;
use super::pacing::Pacer;

/// Fraction by which a throttled call or a timeout lowers the limit.
const DECREASE: f64 = 0.1;
/// An answer raises a limit of one by this many calls. At a higher limit, the step is smaller.
const INCREASE_AT_ONE: f64 = 0.065;
/// Smallest step at a limit of one or more, at first.
const MIN_INCREASE: f64 = 0.015;
/// Number of steps after which the smallest step has doubled, then tripled, and so on until the limit is lowered. An
/// endpoint that has grown is soon used.
const RAISES_PER_SPEEDUP: f64 = 64.0;
/// Largest step, as a fraction of the limit.
const MAX_INCREASE_FRACTION: f64 = 0.25;
/// Lowest limit, in calls. A thousand processes can then share an endpoint that one call at a time uses fully.
const MIN_LIMIT: f64 = 0.001;
/// Number of calls over which the throttled share is smoothed.
const THROTTLED_SHARE_WINDOW_CALLS: f64 = 16.0;
/// Longest wait for an answer to the calls in flight.
const HOLD_MAX: Duration = Duration::from_secs(1);
/// Longest interval between two calls while the limit is below one.
const CALL_SPACING_MAX: Duration = Duration::from_secs(10);
/// From this share of the latest calls on, timeouts are attributed to the endpoint.
const TIMEOUT_SHARE_THRESHOLD: f64 = 0.25;
/// Number of calls over which the timeout share is smoothed. The hanging calls of a batch end together, long after the
/// other calls.
const TIMEOUT_SHARE_WINDOW_CALLS: f64 = 64.0;
/// Number of answers over which the round trip is smoothed.
const ROUND_TRIP_WINDOW_ANSWERS: u32 = 16;
/// Time after an overload in which no permit is spare.
const HEDGE_PAUSE_AFTER_OVERLOAD: Duration = Duration::from_secs(1);

/// The decision on whether a call may start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    /// The call may start, and has been counted as started.
    Now(Call),
    /// The call may start at this moment.
    After(Instant),
    /// The call may start when a permit has been returned.
    WhenFreed,
}

/// The state at the start of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Call {
    started: Instant,
    /// Number of calls in flight, including this one.
    in_flight: usize,
    /// Whether the call confirms a throttled one.
    is_confirmation: bool,
}

/// The limit and the state that adjusts it.
#[derive(Debug)]
pub(super) struct Limiter {
    is_adaptive: bool,
    /// CAPACITY.
    max: f64,
    limit: f64,
    /// Up to this value, each answer raises the limit by one.
    recovery_target: f64,
    /// The time when the limit or the rate was last lowered. Failures of calls that started earlier do not lower it
    /// again.
    lowered_at: Instant,
    /// The number of steps since the limit was last lowered.
    raises: f64,
    /// The latest time when a higher limit would have allowed another call to start.
    limit_reached_at: Option<Instant>,
    /// Permits that have been handed out and not yet returned.
    permits_held: usize,
    /// Permits whose call has not reported its result.
    in_flight: usize,
    /// Mean time from the start of a call to its answer.
    mean_round_trip: Option<Duration>,
    /// Earliest start of the next call while the limit is below one.
    next_spaced_call: Option<Instant>,
    /// No call starts before this moment. Then one call at a time starts, until a response other than a failure.
    held_until: Option<Instant>,
    congestion: CongestionDetector,
    outage: OutageDetector,
    pacer: Pacer,
    /// Share of the latest calls that failed.
    failed_share: f64,
    /// Share of the latest calls that timed out.
    timeout_share: f64,
    /// The time of the latest overload.
    overloaded_at: Option<Instant>,
}

impl Limiter {
    pub(super) fn new(max: NonZeroUsize, is_adaptive: bool) -> Self {
        let max = float(max.get());
        Self {
            is_adaptive,
            max,
            limit: max,
            recovery_target: max,
            lowered_at: Instant::now(),
            raises: 0.0,
            limit_reached_at: None,
            permits_held: 0,
            in_flight: 0,
            mean_round_trip: None,
            next_spaced_call: None,
            held_until: None,
            congestion: CongestionDetector::new(),
            outage: OutageDetector::new(),
            pacer: Pacer::default(),
            failed_share: 0.0,
            timeout_share: 0.0,
            overloaded_at: None,
        }
    }

    /// Returns the limit or, if lower, the number of calls in flight that results from the rate of the pacer.
    pub(super) fn effective_limit(&self) -> f64 {
        let paced = self.pacer.calls_per_second();
        let paced = paced.map(|rate| rate * self.round_trip().as_secs_f64());
        self.limit.min(paced.unwrap_or(f64::INFINITY))
    }

    fn is_full(&self) -> bool {
        float(self.permits_held + 1) > self.limit.max(1.0)
    }

    /// Starts a call if one may start `now`.
    pub(super) fn try_start(&mut self, now: Instant) -> Start {
        let earliest = self
            .held_until
            .max(self.next_spaced_call)
            .max(self.pacer.next_call_at());
        if self.is_full() {
            return Start::WhenFreed;
        }
        if let Some(earliest) = earliest.filter(|earliest| *earliest > now) {
            return Start::After(earliest);
        }
        self.permits_held += 1;
        self.in_flight += 1;
        self.next_spaced_call = (self.limit < 1.0).then(|| now + self.call_spacing());
        self.pacer.on_start(now);
        if self.held_until.is_some() {
            self.held_until = Some(now + self.hold_duration());
        }
        if self.is_full() {
            self.limit_reached_at = Some(now);
        }
        Start::Now(Call {
            started: now,
            in_flight: self.in_flight,
            is_confirmation: self.congestion.on_start(self.in_flight, now),
        })
    }

    /// Starts a hedged call if a permit is spare. The call may turn out to be unnecessary, so it never counts as a
    /// reason to raise the limit.
    pub(super) fn try_start_hedge(&mut self, now: Instant) -> Option<Call> {
        let is_calm = self
            .overloaded_at
            .is_none_or(|overloaded| now - overloaded >= HEDGE_PAUSE_AFTER_OVERLOAD);
        if !is_calm || self.held_until.is_some() || self.limit < 1.0 {
            return None;
        }
        let limit_reached_at = self.limit_reached_at;
        let start = self.try_start(now);
        self.limit_reached_at = limit_reached_at;
        match start {
            Start::Now(call) => Some(call),
            Start::After(_) | Start::WhenFreed => None,
        }
    }

    /// Takes back a permit. Without a report, the call was cancelled.
    pub(super) fn return_permit(&mut self, has_reported: bool) {
        self.permits_held -= 1;
        if !has_reported {
            self.in_flight -= 1;
        }
    }

    /// Processes the result of a call that ended `now`.
    pub(super) fn on_feedback(&mut self, call: Call, feedback: Feedback, now: Instant) {
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

    /// Holds all calls until this moment, unless a response other than a failure has arrived since the latest failure.
    pub(super) fn hold_off_until(&mut self, until: Instant) {
        if self.outage.is_failing() {
            self.held_until = self.held_until.max(Some(until));
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
        self.outage.on_answered();
        if call.is_confirmation && self.congestion.on_confirmed(false) {
            self.recovery_target = self.max;
        }
        let has_reached_limit = self.limit_reached_at.is_some_and(|reached| reached >= call.started);
        if has_reached_limit && self.timeout_share < TIMEOUT_SHARE_THRESHOLD {
            self.raise();
        }
        self.pacer.raise(self.unpaced_rate());
    }

    /// Processes a response other than a failure.
    fn on_response(&mut self) {
        self.outage.on_response();
        self.held_until = None;
    }

    fn on_failure(&mut self, call: Call, feedback: Feedback, now: Instant) {
        smooth(&mut self.failed_share, true, THROTTLED_SHARE_WINDOW_CALLS);
        if call.is_confirmation {
            self.congestion.on_confirmed(true);
        }
        let (was_failing, was_down) = (self.outage.is_failing(), self.outage.is_down());
        if let Some(interval) = self.outage.on_failure(self.in_flight) {
            self.held_until = Some(now + interval);
            if !was_down {
                self.recovery_target = self.recovery_target.max(self.limit);
                self.limit = self.limit.min(1.0);
            }
        } else if self.congestion.on_throttled(call.in_flight, now) {
            if !was_failing && call.started >= self.lowered_at {
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
            self.next_spaced_call = None;
            self.pacer.skip_wait();
        }
    }

    /// Lowers the limit or the rate by a larger fraction if more than half of the latest calls failed.
    fn lower_for_congestion(&mut self, feedback: Feedback, now: Instant) {
        let fraction = DECREASE.max(self.failed_share - 0.5);
        if feedback == Feedback::RateLimit {
            self.lowered_at = now;
            self.pacer.lower(fraction, self.unpaced_rate(), now);
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
            let min = MIN_INCREASE * (1.0 + self.raises / RAISES_PER_SPEEDUP);
            (INCREASE_AT_ONE / self.limit)
                .max(min)
                .min(self.limit * MAX_INCREASE_FRACTION)
        };
        self.limit = (self.limit + step).min(self.max);
        self.recovery_target = self.recovery_target.max(self.limit);
    }

    fn round_trip(&self) -> Duration {
        self.mean_round_trip.unwrap_or(HOLD_MAX)
    }

    /// Returns the time to wait for an answer to the calls in flight: two round trips.
    fn hold_duration(&self) -> Duration {
        (self.round_trip() * 2).min(HOLD_MAX)
    }

    /// Returns the interval between two calls while the limit is below one.
    fn call_spacing(&self) -> Duration {
        self.round_trip().div_f64(self.limit).min(CALL_SPACING_MAX)
    }

    /// Returns the calls a second if only the limit restricts them.
    fn unpaced_rate(&self) -> f64 {
        self.limit / self.round_trip().as_secs_f64().max(f64::EPSILON)
    }
}

/// Adds a result to the share of the latest `window` calls.
fn smooth(share: &mut f64, is_counted: bool, window: f64) {
    *share += (f64::from(u8::from(is_counted)) - *share) / window;
}

/// Exact, because CAPACITY is 1000 at most.
fn float(calls: usize) -> f64 {
    f64::from(u32::try_from(calls).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests;
