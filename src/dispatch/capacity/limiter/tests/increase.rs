//! Tests of round trips without overload, which raise the limit.

use super::*;

#[test]
fn a_round_trip_in_which_the_limit_was_reached_raises_it_by_a_25th() {
    let mut calls = Calls::with_limit(10.0);
    calls.fill(0);
    calls.end(0, Feedback::Answered, 10);
    calls.assert_limit(10.4);
    // These calls began in the same round trip.
    (11..20).for_each(|ms| calls.end(0, Feedback::Answered, ms));
    calls.assert_limit(10.4);
    calls.fill(20);
    calls.end(20, Feedback::Answered, 30);
    calls.assert_limit(10.4 * 1.04);
}

#[test]
fn a_round_trip_raises_the_limit_by_one_at_most() {
    let mut calls = Calls::with_limit(50.0);
    calls.fill(0);
    calls.end(0, Feedback::Answered, 10);
    calls.assert_limit(51.0);
}

#[test]
fn a_round_trip_in_which_the_limit_was_not_reached_does_not_raise_it() {
    let mut calls = Calls::with_limit(10.0);
    (0..9).for_each(|_| calls.start_one(0));
    (0..9).for_each(|_| calls.end(0, Feedback::Answered, 10));
    calls.assert_limit(10.0);
}

#[test]
fn a_round_trip_with_an_overload_does_not_raise_the_limit() {
    let mut calls = Calls::with_limit(10.0);
    calls.fill(0);
    calls.end(0, Feedback::Overload, 1);
    (10..15).for_each(|ms| calls.end(0, Feedback::Answered, ms));
    calls.assert_limit(9.0);
    calls.fill(15);
    (15..19).for_each(|ms| calls.end(0, Feedback::Answered, ms));
    calls.assert_limit(9.0);
    calls.end(15, Feedback::Answered, 25);
    calls.assert_limit(9.36);
}

#[test]
fn the_limit_never_exceeds_its_maximum() {
    let mut calls = Calls::with_limit(100.0);
    for ms in 0..100 {
        calls.fill(ms);
        calls.end(ms, Feedback::Answered, ms + 1);
        assert!(calls.limiter.permits_held <= 100);
    }
    calls.assert_limit(100.0);
}
