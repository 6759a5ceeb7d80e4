//! Tests of an endpoint that is down.

use super::*;

const FAILURES: [Feedback; 2] = [Feedback::Overload, Feedback::Unreachable];
/// Interval between calls in milliseconds, longer than any interval between probes.
const CALL_INTERVAL_MS: u64 = 3000;

/// Lets `times` calls fail one after the other, at an endpoint that took 20 calls.
fn failed(times: u64, feedback: Feedback) -> Calls {
    let mut calls = Calls::with_limit(20.0);
    for ms in (0..times).map(|time| time * CALL_INTERVAL_MS) {
        calls.run(ms, feedback, ms + 1);
    }
    calls
}

fn is_down(calls: &Calls) -> bool {
    let limiter = &calls.limiter;
    limiter.failures_in_row >= DOWN_AFTER_FAILURES && limiter.in_flight == 0
}

#[test]
fn the_endpoint_is_down_after_eight_failed_calls_in_a_row() {
    for feedback in FAILURES {
        assert!(!is_down(&failed(7, feedback)), "{feedback:?}");
        let calls = failed(8, feedback);
        assert!(is_down(&calls), "{feedback:?}");
        calls.assert_limit(1.0);
    }
}

#[test]
fn only_a_response_other_than_a_timeout_interrupts_the_failed_calls() {
    for feedback in [Feedback::Answered, Feedback::OtherFault, Feedback::TimedOut] {
        let mut calls = failed(7, Feedback::Unreachable);
        calls.run(50_000, feedback, 50_001);
        calls.run(60_000, Feedback::Unreachable, 60_001);
        assert_eq!(is_down(&calls), feedback == Feedback::TimedOut, "{feedback:?}");
    }
}

#[test]
fn the_endpoint_is_not_down_while_another_call_is_in_flight() {
    for feedback in FAILURES {
        let mut calls = Calls::with_limit(20.0);
        calls.fill(0);
        (0..19).for_each(|_| calls.end(feedback, 1));
        assert!(!is_down(&calls), "{feedback:?}");
        calls.end(feedback, 2);
        assert!(is_down(&calls), "{feedback:?}");
    }
}

#[test]
fn during_an_outage_probes_run_one_at_a_time() {
    let mut calls = failed(8, Feedback::Unreachable);
    calls.start_one(100_000);
    assert_eq!(calls.start(100_000), Start::WhenFreed);
    assert_eq!(calls.start(200_000), Start::WhenFreed, "even if the probe takes long");
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
    let mut calls = failed(8, Feedback::Overload);
    let mut ms = 7 * CALL_INTERVAL_MS + 1;
    for longest in [50, 100, 200, 400, 800, 1600, 2000, 2000, 2000] {
        let interval = next_interval(&mut calls, ms);
        // The interval is random, so that processes probe at different times.
        let bounds = Duration::from_millis(longest / 2)..=Duration::from_millis(longest);
        assert!(bounds.contains(&interval), "{interval:?} is not in {bounds:?}");
        ms += longest + 1;
        calls.run(ms - 1, Feedback::Overload, ms);
    }
    (100_000..100_010).for_each(|ms| calls.run(ms, Feedback::Answered, ms));
    (0..8).for_each(|time| calls.run(200_000 + time * 3000, Feedback::Overload, 200_001 + time * 3000));
    assert!(
        next_interval(&mut calls, 221_001) <= Duration::from_millis(50),
        "after answers"
    );
}

#[test]
fn processes_with_the_same_outage_probe_at_different_times() {
    fastrand::seed(0);
    let mut intervals: Vec<_> = (0..100)
        .map(|_| next_interval(&mut failed(8, Feedback::Overload), 7 * CALL_INTERVAL_MS + 1))
        .collect();
    intervals.sort_unstable();
    intervals.dedup();
    assert_eq!(intervals.len(), 100);
}

#[test]
fn after_an_outage_each_answer_raises_the_limit_by_one_up_to_its_value_before() {
    for feedback in FAILURES {
        // The number of failed probes makes no difference.
        for times in [8, 9, 20] {
            let mut calls = failed(times, feedback);
            for answers in 1..=17_u32 {
                let ms = 100_000 + u64::from(answers);
                calls.fill(ms);
                calls.end(Feedback::Answered, ms + 1);
                calls.assert_limit(f64::from(1 + answers).min(18.0));
            }
        }
    }
}

#[test]
fn a_cancelled_probe_does_not_end_the_outage() {
    let mut calls = failed(8, Feedback::Overload);
    calls.start_one(50_000);
    calls.limiter.return_permit(false);
    assert!(is_down(&calls));
    calls.assert_limit(1.0);
}

#[test]
fn retry_after_holds_all_calls_until_a_response() {
    let mut calls = Calls::with_limit(20.0);
    calls.start_one(0);
    calls.run(0, Feedback::Overload, 1);
    calls.limiter.hold_off_until(calls.at(5000));
    assert_eq!(calls.start(4000), Start::After(calls.at(5000)));
    calls.end(Feedback::Answered, 4001);
    calls.start_one(4001);
    // Without a failure, there is nothing to hold for.
    calls.limiter.hold_off_until(calls.at(9000));
    calls.start_one(4002);
}
