//! Less than one call at a time.

use super::*;

/// A limit below one, at an endpoint that takes 20 ms a call.
fn spaced(settled: f64) -> Calls {
    let mut calls = Calls::with_limit(20.0);
    calls.run_alone(0, Feedback::Answered, 20);
    calls.limiter.concurrency.cap_at(settled);
    calls
}

#[test]
fn calls_are_spaced_a_round_trip_divided_by_the_limit_apart() {
    let mut calls = spaced(0.25);
    calls.run_alone(100, Feedback::Answered, 120);
    assert_eq!(calls.start(121), Start::After(calls.at(180)));
    assert_eq!(calls.start(179), Start::After(calls.at(180)));
    calls.start_one(180);
}

#[test]
fn one_that_takes_longer_is_waited_for_all_the_same() {
    let mut calls = spaced(0.25);
    calls.start_one(100);
    assert_eq!(calls.start(180), Start::WhenFreed);
}

#[test]
fn calls_are_no_further_apart_than_ten_seconds() {
    let mut calls = spaced(0.0);
    calls.run_alone(100, Feedback::Answered, 120);
    assert_eq!(calls.start(121), Start::After(calls.at(10_100)));
}

/// Calls that have the endpoint to themselves, answered and throttled in turn, and then one that is throttled once more.
fn more_throttled_than_answered(pairs: u64) -> Calls {
    let mut calls = Calls::with_limit(2.5);
    for pair in 0..pairs {
        let ms = pair * 1000;
        calls.run_alone(ms, Feedback::Overload, ms + 1);
        calls.run_alone(ms + 500, Feedback::Answered, ms + 520);
    }
    calls.run_alone(pairs * 1000, Feedback::Overload, pairs * 1000 + 1);
    calls
}

#[test]
fn it_goes_below_one_where_more_calls_are_throttled_than_answered() {
    more_throttled_than_answered(20).assert_limit(20.0 / 41.0);
    // Too few to tell.
    more_throttled_than_answered(19).assert_limit(2.5);
}

#[test]
fn as_many_throttled_as_answered_do_not_take_it_below_one() {
    let mut calls = more_throttled_than_answered(19);
    calls.run_alone(20_000, Feedback::Answered, 20_020);
    calls.run_alone(20_100, Feedback::Answered, 20_120);
    calls.run_alone(20_200, Feedback::Overload, 20_201);
    calls.assert_limit(2.5);
}

#[test]
fn an_overload_lowers_it_by_an_eighth() {
    let mut calls = spaced(0.8);
    calls.run_alone(1000, Feedback::Overload, 1001);
    calls.assert_limit(0.7);
    // The endpoint is still full: that is the same event.
    calls.run_alone(2000, Feedback::Overload, 2001);
    calls.assert_limit(0.7);
}

#[test]
fn it_rises_the_faster_the_longer_ago_that_is() {
    let mut calls = spaced(0.8);
    calls.run_alone(1000, Feedback::Overload, 1001);
    let mut limits = vec![calls.limiter.limit()];
    for ms in (1100..1600).step_by(100) {
        calls.run_alone(ms, Feedback::Answered, ms + 20);
        limits.push(calls.limiter.limit());
    }
    let rises: Vec<_> = limits.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(rises[0] > 0.0 && rises.is_sorted_by(|a, b| a < b), "{rises:?}");
}
