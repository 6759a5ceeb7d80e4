//! Calls that start out of turn, or do not end by themselves.

use super::*;

#[test]
fn a_last_attempt_waits_for_a_permit_and_for_nothing_else() {
    let mut calls = Calls::with_limit(0.001);
    calls.run_alone(0, Feedback::Overload, 1);
    assert!(matches!(calls.start(2), Start::After(_)));
    assert_eq!(calls.limiter.try_start_unpaced(calls.at(2)), Start::Now);
    assert_eq!(calls.limiter.try_start_unpaced(calls.at(2)), Start::WhenFreed);
}

#[test]
fn a_call_that_was_cut_says_nothing() {
    let mut calls = Calls::with_limit(20.0);
    for _ in 0..10 {
        assert_eq!(calls.fill(0), 20);
        (0..20).for_each(|_| calls.limiter.return_permit(false));
    }
    assert_eq!((calls.limiter.permits, calls.limiter.in_flight), (0, 0));
    calls.assert_limit(20.0);
}

#[test]
fn a_spare_call_starts_only_where_one_may_start_and_nothing_was_throttled_within_a_second() {
    for is_adaptive in [true, false] {
        let mut calls = Calls::new(100.0, is_adaptive);
        assert!(calls.limiter.try_start_spare(calls.at(0)));
        calls.start_one(0);
        calls.end(0, Feedback::Overload, 1);
        calls.end(0, Feedback::Answered, 2);
        assert!(!calls.limiter.try_start_spare(calls.at(1000)), "{is_adaptive}");
        assert!(calls.limiter.try_start_spare(calls.at(1001)), "{is_adaptive}");
        calls.fill(1002);
        assert!(!calls.limiter.try_start_spare(calls.at(1002)), "{is_adaptive}");
    }
}

#[test]
fn no_spare_call_starts_while_nothing_comes_back_or_calls_are_spaced() {
    let mut calls = Calls::with_limit(20.0);
    calls.run_alone(0, Feedback::Unreachable, 1);
    assert!(!calls.limiter.try_start_spare(calls.at(5000)));
    let mut calls = Calls::with_limit(0.9);
    assert!(!calls.limiter.try_start_spare(calls.at(5000)));
}

#[test]
fn a_spare_call_shows_no_need_of_more() {
    let mut calls = Calls::with_limit(5.0);
    (0..4).for_each(|_| calls.start_one(0));
    assert!(calls.limiter.try_start_spare(calls.at(5)));
    calls.end(0, Feedback::Answered, 10);
    calls.assert_limit(5.0);
}
