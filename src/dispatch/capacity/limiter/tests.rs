//! One test for each statement of the module documentation.

use super::feedback::{DOWN_AFTER_FAILURES, MIN_LIMIT, TIMEOUT_SHARE_THRESHOLD};
use super::*;
use crate::dispatch::capacity::Feedback;

mod outage;
mod rate;
mod spare;
mod timeouts;

/// A limiter, and calls that begin and end at given milliseconds.
struct Calls {
    limiter: Limiter,
    began: Instant,
    in_flight: Vec<Call>,
}

impl Calls {
    /// Starts with this limit, at most 100.
    fn with_limit(limit: f64) -> Self {
        Self::new(limit, true)
    }

    /// Starts in congestion, without a call to confirm.
    fn new(limit: f64, is_adaptive: bool) -> Self {
        let mut limiter = Limiter::new(NonZeroUsize::new(100).unwrap(), is_adaptive);
        limiter.limit = limit;
        limiter.recovery_target = limit;
        limiter.congestion.on_confirmed(true);
        let began = limiter.lowered_at;
        let in_flight = Vec::new();
        Self {
            limiter,
            began,
            in_flight,
        }
    }

    fn at(&self, ms: u64) -> Instant {
        self.began + Duration::from_millis(ms)
    }

    fn start(&mut self, ms: u64) -> Start {
        let start = self.limiter.try_start(self.at(ms));
        if let Start::Now(call) = start {
            self.in_flight.push(call);
        }
        start
    }

    /// Starts a call, and asserts that it may start.
    #[track_caller]
    fn start_one(&mut self, ms: u64) {
        assert!(matches!(self.start(ms), Start::Now(_)));
    }

    fn starts_hedge(&mut self, ms: u64) -> bool {
        matches!(self.limiter.try_start_hedge(self.at(ms)), Start::Now(_))
    }

    /// Starts as many calls as the limiter allows, and returns their number.
    fn fill(&mut self, ms: u64) -> usize {
        (0..1000).find(|_| !matches!(self.start(ms), Start::Now(_))).unwrap()
    }

    /// Ends the call that started last.
    #[track_caller]
    fn end(&mut self, feedback: Feedback, ms: u64) {
        let call = self.in_flight.pop().unwrap();
        self.limiter.on_feedback(call, feedback, self.at(ms));
        self.limiter.return_permit(true);
    }

    fn end_all(&mut self, feedback: Feedback, ms: u64) {
        while !self.in_flight.is_empty() {
            self.end(feedback, ms);
        }
    }

    /// Starts and ends a call.
    #[track_caller]
    fn run(&mut self, began: u64, feedback: Feedback, ms: u64) {
        self.start_one(began);
        self.end(feedback, ms);
    }

    #[track_caller]
    fn assert_limit(&self, expected: f64) {
        let now = self.limiter.effective_limit();
        assert!((now - expected).abs() < 1e-9, "{now} is not {expected}");
    }
}

#[test]
fn a_throttled_call_lowers_the_limit_by_a_tenth_once_until_a_different_response() {
    let mut calls = Calls::with_limit(20.0);
    assert_eq!(calls.fill(0), 20);
    calls.end(Feedback::Overload, 1);
    calls.assert_limit(18.0);
    calls.end(Feedback::Overload, 2);
    calls.assert_limit(18.0);
    calls.end(Feedback::OtherFault, 3);
    // The call started before the limit was lowered.
    calls.end(Feedback::Overload, 4);
    calls.assert_limit(18.0);
    calls.end(Feedback::OtherFault, 5);
    calls.run(6, Feedback::Overload, 7);
    calls.assert_limit(16.2);
}

#[test]
fn the_limit_is_lowered_by_more_if_most_calls_are_throttled() {
    let mut calls = Calls::with_limit(20.0);
    calls.limiter.failed_share = 0.84;
    calls.fill(0);
    calls.end(Feedback::Overload, 1);
    // The share is 0.85 then.
    calls.assert_limit(20.0 * 0.65);
}

