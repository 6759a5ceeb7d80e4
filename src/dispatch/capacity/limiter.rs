//! The limit of calls in flight.

use std::num::NonZeroUsize;
use std::time::Duration;

use tokio::time::Instant;

use super::Feedback;
use super::congestion::CongestionDetector;
use super::outage::Outage;
use super::pacing::Pace;

/// Longest wait for an answer to the calls in flight.
const HOLD_MAX: Duration = Duration::from_secs(1);
/// Longest interval between two calls while the limit is below one.
const CALL_SPACING_MAX: Duration = Duration::from_secs(10);
/// Lowest limit, in calls.
const MIN_LIMIT: f64 = 0.001;
const TIMEOUT_SHARE_THRESHOLD: f64 = 0.25;
const TIMEOUT_SHARE_WINDOW_CALLS: f64 = 64.0;
const ROUND_TRIP_WINDOW_ANSWERS: u32 = 16;
const HEDGE_PAUSE_AFTER_OVERLOAD: Duration = Duration::from_secs(1);

fn tune(name: &str, default: f64) -> f64 {
    use std::collections::HashMap;
    use std::sync::{Mutex, OnceLock};
    static CACHE: OnceLock<Mutex<HashMap<String, f64>>> = OnceLock::new();
    *CACHE
        .get_or_init(Mutex::default)
        .lock()
        .unwrap()
        .entry(name.to_owned())
        .or_insert_with(|| std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(default))
}
pub(super) fn tuned(name: &str, default: f64) -> f64 { tune(name, default) }

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

/// A call as it started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) started: Instant,
    /// Number of calls in flight, this one included.
    pub(super) in_flight: usize,
    /// Whether a higher limit would have allowed another call to start.
    reached_limit: bool,
    /// Whether the call confirms.
    pub(super) confirms: bool,
}

/// The limit and the state that adjusts it.
#[derive(Debug)]
pub(super) struct Limiter {
    is_adaptive: bool,
    max: f64,
    limit: f64,
    recovery_target: f64,
    permits_held: usize,
    in_flight: usize,
    moved_at: Instant,
    lowered_at: Instant,
    mean_round_trip: Option<Duration>,
    next_spaced_call: Option<Instant>,
    /// Until this time or a response, no call starts. Then one call at a time starts.
    held_until: Option<Instant>,
    congestion: CongestionDetector,
    outage: Outage,
    timeout_share: f64,
    throttled_share: f64,
    caps: bool,
    pace: Pace,
    throttled_at: Option<Instant>,
    limit_before_failures: f64,
}

impl Limiter {
    pub(super) fn new(max: NonZeroUsize, is_adaptive: bool) -> Self {
        let now = Instant::now();
        let max = float(max.get());
        Self {
            is_adaptive,
            max,
            limit: max,
            recovery_target: max,
            permits_held: 0,
            in_flight: 0,
            moved_at: now,
            lowered_at: now,
            mean_round_trip: None,
            next_spaced_call: None,
            held_until: None,
            congestion: CongestionDetector::new(),
            outage: Outage::new(),
            timeout_share: 0.0,
            throttled_share: 0.0,
            caps: false,
            pace: Pace::default(),
            throttled_at: None,
            limit_before_failures: max,
        }
    }

    pub(super) fn limit(&self) -> f64 {
        self.limit
    }

    pub(super) fn is_confirmed_down(&self) -> bool {
        self.outage.is_down() && self.outage.failures >= 10
    }

    fn is_full(&self) -> bool {
        float(self.permits_held + 1) > self.limit.max(1.0)
    }

    pub(super) fn try_start(&mut self, now: Instant) -> Start {
        let earliest = self.held_until.max(self.next_spaced_call).max(self.pace.next_call_at());
        match earliest.filter(|earliest| *earliest > now) {
            Some(earliest) if !self.is_full() => Start::After(earliest),
            _ => self.try_start_immediately(now),
        }
    }

    pub(super) fn try_start_immediately(&mut self, now: Instant) -> Start {
        if self.is_full() {
            return Start::WhenFreed;
        }
        self.permits_held += 1;
        self.in_flight += 1;
        self.next_spaced_call = (self.limit < 1.0).then(|| now + self.call_spacing());
        self.pace.on_start(now);
        if self.held_until.is_some() {
            self.held_until = Some(now + self.hold_duration());
        }
        Start::Now(Call {
            started: now,
            in_flight: self.in_flight,
            reached_limit: self.is_full(),
            confirms: self.congestion.on_start(self.in_flight, now),
        })
    }

    pub(super) fn try_start_hedge(&mut self, now: Instant) -> Option<Call> {
        let is_calm = self
            .throttled_at
            .is_none_or(|throttled| now - throttled >= HEDGE_PAUSE_AFTER_OVERLOAD);
        if !is_calm || self.held_until.is_some() || self.limit < 1.0 {
            return None;
        }
        match self.try_start(now) {
            Start::Now(call) => Some(Call { reached_limit: false, ..call }),
            _ => None,
        }
    }

    pub(super) fn return_permit(&mut self, has_reported: bool) {
        self.permits_held -= 1;
        if !has_reported {
            self.in_flight -= 1;
        }
    }

