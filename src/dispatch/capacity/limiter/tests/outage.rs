//! An endpoint that is down.

use super::*;

const NOTHING: [Feedback; 2] = [Feedback::Overload, Feedback::Unreachable];
/// Longer than any pause, in milliseconds.
const APART: u64 = 3000;

/// So many calls fail one after the other, at an endpoint that took 20 calls.
fn failed(times: u64, feedback: Feedback) -> Calls {
    let mut calls = Calls::with_limit(20.0);
    for time in 0..times {
        calls.run_alone(time * APART, feedback, time * APART + 1);
    }
    calls
}

fn is_down(calls: &Calls) -> bool {
    calls.limiter.outage.is_down()
}

#[test]
fn three_calls_in_a_row_without_an_answer_show_that_it_is_down() {
    for feedback in NOTHING {
        assert!(!is_down(&failed(2, feedback)), "{feedback:?}");
        let calls = failed(3, feedback);
        assert!(is_down(&calls), "{feedback:?}");
        calls.assert_limit(1.0);
    }
}

#[test]
fn anything_else_between_them_shows_that_it_is_not() {
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
fn a_timeout_between_them_shows_nothing() {
    let mut calls = failed(2, Feedback::Unreachable);
    calls.run_alone(7000, Feedback::TimedOut, 7500);
    assert!(!is_down(&calls));
    calls.run_alone(9000, Feedback::Unreachable, 9001);
    assert!(is_down(&calls));
}

#[test]
fn while_another_is_in_flight_it_is_not_known_to_be_down() {
    for feedback in NOTHING {
        let mut calls = Calls::with_limit(20.0);
        (0..4).for_each(|_| calls.start_one(0));
        (0..3).for_each(|_| calls.end(0, feedback, 1));
        assert!(!is_down(&calls), "{feedback:?}");
        calls.end(0, feedback, 2);
        assert!(is_down(&calls), "{feedback:?}");
    }
}

#[test]
fn calls_ask_one_by_one_whether_it_is_back() {
    let mut calls = failed(3, Feedback::Unreachable);
    calls.start_one(10_000);
    assert_eq!(calls.start(10_000), Start::WhenFreed);
    assert_eq!(calls.start(100_000), Start::WhenFreed, "however long that takes");
}

/// The pause that now comes first.
#[track_caller]
fn pause(calls: &mut Calls, ms: u64) -> Duration {
    let Start::After(moment) = calls.start(ms) else {
        panic!("a pause comes first");
    };
    moment - calls.at(ms)
}

#[test]
fn they_ask_up_to_two_seconds_apart() {
    let mut calls = failed(3, Feedback::Overload);
    let mut ms = 6001;
    for longest in [50, 100, 200, 400, 800, 1600, 2000, 2000, 2000] {
        let pause = pause(&mut calls, ms);
        // Drawn, so that processes ask at different times.
        let bounds = Duration::from_millis(longest / 2)..=Duration::from_millis(longest);
        assert!(bounds.contains(&pause), "{pause:?} is not in {bounds:?}");
        ms += longest + 1;
        calls.run_alone(ms - 1, Feedback::Overload, ms);
    }
}

#[test]
fn processes_that_went_quiet_together_ask_at_different_times() {
    fastrand::seed(0);
    let mut pauses: Vec<_> = (0..100).map(|_| pause(&mut failed(3, Feedback::Overload), 6001)).collect();
    pauses.sort_unstable();
    pauses.dedup();
    assert_eq!(pauses.len(), 100);
}

/// The endpoint is back, and has all the calls that it may have. Returns the limit after so many answers, each followed
/// by new calls.
fn answered(calls: &mut Calls, answers: u64) -> f64 {
    for ms in 100_000..100_000 + answers {
        calls.fill(ms);
        calls.end(ms, Feedback::Answered, ms + 1);
    }
    calls.limiter.limit()
}

#[test]
fn each_answer_raises_it_by_one() {
    for feedback in NOTHING {
        // However often it was asked in vain.
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
fn up_to_where_it_was() {
    for feedback in NOTHING {
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
fn or_to_half_of_what_it_was_before_the_first_overload() {
    let mut calls = Calls::with_limit(20.0);
    calls.fill(0);
    (0..17).for_each(|_| calls.end(0, Feedback::Overload, 1));
    // An answer, to settle at four; the rest fails as well.
    calls.end(0, Feedback::Answered, 2);
    calls.assert_limit(4.0);
    (0..2).for_each(|_| calls.end(0, Feedback::Overload, 3));
    calls.run_alone(1003, Feedback::Overload, 1004);
    assert!(is_down(&calls));
    let limit = answered(&mut calls, 10);
    assert!((10.0..11.0).contains(&limit), "{limit}");
}

#[test]
fn ten_in_a_row_leave_no_hope_until_something_comes_back() {
    assert!(!failed(9, Feedback::Unreachable).limit.is_confirmed_down());
    let mut calls = failed(10, Feedback::Unreachable);
    assert!(calls.limiter.is_confirmed_down());
    calls.run_alone(50_000, Feedback::OtherFault, 50_001);
    assert!(!calls.limiter.is_confirmed_down());
}

#[test]
fn a_call_that_was_cut_does_not_tell_that_it_is_back() {
    let mut calls = failed(10, Feedback::Overload);
    calls.start_one(50_000);
    calls.limiter.return_permit(false);
    assert!(is_down(&calls) && calls.limiter.is_confirmed_down());
    calls.assert_limit(1.0);
}

#[test]
fn ten_in_a_row_beside_one_that_is_still_in_flight_leave_hope() {
    let mut calls = Calls::with_limit(20.0);
    (0..12).for_each(|_| calls.start_one(0));
    (0..11).for_each(|_| calls.end(0, Feedback::Unreachable, 1));
    assert!(!calls.limiter.is_confirmed_down());
}

#[test]
fn the_pauses_are_short_again_when_it_is_back() {
    let mut calls = failed(20, Feedback::Overload);
    for answer in 0..10 {
        calls.run_alone(100_000 + answer * 100, Feedback::Answered, 100_020 + answer * 100);
    }
    for ms in [200_000, 203_000, 206_000] {
        calls.run_alone(ms, Feedback::Overload, ms + 1);
    }
    assert!(is_down(&calls));
    assert!(pause(&mut calls, 206_001) <= Duration::from_millis(50));
}
