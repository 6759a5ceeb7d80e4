//! Decides whether calls are throttled because of the load or at random. Calls that cannot reach the endpoint count as
//! throttled ones.
//!
//! Fewer calls help only if the load is the cause. Then the endpoint is still full a moment later: a call that starts
//! immediately after a throttled one, while as many calls are in flight, is throttled as well. Throttling at random
//! does not repeat more often than it occurs. So some throttled calls are confirmed by the next call, and the results
//! are summed up as in a sequential test (CUSUM): one point for each repetition, and minus two points otherwise. With
//! more than two thirds of repetitions the sum rises to its maximum, with fewer it falls to zero.

use std::time::Duration;

use tokio::time::Instant;

/// Maximum sum. Half of an endpoint that is broken, which throttles every second call, reaches it once in 100,000
/// confirmations.
const MAX_POINTS: u32 = 24;
/// Points that a confirmation without repetition costs.
const POINTS_LOST: u32 = 2;
/// Latest start of a call that confirms a throttled one. Later, the endpoint may have free capacity again.
const CONFIRM_WITHIN: Duration = Duration::from_millis(5);
/// Number of throttled calls without confirmation after a repetition, because a confirmation is one more throttled
/// call.
const SKIPPED_AFTER_REPETITION: u32 = 4;

/// The result of the confirmations. Congestion is assumed at first.
#[derive(Debug)]
pub(super) struct CongestionDetector {
    is_congested: bool,
    points: u32,
    /// The number of throttled calls that are not confirmed.
    to_skip: u32,
    unconfirmed: Option<Throttled>,
}

/// A throttled call that the next call confirms.
#[derive(Debug, Clone, Copy)]
struct Throttled {
    /// Number of calls in flight when the call started.
    in_flight: usize,
    at: Instant,
}

impl CongestionDetector {
    pub(super) fn new() -> Self {
        Self {
            is_congested: true,
            points: MAX_POINTS,
            to_skip: 0,
            unconfirmed: None,
        }
    }

    /// Returns whether the call that starts as one of `in_flight` calls confirms a throttled one.
    pub(super) fn on_start(&mut self, in_flight: usize, now: Instant) -> bool {
        let confirmed = self
            .unconfirmed
            .take_if(|throttled| throttled.is_recent(now) && in_flight >= throttled.in_flight);
        confirmed.is_some()
    }

    /// Processes the result of a call that confirms a throttled one. Returns whether this ends the congestion.
    pub(super) fn on_confirmed(&mut self, is_throttled: bool) -> bool {
        let before = self.points;
        if is_throttled {
            self.points = (self.points + 1).min(MAX_POINTS);
            self.is_congested |= self.points == MAX_POINTS;
            self.to_skip = SKIPPED_AFTER_REPETITION;
        } else {
            self.points = self.points.saturating_sub(POINTS_LOST);
            self.is_congested &= self.points > MAX_POINTS / 3;
            self.to_skip = 0;
        }
        before > 0 && self.points == 0
    }

    /// Processes a throttled call that started as one of `in_flight` calls. Returns whether the load is the cause.
    /// Returns false without congestion, and if the call is to be confirmed first.
    pub(super) fn on_throttled(&mut self, in_flight: usize, now: Instant) -> bool {
        let is_skipped = self.to_skip > 0;
        self.to_skip = self.to_skip.saturating_sub(1);
        let previous = self.unconfirmed.take();
        let recent = previous.filter(|previous| previous.is_recent(now));
        // If no call was ready to confirm the previous throttled call, none may be ready now.
        let was_not_confirmed = previous.is_some() && recent.is_none();
        if self.is_congested && (is_skipped || was_not_confirmed) {
            self.unconfirmed = recent;
            return true;
        }
        self.unconfirmed = Some(Throttled {
            in_flight: recent.map_or(in_flight, |recent| recent.in_flight.min(in_flight)),
            at: now,
        });
        false
    }
}

impl Throttled {
    fn is_recent(self, now: Instant) -> bool {
        now - self.at <= CONFIRM_WITHIN
    }
}

#[cfg(test)]
mod tests;
