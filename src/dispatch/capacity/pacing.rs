//! The pace of calls to an endpoint that limits the number of calls a second, as a usage plan does. Such an endpoint
//! counts calls, whatever their duration and the number in flight.
//!
//! Pacing begins with the first call that is throttled for the rate. A throttled call lowers the rate by a fifth, once
//! a round trip. The rate then follows the curve of CUBIC (RFC 9438), as AWS clients do in adaptive mode. It rises fast
//! at first, slowly near the throttled rate, and then ever faster. Pacing ends when the rate is far above the throttled
//! rate.

use std::time::Duration;

use tokio::time::Instant;

/// Factor by which a throttled call lowers the rate.
const DECREASE_FACTOR: f64 = 0.8;
/// Upper limit of the curve's steepness, in calls a second for each second cubed.
const CUBIC_C_MAX: f64 = 0.4;
/// The curve levels off after this many calls or after [`RECOVERY_SECONDS`], whichever is earlier. A steeper curve
/// would let a process with few calls exceed the rate with each of them.
const RECOVERY_CALLS: f64 = 20.0;
/// The curve levels off after this time at the latest, in seconds, so that a low rate rises again soon enough.
const RECOVERY_SECONDS: f64 = 15.0;
/// Pacing ends at this multiple of the throttled rate.
const UNPACE_FACTOR: f64 = 10.0;
/// Lower limit of the measured rate. Fewer calls in the last second do not show which rate is too high.
const MEASURED_CALLS_PER_SECOND_MIN: f64 = 5.0;
/// Lowest rate: one call every ten seconds.
const CALLS_PER_SECOND_MIN: f64 = 0.1;
/// Length of the interval in which calls are counted.
const METER_WINDOW: Duration = Duration::from_secs(1);

/// Measures the rate of calls, and limits it once the endpoint has throttled it.
#[derive(Debug)]
pub(super) struct Pacer {
    meter: Meter,
    pace: Option<Pace>,
}

/// A rate that was too high, and the time since which the rate is lower.
#[derive(Debug)]
struct Pace {
    throttled_rate: f64,
    lowered_at: Instant,
    /// The earliest start of the next call.
    next_call_at: Instant,
}

impl Pacer {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            meter: Meter::new(now),
            pace: None,
        }
    }

    /// Returns the earliest start of the next call, if calls are paced.
    pub(super) fn next_call_at(&self) -> Option<Instant> {
        self.pace.as_ref().map(|pace| pace.next_call_at)
    }

    /// Returns the allowed calls a second, if calls are paced.
    pub(super) fn calls_per_second(&self, now: Instant) -> Option<f64> {
        self.pace.as_ref().map(|pace| pace.calls_per_second(now))
    }

    /// Counts a call that starts, and sets the earliest start of the next one.
    pub(super) fn on_start(&mut self, now: Instant) {
        self.meter.count(now);
        let Some(pace) = &mut self.pace else { return };
        let rate = pace.calls_per_second(now);
        if rate > pace.throttled_rate * UNPACE_FACTOR {
            self.pace = None;
        } else {
            pace.next_call_at = now + Duration::from_secs_f64(rate.recip());
        }
    }

    /// Lowers the rate for a call that started at `started` and was throttled. Ignores calls that started before the
    /// rate was last lowered.
    pub(super) fn on_rate_exceeded(&mut self, started: Instant, now: Instant) {
        if self.pace.as_ref().is_some_and(|pace| started < pace.lowered_at) {
            return;
        }
        let measured = self.meter.calls_per_second(now).max(MEASURED_CALLS_PER_SECOND_MIN);
        let throttled_rate = self.calls_per_second(now).map_or(measured, |rate| rate.min(measured));
        let mut pace = Pace {
            throttled_rate: throttled_rate.max(CALLS_PER_SECOND_MIN),
            lowered_at: now,
            next_call_at: now,
        };
        pace.next_call_at = now + Duration::from_secs_f64(pace.calls_per_second(now).recip());
        self.pace = Some(pace);
    }
}

impl Pace {
    fn calls_per_second(&self, now: Instant) -> f64 {
        let lowered = self.throttled_rate * (1.0 - DECREASE_FACTOR);
        let level_after = (RECOVERY_CALLS / self.throttled_rate).min(RECOVERY_SECONDS);
        let steepness = CUBIC_C_MAX.min(lowered / level_after.powi(3));
        let past = (now - self.lowered_at).as_secs_f64() - (lowered / steepness).cbrt();
        (self.throttled_rate + steepness * past.powi(3)).max(CALLS_PER_SECOND_MIN)
    }
}

/// Counts the calls of the latest second. It assumes that the calls of the previous window were spread evenly over it.
#[derive(Debug)]
struct Meter {
    window_start: Instant,
    current: u32,
    previous: u32,
}

impl Meter {
    fn new(now: Instant) -> Self {
        Self {
            window_start: now,
            current: 0,
            previous: 0,
        }
    }

    fn count(&mut self, now: Instant) {
        if now - self.window_start >= METER_WINDOW * 2 {
            *self = Self::new(now);
        } else if now - self.window_start >= METER_WINDOW {
            *self = Self {
                window_start: self.window_start + METER_WINDOW,
                current: 0,
                previous: self.current,
            };
        }
        self.current += 1;
    }

    fn calls_per_second(&self, now: Instant) -> f64 {
        let elapsed = (now - self.window_start).as_secs_f64() / METER_WINDOW.as_secs_f64();
        f64::from(self.current) + f64::from(self.previous) * (1.0 - elapsed).max(0.0)
    }
}

#[cfg(test)]
mod tests;
