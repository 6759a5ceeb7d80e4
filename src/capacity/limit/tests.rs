//! A test for each sentence of the module's documentation.

use super::*;

mod down;
mod few;

/// A limit, and calls that begin and end at given milliseconds.
struct Calls {
    limit: Limit,
    began: Instant,
}

impl Calls {
    /// With a limit of `settled`, at most 100.
    fn of(settled: f64) -> Self {
        Self::with(settled, true)
    }

    fn with(settled: f64, is_adaptive: bool) -> Self {
        let mut limit = Limit::new(NonZeroUsize::new(100).unwrap(), is_adaptive);
        limit.level.settle(settled);
        let began = limit.round.since;
        Self { limit, began }
    }

    fn at(&self, ms: u64) -> Instant {
        self.began + Duration::from_millis(ms)
    }

    fn start(&mut self, ms: u64) -> Start {
        self.limit.start(self.at(ms))
    }

    /// Starts one that may start.
    #[track_caller]
    fn one(&mut self, ms: u64) {
        assert_eq!(self.start(ms), Start::Now);
    }

    /// Starts as many as may start, and returns how many.
    fn fill(&mut self, ms: u64) -> usize {
        (0..1000).find(|_| self.start(ms) != Start::Now).unwrap()
    }

    /// A call that began then has ended.
    fn end(&mut self, began: u64, how: Ended, ms: u64) {
        self.limit.ended(self.at(began), how, self.at(ms));
        self.limit.give_back(true);
    }

    /// A call ends that had the endpoint to itself.
    #[track_caller]
    fn alone(&mut self, began: u64, how: Ended, ms: u64) {
        self.one(began);
        self.end(began, how, ms);
    }

    #[track_caller]
    fn assert_limit(&self, expected: f64) {
        let now = self.limit.calls();
        assert!((now - expected).abs() < 1e-9, "{now} is not {expected}");
    }
}

#[test]
fn an_overload_while_others_are_in_flight_lowers_it_by_a_tenth() {
    let mut calls = Calls::of(20.0);
    assert_eq!(calls.fill(0), 20);
    calls.end(0, Ended::Overload, 1);
    calls.assert_limit(18.0);
}

#[test]
fn an_overload_of_a_call_that_is_alone_does_not_lower_it() {
    let mut calls = Calls::of(20.0);
    calls.alone(0, Ended::Overload, 1);
    calls.assert_limit(20.0);
    // Nor does the next answer.
    calls.alone(50, Ended::Answered, 60);
    calls.assert_limit(20.0);
}

#[test]
fn it_is_lowered_once_a_round_trip() {
    let mut calls = Calls::of(20.0);
    calls.fill(0);
    (1..=5).for_each(|ms| calls.end(0, Ended::Overload, ms));
    calls.assert_limit(18.0);
    calls.end(0, Ended::Answered, 10);
    // What was in flight, and one more.
    calls.assert_limit(16.0);
    calls.fill(10);
    calls.end(0, Ended::Overload, 11);
    calls.assert_limit(16.0);
    calls.end(10, Ended::Overload, 12);
    calls.assert_limit(14.4);
}

#[test]
fn after_an_overload_no_call_starts_before_an_answer_comes() {
    let mut calls = Calls::of(20.0);
    calls.fill(0);
    (1..=5).for_each(|ms| calls.end(0, Ended::Overload, ms));
    // Only so long, since what is in flight may hang.
    assert_eq!(calls.start(6), Start::After(calls.at(1005)));
    calls.end(0, Ended::Answered, 10);
    calls.one(10);
    assert_eq!(calls.start(10), Start::Now);
}

#[test]
fn an_answer_is_waited_for_no_longer_than_two_of_them_take() {
    let mut calls = Calls::of(20.0);
    calls.fill(0);
    calls.end(0, Ended::Answered, 20);
    (21..=25).for_each(|ms| calls.end(0, Ended::Overload, ms));
    assert_eq!(calls.start(26), Start::After(calls.at(65)));
    // Then one after the other.
    calls.one(65);
    assert_eq!(calls.start(66), Start::After(calls.at(105)));
}

#[test]
fn with_the_answer_it_is_no_more_than_what_was_in_flight_and_one_more() {
    for comes in [Ended::Answered, Ended::Otherwise] {
        let mut calls = Calls::of(20.0);
        calls.fill(0);
        (0..12).for_each(|_| calls.end(0, Ended::Overload, 1));
        calls.end(0, comes, 10);
        calls.assert_limit(9.0);
    }
}

