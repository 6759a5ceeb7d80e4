//! The limit of calls in flight, adjusted by the results of the calls.
//!
//! The limit is increased by addition and decreased by multiplication, as TCP finds its share of a link (Chiu and Jain,
//! "Analysis of the Increase and Decrease Algorithms for Congestion Avoidance", 1989).
//!
//! - **Overload while other calls are in flight** lowers the limit by a tenth, once a round trip. No further call
//!   starts until an answer arrives or two round trips have passed. If the limit had been reached, that answer then
//!   caps the limit at the number of calls in flight plus one, because the endpoint has accepted that many.
//! - **A round trip without overload** in which the limit was reached raises the limit by a 25th of itself, by one at
//!   most. With this step, a process whose share is one or two calls, among many processes, is rarely throttled. A
//!   share of dozens still grows.
//! - **Below one**, the interval between calls is one round trip divided by the limit. The limit falls below one if it
//!   is below three and more calls are throttled than answered. Below one, an overload lowers it by an eighth. The
//!   limit then rises faster the longer ago the overload is, as in CUBIC (RFC 9438), so that a rate known to be too
//!   high is not retried immediately.
//! - **Too many calls a second**, which an endpoint behind a URL reports with 429, lowers the [rate](super::pacing) and
//!   not the limit. No further call starts until an answer arrives or two round trips have passed.
//! - **Overload, `RateLimit` or Unreachable only**, for at least three calls and with no other call in flight, means
//!   that the endpoint is down. The limit becomes one, and single calls probe the endpoint, up to two seconds apart.
//!   After the outage, each answer raises the limit by one. Answers that arrive together, with no call started between
//!   them, raise it by one in total. In this way the limit returns to its value before the outage, or to half of its
//!   value before the first overload if that is higher.
//! - **Retry-After** holds off all calls, not only the call that received it, for ten seconds at most or until an
//!   answer arrives.
//! - **Timeouts** lower the limit by a tenth, down to one, if they are a quarter of the latest calls. A few hanging
//!   records do not lower it. The limit stays at one or more because the cause of many timeouts is unknown: it may be
//!   the records.
//!
//! `tests/fleet/` simulates the effect with up to a thousand processes on one endpoint.

use std::num::NonZeroUsize;
use std::time::Duration;

use tokio::time::Instant;

use super::Feedback;
use super::concurrency::Concurrency;
use super::outage::OutageDetector;
use super::pacing::Pacer;

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
    Now,
    /// The call may start at this moment.
    After(Instant),
    /// The call may start when a permit has been returned.
    WhenFreed,
}

/// The limit and the state that adjusts it.
#[derive(Debug)]
pub(super) struct Limiter {
    is_adaptive: bool,
    concurrency: Concurrency,
    /// Permits that have been handed out and not yet returned.
    permits_held: usize,
    /// Permits whose call has not reported its result.
    in_flight: usize,
    round: Round,
    /// Mean time from the start of a call to its answer.
    mean_round_trip: Option<Duration>,
    /// Earliest start of the next call while the limit is below one.
    next_spaced_call: Option<Instant>,
    outage: OutageDetector,
    pacer: Pacer,
    /// Share of the latest calls that timed out.
    timeout_share: f64,
    /// The time when timeouts last lowered the limit. Timeouts of calls that started earlier are ignored.
    lowered_for_timeouts_at: Option<Instant>,
    /// The time of the latest overload.
    overloaded_at: Option<Instant>,
}

/// A round trip. It ends with the first answer to a call that started in it.
#[derive(Debug)]
struct Round {
    since: Instant,
    /// Whether a higher limit would have allowed more calls to start.
    has_reached_limit: bool,
}

impl Limiter {
    pub(super) fn new(max: NonZeroUsize, is_adaptive: bool) -> Self {
        let now = Instant::now();
        Self {
            is_adaptive,
            concurrency: Concurrency::new(float(max.get()), now),
            permits_held: 0,
            in_flight: 0,
            round: Round::begin(now),
            mean_round_trip: None,
            next_spaced_call: None,
            outage: OutageDetector::new(),
            pacer: Pacer::new(now),
            timeout_share: 0.0,
            lowered_for_timeouts_at: None,
            overloaded_at: None,
        }
    }

    pub(super) fn limit(&self) -> f64 {
        self.concurrency.limit()
    }

    /// Returns the limit or, if lower, the number of calls in flight that results from the rate of the pacer.
    pub(super) fn effective_limit(&self, now: Instant) -> f64 {
        let paced = self.pacer.calls_per_second(now).zip(self.mean_round_trip);
        let paced = paced.map(|(rate, round_trip)| rate * round_trip.as_secs_f64());
        self.limit().min(paced.unwrap_or(f64::INFINITY))
    }

    pub(super) fn is_confirmed_down(&self) -> bool {
        self.outage.is_confirmed_down()
    }

    fn is_full(&self) -> bool {
        float(self.permits_held + 1) > self.limit().max(1.0)
    }

    /// Starts a call if one may start `now`.
    pub(super) fn try_start(&mut self, now: Instant) -> Start {
        let earliest = self
            .outage
            .held_until()
            .max(self.next_spaced_call)
            .max(self.pacer.next_call_at());
        match earliest.filter(|earliest| *earliest > now) {
            Some(earliest) if !self.is_full() => Start::After(earliest),
            _ => self.try_start_immediately(now),
        }
    }

    /// Starts a call if a permit is available, even if calls are spaced, paced or held, or the endpoint is down.
    pub(super) fn try_start_immediately(&mut self, now: Instant) -> Start {
        if self.is_full() {
            return Start::WhenFreed;
        }
        self.permits_held += 1;
        self.in_flight += 1;
        self.round.has_reached_limit |= self.is_full();
        self.next_spaced_call = (self.limit() < 1.0).then(|| now + self.call_spacing());
        self.pacer.on_start(now);
        self.outage.on_start(now, self.hold_duration());
        Start::Now
    }

