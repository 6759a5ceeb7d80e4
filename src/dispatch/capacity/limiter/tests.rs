//! One test for each statement of the module documentation.

use super::*;

mod below_one;
mod increase;
mod outage;
mod pacing;
mod spare_and_unpaced;
mod timeouts;

/// A limiter, and calls that begin and end at given milliseconds.
struct Calls {
    limiter: Limiter,
    began: Instant,
}

impl Calls {
    /// Starts with this limit, at most 100.
    fn with_limit(limit: f64) -> Self {
        Self::new(limit, true)
    }

    fn new(limit: f64, is_adaptive: bool) -> Self {
        let mut limiter = Limiter::new(NonZeroUsize::new(100).unwrap(), is_adaptive);
        limiter.concurrency.cap_at(limit);
        let began = limiter.round.since;
        Self { limiter, began }
    }

    fn at(&self, ms: u64) -> Instant {
        self.began + Duration::from_millis(ms)
    }

    fn start(&mut self, ms: u64) -> Start {
        self.limiter.try_start(self.at(ms))
    }

    /// Starts a call, and asserts that it may start.
    #[track_caller]
    fn start_one(&mut self, ms: u64) {
        assert_eq!(self.start(ms), Start::Now);
    }

    /// Starts as many calls as the limiter allows, and returns their number.
    fn fill(&mut self, ms: u64) -> usize {
        (0..1000).find(|_| self.start(ms) != Start::Now).unwrap()
    }

    /// Ends a call that began at `began`.
    fn end(&mut self, began: u64, feedback: Feedback, ms: u64) {
        self.limiter.on_feedback(self.at(began), feedback, self.at(ms));
        self.limiter.return_permit(true);
    }

    /// Starts and ends a call with no other call in between.
    #[track_caller]
    fn run_alone(&mut self, began: u64, feedback: Feedback, ms: u64) {
        self.start_one(began);
        self.end(began, feedback, ms);
    }

    #[track_caller]
    fn assert_limit(&self, expected: f64) {
        let now = self.limiter.limit();
        assert!((now - expected).abs() < 1e-9, "{now} is not {expected}");
    }
}

#[test]
fn an_overload_while_others_are_in_flight_lowers_the_limit_by_a_tenth() {
    let mut calls = Calls::with_limit(20.0);
    assert_eq!(calls.fill(0), 20);
    calls.end(0, Feedback::Overload, 1);
    calls.assert_limit(18.0);
}

#[test]
fn an_overload_of_a_single_call_does_not_lower_the_limit() {
    let mut calls = Calls::with_limit(20.0);
    calls.run_alone(0, Feedback::Overload, 1);
    calls.assert_limit(20.0);
    // The next answer does not lower it either.
    calls.run_alone(50, Feedback::Answered, 60);
    calls.assert_limit(20.0);
}

#[test]
fn the_limit_is_lowered_once_a_round_trip() {
    let mut calls = Calls::with_limit(20.0);
    calls.fill(0);
    (1..=5).for_each(|ms| calls.end(0, Feedback::Overload, ms));
    calls.assert_limit(18.0);
    calls.end(0, Feedback::Answered, 10);
    // The calls in flight, and one more.
    calls.assert_limit(16.0);
    calls.fill(10);
    calls.end(0, Feedback::Overload, 11);
    calls.assert_limit(16.0);
    calls.end(10, Feedback::Overload, 12);
    calls.assert_limit(14.4);
}

#[test]
fn after_an_overload_no_call_starts_before_an_answer() {
    let mut calls = Calls::with_limit(20.0);
    calls.fill(0);
    (1..=5).for_each(|ms| calls.end(0, Feedback::Overload, ms));
    // The hold has a limit because the calls in flight may hang.
    assert_eq!(calls.start(6), Start::After(calls.at(1005)));
    calls.end(0, Feedback::Answered, 10);
    calls.start_one(10);
    assert_eq!(calls.start(10), Start::Now);
}

#[test]
fn the_hold_after_an_overload_lasts_two_round_trips_at_most() {
    let mut calls = Calls::with_limit(20.0);
    calls.fill(0);
    calls.end(0, Feedback::Answered, 20);
    (21..=25).for_each(|ms| calls.end(0, Feedback::Overload, ms));
    assert_eq!(calls.start(26), Start::After(calls.at(65)));
    // After that, one call at a time starts.
    calls.start_one(65);
    assert_eq!(calls.start(66), Start::After(calls.at(105)));
}

#[test]
fn a_response_after_an_overload_caps_the_limit_at_the_calls_in_flight_and_one() {
    for feedback in [Feedback::Answered, Feedback::OtherFault] {
        let mut calls = Calls::with_limit(20.0);
        calls.fill(0);
        (0..12).for_each(|_| calls.end(0, Feedback::Overload, 1));
        calls.end(0, feedback, 10);
        calls.assert_limit(9.0);
    }
}

#[test]
fn a_limit_that_was_not_reached_is_not_capped_at_the_calls_in_flight() {
    let mut calls = Calls::with_limit(20.0);
    (0..12).for_each(|_| calls.start_one(0));
    (0..8).for_each(|_| calls.end(0, Feedback::Overload, 1));
    calls.end(0, Feedback::Answered, 10);
    calls.assert_limit(18.0);
}

#[test]
fn after_a_cancellation_the_limit_is_not_capped_at_the_calls_in_flight() {
    let mut calls = Calls::with_limit(20.0);
    calls.fill(0);
    calls.end(0, Feedback::Overload, 1);
    (0..15).for_each(|_| calls.limiter.return_permit(false));
    calls.end(0, Feedback::Answered, 10);
    calls.assert_limit(18.0);
}

#[test]
fn faults_unrelated_to_load_do_not_lower_the_limit() {
    for feedback in [Feedback::OtherFault, Feedback::Unreachable] {
        let mut calls = Calls::with_limit(20.0);
        for round in 0..50 {
            let ms = round * 10_000;
            calls.start_one(ms);
            calls.run_alone(ms, feedback, ms + 1);
            calls.run_alone(ms + 2000, feedback, ms + 2001);
            calls.end(ms, Feedback::Answered, ms + 3000);
        }
        calls.assert_limit(20.0);
    }
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
            (0..25).for_each(|_| calls.end(ms, feedback, ms + 1));
        }
    }
    calls.assert_limit(100.0);
    assert!(!calls.limiter.is_confirmed_down());
}