#[test]
fn where_it_had_not_been_reached_what_was_in_flight_shows_nothing() {
    let mut calls = Calls::of(20.0);
    (0..12).for_each(|_| calls.one(0));
    (0..8).for_each(|_| calls.end(0, Ended::Overload, 1));
    calls.end(0, Ended::Answered, 10);
    calls.assert_limit(18.0);
}

#[test]
fn where_calls_were_cut_those_that_are_left_show_nothing() {
    let mut calls = Calls::of(20.0);
    calls.fill(0);
    calls.end(0, Ended::Overload, 1);
    (0..15).for_each(|_| calls.limit.give_back(false));
    calls.end(0, Ended::Answered, 10);
    calls.assert_limit(18.0);
}

#[test]
fn a_round_trip_in_which_it_was_reached_raises_it_by_a_25th() {
    let mut calls = Calls::of(10.0);
    calls.fill(0);
    calls.end(0, Ended::Answered, 10);
    calls.assert_limit(10.4);
    // Those began in the same round trip.
    (11..20).for_each(|ms| calls.end(0, Ended::Answered, ms));
    calls.assert_limit(10.4);
    calls.fill(20);
    calls.end(20, Ended::Answered, 30);
    calls.assert_limit(10.4 * 1.04);
}

#[test]
fn it_is_raised_by_one_at_most() {
    let mut calls = Calls::of(50.0);
    calls.fill(0);
    calls.end(0, Ended::Answered, 10);
    calls.assert_limit(51.0);
}

#[test]
fn a_round_trip_in_which_it_was_not_reached_does_not_raise_it() {
    let mut calls = Calls::of(10.0);
    (0..9).for_each(|_| calls.one(0));
    (0..9).for_each(|_| calls.end(0, Ended::Answered, 10));
    calls.assert_limit(10.0);
}

#[test]
fn a_round_trip_with_an_overload_does_not_raise_it() {
    let mut calls = Calls::of(10.0);
    calls.fill(0);
    calls.end(0, Ended::Overload, 1);
    (10..15).for_each(|ms| calls.end(0, Ended::Answered, ms));
    calls.assert_limit(9.0);
    calls.fill(15);
    (15..19).for_each(|ms| calls.end(0, Ended::Answered, ms));
    calls.assert_limit(9.0);
    calls.end(15, Ended::Answered, 25);
    calls.assert_limit(9.36);
}

#[test]
fn it_is_never_more_than_there_may_be() {
    let mut calls = Calls::of(100.0);
    for ms in 0..100 {
        calls.fill(ms);
        calls.end(ms, Ended::Answered, ms + 1);
        assert!(calls.limit.permits <= 100);
    }
    calls.assert_limit(100.0);
}

/// So many calls of those that may be in flight time out together.
fn timed_out(calls: &mut Calls, times: usize, began: u64) {
    (0..times).for_each(|_| calls.end(began, Ended::TimedOut, began + 30_000));
}

#[test]
fn timeouts_lower_it_by_a_tenth_where_they_are_a_quarter_of_the_latest_calls() {
    // Eighteen calls in a row are less than a quarter of 64, smoothed; nineteen are more.
    let mut calls = Calls::of(50.0);
    calls.fill(0);
    timed_out(&mut calls, 18, 0);
    calls.assert_limit(50.0);
    timed_out(&mut calls, 1, 0);
    calls.assert_limit(45.0);
    // Those that began before say nothing more.
    timed_out(&mut calls, 31, 0);
    calls.assert_limit(45.0);
    calls.fill(40_000);
    timed_out(&mut calls, 1, 40_000);
    calls.assert_limit(40.5);
}

#[test]
fn timeouts_lower_it_to_one_and_hold_up_nothing() {
    let mut calls = Calls::of(20.0);
    for round in 0..100 {
        let ms = round * 40_000;
        let in_flight = calls.fill(ms);
        timed_out(&mut calls, in_flight, ms);
        assert!(!calls.limit.quiet.is_held());
    }
    calls.assert_limit(1.0);
    assert!(!calls.limit.is_hopeless());
}

#[test]
fn while_many_time_out_an_answer_does_not_raise_it() {
    let mut calls = Calls::of(50.0);
    calls.fill(0);
    timed_out(&mut calls, 25, 0);
    (0..25).for_each(|_| calls.end(0, Ended::Answered, 30_000));
    let mut ms = 40_000;
    for _ in 0..50 {
        if calls.limit.timed_out < TIMED_OUT {
            break;
        }
        calls.fill(ms);
        calls.end(ms, Ended::Answered, ms + 10);
        ms += 10;
    }
    calls.assert_limit(45.0);
}

