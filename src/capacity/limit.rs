//! The limit of calls in flight, moved by how calls end: additive increase, multiplicative decrease, as TCP finds its
//! share of a line (Chiu and Jain, "Analysis of the Increase and Decrease Algorithms for Congestion Avoidance", 1989).
//!
//! - **Overload while others are in flight** lowers the limit by a tenth, once a round trip. No other call starts before
//!   an answer comes; then the limit is no more than what was in flight and one more, for so much the endpoint has taken.
//! - **A round trip without one**, in which the limit was reached, raises it by a 25th, and by one at most. What is raised
//!   by so little is throttled seldom, also where many processes share an endpoint and each has a limit of one or two.
//! - **Below one**, calls are spaced: one a round trip divided by the limit.
//! - **Nothing but Overload or Unreachable**, three at least and nothing else in flight: the endpoint is down. The limit is
//!   one (a quarter, where it was no more than that), calls ask one by one whether it is back, up to a second apart, and
//!   the first answer lets the limit grow by one with each, back to where it was.
//! - **Timeouts** count as Overload where they are a quarter of the latest calls: one record that hangs does not.

use std::num::NonZeroUsize;
use std::time::Duration;

use tokio::time::Instant;

use super::Ended;

/// The limit is lowered by this factor.
const LOWERED: f64 = 0.9;
/// And raised by this part of itself.
const RAISED: f64 = 1.0 / 25.0;
/// A thousand processes share what one call at a time would use up.
const LEAST: f64 = 0.001;
/// Spaced calls are no further apart.
const LONGEST_GAP: Duration = Duration::from_secs(10);
/// So many calls in a row without an answer, and nothing in flight, make the endpoint one that is down.
const DOWN: u32 = 3;
/// So many leave no hope that another attempt helps, in this invocation.
const HOPELESS: u32 = 10;
/// Pauses between calls that ask whether it is back; they double from the first to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LAST_PAUSE: Duration = Duration::from_secs(1);
/// From this share of the latest calls on, timeouts are the endpoint's.
const TIMED_OUT: f64 = 0.25;
/// How many calls a share and the round trip are smoothed over.
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
    /// CAPACITY.
    most: f64,
    now: f64,
    /// Up to here, it grows by one with each answer.
    known_good: f64,
    /// Permits that are out.
    permits: usize,
    /// Calls in flight: those of the permits that have not ended.
    calls: usize,
    round: Round,
    /// Mean time of an answer.
    round_trip: Option<Duration>,
    /// The next spaced call.
    spaced: Option<Instant>,
    quiet: Option<Quiet>,
    /// Calls in a row that ended by Overload or Unreachable.
    failed: u32,
    timed_out: f64,
    overloaded: Option<Instant>,
}

/// A round trip: it ends with the first answer to a call that began in it.
#[derive(Debug)]
struct Round {
    since: Instant,
    /// Whether more calls would have started, had the limit been higher.
    is_limited: bool,
}

/// From an overload, or a call that reached nothing, until the next answer.
#[derive(Debug)]
struct Quiet {
    until: Instant,
    is_overload: bool,
    /// The last pause, where the endpoint is down.
    pause: Option<Duration>,
}

impl Limit {
    pub(super) fn new(most: NonZeroUsize, is_adaptive: bool) -> Self {
        let most = count(most.get());
        Self {
            is_adaptive,
            most,
            now: most,
            known_good: most,
            permits: 0,
            calls: 0,
            round: Round::begin(Instant::now()),
            round_trip: None,
            spaced: None,
            quiet: None,
            failed: 0,
            timed_out: 0.0,
            overloaded: None,
        }
    }

    pub(super) fn now(&self) -> f64 {
        self.now
    }

    pub(super) fn is_down(&self) -> bool {
        self.failed >= HOPELESS && self.quiet.as_ref().is_some_and(|quiet| quiet.pause.is_some())
    }

    fn is_full(&self) -> bool {
        count(self.permits + 1) > self.now.max(1.0)
    }

    /// Starts a call, if one may start `now`.
    pub(super) fn start(&mut self, now: Instant) -> Start {
        if self.is_full() {
            return Start::WhenFreed;
        }
        let until = self.quiet.as_ref().map(|quiet| quiet.until).max(self.spaced);
        if let Some(until) = until.filter(|until| *until > now) {
            return Start::After(until);
        }
        self.permits += 1;
        self.calls += 1;
        self.round.is_limited |= self.is_full();
        self.spaced = (self.now < 1.0).then(|| now + self.gap());
        let hold = self.hold();
        if let Some(quiet) = &mut self.quiet {
            // Still no answer: one more call is to see.
            quiet.until = now + hold;
        }
        Start::Now
    }

