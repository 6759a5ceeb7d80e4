//! The limit of calls in flight, and the steps by which it rises and falls.

use std::time::Duration;

use tokio::time::Instant;

/// Factor of a decrease while several calls are in flight.
const DECREASE_FACTOR: f64 = 0.9;
/// Increase in a round trip, as a fraction of the limit. An increase is one call at most.
const INCREASE_FRACTION: f64 = 1.0 / 25.0;
/// Factor of a decrease while the limit is below one.
const DECREASE_FACTOR_BELOW_ONE: f64 = 0.875;
/// While the limit is below one, it rises by this many calls times the square of the number of round trips since the
/// latest decrease.
const INCREASE_PER_SQUARED_ROUND_TRIP: f64 = 0.000_015;
/// Lowest limit, in calls. A thousand processes can then share an endpoint that one call at a time uses fully.
const MIN_LIMIT: f64 = 0.001;
/// Below this limit and down to one, answered and throttled calls are counted to decide whether even one call at a time
/// is too much. At such a limit, a call hardly competes with other calls of this process.
const LOW_LIMIT: f64 = 3.0;
/// Number of answered calls that this decision needs.
const MIN_ANSWERED_SAMPLES: u32 = 20;

/// The limit, in calls, and the state that adjusts it.
#[derive(Debug)]
pub(super) struct Concurrency {
    /// CAPACITY.
    max: f64,
    limit: f64,
    /// Up to this value, each answer raises the limit by one.
    recovery_target: f64,
    /// The limit before the first overload after the latest round trip without overload.
    limit_before_overload: Option<f64>,
    low_limit_samples: LowLimitSamples,
    lowered_at: Instant,
    raised_at: Instant,
}

/// The results of recent calls, counted while the limit is low.
#[derive(Debug, Default)]
struct LowLimitSamples {
    answered: u32,
    throttled: u32,
}

impl Concurrency {
    pub(super) fn new(max: f64, now: Instant) -> Self {
        Self {
            max,
            limit: max,
            recovery_target: max,
            limit_before_overload: None,
            low_limit_samples: LowLimitSamples::default(),
            lowered_at: now,
            raised_at: now,
        }
    }

    pub(super) fn limit(&self) -> f64 {
        self.limit
    }

    /// After an outage, raises the limit by one for an answer, up to the recovery target. Returns whether the limit was
    /// below the target.
    pub(super) fn recover(&mut self, has_reached_limit: bool) -> bool {
        let is_below = self.limit < self.recovery_target;
        if is_below && has_reached_limit {
            self.limit = (self.limit + 1.0).min(self.recovery_target);
        }
        is_below
    }

    /// Raises the limit after a round trip in which no call was throttled and the limit was reached.
    pub(super) fn raise(&mut self, round_trip: Duration, now: Instant) {
        let increase = if self.limit < 1.0 {
            let squared = |moment: Instant| {
                let round_trips = (moment - self.lowered_at).as_secs_f64() / round_trip.as_secs_f64().max(f64::EPSILON);
                round_trips * round_trips
            };
            INCREASE_PER_SQUARED_ROUND_TRIP * (squared(now) - squared(self.raised_at))
        } else {
            self.limit * INCREASE_FRACTION
        };
        self.raised_at = now;
        self.limit = (self.limit + increase.min(1.0)).min(self.max);
        self.recovery_target = self.recovery_target.max(self.limit);
    }

    /// Ends a round trip in which no call was throttled.
    pub(super) fn on_round_ended(&mut self) {
        self.limit_before_overload = None;
    }

    /// Lowers the limit for a throttled call. `has_others` is true if other calls were in flight. `is_first` is true if
    /// the call is the first failure since a different response.
    pub(super) fn on_throttled(&mut self, has_others: bool, is_first: bool, now: Instant) {
        if self.check_low_limit() {
            self.low_limit_samples.throttled += 1;
        }
        self.limit_before_overload.get_or_insert(self.limit);
        let lowered = if self.limit < 1.0 {
            // Consecutive throttled calls are one event: the endpoint is full until a different response arrives.
            if is_first {
                self.limit * DECREASE_FACTOR_BELOW_ONE
            } else {
                self.limit
            }
        } else if let Some(share) = self.low_limit_samples.answered_share_below_half() {
            share
        } else if has_others {
            self.limit * DECREASE_FACTOR
        } else {
            self.limit
        };
        if lowered < self.limit {
            (self.lowered_at, self.raised_at) = (now, now);
        }
        self.set(lowered);
    }

    /// Lowers the limit to `max` if it is higher.
    pub(super) fn cap_at(&mut self, max: f64) {
        self.set(self.limit.min(max));
    }

    fn set(&mut self, limit: f64) {
        self.limit = limit.max(MIN_LIMIT);
        self.recovery_target = self.recovery_target.min(self.limit);
    }

    /// Lowers the limit by a tenth, to one at least, because calls time out. Timeouts do not prove that one call at a
    /// time is too much.
    pub(super) fn lower_for_timeouts(&mut self, now: Instant) {
        if self.limit > 1.0 {
            (self.lowered_at, self.raised_at) = (now, now);
            self.set((self.limit * DECREASE_FACTOR).max(1.0));
        }
    }

    /// Lowers the limit to one because an outage has begun. An outage shows little about the endpoint's capacity after
    /// it, so the recovery target is at least half of the limit before the overload.
    pub(super) fn on_outage(&mut self) {
        let half = self.limit_before_overload.take().unwrap_or(self.limit) / 2.0;
        self.recovery_target = half.max(self.limit);
        self.limit = self.limit.min(1.0);
    }

    /// Counts an answered call.
    pub(super) fn on_answered(&mut self) {
        if self.check_low_limit() {
            self.low_limit_samples.answered += 1;
        }
        if self.low_limit_samples.answered > MIN_ANSWERED_SAMPLES * 3 / 2 {
            self.low_limit_samples.answered /= 2;
            self.low_limit_samples.throttled /= 2;
        }
    }

    /// Returns whether the limit is low enough to count results. If it is not, discards the counts, which are then out
    /// of date.
    fn check_low_limit(&mut self) -> bool {
        let is_low = (1.0..LOW_LIMIT).contains(&self.limit);
        if !is_low {
            self.low_limit_samples = LowLimitSamples::default();
        }
        is_low
    }
}

impl LowLimitSamples {
    /// Returns the share of answered calls if it is less than a half. One call at a time is then too much.
    fn answered_share_below_half(&self) -> Option<f64> {
        let Self { answered, throttled } = *self;
        let is_below_half = answered >= MIN_ANSWERED_SAMPLES && throttled > answered;
        is_below_half.then(|| f64::from(answered) / f64::from(answered + throttled))
    }
}

#[cfg(test)]
mod tests;
