//! Tests of unpaced, cancelled and spare calls.

use super::*;

#[test]
fn an_unpaced_call_waits_only_for_a_permit() {
    let mut calls = Calls::with_limit(0.001);
    calls.run_alone(0, Feedback::Overload, 1);
    assert!(matches!(calls.start(2), Start::After(_)));
    assert_eq!(calls.limiter.try_start_immediately(calls.at(2)), Start::Now);
    assert_eq!(calls.limiter.try_start_immediately(calls.at(2)), Start::WhenFreed);
}

#[test]
fn cancelled_calls_do_not_change_the_limit() {
    let mut calls = Calls::with_limit(20.0);
    for _ in 0..10 {
        assert_eq!(calls.fill(0), 20);
        (0..20).for_each(|_| calls.limiter.return_permit(false));
    }
    assert_eq!((calls.limiter.permits_held, calls.limiter.in_flight), (0, 0));
    calls.assert_limit(20.0);
}

#[test]
fn a_spare_call_starts_only_within_the_limit_and_a_second_after_an_overload() {
    for is_adaptive in [true, false] {
        let mut calls = Calls::new(100.0, is_adaptive);
        assert!(calls.limiter.try_start_hedge(calls.at(0)));
        calls.start_one(0);
        calls.end(0, Feedback::Overload, 1);
        calls.end(0, Feedback::Answered, 2);
        assert!(!calls.limiter.try_start_hedge(calls.at(1000)), "{is_adaptive}");
        assert!(calls.limiter.try_start_hedge(calls.at(1001)), "{is_adaptive}");
        calls.fill(1002);
        assert!(!calls.limiter.try_start_hedge(calls.at(1002)), "{is_adaptive}");
    }
}

#[test]
fn no_spare_call_starts_during_a_hold_or_with_a_limit_below_one() {
    let mut calls = Calls::with_limit(20.0);
    calls.run_alone(0, Feedback::Unreachable, 1);
    assert!(!calls.limiter.try_start_hedge(calls.at(5000)));
    let mut calls = Calls::with_limit(0.9);
    assert!(!calls.limiter.try_start_hedge(calls.at(5000)));
}

#[test]
fn a_spare_call_is_no_reason_to_raise_the_limit() {
    let mut calls = Calls::with_limit(5.0);
    (0..4).for_each(|_| calls.start_one(0));
    assert!(calls.limiter.try_start_hedge(calls.at(5)));
    calls.end(0, Feedback::Answered, 10);
    calls.assert_limit(5.0);
}