    /// Starts a call that may be in vain.
    pub(super) fn start_spare(&mut self, now: Instant) -> bool {
        let is_calm = self.overloaded.is_none_or(|overloaded| now - overloaded >= CALM);
        is_calm && self.quiet.is_none() && self.now >= 1.0 && self.start(now) == Start::Now
    }

    /// A permit comes back; its call has told how it ended, or was cut.
    pub(super) fn give_back(&mut self, has_ended: bool) {
        self.permits -= 1;
        self.calls -= usize::from(!has_ended);
    }

    /// A call that started at `started` has ended `now`.
    pub(super) fn ended(&mut self, started: Instant, how: Ended, now: Instant) {
        self.calls -= 1;
        let timed_out = if how == Ended::TimedOut { 1.0 } else { 0.0 };
        self.timed_out += (timed_out - self.timed_out) / f64::from(SMOOTHED);
        let is_overload = how == Ended::Overload || how == Ended::TimedOut && self.timed_out >= TIMED_OUT;
        if is_overload {
            self.overloaded = Some(now);
        }
        if !self.is_adaptive {
            return;
        }
        match how {
            Ended::Answered => self.answered(started, now),
            _ if is_overload => self.pushed_back(started, now),
            Ended::Unreachable => self.is_quiet_from(now, false),
            Ended::Overload | Ended::Otherwise | Ended::TimedOut => self.heard(),
        }
    }

    fn answered(&mut self, started: Instant, now: Instant) {
        let latency = now - started;
        let mean = self.round_trip.unwrap_or(latency);
        self.round_trip = Some((mean * (SMOOTHED - 1) + latency) / SMOOTHED);
        self.heard();
        let is_growing = self.now < self.known_good;
        if is_growing && self.round.is_limited {
            self.now = (self.now + 1.0).min(self.known_good);
        }
        if started >= self.round.since {
            if self.round.is_limited && !is_growing {
                self.raise();
            }
            self.round = Round::begin(now);
        }
    }

    fn raise(&mut self) {
        // Below one, a round trip is one call: so that the share of those that are throttled does not grow without end,
        // it is raised by a larger part of itself, the lower it is.
        let by = RAISED * self.now.min(self.now.sqrt());
        self.now = (self.now + by.min(1.0)).min(self.most);
        self.known_good = self.known_good.max(self.now);
    }

    fn pushed_back(&mut self, started: Instant, now: Instant) {
        if self.calls > 0 && started >= self.round.since {
            self.now = (self.now * LOWERED).max(LEAST);
            self.known_good = self.known_good.min(self.now);
            self.round = Round::begin(now);
        }
        self.is_quiet_from(now, true);
    }

    /// Something other than Overload or Unreachable came back.
    fn heard(&mut self) {
        self.failed = 0;
        if let Some(quiet) = self.quiet.take()
            && quiet.is_overload
            && quiet.pause.is_none()
        {
            // What is in flight, with the call that was answered, and one more.
            self.now = self.now.min(count(self.calls + 2));
            self.known_good = self.known_good.min(self.now);
        }
    }

    /// No call, or only one now and then, starts until something comes back.
    fn is_quiet_from(&mut self, now: Instant, is_overload: bool) {
        self.failed += 1;
        let last = self.quiet.take();
        let is_overload = is_overload || last.as_ref().is_some_and(|last| last.is_overload);
        let last_pause = last.and_then(|last| last.pause);
        let is_down = last_pause.is_some() || self.calls == 0 && self.failed >= DOWN;
        let pause = is_down.then(|| last_pause.map_or(FIRST_PAUSE, |pause| (pause * 2).min(LAST_PAUSE)));
        let until = match pause {
            Some(pause) => {
                if last_pause.is_none() {
                    self.goes_down(now);
                }
                // Processes that went quiet together ask at different times.
                now + pause.mul_f64(0.5 + fastrand::f64() / 2.0)
            }
            None if self.calls > 0 => now + self.hold(),
            None => now,
        };
        self.quiet = Some(Quiet {
            until,
            is_overload,
            pause,
        });
    }

    fn goes_down(&mut self, now: Instant) {
        self.known_good = self.now;
        if self.now > 1.0 {
            self.now = 1.0;
        } else {
            self.now = (self.now / 4.0).max(LEAST);
            self.known_good = self.now;
        }
        self.round = Round::begin(now);
    }

    /// How long to wait for an answer of those in flight.
    fn hold(&self) -> Duration {
        self.round_trip.map_or(LAST_PAUSE, |mean| (mean * 2).min(LAST_PAUSE))
    }

    /// From one spaced call to the next.
    fn gap(&self) -> Duration {
        let mean = self.round_trip.unwrap_or(FIRST_PAUSE);
        mean.div_f64(self.now).min(LONGEST_GAP)
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

/// 1000 at most: exact.
fn count(calls: usize) -> f64 {
    f64::from(u32::try_from(calls).unwrap_or(u32::MAX))
}
