//! An endpoint that counts calls a second.

use super::*;

/// So many calls have been answered, one each 20 ms, and the next is one too many.
fn one_too_many() -> Calls {
    let mut calls = Calls::with_limit(20.0);
    for call in 0..50 {
        calls.run_alone(call * 20, Feedback::Answered, call * 20 + 10);
    }
    calls.run_alone(1000, Feedback::RateLimit, 1001);
    calls
}

#[test]
fn calls_are_paced_and_the_limit_stays() {
    let mut calls = one_too_many();
    calls.assert_limit(20.0);
    let Start::After(next) = calls.start(1002) else {
        panic!("calls are paced")
    };
    let gap = next - calls.at(1001);
    assert!(
        (20..=30).contains(&gap.as_millis()),
        "51 a second, less a fifth: {gap:?}"
    );
    calls.start_one(1030);
    calls.end(1030, Feedback::Answered, 1040);
    assert!(matches!(calls.start(1041), Start::After(_)), "from then on");
}

#[test]
fn what_is_told_is_what_the_pace_comes_to() {
    let calls = one_too_many();
    let told = calls.limiter.effective_limit(calls.at(1001));
    assert!((0.35..0.45).contains(&told), "41 a second, of 10 ms each: {told}");
    assert!(Calls::with_limit(20.0).limit.effective_limit(Instant::now()) > 19.9);
}

#[test]
fn while_nothing_comes_through_the_rate_stays() {
    let mut calls = one_too_many();
    for probe in 1..20 {
        calls.run_alone(probe * 3000, Feedback::RateLimit, probe * 3000 + 1);
    }
    assert!(calls.limiter.outage.is_down());
    // Two more, until that was clear; then time has passed.
    let rate = calls.limiter.pacer.calls_per_second(calls.at(60_000)).unwrap_or(f64::INFINITY);
    assert!(rate > 50.0, "{rate}");
}

#[test]
fn nothing_is_paced_where_the_limit_is_fixed() {
    let mut calls = Calls::new(20.0, false);
    calls.run_alone(0, Feedback::RateLimit, 1);
    calls.start_one(2);
}
