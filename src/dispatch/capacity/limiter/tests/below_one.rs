//! Tests of limits below one.

use super::*;

/// Returns a limit below one, for an endpoint that takes 20 ms a call.
fn spaced(limit: f64) -> Calls {
    let mut calls = Calls::with_limit(20.0);
    calls.run_alone(0, Feedback::Answered, 20);
    calls.limiter.concurrency.cap_at(limit);
    calls
}

#[test]
fn the_interval_between_calls_is_a_round_trip_divided_by_the_limit() {
    let mut calls = spaced(0.25);
    calls.run_alone(100, Feedback::Answered, 120);
    assert_eq!(calls.start(121), Start::After(calls.at(180)));
    assert_eq!(calls.start(179), Start::After(calls.at(180)));
    calls.start_one(180);
}

#[test]
fn the_next_call_waits_for_a_call_that_takes_longer_than_the_interval() {
    let mut calls = spaced(0.25);
    calls.start_one(100);
    assert_eq!(calls.start(180), Start::WhenFreed);
}

#[test]
fn the_interval_between_calls_is_ten_seconds_at_most() {
    let mut calls = spaced(0.0);
    calls.run_alone(100, Feedback::Answered, 120);
    assert_eq!(calls.start(121), Start::After(calls.at(10_100)));
}

/// Makes single calls that are throttled and answered in turn, and then one more throttled call.
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
fn the_limit_falls_below_one_if_more_calls_are_throttled_than_answered() {
    more_throttled_than_answered(20).assert_limit(20.0 / 41.0);
    // Nineteen answered calls are too few for the decision.
    more_throttled_than_answered(19).assert_limit(2.5);
}

#[test]
fn the_limit_stays_above_one_if_as_many_calls_are_throttled_as_answered() {
    let mut calls = more_throttled_than_answered(19);
    calls.run_alone(20_000, Feedback::Answered, 20_020);
    calls.run_alone(20_100, Feedback::Answered, 20_120);
    calls.run_alone(20_200, Feedback::Overload, 20_201);
    calls.assert_limit(2.5);
}

#[test]
fn below_one_an_overload_lowers_the_limit_by_an_eighth() {
    let mut calls = spaced(0.8);
    calls.run_alone(1000, Feedback::Overload, 1001);
    calls.assert_limit(0.7);
    // The endpoint is still full, so this is the same event.
    calls.run_alone(2000, Feedback::Overload, 2001);
    calls.assert_limit(0.7);
}

#[test]
fn below_one_the_limit_rises_faster_the_longer_ago_the_overload_is() {
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
