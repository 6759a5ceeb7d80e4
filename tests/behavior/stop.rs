//! The stop rule: records after a failed record are redelivered in any case, so no attempt starts for them.

use instream::outcome::FaultKind;

use crate::support::{Behavior, Scenario};
use crate::transport::NOT_READY;

const FAILED: [Behavior; 3] = [
    Behavior::FailAfter(5, FaultKind::Overload),
    Behavior::FailAfter(5, FaultKind::Unreachable),
    Behavior::FailAfter(5, FaultKind::Misconfigured),
];

#[tokio::test(start_paused = true)]
async fn a_record_has_failed_by_the_endpoints_fault() {
    for fails in FAILED {
        // Record 2 takes long and needs a second attempt. It comes before the records that fail.
        let mut scenario = Scenario::of(100)
            .with("CAPACITY", "4")
            .with("MAX_ATTEMPTS", "2")
            .attempts(2, &[Behavior::FailAfter(500, FaultKind::Overload)]);
        for number in 5..100 {
            scenario = scenario.record(number, fails);
        }
        let ran = scenario.run().await;
        ran.assert_redelivered_from(5);
        assert_eq!(ran.predicted, [0, 1, 2, 3, 4], "records before it go on");
        assert!(ran.seen.calls.len() < 50, "{} calls were made", ran.seen.calls.len());
        assert_eq!(ran.seen.in_flight, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_record_has_failed_while_the_endpoint_answers_others() {
    let faults = [
        Behavior::FailAfter(5, FaultKind::Overload),
        Behavior::FailAfter(5, FaultKind::Unreachable),
    ];
    for fails in faults.into_iter().chain(NOT_READY) {
        let running = Scenario::of(0).with("CAPACITY", "4").record(5, fails).start();
        let response = running.invoke(0..100).await.unwrap();
        let ran = running.finish(response);
        ran.assert_redelivered_from(5);
        let others = (0..100).filter(|number| *number != 5);
        assert!(
            others.into_iter().all(|number| ran.seen.attempts(number) == 1),
            "{fails:?}: the others go on"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_record_has_failed_because_its_own_model_is_not_ready() {
    for fails in NOT_READY {
        let running = Scenario::of(0)
            .with("CONTENT_TYPE", "text/csv")
            .with("TARGET_MODEL", "$[0]")
            .with("CAPACITY", "1")
            .record(5, fails)
            .start();
        let response = running.invoke(0..20).await.unwrap();
        let ran = running.finish(response);
        ran.assert_redelivered_from(5);
        assert!((6..20).all(|number| ran.seen.attempts(number) == 1), "the others go on");
    }
}

#[tokio::test(start_paused = true)]
async fn a_record_has_failed_by_what_may_be_its_own_fault() {
    let scenario = |memo_bytes| {
        let scenario = Scenario::of(100).with("CAPACITY", "4").with("MEMO_BYTES", memo_bytes);
        scenario.record(5, Behavior::FailAfter(5, FaultKind::Suspect))
    };
    let ran = scenario("16777216").run().await;
    ran.assert_redelivered_from(5);
    assert_eq!(ran.predicted, [0, 1, 2, 3, 4]);
    assert_eq!(
        ran.seen.calls.len(),
        102,
        "the others go on, and only record 5 had three attempts"
    );
    let ran = scenario("0").run().await;
    ran.assert_redelivered_from(5);
    assert_eq!(ran.predicted, [0, 1, 2, 3, 4]);
    assert!(
        ran.seen.calls.len() < 90,
        "with the memo off, {} calls were made",
        ran.seen.calls.len()
    );
}

#[tokio::test(start_paused = true)]
async fn the_response_does_not_wait_for_the_deadline_when_the_last_call_in_flight_has_failed() {
    for fails in FAILED {
        let scenario = Scenario::of(10).with("CAPACITY", "1").with("MAX_ATTEMPTS", "1");
        let ran = scenario.record(2, fails).run().await;
        ran.assert_redelivered_from(2);
        assert!(ran.elapsed.as_millis() < 100, "{:?}", ran.elapsed);
    }
}

#[tokio::test(start_paused = true)]
async fn calls_in_flight_after_a_failed_record_finish_and_are_not_retried() {
    let ran = Scenario::of(20)
        .with("CAPACITY", "4")
        .with("RETRY_BASE_MS", "60000")
        .with("RETRY_CAP_MS", "60000")
        .record(0, Behavior::FailAfter(5, FaultKind::Misconfigured))
        .record(1, Behavior::PredictAfter(1000))
        .record(2, Behavior::FailAfter(500, FaultKind::Overload))
        .run()
        .await;
    ran.assert_redelivered_from(0);
    assert_eq!(
        ran.elapsed.as_millis(),
        1000,
        "record 1 was answered, and record 2 waits for no retry"
    );
    // Record 3 was in flight as well. No other record started when record 0 failed.
    assert_eq!(ran.seen.calls, ["0", "1", "2", "3"]);
    assert_eq!(ran.seen.in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn a_record_that_waits_for_a_retry_after_a_failed_record_is_not_retried() {
    let ran = Scenario::of(4)
        .with("RETRY_BASE_MS", "60000")
        .with("RETRY_CAP_MS", "60000")
        .record(0, Behavior::FailAfter(5, FaultKind::Misconfigured))
        .record(1, Behavior::Fail(FaultKind::Overload))
        .run()
        .await;
    ran.assert_redelivered_from(0);
    assert_eq!(ran.seen.attempts(1), 1);
    assert!(ran.elapsed.as_millis() < 100, "{:?}", ran.elapsed);
}

#[tokio::test(start_paused = true)]
async fn without_dead_letter_and_memo_a_rejected_record_stops_the_records_after_it() {
    for (memo_bytes, calls) in [("0", 9), ("16777216", 103)] {
        let scenario = Scenario::of(100).with("CAPACITY", "1").with("DEAD_LETTER", "");
        let scenario = scenario.with("MEMO_BYTES", memo_bytes);
        let ran = scenario.record(3, Behavior::Fail(FaultKind::Refused)).run().await;
        ran.assert_redelivered_from(3);
        assert_eq!(ran.seen.calls.len(), calls);
    }
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_noticed_before_more_calls_start() {
    let scenario = Scenario::of(100).with("CAPACITY", "100");
    let ran = scenario.record(0, Behavior::Fail(FaultKind::Misconfigured)).run().await;
    ran.assert_redelivered_from(0);
    // Calls start in small groups. The failure stops all groups after the first.
    assert!(ran.seen.calls.len() < 20, "{} calls were made", ran.seen.calls.len());
}

#[tokio::test(start_paused = true)]
async fn a_record_after_a_failed_record_has_no_last_attempt() {
    let ran = Scenario::of(3)
        .with("CAPACITY", "2")
        .record(0, Behavior::FailAfter(20, FaultKind::Misconfigured))
        .record(1, Behavior::FailAfter(5, FaultKind::Refused))
        .record(2, Behavior::PredictAfter(50))
        .run()
        .await;
    ran.assert_redelivered_from(0);
    assert_eq!(
        ran.seen.calls,
        ["0", "1", "2"],
        "record 2 is evidence, but too late for record 1"
    );
}

#[tokio::test(start_paused = true)]
async fn an_overloaded_container_is_not_called_with_the_records_after_one_that_may_be_given_up() {
    let scenario = Scenario::of(0).with("CAPACITY", "1").with("GIVE_UP_AFTER_S", "0");
    let running = scenario.with("MAX_ATTEMPTS", "2").start();
    running.take_down(Behavior::ContainerOverload);
    let response = running.invoke(0..50).await.unwrap();
    let ran = running.finish(response);
    ran.assert_redelivered_from(0);
    assert_eq!(ran.seen.calls, ["0"]);
}
