//! The limit of calls in flight, moved by how calls end: additive increase, multiplicative decrease, as TCP finds its
//! share of a line (Chiu and Jain, "Analysis of the Increase and Decrease Algorithms for Congestion Avoidance", 1989).
//!
//! - **Overload while others are in flight** lowers the limit by a tenth, once a round trip. No other call starts before
//!   an answer comes, or two round trips have passed. Where the limit had been reached, it then is no more than what was in
//!   flight and one more, for so much the endpoint has taken.
//! - **A round trip without one**, in which the limit was reached, raises it by a 25th, and by one at most: a share of one
//!   or two, among many processes, is throttled seldom by this, and a share of dozens still grows.
//! - **Below one**, calls are spaced: one a round trip divided by the limit. It goes there where, with a limit below three,
//!   more calls are throttled than answered. There, an overload lowers it by an eighth, and the longer ago that is, the
//!   faster it rises, as CUBIC does (RFC 9438): a rate that is known to be too high is not tried again at once.
//! - **Too many calls a second**, as an endpoint behind a URL says it with 429, lowers the [rate](super::rate) and not the
//!   limit; no other call starts before an answer comes, or two round trips have passed.
//! - **Nothing but Overload or Unreachable**, three at least and nothing else in flight: the endpoint is down. The limit is
//!   one, calls ask one by one whether it is back, up to two seconds apart, and then each answer raises it by one (those
//!   that come together, with no call begun between them, in all), up to where it was, or to half of what it was before the
//!   first overload.
//! - **A rest that the endpoint asks for** is kept, for ten seconds at most, by all calls and not only the one that was
//!   told, until an answer comes.
//! - **Timeouts** lower it by a tenth where they are a quarter of the latest calls, down to one: a few records that hang do
//!   not, and nobody knows whether many are the endpoint's fault.
//!
//! `tests/fleet/` shows what that comes to, with up to a thousand processes on one endpoint.

use std::num::NonZeroUsize;
use std::time::Duration;

use tokio::time::Instant;

use super::Ended;
use super::concurrency::Level;
use super::outage::Quiet;
use super::pacing::Rate;

/// An answer of what is in flight is waited for no longer.
const LONGEST_HOLD: Duration = Duration::from_secs(1);
/// Spaced calls are no further apart.
const LONGEST_GAP: Duration = Duration::from_secs(10);
/// From this share of the latest calls on, timeouts are the endpoint's.
const TIMED_OUT: f64 = 0.25;
/// How many calls that share is smoothed over: those of a batch that hang end together, long after the others.
const TIMEOUTS_AMONG: f64 = 64.0;
/// And how many answers the round trip.
const SMOOTHED: u32 = 16;
/// How long after an overload there are no spare permits.
const CALM: Duration = Duration::from_secs(1);

/// Whether a call may start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    /// It has been counted as started.
    Now,
    /// Not before this moment.
    After(Instant),
    /// Not before a permit comes back.
    WhenFreed,
}

/// The state of the limit.
#[derive(Debug)]
pub(super) struct Limit {
    is_adaptive: bool,
    level: Level,
    /// Permits that are out.
    permits: usize,
    /// Calls in flight: those of the permits that have not ended.
    in_flight: usize,
    round: Round,
    /// Mean time of an answer.
    round_trip: Option<Duration>,
    /// The next spaced call.
    spaced: Option<Instant>,
    quiet: Quiet,
    rate: Rate,
    /// Share of the latest calls that timed out.
    timed_out: f64,
    /// When that last lowered the limit: calls that began before say nothing more.
    lowered_for_time: Option<Instant>,
    /// The last overload.
    overloaded: Option<Instant>,
}

/// A round trip: it ends with the first answer to a call that began in it.
#[derive(Debug)]
struct Round {
    since: Instant,
    /// Whether more calls would have started, had the limit been higher.
    is_limited: bool,
}

impl Limit {
    pub(super) fn new(most: NonZeroUsize, is_adaptive: bool) -> Self {
        let now = Instant::now();
        Self {
            is_adaptive,
            level: Level::new(float(most.get()), now),
            permits: 0,
            in_flight: 0,
            round: Round::begin(now),
            round_trip: None,
            spaced: None,
            quiet: Quiet::new(),
            rate: Rate::new(now),
            timed_out: 0.0,
            lowered_for_time: None,
            overloaded: None,
        }
    }

    pub(super) fn calls(&self) -> f64 {
        self.level.calls()
    }

    /// The same, or what the pace of the calls comes to, if that is less.
    pub(super) fn reported(&self, now: Instant) -> f64 {
        let paced = self.rate.per_second(now).zip(self.round_trip);
        let paced = paced.map(|(rate, round_trip)| rate * round_trip.as_secs_f64());
        self.calls().min(paced.unwrap_or(f64::INFINITY))
    }

    pub(super) fn is_hopeless(&self) -> bool {
        self.quiet.is_hopeless()
    }

    fn is_full(&self) -> bool {
        float(self.permits + 1) > self.calls().max(1.0)
    }

    /// Starts a call, if one may start `now`.
    pub(super) fn start(&mut self, now: Instant) -> Start {
        let until = self.quiet.until().max(self.spaced).max(self.rate.until());
        match until.filter(|until| *until > now) {
            Some(until) if !self.is_full() => Start::After(until),
            _ => self.start_at_once(now),
        }
    }

