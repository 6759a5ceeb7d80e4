//! Timeouts lower it where they are many.

use super::*;

/// So many calls of those that may be in flight time out together.
fn timed_out(calls: &mut Calls, times: usize, began: u64) {
    (0..times).for_each(|_| calls.end(began, Feedback::TimedOut, began + 30_000));
}

#[test]
fn timeouts_lower_it_by_a_tenth_where_they_are_a_quarter_of_the_latest_calls() {
    // Eighteen calls in a row are less than a quarter of 64, smoothed; nineteen are more.
    let mut calls = Calls::with_limit(50.0);
    calls.fill(0);
    timed_out(&mut calls, 18, 0);
    calls.assert_limit(50.0);
    timed_out(&mut calls, 1, 0);
    calls.assert_limit(45.0);
    // Those that began before say nothing more.
    timed_out(&mut calls, 31, 0);
    calls.assert_limit(45.0);
    calls.fill(40_000);
    timed_out(&mut calls, 1, 40_000);
    calls.assert_limit(40.5);
}

#[test]
fn timeouts_lower_it_to_one_and_hold_up_nothing() {
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
fn while_many_time_out_an_answer_does_not_raise_it() {
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
fn as_after_an_overload_there_is_no_spare_call_while_many_time_out() {
    let mut calls = Calls::with_limit(50.0);
    calls.fill(0);
    timed_out(&mut calls, 19, 0);
    assert!(!calls.limiter.try_start_spare(calls.at(30_999)));
    assert!(calls.limiter.try_start_spare(calls.at(31_000)));
}

#[test]
fn one_record_that_hangs_lowers_nothing() {
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
fn one_record_that_hangs_and_comes_again_and_again_lowers_it_no_further_than_to_one() {
    let mut calls = Calls::with_limit(20.0);
    for delivery in 0..200 {
        calls.run_alone(delivery * 60_000, Feedback::TimedOut, delivery * 60_000 + 30_000);
    }
    calls.assert_limit(1.0);
}
