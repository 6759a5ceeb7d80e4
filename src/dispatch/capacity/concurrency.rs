//! How high the limit is: what raises it and what lowers it.

use std::time::Duration;

use tokio::time::Instant;

/// Lowered by this factor, where calls are in flight side by side …
const LOWERED: f64 = 0.9;
/// … and raised by this part of itself, one at most, in a round trip.
const RAISED: f64 = 1.0 / 25.0;
/// Below one, lowered by this factor …
const LOWERED_BELOW_ONE: f64 = 0.875;
/// … and raised by this times the square of the round trips since then.
const RAISED_BELOW_ONE: f64 = 0.000_015;
/// A thousand processes share what one call at a time would use up.
const LEAST: f64 = 0.001;
/// Below this, it is looked at how calls fare that have the endpoint to themselves, for all that this process does.
const FEW: f64 = 3.0;
/// So many answers tell.
const TELLING: u32 = 20;

/// The height of the limit, in calls.
#[derive(Debug)]
pub(super) struct Level {
    /// CAPACITY.
    most: f64,
    calls: f64,
    /// Up to here, it grows by one with each answer.
    known_good: f64,
    /// What it was before the first overload since a round trip without one.
    before: Option<f64>,
    alone: Alone,
    lowered: Instant,
    raised: Instant,
}

/// How calls fared lately while there were few.
#[derive(Debug, Default)]
struct Alone {
    answered: u32,
    throttled: u32,
}

impl Level {
    pub(super) fn new(most: f64, now: Instant) -> Self {
        Self {
            most,
            calls: most,
            known_good: most,
            before: None,
            alone: Alone::default(),
            lowered: now,
            raised: now,
        }
    }

    pub(super) fn calls(&self) -> f64 {
        self.calls
    }

    /// After an outage, an answer raises it by one, up to what is known to be good. False if it is there.
    pub(super) fn regain(&mut self, is_limited: bool) -> bool {
        let is_below = self.calls < self.known_good;
        if is_below && is_limited {
            self.calls = (self.calls + 1.0).min(self.known_good);
        }
        is_below
    }

    /// A round trip has ended in which nothing was throttled, and more calls would have started, had it been higher.
    pub(super) fn raise(&mut self, round_trip: Duration, now: Instant) {
        let by = if self.calls < 1.0 {
            let squared = |moment: Instant| {
                let round_trips = (moment - self.lowered).as_secs_f64() / round_trip.as_secs_f64().max(f64::EPSILON);
                round_trips * round_trips
            };
            RAISED_BELOW_ONE * (squared(now) - squared(self.raised))
        } else {
            self.calls * RAISED
        };
        self.raised = now;
        self.calls = (self.calls + by.min(1.0)).min(self.most);
        self.known_good = self.known_good.max(self.calls);
    }

    /// A round trip has ended in which nothing was throttled.
    pub(super) fn round_ended(&mut self) {
        self.before = None;
    }

    /// A call was throttled, while others were in flight or not; it is the first one since an answer, or not.
    pub(super) fn throttled(&mut self, has_others: bool, is_first: bool, now: Instant) {
        if self.are_few() {
            self.alone.throttled += 1;
        }
        self.before.get_or_insert(self.calls);
        let to = if self.calls < 1.0 {
            // Those in a row are one event: the endpoint is full until something else happens.
            if is_first {
                self.calls * LOWERED_BELOW_ONE
            } else {
                self.calls
            }
        } else if let Some(share) = self.alone.too_much() {
            share
        } else if has_others {
            self.calls * LOWERED
        } else {
            self.calls
        };
        if to < self.calls {
            (self.lowered, self.raised) = (now, now);
        }
        self.to(to);
    }

    /// It is no more than this many calls.
    pub(super) fn settle(&mut self, most: f64) {
        self.to(self.calls.min(most));
    }

    fn to(&mut self, to: f64) {
        self.calls = to.max(LEAST);
        self.known_good = self.known_good.min(self.calls);
    }

    /// Calls time out. They are no proof that one at a time is too much.
    pub(super) fn lower_by_a_tenth(&mut self, now: Instant) {
        if self.calls > 1.0 {
            (self.lowered, self.raised) = (now, now);
            self.to((self.calls * LOWERED).max(1.0));
        }
    }

    /// Nothing comes through any more. That says little of how much the endpoint takes when it is back.
    pub(super) fn goes_down(&mut self) {
        let half = self.before.take().unwrap_or(self.calls) / 2.0;
        self.known_good = half.max(self.calls);
        self.calls = self.calls.min(1.0);
    }

    /// A call was answered.
    pub(super) fn answered(&mut self) {
        if self.are_few() {
            self.alone.answered += 1;
        }
        if self.alone.answered > TELLING * 3 / 2 {
            self.alone.answered /= 2;
            self.alone.throttled /= 2;
        }
    }

    /// Whether it is worth counting how calls fare; if not, what was counted is out of date.
    fn are_few(&mut self) -> bool {
        let are_few = (1.0..FEW).contains(&self.calls);
        if !are_few {
            self.alone = Alone::default();
        }
        are_few
    }
}

impl Alone {
    /// The share of the calls that were answered, if that is less than a half: then one call at a time is too much.
    fn too_much(&self) -> Option<f64> {
        let Self { answered, throttled } = *self;
        let is_too_much = answered >= TELLING && throttled > answered;
        is_too_much.then(|| f64::from(answered) / f64::from(answered + throttled))
    }
}

#[cfg(test)]
mod tests;