    /// Starts a call if there is a permit, though calls are spaced or the endpoint is down.
    pub(super) fn start_at_once(&mut self, now: Instant) -> Start {
        if self.is_full() {
            return Start::WhenFreed;
        }
        self.permits += 1;
        self.in_flight += 1;
        self.round.is_limited |= self.is_full();
        self.spaced = (self.calls() < 1.0).then(|| now + self.gap());
        self.rate.start(now);
        self.quiet.asked(now, self.hold());
        Start::Now
    }

    /// Starts a call that may be in vain, and so is no reason to raise the limit.
    pub(super) fn start_spare(&mut self, now: Instant) -> bool {
        let is_calm = self.overloaded.is_none_or(|overloaded| now - overloaded >= CALM);
        let is_limited = self.round.is_limited;
        let has_started = is_calm && !self.quiet.is_held() && self.calls() >= 1.0 && self.start(now) == Start::Now;
        self.round.is_limited = is_limited;
        has_started
    }

    /// A permit comes back; its call has told how it ended, or was cut.
    pub(super) fn give_back(&mut self, has_ended: bool) {
        self.permits -= 1;
        if !has_ended {
            self.in_flight -= 1;
            self.quiet.was_cut();
        }
    }

    /// A call that started at `started` has ended `now`.
    pub(super) fn ended(&mut self, started: Instant, how: Ended, now: Instant) {
        self.in_flight -= 1;
        let timed_out = if how == Ended::TimedOut { 1.0 } else { 0.0 };
        self.timed_out += (timed_out - self.timed_out) / TIMEOUTS_AMONG;
        if matches!(how, Ended::Overload | Ended::OverRate) {
            self.overloaded = Some(now);
        }
        if !self.is_adaptive {
            return;
        }
        match how {
            Ended::Answered => self.answered(started, now),
            Ended::Overload => self.pushed_back(started, now),
            Ended::OverRate => {
                // While nothing comes through, those that ask whether anything does say nothing of the rate.
                if !self.quiet.is_down() {
                    self.rate.exceeded(started, now);
                }
                self.failed(now, false);
            }
            Ended::Unreachable => self.failed(now, false),
            Ended::TimedOut => self.timed_out(started, now),
            Ended::Otherwise => self.heard(),
        }
    }

    /// No call starts before this moment, if the last that ended was one too many, and no answer comes.
    pub(super) fn rest(&mut self, until: Instant) {
        self.quiet.rest(until);
    }

    /// One record that hangs says nothing; where many do, the endpoint may have too much to do, or they are to blame.
    fn timed_out(&mut self, started: Instant, now: Instant) {
        let is_new = self.lowered_for_time.is_none_or(|lowered| started >= lowered);
        if self.timed_out >= TIMED_OUT && is_new {
            self.lowered_for_time = Some(now);
            self.overloaded = Some(now);
            self.level.lower_by_a_tenth(now);
        }
    }

    fn answered(&mut self, started: Instant, now: Instant) {
        let latency = now - started;
        let mean = self.round_trip.unwrap_or(latency);
        let mean = (mean * (SMOOTHED - 1) + latency) / SMOOTHED;
        self.round_trip = Some(mean);
        self.quiet.answered();
        self.heard();
        self.level.answered();
        let is_limited = self.round.is_limited;
        let is_regaining = self.level.regain(is_limited);
        if started >= self.round.since {
            if is_limited && !is_regaining && self.timed_out < TIMED_OUT {
                self.level.raise(mean, now);
            }
            self.level.round_ended();
            self.round = Round::begin(now);
        }
    }

    fn pushed_back(&mut self, started: Instant, now: Instant) {
        let is_limited = self.round.is_limited;
        if started >= self.round.since && !self.quiet.is_down() {
            let before = self.calls();
            self.level.throttled(self.in_flight > 0, !self.quiet.goes_on(), now);
            if self.calls() < before {
                self.round = Round::begin(now);
            }
        }
        self.failed(now, is_limited);
    }

    /// Something other than Overload or Unreachable came back.
    fn heard(&mut self) {
        if self.quiet.heard() {
            // What is in flight, with the call that has just ended, and one more.
            self.level.settle(float(self.in_flight + 2));
        }
    }

    fn failed(&mut self, now: Instant, shows_room: bool) {
        if self.quiet.failed(now, self.in_flight, self.hold(), shows_room) {
            self.level.goes_down();
            self.round = Round::begin(now);
        }
    }

    /// How long to wait for an answer of those in flight.
    fn hold(&self) -> Duration {
        self.round_trip
            .map_or(LONGEST_HOLD, |mean| (mean * 2).min(LONGEST_HOLD))
    }

    /// From one spaced call to the next.
    fn gap(&self) -> Duration {
        let mean = self.round_trip.unwrap_or(LONGEST_HOLD);
        mean.div_f64(self.calls()).min(LONGEST_GAP)
    }
}

impl Round {
    fn begin(since: Instant) -> Self {
        Self {
            since,
            is_limited: false,
        }
    }
}

/// CAPACITY is 1000 at most: exact.
fn float(calls: usize) -> f64 {
    f64::from(u32::try_from(calls).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests;