#[test]
fn as_after_an_overload_there_is_no_spare_call_while_many_time_out() {
    let mut calls = Calls::of(50.0);
    calls.fill(0);
    timed_out(&mut calls, 19, 0);
    assert!(!calls.limit.start_spare(calls.at(30_999)));
    assert!(calls.limit.start_spare(calls.at(31_000)));
}

#[test]
fn one_record_that_hangs_lowers_nothing() {
    for others in [5, 10, 50] {
        let mut calls = Calls::of(20.0);
        calls.one(0);
        for batch in 0..100 {
            let begins = batch * 1000;
            for _ in 0..others {
                calls.alone(begins, Ended::Answered, begins + 10);
            }
            calls.end(begins, Ended::TimedOut, begins + 999);
            calls.one(begins + 1000);
        }
        calls.assert_limit(20.0);
    }
}

#[test]
fn one_record_that_hangs_and_comes_again_and_again_lowers_it_no_further_than_to_one() {
    let mut calls = Calls::of(20.0);
    for delivery in 0..200 {
        calls.alone(delivery * 60_000, Ended::TimedOut, delivery * 60_000 + 30_000);
    }
    calls.assert_limit(1.0);
}

#[test]
fn a_last_attempt_waits_for_a_permit_and_for_nothing_else() {
    let mut calls = Calls::of(0.001);
    calls.alone(0, Ended::Overload, 1);
    assert!(matches!(calls.start(2), Start::After(_)));
    assert_eq!(calls.limit.start_at_once(calls.at(2)), Start::Now);
    assert_eq!(calls.limit.start_at_once(calls.at(2)), Start::WhenFreed);
}

#[test]
fn what_says_nothing_of_how_much_the_endpoint_takes_lowers_nothing() {
    for how in [Ended::Otherwise, Ended::Unreachable] {
        let mut calls = Calls::of(20.0);
        for round in 0..50 {
            let ms = round * 10_000;
            calls.one(ms);
            calls.alone(ms, how, ms + 1);
            calls.alone(ms + 2000, how, ms + 2001);
            calls.end(ms, Ended::Answered, ms + 3000);
        }
        calls.assert_limit(20.0);
    }
}

#[test]
fn a_call_that_was_cut_says_nothing() {
    let mut calls = Calls::of(20.0);
    for _ in 0..10 {
        assert_eq!(calls.fill(0), 20);
        (0..20).for_each(|_| calls.limit.give_back(false));
    }
    assert_eq!((calls.limit.permits, calls.limit.in_flight), (0, 0));
    calls.assert_limit(20.0);
}

#[test]
fn where_it_is_not_adaptive_nothing_moves_it_and_no_call_waits() {
    let mut calls = Calls::with(100.0, false);
    for ms in 0..10 {
        assert_eq!(calls.fill(ms), 100);
        for how in [Ended::Overload, Ended::Unreachable, Ended::TimedOut, Ended::Answered] {
            (0..25).for_each(|_| calls.end(ms, how, ms + 1));
        }
    }
    calls.assert_limit(100.0);
    assert!(!calls.limit.is_hopeless());
}

#[test]
fn a_spare_call_starts_only_where_one_may_start_and_nothing_was_throttled_within_a_second() {
    for is_adaptive in [true, false] {
        let mut calls = Calls::with(100.0, is_adaptive);
        assert!(calls.limit.start_spare(calls.at(0)));
        calls.one(0);
        calls.end(0, Ended::Overload, 1);
        calls.end(0, Ended::Answered, 2);
        assert!(!calls.limit.start_spare(calls.at(1000)), "{is_adaptive}");
        assert!(calls.limit.start_spare(calls.at(1001)), "{is_adaptive}");
        calls.fill(1002);
        assert!(!calls.limit.start_spare(calls.at(1002)), "{is_adaptive}");
    }
}

#[test]
fn no_spare_call_starts_while_nothing_comes_back_or_calls_are_spaced() {
    let mut calls = Calls::of(20.0);
    calls.alone(0, Ended::Unreachable, 1);
    assert!(!calls.limit.start_spare(calls.at(5000)));
    let mut calls = Calls::of(0.9);
    assert!(!calls.limit.start_spare(calls.at(5000)));
}
