//! Tests of an endpoint that limits the calls a second.

use super::*;

/// Lets 50 calls be answered, one every 20 ms, and the next one be throttled for the rate.
fn throttled_for_rate() -> Calls {
    let mut calls = Calls::with_limit(20.0);
    for call in 0..50 {
        calls.run_alone(call * 20, Feedback::Answered, call * 20 + 10);
    }
    calls.run_alone(1000, Feedback::RateLimit, 1001);
    calls
}

#[test]
fn calls_are_paced_and_the_limit_is_unchanged() {
    let mut calls = throttled_for_rate();
    calls.assert_limit(20.0);
    let Start::After(next) = calls.start(1002) else {
        panic!("calls are paced")
    };
    let gap = next - calls.at(1001);
    assert!(
        (20..=30).contains(&gap.as_millis()),
        "51 calls a second less a fifth: {gap:?}"
    );
    calls.start_one(1030);
    calls.end(1030, Feedback::Answered, 1040);
    assert!(matches!(calls.start(1041), Start::After(_)), "pacing continues");
}

#[test]
fn the_effective_limit_follows_from_the_rate() {
    let calls = throttled_for_rate();
    let limit = calls.limiter.effective_limit(calls.at(1001));
    assert!(
        (0.35..0.45).contains(&limit),
        "41 calls a second of 10 ms each: {limit}"
    );
    assert!(Calls::with_limit(20.0).limiter.effective_limit(Instant::now()) > 19.9);
}

#[test]
fn probes_during_an_outage_do_not_lower_the_rate() {
    let mut calls = throttled_for_rate();
    for probe in 1..20 {
        calls.run_alone(probe * 3000, Feedback::RateLimit, probe * 3000 + 1);
    }
    assert!(calls.limiter.outage.is_down());
    // Two more probes lowered the rate before the outage was detected. The rate then rose with time.
    let rate = calls
        .limiter
        .pacer
        .calls_per_second(calls.at(60_000))
        .unwrap_or(f64::INFINITY);
    assert!(rate > 50.0, "{rate}");
}

#[test]
fn calls_are_not_paced_if_the_limit_is_fixed() {
    let mut calls = Calls::new(20.0, false);
    calls.run_alone(0, Feedback::RateLimit, 1);
    calls.start_one(2);
}
