//! Tests of an endpoint that is down.

use super::*;

const FAILURES: [Feedback; 2] = [Feedback::Overload, Feedback::Unreachable];
/// Interval between calls in milliseconds, longer than any interval between probes.
const CALL_INTERVAL_MS: u64 = 3000;

/// Lets `times` calls fail one after the other, at an endpoint that took 20 calls.
fn failed(times: u64, feedback: Feedback) -> Calls {
    let mut calls = Calls::with_limit(20.0);
    for time in 0..times {
        calls.run_alone(time * CALL_INTERVAL_MS, feedback, time * CALL_INTERVAL_MS + 1);
    }
    calls
}

fn is_down(calls: &Calls) -> bool {
    calls.limiter.outage.is_down()
}

#[test]
fn the_endpoint_is_down_after_three_failed_calls_in_a_row() {
    for feedback in FAILURES {
        assert!(!is_down(&failed(2, feedback)), "{feedback:?}");
        let calls = failed(3, feedback);
        assert!(is_down(&calls), "{feedback:?}");
        calls.assert_limit(1.0);
    }
}

#[test]
fn another_response_in_between_means_that_the_endpoint_is_not_down() {
    for feedback in [Feedback::Answered, Feedback::OtherFault] {
        let mut calls = failed(2, Feedback::Unreachable);
        calls.run_alone(7000, feedback, 7001);
        calls.run_alone(8000, Feedback::Unreachable, 8001);
        calls.run_alone(9000, Feedback::Unreachable, 9001);
        assert!(!is_down(&calls), "{feedback:?}");
        calls.assert_limit(20.0);
    }
}

#[test]
fn a_timeout_in_between_does_not_interrupt_the_failed_calls() {
    let mut calls = failed(2, Feedback::Unreachable);
    calls.run_alone(7000, Feedback::TimedOut, 7500);
    assert!(!is_down(&calls));
    calls.run_alone(9000, Feedback::Unreachable, 9001);
    assert!(is_down(&calls));
}

#[test]
fn the_endpoint_is_not_down_while_another_call_is_in_flight() {
    for feedback in FAILURES {
        let mut calls = Calls::with_limit(20.0);
        (0..4).for_each(|_| calls.start_one(0));
        (0..3).for_each(|_| calls.end(0, feedback, 1));
        assert!(!is_down(&calls), "{feedback:?}");
        calls.end(0, feedback, 2);
        assert!(is_down(&calls), "{feedback:?}");
    }
}

#[test]
fn during_an_outage_probes_run_one_at_a_time() {
    let mut calls = failed(3, Feedback::Unreachable);
    calls.start_one(10_000);
    assert_eq!(calls.start(10_000), Start::WhenFreed);
    assert_eq!(calls.start(100_000), Start::WhenFreed, "even if the probe takes long");
}

/// Returns the time until the next call may start.
#[track_caller]
fn next_interval(calls: &mut Calls, ms: u64) -> Duration {
    let Start::After(moment) = calls.start(ms) else {
        panic!("a probe waits first");
    };
    moment - calls.at(ms)
}

#[test]
fn the_interval_between_probes_grows_to_two_seconds() {
    let mut calls = failed(3, Feedback::Overload);
    let mut ms = 6001;
    for longest in [50, 100, 200, 400, 800, 1600, 2000, 2000, 2000] {
        let interval = next_interval(&mut calls, ms);
        // The interval is random, so that processes probe at different times.
        let bounds = Duration::from_millis(longest / 2)..=Duration::from_millis(longest);
        assert!(bounds.contains(&interval), "{interval:?} is not in {bounds:?}");
        ms += longest + 1;
        calls.run_alone(ms - 1, Feedback::Overload, ms);
    }
}

