//! Tests of frequent timeouts, which lower the limit.

use super::*;

/// Lets `times` of the calls in flight time out together.
fn timed_out(calls: &mut Calls, times: usize, began: u64) {
    (0..times).for_each(|_| calls.end(began, Feedback::TimedOut, began + 30_000));
}

#[test]
fn timeouts_lower_the_limit_by_a_tenth_if_they_are_a_quarter_of_the_latest_calls() {
    // With smoothing over 64 calls, 18 timeouts in a row are less than a quarter, and 19 are more.
    let mut calls = Calls::with_limit(50.0);
    calls.fill(0);
    timed_out(&mut calls, 18, 0);
    calls.assert_limit(50.0);
    timed_out(&mut calls, 1, 0);
    calls.assert_limit(45.0);
    // Timeouts of calls that began before the decrease do not count.
    timed_out(&mut calls, 31, 0);
    calls.assert_limit(45.0);
    calls.fill(40_000);
    timed_out(&mut calls, 1, 40_000);
    calls.assert_limit(40.5);
}

#[test]
fn timeouts_lower_the_limit_to_one_and_hold_no_call() {
    let mut calls = Calls::with_limit(20.0);
    for round in 0..100 {
        let ms = round * 40_000;
        let in_flight = calls.fill(ms);
        timed_out(&mut calls, in_flight, ms);
        assert!(!calls.limiter.outage.is_held());
    }
    calls.assert_limit(1.0);
    assert!(!calls.limiter.is_confirmed_down());
}

#[test]
fn an_answer_does_not_raise_the_limit_while_many_calls_time_out() {
    let mut calls = Calls::with_limit(50.0);
    calls.fill(0);
    timed_out(&mut calls, 25, 0);
    (0..25).for_each(|_| calls.end(0, Feedback::Answered, 30_000));
    let mut ms = 40_000;
    for _ in 0..50 {
        if calls.limiter.timeout_share < TIMEOUT_SHARE_THRESHOLD {
            break;
        }
        calls.fill(ms);
        calls.end(ms, Feedback::Answered, ms + 10);
        ms += 10;
    }
    calls.assert_limit(45.0);
}

#[test]
fn while_many_calls_time_out_no_spare_call_starts_for_a_second() {
    let mut calls = Calls::with_limit(50.0);
    calls.fill(0);
    timed_out(&mut calls, 19, 0);
    assert!(!calls.limiter.try_start_hedge(calls.at(30_999)));
    assert!(calls.limiter.try_start_hedge(calls.at(31_000)));
}

#[test]
fn one_hanging_record_does_not_lower_the_limit() {
    for others in [5, 10, 50] {
        let mut calls = Calls::with_limit(20.0);
        calls.start_one(0);
        for batch in 0..100 {
            let begins = batch * 1000;
            for _ in 0..others {
                calls.run_alone(begins, Feedback::Answered, begins + 10);
            }
            calls.end(begins, Feedback::TimedOut, begins + 999);
            calls.start_one(begins + 1000);
        }
        calls.assert_limit(20.0);
    }
}

#[test]
fn one_hanging_record_that_is_redelivered_often_lowers_the_limit_to_one_at_most() {
    let mut calls = Calls::with_limit(20.0);
    for delivery in 0..200 {
        calls.run_alone(delivery * 60_000, Feedback::TimedOut, delivery * 60_000 + 30_000);
    }
    calls.assert_limit(1.0);
}
