//! The limit of calls in flight, adjusted by the results of the calls.
//!
//! - **Throttling because of the load**, which the [detector of congestion](super::congestion) tells from throttling at
//!   random, lowers the limit by a tenth, and by more if most calls are throttled. It does so once a round trip, and
//!   not again before a different response arrives. No further call starts until then or until two round trips have
//!   passed. **Throttling at random** has no effect, because fewer calls would be throttled as often. When it turns out
//!   to be random, the limit returns to CAPACITY.
//! - **An answer** to a call with which the limit was reached raises the limit. The step is a small fraction of a low
//!   limit. It is smaller at a higher limit, so that processes that share an endpoint get similar shares.
//! - **Below one**, the interval between calls is one round trip divided by the limit.
//! - **Too many calls a second**: an endpoint with a usage plan counts calls, whatever their duration and the number in
//!   flight. Its 429 lowers the rate and not the limit: from then on, calls are paced. Each answer raises the rate. The
//!   lower the rate, the larger is the step, so that processes that share a plan get similar rates.
//! - **Failed calls only**, eight at least and with no other call in flight, mean that the endpoint is down. The limit
//!   becomes one, and single calls probe the endpoint, up to two seconds apart. After the outage, each answer raises
//!   the limit by one, up to its value before the outage.
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

use super::congestion::CongestionDetector;

