//! Tests of cancelled and hedged calls.

use super::*;

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
fn a_hedged_call_starts_only_within_the_limit_and_a_second_after_an_overload() {
    for is_adaptive in [true, false] {
        let mut calls = Calls::new(100.0, is_adaptive);
        assert!(calls.starts_hedge(0));
        calls.start_one(0);
        calls.run(0, Feedback::Overload, 1);
        calls.end(Feedback::Answered, 2);
        assert!(!calls.starts_hedge(1000), "{is_adaptive}");
        assert!(calls.starts_hedge(1001), "{is_adaptive}");
        calls.fill(1002);
        assert!(!calls.starts_hedge(1002), "{is_adaptive}");
    }
}

#[test]
fn no_hedged_call_starts_during_a_hold_or_with_a_limit_below_one() {
    let mut calls = Calls::with_limit(20.0);
    calls.run(0, Feedback::Unreachable, 1);
    assert!(!calls.starts_hedge(5000));
    let mut calls = Calls::with_limit(0.9);
    assert!(!calls.starts_hedge(5000));
}

#[test]
fn a_hedged_call_is_no_reason_to_raise_the_limit() {
    let mut calls = Calls::with_limit(5.0);
    (0..4).for_each(|_| calls.start_one(0));
    assert!(calls.starts_hedge(5));
    calls.end(Feedback::Answered, 10);
    calls.assert_limit(5.0);
}

#[test]
fn first_calls_leave_room_for_the_hedged_calls_that_wait() {
    let mut calls = Calls::with_limit(20.0);
    (0..3).for_each(|_| calls.limiter.begin_hedge_wait());
    assert_eq!((calls.fill(0), calls.start(0)), (17, Start::WhenFreed));
    calls.limiter.end_hedge_wait();
    assert_eq!(calls.fill(1), 1);
    assert!(calls.starts_hedge(2) && calls.starts_hedge(2));
    assert!(!calls.starts_hedge(2), "the limit is reached");
}

#[test]
fn first_calls_leave_no_room_while_no_hedged_call_may_start() {
    let mut calls = Calls::new(100.0, false);
    calls.run(0, Feedback::Overload, 1);
    (0..3).for_each(|_| calls.limiter.begin_hedge_wait());
    assert_eq!(calls.fill(1000), 100);
    calls.end_all(Feedback::Answered, 1000);
    assert_eq!(calls.fill(1001), 97);
    let mut calls = Calls::with_limit(20.0);
    calls.run(0, Feedback::Unreachable, 1);
    calls.limiter.limit = 1.0;
    calls.limiter.begin_hedge_wait();
    // This call probes the endpoint.
    calls.start_one(5000);
}

#[test]
fn room_for_a_hedged_call_is_no_reason_to_raise_the_limit() {
    let mut calls = Calls::with_limit(5.0);
    calls.limiter.begin_hedge_wait();
    assert_eq!(calls.fill(0), 4);
    calls.end(Feedback::Answered, 10);
    calls.assert_limit(5.0);
}