    /// Starts a hedged call if a permit is spare. The call may turn out to be unnecessary, so it never counts as a
    /// reason to raise the limit.
    pub(super) fn try_start_hedge(&mut self, now: Instant) -> bool {
        let is_calm = self
            .overloaded_at
            .is_none_or(|overloaded| now - overloaded >= HEDGE_PAUSE_AFTER_OVERLOAD);
        let has_reached_limit = self.round.has_reached_limit;
        let has_started = is_calm && !self.outage.is_held() && self.limit() >= 1.0 && self.try_start(now) == Start::Now;
        self.round.has_reached_limit = has_reached_limit;
        has_started
    }

    /// Takes back a permit. Without a report, the call was cancelled.
    pub(super) fn return_permit(&mut self, has_reported: bool) {
        self.permits_held -= 1;
        if !has_reported {
            self.in_flight -= 1;
            self.outage.on_cancelled();
        }
    }

    /// Processes the result of a call that started at `started` and ended `now`.
    pub(super) fn on_feedback(&mut self, started: Instant, feedback: Feedback, now: Instant) {
        self.in_flight -= 1;
        let timed_out = if feedback == Feedback::TimedOut { 1.0 } else { 0.0 };
        self.timeout_share += (timed_out - self.timeout_share) / TIMEOUT_SHARE_WINDOW_CALLS;
        if matches!(feedback, Feedback::Overload | Feedback::RateLimit) {
            self.overloaded_at = Some(now);
        }
        if !self.is_adaptive {
            return;
        }
        match feedback {
            Feedback::Answered => self.on_answered(started, now),
            Feedback::Overload => self.on_overload(started, now),
            Feedback::RateLimit => {
                // During an outage, the probes show nothing about the rate.
                if !self.outage.is_down() {
                    self.pacer.on_rate_exceeded(started, now);
                }
                self.on_failure(now, false);
            }
            Feedback::Unreachable => self.on_failure(now, false),
            Feedback::TimedOut => self.on_timeout(started, now),
            Feedback::OtherFault => self.on_response(),
        }
    }

    /// Extends the hold after a failed call to `until`. A different response still ends the hold earlier.
    pub(super) fn hold_off_until(&mut self, until: Instant) {
        self.outage.hold_off_until(until);
    }

    /// Lowers the limit if many calls time out. One hanging record proves nothing. If many calls hang, the endpoint may
    /// be overloaded, or the records may be at fault.
    fn on_timeout(&mut self, started: Instant, now: Instant) {
        let is_new = self.lowered_for_timeouts_at.is_none_or(|lowered| started >= lowered);
        if self.timeout_share >= TIMEOUT_SHARE_THRESHOLD && is_new {
            self.lowered_for_timeouts_at = Some(now);
            self.overloaded_at = Some(now);
            self.concurrency.lower_for_timeouts(now);
        }
    }

    fn on_answered(&mut self, started: Instant, now: Instant) {
        let latency = now - started;
        let mean = self.mean_round_trip.unwrap_or(latency);
        let mean = (mean * (ROUND_TRIP_WINDOW_ANSWERS - 1) + latency) / ROUND_TRIP_WINDOW_ANSWERS;
        self.mean_round_trip = Some(mean);
        self.outage.on_answered();
        self.on_response();
        self.concurrency.on_answered();
        let has_reached_limit = self.round.has_reached_limit;
        let is_recovering = self.concurrency.recover(has_reached_limit);
        if started >= self.round.since {
            if has_reached_limit && !is_recovering && self.timeout_share < TIMEOUT_SHARE_THRESHOLD {
                self.concurrency.raise(mean, now);
            }
            self.concurrency.on_round_ended();
            self.round = Round::begin(now);
        }
    }

    fn on_overload(&mut self, started: Instant, now: Instant) {
        let has_reached_limit = self.round.has_reached_limit;
        if started >= self.round.since && !self.outage.is_down() {
            let before = self.limit();
            self.concurrency
                .on_throttled(self.in_flight > 0, !self.outage.is_failing(), now);
            if self.limit() < before {
                self.round = Round::begin(now);
            }
        }
        self.on_failure(now, has_reached_limit);
    }

    /// Processes a response other than Overload, `RateLimit` or Unreachable.
    fn on_response(&mut self) {
        if self.outage.on_response() {
            // The calls in flight, the call that has just ended, and one more.
            self.concurrency.cap_at(float(self.in_flight + 2));
        }
    }

    fn on_failure(&mut self, now: Instant, shows_capacity: bool) {
        if self
            .outage
            .on_failure(now, self.in_flight, self.hold_duration(), shows_capacity)
        {
            self.concurrency.on_outage();
            self.round = Round::begin(now);
        }
    }

    /// Returns the time to wait for an answer to the calls in flight: two round trips.
    fn hold_duration(&self) -> Duration {
        self.mean_round_trip.map_or(HOLD_MAX, |mean| (mean * 2).min(HOLD_MAX))
    }

    /// Returns the interval between two calls while the limit is below one.
    fn call_spacing(&self) -> Duration {
        let mean = self.mean_round_trip.unwrap_or(HOLD_MAX);
        mean.div_f64(self.limit()).min(CALL_SPACING_MAX)
    }
}

impl Round {
    fn begin(since: Instant) -> Self {
        Self {
            since,
            has_reached_limit: false,
        }
    }
}

/// Exact, because CAPACITY is 1000 at most.
fn float(calls: usize) -> f64 {
    f64::from(u32::try_from(calls).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests;
