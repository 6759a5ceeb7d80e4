//! Calls a second, at an endpoint that says that there are too many of them, as a usage plan does: it counts calls, and
//! does not care how long they take or how many are in flight.
//!
//! Nothing is paced until then. What is refused lowers the rate by a fifth, once a round trip; from there it follows the
//! curve of CUBIC (RFC 9438), as the clients of AWS do in adaptive mode: fast at first, slowly where it was too much, and
//! then ever faster. When it is far above that, nothing is paced any more.

use std::time::Duration;

use tokio::time::Instant;

const LOWERED: f64 = 0.8;
/// Steepness of the curve, in calls a second for each second cubed …
const STEEPEST: f64 = 0.4;
/// … but so that it is level after this many calls, or this many seconds: who makes few must not be over the rate with each
/// of them, nor wait for many of them to make more.
const CALLS: f64 = 20.0;
const SECONDS: f64 = 15.0;
/// So many times what was too much is as good as no limit.
const FREE: f64 = 10.0;
/// Fewer calls in the last second tell nothing of what would be too many.
const TELLING: f64 = 5.0;
/// A call every ten seconds.
const LEAST: f64 = 0.1;
/// How long calls are counted for.
const WINDOW: Duration = Duration::from_secs(1);

/// The rate of calls.
#[derive(Debug)]
pub(super) struct Rate {
    started: Meter,
    pace: Option<Pace>,
}

/// A rate that was too much, and since when it is lower.
#[derive(Debug)]
struct Pace {
    too_much: f64,
    lowered: Instant,
    /// The next call.
    next: Instant,
}

impl Rate {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            started: Meter::new(now),
            pace: None,
        }
    }

    /// No call starts before this.
    pub(super) fn until(&self) -> Option<Instant> {
        self.pace.as_ref().map(|pace| pace.next)
    }

    /// Calls a second, where they are paced.
    pub(super) fn per_second(&self, now: Instant) -> Option<f64> {
        self.pace.as_ref().map(|pace| pace.rate(now))
    }

    /// A call starts.
    pub(super) fn start(&mut self, now: Instant) {
        self.started.count(now);
        let Some(pace) = &mut self.pace else { return };
        let rate = pace.rate(now);
        if rate > pace.too_much * FREE {
            self.pace = None;
        } else {
            pace.next = now + Duration::from_secs_f64(rate.recip());
        }
    }

    /// A call that started at `started` was one too many. Those that began before the rate was lowered say nothing more.
    pub(super) fn exceeded(&mut self, started: Instant, now: Instant) {
        if self.pace.as_ref().is_some_and(|pace| started < pace.lowered) {
            return;
        }
        let measured = self.started.per_second(now).max(TELLING);
        let too_much = self.per_second(now).map_or(measured, |rate| rate.min(measured));
        let mut pace = Pace {
            too_much: too_much.max(LEAST),
            lowered: now,
            next: now,
        };
        pace.next = now + Duration::from_secs_f64(pace.rate(now).recip());
        self.pace = Some(pace);
    }
}

impl Pace {
    fn rate(&self, now: Instant) -> f64 {
        let lowered = self.too_much * (1.0 - LOWERED);
        let level_after = (CALLS / self.too_much).min(SECONDS);
        let steepness = STEEPEST.min(lowered / level_after.powi(3));
        let past = (now - self.lowered).as_secs_f64() - (lowered / steepness).cbrt();
        (self.too_much + steepness * past.powi(3)).max(LEAST)
    }
}

/// Counts calls over the latest second, as if those of the second before had been spread evenly.
#[derive(Debug)]
struct Meter {
    since: Instant,
    this: u32,
    last: u32,
}

impl Meter {
    fn new(now: Instant) -> Self {
        Self {
            since: now,
            this: 0,
            last: 0,
        }
    }

    fn count(&mut self, now: Instant) {
        if now - self.since >= WINDOW * 2 {
            *self = Self::new(now);
        } else if now - self.since >= WINDOW {
            *self = Self {
                since: self.since + WINDOW,
                this: 0,
                last: self.this,
            };
        }
        self.this += 1;
    }

    fn per_second(&self, now: Instant) -> f64 {
        let gone = (now - self.since).as_secs_f64() / WINDOW.as_secs_f64();
        f64::from(self.this) + f64::from(self.last) * (1.0 - gone).max(0.0)
    }
}

#[cfg(test)]
mod tests;
