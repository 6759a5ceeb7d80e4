//! Tests of an endpoint that limits the calls a second.

use super::*;

/// Starts with 20 calls a round trip of 100 ms, of which one is throttled for the rate: 120 calls a second.
fn paced() -> Calls {
    let mut calls = Calls::with_limit(20.0);
    calls.fill(0);
    calls.end(Feedback::Answered, 100);
    calls.limiter.limit = 20.0;
    calls.end(Feedback::RateLimit, 101);
    calls.end_all(Feedback::OtherFault, 102);
    calls
}

#[test]
fn a_call_throttled_for_the_rate_lowers_the_rate_by_two_fifths_and_not_the_limit() {
    let mut calls = paced();
    assert!((calls.limiter.limit - 20.0).abs() < 1e-9);
    // The calls in flight that result from the rate.
    calls.assert_limit(12.0);
    calls.start_one(200);
    let Start::After(next) = calls.start(200) else {
        panic!("the next call waits");
    };
    assert_eq!((next - calls.at(200)).as_micros(), 8333);
}

#[test]
fn answers_raise_the_rate_until_only_the_limit_counts() {
    let mut calls = paced();
    for call in 2..2000 {
        calls.run(call * 100, Feedback::Answered, call * 100 + 100);
    }
    calls.assert_limit(20.0);
    assert_eq!(calls.fill(300_000), 20);
}
