//! The stop rule: what lies behind a record that failed comes again in any case, so that no attempt starts for it.

use instream::endpoint::FaultKind;

use crate::support::{Does, Scenario};

const FAILED: [Does; 3] = [
    Does::FailAfter(5, FaultKind::Overload),
    Does::FailAfter(5, FaultKind::Unreachable),
    Does::FailAfter(5, FaultKind::Misconfigured),
];

#[tokio::test(start_paused = true)]
async fn a_record_has_failed_by_the_endpoints_fault() {
    for fails in FAILED {
        // Record 2 needs long and a second attempt; it lies before the one that fails.
        let ran = Scenario::of(100)
            .with("CAPACITY", "4")
            .with("MAX_ATTEMPTS", "2")
            .record(5, fails)
            .attempts(2, &[Does::FailAfter(500, FaultKind::Overload)])
            .run()
            .await;
        ran.comes_again_from(5);
        assert_eq!(ran.predicted, [0, 1, 2, 3, 4], "records before it go on");
        assert!(ran.seen.calls.len() < 50, "{} calls were made", ran.seen.calls.len());
        assert_eq!(ran.seen.in_flight, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_record_has_failed_by_what_may_be_its_own_fault() {
    let scenario = |memo_bytes| {
        let scenario = Scenario::of(100).with("CAPACITY", "4").with("MEMO_BYTES", memo_bytes);
        scenario.record(5, Does::FailAfter(5, FaultKind::Suspect))
    };
    let ran = scenario("16777216").run().await;
    ran.comes_again_from(5);
    assert_eq!(ran.predicted, [0, 1, 2, 3, 4]);
    assert_eq!(
        ran.seen.calls.len(),
        102,
        "the others go on: 5 alone had three attempts"
    );
    let ran = scenario("0").run().await;
    ran.comes_again_from(5);
    assert_eq!(ran.predicted, [0, 1, 2, 3, 4]);
    assert!(
        ran.seen.calls.len() < 90,
        "with the memo off, {} calls were made",
        ran.seen.calls.len()
    );
}

#[tokio::test(start_paused = true)]
async fn the_answer_does_not_wait_for_the_deadline_when_the_last_call_in_flight_has_failed() {
    for fails in FAILED {
        let scenario = Scenario::of(10).with("CAPACITY", "1").with("MAX_ATTEMPTS", "1");
        let ran = scenario.record(2, fails).run().await;
        ran.comes_again_from(2);
        assert!(ran.elapsed.as_millis() < 100, "{:?}", ran.elapsed);
    }
}

#[tokio::test(start_paused = true)]
async fn calls_in_flight_behind_a_failed_record_finish_and_are_not_repeated() {
    let ran = Scenario::of(20)
        .with("CAPACITY", "4")
        .with("RETRY_BASE_MS", "60000")
        .with("RETRY_CAP_MS", "60000")
        .record(0, Does::FailAfter(5, FaultKind::Misconfigured))
        .record(1, Does::PredictAfter(1000))
        .record(2, Does::FailAfter(500, FaultKind::Overload))
        .run()
        .await;
    ran.comes_again_from(0);
    assert_eq!(
        ran.elapsed.as_millis(),
        1000,
        "1 had its answer, and 2 waits for no other attempt"
    );
    // 3 was in flight beside them: no other took the place of 0.
    assert_eq!(ran.seen.calls, ["0", "1", "2", "3"]);
    assert_eq!(ran.seen.in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_its_next_attempt_behind_a_failed_record_has_none() {
    let ran = Scenario::of(4)
        .with("RETRY_BASE_MS", "60000")
        .with("RETRY_CAP_MS", "60000")
        .record(0, Does::FailAfter(5, FaultKind::Misconfigured))
        .record(1, Does::Fail(FaultKind::Overload))
        .run()
        .await;
    ran.comes_again_from(0);
    assert_eq!(ran.seen.attempts(1), 1);
    assert!(ran.elapsed.as_millis() < 100, "{:?}", ran.elapsed);
}

#[tokio::test(start_paused = true)]
async fn a_rejected_record_stops_what_is_behind_it_where_neither_dead_letter_nor_memo_keeps_anything() {
    for (memo_bytes, calls) in [("0", 4), ("16777216", 100)] {
        let scenario = Scenario::of(100).with("CAPACITY", "1").with("DEAD_LETTER", "");
        let scenario = scenario.with("MEMO_BYTES", memo_bytes);
        let ran = scenario.record(3, Does::Fail(FaultKind::Refused)).run().await;
        ran.comes_again_from(3);
        assert_eq!(ran.seen.calls.len(), calls);
    }
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_seen_before_more_calls_start() {
    let scenario = Scenario::of(100).with("CAPACITY", "100");
    let ran = scenario.record(0, Does::Fail(FaultKind::Misconfigured)).run().await;
    ran.comes_again_from(0);
    // Calls start in small groups: all but the first find out that they need not.
    assert!(ran.seen.calls.len() < 20, "{} calls were made", ran.seen.calls.len());
}