#[test]
fn processes_with_the_same_outage_probe_at_different_times() {
    fastrand::seed(0);
    let mut intervals: Vec<_> = (0..100)
        .map(|_| next_interval(&mut failed(3, Feedback::Overload), 6001))
        .collect();
    intervals.sort_unstable();
    intervals.dedup();
    assert_eq!(intervals.len(), 100);
}

/// Ends the outage and starts as many calls as the limiter allows. Returns the limit after `answers` answers, with new
/// calls before each of them.
fn answered(calls: &mut Calls, answers: u64) -> f64 {
    for ms in 100_000..100_000 + answers {
        calls.fill(ms);
        calls.end(ms, Feedback::Answered, ms + 1);
    }
    calls.limiter.limit()
}

#[test]
fn after_an_outage_each_answer_raises_the_limit_by_one() {
    for feedback in FAILURES {
        // The number of failed probes makes no difference.
        for times in [3, 4, 20] {
            for (answers, expected) in [(0, 1.0), (1, 2.0), (2, 3.0), (5, 6.0), (9, 10.0)] {
                let mut calls = failed(times, feedback);
                answered(&mut calls, answers);
                calls.assert_limit(expected);
            }
        }
    }
}

#[test]
fn the_limit_recovers_to_its_value_before_the_outage() {
    for feedback in FAILURES {
        let mut calls = failed(20, feedback);
        answered(&mut calls, 18);
        calls.assert_limit(19.0);
        answered(&mut calls, 1);
        calls.assert_limit(20.0);
        calls.fill(300_000);
        calls.end(300_000, Feedback::Answered, 300_001);
        calls.assert_limit(20.8);
    }
}

#[test]
fn the_limit_recovers_to_half_of_its_value_before_the_first_overload() {
    let mut calls = Calls::with_limit(20.0);
    calls.fill(0);
    (0..17).for_each(|_| calls.end(0, Feedback::Overload, 1));
    // An answer caps the limit at four. The remaining calls fail as well.
    calls.end(0, Feedback::Answered, 2);
    calls.assert_limit(4.0);
    (0..2).for_each(|_| calls.end(0, Feedback::Overload, 3));
    calls.run_alone(1003, Feedback::Overload, 1004);
    assert!(is_down(&calls));
    let limit = answered(&mut calls, 10);
    assert!((10.0..11.0).contains(&limit), "{limit}");
}

#[test]
fn ten_failed_calls_in_a_row_confirm_the_outage_until_a_response_arrives() {
    assert!(!failed(9, Feedback::Unreachable).limiter.is_confirmed_down());
    let mut calls = failed(10, Feedback::Unreachable);
    assert!(calls.limiter.is_confirmed_down());
    calls.run_alone(50_000, Feedback::OtherFault, 50_001);
    assert!(!calls.limiter.is_confirmed_down());
}

#[test]
fn a_cancelled_probe_does_not_end_the_outage() {
    let mut calls = failed(10, Feedback::Overload);
    calls.start_one(50_000);
    calls.limiter.return_permit(false);
    assert!(is_down(&calls) && calls.limiter.is_confirmed_down());
    calls.assert_limit(1.0);
}

#[test]
fn ten_failed_calls_do_not_confirm_an_outage_while_another_is_in_flight() {
    let mut calls = Calls::with_limit(20.0);
    (0..12).for_each(|_| calls.start_one(0));
    (0..11).for_each(|_| calls.end(0, Feedback::Unreachable, 1));
    assert!(!calls.limiter.is_confirmed_down());
}

#[test]
fn the_interval_between_probes_is_short_again_after_answers() {
    let mut calls = failed(20, Feedback::Overload);
    for answer in 0..10 {
        calls.run_alone(100_000 + answer * 100, Feedback::Answered, 100_020 + answer * 100);
    }
    for ms in [200_000, 203_000, 206_000] {
        calls.run_alone(ms, Feedback::Overload, ms + 1);
    }
    assert!(is_down(&calls));
    assert!(next_interval(&mut calls, 206_001) <= Duration::from_millis(50));
}