    pub(super) fn on_feedback(&mut self, call: Call, feedback: Feedback, now: Instant) {
        self.in_flight -= 1;
        let timed_out = if feedback == Feedback::TimedOut { 1.0 } else { 0.0 };
        self.timeout_share += (timed_out - self.timeout_share) / TIMEOUT_SHARE_WINDOW_CALLS;
        if matches!(feedback, Feedback::Overload | Feedback::RateLimit) {
            self.throttled_at = Some(now);
        }
        if !self.is_adaptive {
            return;
        }
        let window = tune("SW", 16.0);
        match feedback {
            Feedback::Answered => self.throttled_share -= self.throttled_share / window,
            Feedback::Overload | Feedback::RateLimit | Feedback::Unreachable => {
                self.throttled_share += (1.0 - self.throttled_share) / window;
            }
            _ => {}
        }
        match feedback {
            Feedback::Answered => self.on_answered(call, now),
            Feedback::Overload | Feedback::RateLimit | Feedback::Unreachable => self.on_failure(call, feedback, now),
            Feedback::TimedOut => self.on_timeout(call, now),
            Feedback::OtherFault => self.on_response(),
        }
    }

    pub(super) fn hold_off_until(&mut self, until: Instant) {
        if self.is_adaptive && self.outage.failures > 0 {
            self.held_until = self.held_until.max(Some(until));
        }
    }

    fn on_timeout(&mut self, call: Call, now: Instant) {
        if self.timeout_share >= TIMEOUT_SHARE_THRESHOLD && call.started >= self.lowered_at {
            self.throttled_at = Some(now);
            if self.limit > 1.0 {
                self.lower_to((self.limit * 0.9).max(1.0), now);
            }
        }
    }

    fn on_answered(&mut self, call: Call, now: Instant) {
        let latency = now - call.started;
        let mean = self.mean_round_trip.unwrap_or(latency);
        self.mean_round_trip = Some((mean * (ROUND_TRIP_WINDOW_ANSWERS - 1) + latency) / ROUND_TRIP_WINDOW_ANSWERS);
        if call.confirms {
            if self.congestion.on_confirmation(false) {
                self.recovery_target = self.max;
            }
        }
        if self.caps && !self.outage.is_down() && tune("CAP", 0.0) > 0.0 {
            let cap = float(self.in_flight) + tune("CAP", 0.0);
            if self.limit > cap { self.limit = cap; self.recovery_target = self.recovery_target.min(cap); }
        }
        self.on_response();
        self.outage.on_answered();
        self.pace.on_answered(now);
        if call.reached_limit && self.timeout_share < TIMEOUT_SHARE_THRESHOLD {
            self.raise(now);
        }
    }

    fn raise(&mut self, now: Instant) {
        let increase = if self.limit < self.recovery_target {
            (self.recovery_target - self.limit).min(1.0)
        } else {
            let relative = (tune("A", 0.04) / self.limit).max(tune("K2", 0.0) / self.limit.powi(2)).min(tune("G", 0.25));
            (relative * self.limit).min(1.0 / self.limit)
        };
        self.moved_at = now;
        self.limit = (self.limit + increase).min(self.max);
        self.recovery_target = self.recovery_target.max(self.limit);
    }

    fn lower_to(&mut self, limit: f64, now: Instant) {
        self.lowered_at = now;
        self.moved_at = now;
        self.limit = limit.max(MIN_LIMIT);
        self.recovery_target = self.recovery_target.min(self.limit);
    }

    fn on_response(&mut self) {
        self.outage.on_response();
        self.held_until = None;
        self.caps = false;
    }

    fn on_failure(&mut self, call: Call, feedback: Feedback, now: Instant) {
        if call.confirms {
            self.congestion.on_confirmation(true);
        }
        if self.outage.failures == 0 {
            self.limit_before_failures = self.limit;
        }
        let was_down = self.outage.is_down();
        let probe = self.outage.on_failure(self.in_flight);
        if let Some(wait) = probe {
            if !was_down {
                if self.limit_before_failures >= 1.0 && tune("NOREC",0.0)==0.0 {
                    self.recovery_target = self.limit_before_failures.max(self.limit);
                }
                self.limit = self.limit.min(1.0);
            }
            self.held_until = Some(now + wait);
            return;
        }
        if self.congestion.on_failure(call.in_flight, now) {
            self.next_spaced_call = None;
            self.pace.next_call_at = None;
            return;
        }
        if feedback == Feedback::RateLimit {
            let unpaced = self.limit / self.mean_round_trip.unwrap_or(HOLD_MAX).as_secs_f64();
            self.pace.on_rate_exceeded(call.started, now, unpaced, self.throttled_share);
        } else if call.started >= self.lowered_at && (self.outage.failures == 1 || tune("RUN", 1.0) == 0.0) {
            let by = (self.limit * 0.1).max(tune("D", 0.25)).min(self.limit * tune("LB", 0.2));
            let by = by.max(self.limit * (self.throttled_share - 0.5) * tune("S", 1.0));
            let floor = if self.limit >= 1.0 && self.throttled_share < tune("SF", 0.0) { 1.0 } else { MIN_LIMIT };
            self.lower_to((self.limit - by).max(floor), now);
        }
        self.caps = call.reached_limit;
        let wait = if self.in_flight > 0 { self.hold_duration() } else { Duration::ZERO };
        self.held_until = self.held_until.max(Some(now + wait));
    }

    /// Returns the time to wait for an answer to the calls in flight: two round trips.
    fn hold_duration(&self) -> Duration {
        self.mean_round_trip.map_or(HOLD_MAX, |mean| (mean * 2).min(HOLD_MAX))
    }

    fn call_spacing(&self) -> Duration {
        let mean = self.mean_round_trip.unwrap_or(HOLD_MAX);
        mean.div_f64(self.limit).min(CALL_SPACING_MAX)
    }
}

/// Exact, because CAPACITY is 1000 at most.
fn float(calls: usize) -> f64 {
    f64::from(u32::try_from(calls).unwrap_or(u32::MAX))
}