#[test]
fn a_throttled_call_that_is_confirmed_first_holds_no_call_and_does_not_lower_the_limit() {
    let mut calls = Calls::with_limit(20.0);
    calls.limiter.congestion = CongestionDetector::new();
    calls.fill(0);
    calls.end(Feedback::Overload, 1);
    calls.assert_limit(20.0);
    calls.start_one(1);
    // The repetition means congestion.
    calls.end(Feedback::Overload, 2);
    assert_eq!(calls.start(3), Start::After(calls.at(1002)));
}

#[test]
fn throttling_at_random_does_not_lower_the_limit() {
    fastrand::seed(0);
    let mut calls = Calls::with_limit(100.0);
    for ms in 0..10_000 {
        calls.fill(ms);
        for _ in 0..5 {
            let is_throttled = fastrand::u8(..100) < 20;
            calls.end(
                if is_throttled {
                    Feedback::Overload
                } else {
                    Feedback::Answered
                },
                ms + 1,
            );
        }
        if ms > 1000 {
            calls.assert_limit(100.0);
        }
    }
}

#[test]
fn after_a_throttled_call_no_call_starts_before_a_response_or_two_round_trips() {
    for feedback in [Feedback::Answered, Feedback::OtherFault] {
        let mut calls = Calls::with_limit(20.0);
        calls.fill(0);
        calls.end(Feedback::Answered, 20);
        (21..=24).for_each(|ms| calls.end(Feedback::Overload, ms));
        assert_eq!(calls.start(25), Start::After(calls.at(64)));
        // After that, one call at a time starts.
        calls.start_one(64);
        assert_eq!(calls.start(65), Start::After(calls.at(104)));
        calls.end(feedback, 70);
        calls.start_one(70);
        calls.start_one(70);
    }
}

#[test]
fn without_a_round_trip_the_hold_lasts_a_second() {
    let mut calls = Calls::with_limit(20.0);
    calls.fill(0);
    (1..=4).for_each(|ms| calls.end(Feedback::Overload, ms));
    assert_eq!(calls.start(5), Start::After(calls.at(1004)));
}

#[test]
fn answers_raise_a_limit_that_was_reached() {
    let speedup = 65.0 / 64.0;
    for (limit, step) in [
        (0.1, 0.002 * speedup),
        (1.0, 0.02 * speedup),
        (2.0, 0.0325),
        (20.0, 0.015 * speedup),
    ] {
        let mut calls = Calls::with_limit(limit);
        calls.fill(0);
        calls.end(Feedback::Answered, 10);
        calls.assert_limit(limit + step);
    }
    let mut calls = Calls::with_limit(20.0);
    calls.run(0, Feedback::Answered, 10);
    calls.assert_limit(20.0);
}

#[test]
fn the_limit_rises_faster_the_longer_it_was_not_lowered_and_never_exceeds_the_capacity() {
    let mut calls = Calls::with_limit(10.0);
    let mut rise = |times: u64| {
        let before = calls.limiter.limit;
        for ms in 0..times {
            calls.fill(ms);
            calls.end(Feedback::Answered, ms + 1);
        }
        calls.limiter.limit - before
    };
    let first = rise(100);
    assert!(rise(100) > first * 1.5);
    rise(5000);
    calls.assert_limit(100.0);
}

#[test]
fn below_a_limit_of_one_calls_are_spaced() {
    let mut calls = Calls::with_limit(1.0);
    calls.run(0, Feedback::Answered, 20);
    calls.limiter.limit = 0.25;
    calls.run(100, Feedback::OtherFault, 110);
    assert_eq!(calls.start(111), Start::After(calls.at(180)));
    calls.limiter.limit = MIN_LIMIT;
    calls.run(180, Feedback::OtherFault, 181);
    assert_eq!(calls.start(200), Start::After(calls.at(10_180)), "ten seconds at most");
}

#[test]
fn a_fixed_limit_never_moves_and_no_call_waits() {
    let mut calls = Calls::new(100.0, false);
    for ms in 0..10 {
        assert_eq!(calls.fill(ms), 100);
        for feedback in [
            Feedback::Overload,
            Feedback::Unreachable,
            Feedback::TimedOut,
            Feedback::Answered,
        ] {
            (0..25).for_each(|_| calls.end(feedback, ms + 1));
        }
    }
    calls.assert_limit(100.0);
}
