//! The pace.

use std::time::Duration;

use tokio::time::Instant;
use super::limiter::tuned;

#[derive(Debug, Default)]
pub(super) struct Pace {
    rate: Option<f64>,
    lowered_at: Option<Instant>,
    pub(super) next_call_at: Option<Instant>,
}

impl Pace {
    pub(super) fn next_call_at(&self) -> Option<Instant> {
        self.next_call_at
    }

    pub(super) fn on_start(&mut self, now: Instant) {
        self.next_call_at = self.rate.map(|rate| now + Duration::from_secs_f64(rate.recip()));
    }

    pub(super) fn on_rate_exceeded(&mut self, started: Instant, now: Instant, unpaced: f64, share: f64) {
        if self.lowered_at.is_some_and(|lowered| started < lowered) {
            return;
        }
        let by = (share - 0.5).max(tuned("RB", 0.4));
        self.rate = Some((self.rate.unwrap_or(unpaced) * (1.0 - by)).max(0.1));
        self.lowered_at = Some(now);
        self.on_start(now);
    }

    pub(super) fn on_answered(&mut self, _now: Instant) {
        if let Some(rate) = &mut self.rate {
            *rate *= 1.0 + tuned("RC", 0.04) * rate.recip().powf(tuned("RK", 0.5));
        }
    }
}
