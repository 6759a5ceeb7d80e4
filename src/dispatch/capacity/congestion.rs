//! Decides whether throttling depends on the calls in flight.

use tokio::time::Instant;
/// Estimates how often a call is throttled again
#[derive(Debug)]
pub(super) struct CongestionDetector {
    /// Share of throttled confirmations.
    score: f64,
    is_congested: bool,
    /// Level of the call to confirm.
    unconfirmed: Option<(usize, Instant)>,
    skip: u32,
}

impl CongestionDetector {
    pub(super) fn new() -> Self {
        Self { score: 24.0, is_congested: true, unconfirmed: None, skip: 0 }
    }

    pub(super) fn on_start(&mut self, in_flight: usize, now: Instant) -> bool {
        let confirms = self.unconfirmed.is_some_and(|(level, at)| in_flight >= level && (now - at).as_secs_f64() * 1000.0 <= super::limiter::tuned("CW", 5.0));
        if confirms {
            self.unconfirmed = None;
        }
        confirms
    }

    pub(super) fn on_confirmation(&mut self, is_throttled: bool) -> bool {
        if super::limiter::tuned("DEBUGQ",0.0) > 0.0 { eprintln!("CONFIRM {}", u8::from(is_throttled)); }
        let full = super::limiter::tuned("N", 24.0);
        self.score = (self.score + if is_throttled { 1.0 } else { -2.0 }).clamp(0.0, full);
        let before = self.is_congested;
        if self.score >= full {
            self.is_congested = true;
        } else if self.score <= 0.0 {
            self.is_congested = false;
        }
        if before != self.is_congested && super::limiter::tuned("DEBUGQ",0.0) > 0.0 { eprintln!("FLIP {} {:p}", self.is_congested, self); }
        self.skip = if is_throttled { super::limiter::tuned("T", 4.0) as u32 } else { 0 };
        before && !self.is_congested
    }

    /// Returns whether the call is to be confirmed, rather than reacted to.
    pub(super) fn on_failure(&mut self, in_flight: usize, now: Instant) -> bool {
        let tests = !self.is_congested || self.skip == 0;
        if tests {
            let fresh = self.unconfirmed.filter(|(_, at)| (now - *at).as_secs_f64() * 1000.0 <= super::limiter::tuned("CW", 5.0));
            self.unconfirmed = Some((fresh.map_or(in_flight, |(level, _)| level.min(in_flight)), now));
        } else {
            self.skip -= 1;
        }
        tests
    }
}
