//! Tests of cancelled and spare calls.

use super::*;

fn is_spare(calls: &mut Calls, ms: u64) -> bool {
    calls.limiter.try_start_hedge(calls.at(ms)).is_some()
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
        assert!(is_spare(&mut calls, 0));
        calls.start_one(0);
        calls.run(0, Feedback::Overload, 1);
        calls.end(Feedback::Answered, 2);
        assert!(!is_spare(&mut calls, 1000), "{is_adaptive}");
        assert!(is_spare(&mut calls, 1001), "{is_adaptive}");
        calls.fill(1002);
        assert!(!is_spare(&mut calls, 1002), "{is_adaptive}");
    }
}

#[test]
fn no_spare_call_starts_during_a_hold_or_with_a_limit_below_one() {
    let mut calls = Calls::with_limit(20.0);
    calls.run(0, Feedback::Unreachable, 1);
    assert!(!is_spare(&mut calls, 5000));
    let mut calls = Calls::with_limit(0.9);
    assert!(!is_spare(&mut calls, 5000));
}

#[test]
fn a_spare_call_is_no_reason_to_raise_the_limit() {
    let mut calls = Calls::with_limit(5.0);
    (0..4).for_each(|_| calls.start_one(0));
    assert!(is_spare(&mut calls, 5));
    calls.end(Feedback::Answered, 10);
    calls.assert_limit(5.0);
}
