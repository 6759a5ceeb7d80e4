//! Tests of frequent timeouts, which lower the limit.

use super::*;

/// Lets `times` of the calls in flight time out together.
fn time_out(calls: &mut Calls, times: usize, ms: u64) {
    (0..times).for_each(|_| calls.end(Feedback::TimedOut, ms));
}

#[test]
fn timeouts_lower_the_limit_by_a_tenth_if_they_are_a_quarter_of_the_latest_calls() {
    // With smoothing over 64 calls, 18 timeouts in a row are less than a quarter, and 19 are more.
    let mut calls = Calls::with_limit(50.0);
    calls.fill(0);
    time_out(&mut calls, 18, 30_000);
    calls.assert_limit(50.0);
    time_out(&mut calls, 1, 30_000);
    calls.assert_limit(45.0);
    // Timeouts of calls that began before the decrease do not count.
    time_out(&mut calls, 31, 30_000);
    calls.assert_limit(45.0);
    calls.fill(40_000);
    time_out(&mut calls, 1, 70_000);
    calls.assert_limit(40.5);
}

#[test]
fn timeouts_lower_the_limit_to_one_and_hold_no_call() {
    let mut calls = Calls::with_limit(20.0);
    for round in 0..100 {
        let in_flight = calls.fill(round * 40_000);
        time_out(&mut calls, in_flight, round * 40_000 + 30_000);
        assert!(calls.limiter.held_until.is_none());
    }
    calls.assert_limit(1.0);
    assert!(calls.limiter.failures_in_row < DOWN_AFTER_FAILURES);
}

#[test]
fn an_answer_does_not_raise_the_limit_while_many_calls_time_out() {
    let mut calls = Calls::with_limit(50.0);
    calls.fill(0);
    time_out(&mut calls, 25, 30_000);
    calls.end_all(Feedback::Answered, 30_000);
    let mut ms = 40_000;
    while calls.limiter.timeout_share >= TIMEOUT_SHARE_THRESHOLD {
        calls.assert_limit(45.0);
        calls.fill(ms);
        calls.end(Feedback::Answered, ms + 10);
        ms += 10;
    }
}

#[test]
fn while_many_calls_time_out_no_spare_call_starts_for_a_second() {
    let mut calls = Calls::with_limit(50.0);
    calls.fill(0);
    time_out(&mut calls, 19, 30_000);
    assert!(!calls.starts_hedge(30_999));
    assert!(calls.starts_hedge(31_000));
}

#[test]
fn one_hanging_record_in_a_few_does_not_lower_the_limit_and_alone_lowers_it_to_one_at_most() {
    for (others, expected) in [(5, 20.0), (50, 20.0), (0, 1.0)] {
        let mut calls = Calls::with_limit(20.0);
        for ms in (0..200).map(|batch| batch * 60_000) {
            calls.start_one(ms);
            let hanging = calls.in_flight.pop().unwrap();
            (0..others).for_each(|_| calls.run(ms, Feedback::Answered, ms + 10));
            calls.in_flight.push(hanging);
            calls.end(Feedback::TimedOut, ms + 30_000);
        }
        calls.assert_limit(expected);
    }
}