/// Longest wait for an answer to the calls in flight.
const HOLD_MAX: Duration = Duration::from_secs(1);
/// Shortest interval between probes of an endpoint that is down. Each failed probe doubles the interval, and each
/// answer halves it.
const PROBE_INTERVAL_MIN: Duration = Duration::from_millis(50);
/// Longest interval between two calls while the limit is below one or calls are paced.
const CALL_INTERVAL_MAX: Duration = Duration::from_secs(10);
/// Time after an overload in which no hedged call starts.
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
    /// Tasks that wait for a permit for a hedged call. They go before all others.
    hedges_waiting: usize,
    /// Permits whose call has not reported its result.
    in_flight: usize,
    /// Mean time from the start of a call to its answer.
    mean_round_trip: Option<Duration>,
    /// The allowed calls a second, once the endpoint has throttled the rate.
    calls_per_second: Option<f64>,
    /// Earliest start of the next call while the limit is below one or calls are paced.
    next_start: Option<Instant>,
    /// No call starts before this moment. Then one call at a time starts, until a response other than a failure.
    held_until: Option<Instant>,
    congestion: CongestionDetector,
    /// The number of consecutive failed calls. Timeouts and cancelled calls are not counted.
    failures_in_row: u32,
    /// The next interval between probes while the endpoint is down.
    probe_interval: Duration,
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
            hedges_waiting: 0,
            in_flight: 0,
            mean_round_trip: None,
            calls_per_second: None,
            next_start: None,
            held_until: None,
            congestion: CongestionDetector::new(),
            failures_in_row: 0,
            probe_interval: PROBE_INTERVAL_MIN,
            failed_share: 0.0,
            timeout_share: 0.0,
            overloaded_at: None,
        }
    }

    /// Returns the limit or, if lower, the number of calls in flight that results from their rate.
    pub(super) fn effective_limit(&self) -> f64 {
        let paced = self.calls_per_second.map(|rate| rate * self.round_trip().as_secs_f64());
        self.limit.min(paced.unwrap_or(f64::INFINITY))
    }

    /// Returns whether the limit leaves no room for another call, beside those that hold permits and `reserved` ones.
    fn is_full(&self, reserved: usize) -> bool {
        float(self.permits_held + reserved + 1) > self.limit.max(1.0)
    }

    /// Starts a call if one may start `now` and leaves room for the hedged calls that wait.
    pub(super) fn try_start(&mut self, now: Instant) -> Start {
        let may_hedge = self.hedges_waiting > 0 && self.hedge_obstacle(now).is_none();
        let reserved = if may_hedge { self.hedges_waiting } else { 0 };
        let start = self.try_start_beside(reserved, now);
        if matches!(start, Start::Now(_)) && self.is_full(0) {
            self.limit_reached_at = Some(now);
        }
        start
    }

    /// Starts a hedged call if one may start `now`. The call may turn out to be unnecessary, so it never counts as a
    /// reason to raise the limit.
    pub(super) fn try_start_hedge(&mut self, now: Instant) -> Start {
        self.hedge_obstacle(now)
            .unwrap_or_else(|| self.try_start_beside(0, now))
    }

    /// Returns when hedged calls may start again, or `None` if they may start now, within the limit.
    fn hedge_obstacle(&self, now: Instant) -> Option<Start> {
        if self.held_until.is_some() || self.limit < 1.0 {
            return Some(Start::WhenFreed);
        }
        let calm = self.overloaded_at? + HEDGE_PAUSE_AFTER_OVERLOAD;
        (calm > now).then_some(Start::After(calm))
    }

    fn try_start_beside(&mut self, reserved: usize, now: Instant) -> Start {
        let earliest = self.held_until.max(self.next_start);
        if self.is_full(reserved) {
            return Start::WhenFreed;
        }
        if let Some(earliest) = earliest.filter(|earliest| *earliest > now) {
            return Start::After(earliest);
        }
        self.permits_held += 1;
        self.in_flight += 1;
        self.next_start = self.call_interval().map(|interval| now + interval);
        if self.held_until.is_some() {
            self.held_until = Some(now + self.hold_duration());
        }
        Start::Now(Call {
            started: now,
            in_flight: self.in_flight,
            is_confirmation: self.congestion.on_start(self.in_flight, now),
        })
    }

    /// Counts a task that waits for a permit for a hedged call, until [`end_hedge_wait`](Self::end_hedge_wait).
    pub(super) fn begin_hedge_wait(&mut self) {
        self.hedges_waiting += 1;
    }

    pub(super) fn end_hedge_wait(&mut self) {
        self.hedges_waiting -= 1;
    }

    pub(super) fn has_waiting_hedges(&self) -> bool {
        self.hedges_waiting > 0
    }

    /// Takes back a permit. Without a report, the call was cancelled.
    pub(super) fn return_permit(&mut self, has_reported: bool) {
        self.permits_held -= 1;
        if !has_reported {
            self.in_flight -= 1;
        }
    }

    /// Holds all calls until this moment, unless a response other than a failure has arrived since the latest failure.
    pub(super) fn hold_off_until(&mut self, until: Instant) {
        if self.failures_in_row > 0 {
            self.held_until = self.held_until.max(Some(until));
        }
    }

    fn round_trip(&self) -> Duration {
        self.mean_round_trip.unwrap_or(HOLD_MAX)
    }

    /// Returns the time to wait for an answer to the calls in flight: two round trips.
    fn hold_duration(&self) -> Duration {
        (self.round_trip() * 2).min(HOLD_MAX)
    }

    /// Returns the interval between two calls, if the limit is below one or calls are paced.
    fn call_interval(&self) -> Option<Duration> {
        let spaced = (self.limit < 1.0).then(|| self.round_trip().div_f64(self.limit));
        let paced = self.calls_per_second.map(|rate| Duration::from_secs_f64(rate.recip()));
        spaced.max(paced).map(|interval| interval.min(CALL_INTERVAL_MAX))
    }

    /// Returns the calls a second if only the limit restricts them.
    fn unpaced_rate(&self) -> f64 {
        self.limit / self.round_trip().as_secs_f64().max(f64::EPSILON)
    }
}

/// Exact, because CAPACITY is 1000 at most.
fn float(calls: usize) -> f64 {
    f64::from(u32::try_from(calls).unwrap_or(u32::MAX))
}

mod feedback;
#[cfg(test)]
mod tests;
