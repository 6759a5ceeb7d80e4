//! The give-up rule: one bad record does not block the shard forever, and an outage dead-letters nothing.

use std::time::Duration;

use instream::outcome::FaultKind;
use serde_json::json;
use tokio::time::advance;

use crate::support::{Behavior, Running, Scenario};
use crate::transport::MISSING_MODEL;

const SUSPECT: [Behavior; 3] = [Behavior::Fail(FaultKind::Suspect), Behavior::Hang, Behavior::Panic];

/// Returns a scenario whose records arrived an hour before the handler starts.
fn old() -> Scenario {
    Scenario::of(0).with("GIVE_UP_AFTER_S", "3600").record_age(3600.0)
}

fn named(response: &serde_json::Value) -> Option<&str> {
    response["batchItemFailures"][0]["itemIdentifier"].as_str()
}

#[tokio::test(start_paused = true)]
async fn a_record_keeps_failing_beyond_give_up_after_s() {
    for behavior in SUSPECT {
        let running = old().record(5, behavior).start();
        assert_eq!(
            named(&running.invoke(0..10).await.unwrap()),
            Some("5"),
            "it has not failed before"
        );
        let response = running.invoke(5..10).await.unwrap();
        let ran = running.finish(response);
        ran.assert_finished();
        assert_eq!(ran.dead_lettered, [5], "{behavior:?}");
        assert_eq!(ran.predicted, [0, 1, 2, 3, 4, 6, 7, 8, 9]);
        let attempts = ran.seen.attempts(5);
        assert!(
            attempts <= 8,
            "MAX_ATTEMPTS in each delivery, and two more last attempts: {attempts}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn with_give_up_after_s_of_zero_the_first_delivery_may_give_up() {
    for behavior in SUSPECT {
        let scenario = Scenario::of(10).with("GIVE_UP_AFTER_S", "0");
        let ran = scenario.record(5, behavior).run().await;
        ran.assert_finished();
        assert_eq!(ran.dead_lettered, [5], "{behavior:?}");
        // Little is known about the model, so a fault other than a timeout is repeated.
        let last_attempts = if behavior == Behavior::Hang { 1 } else { 3 };
        assert_eq!(ran.seen.attempts(5), 2 + last_attempts, "{behavior:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn ten_hanging_records_are_given_up_in_one_invocation() {
    let scenario = Scenario::of(0).record_age(60.0).deadline(Some(Duration::from_mins(2)));
    let hanging: Vec<_> = (0..100).step_by(10).collect();
    let scenario = hanging
        .iter()
        .fold(scenario, |scenario, number| scenario.record(*number, Behavior::Hang));
    let running = scenario.start();
    assert_eq!(named(&running.invoke(0..100).await.unwrap()), Some("0"));
    assert!(running.lines().1.is_empty(), "they have not failed before");
    let response = running.invoke(0..100).await.unwrap();
    let ran = running.finish(response);
    ran.assert_finished();
    assert_eq!(ran.dead_lettered, hanging);
}

#[tokio::test(start_paused = true)]
async fn a_record_younger_than_give_up_after_s_is_not_given_up() {
    let running = Scenario::of(0)
        .with("GIVE_UP_AFTER_S", "3600")
        .record_age(3500.0)
        .record(5, Behavior::Fail(FaultKind::Suspect))
        .start();
    assert_eq!(named(&running.invoke(0..10).await.unwrap()), Some("5"));
    // The record ages while it is redelivered.
    advance(Duration::from_secs(99)).await;
    let response = running.invoke(5..10).await.unwrap();
    assert_eq!(named(&response), Some("5"));
    advance(Duration::from_secs(1)).await;
    let response = running.invoke(5..10).await.unwrap();
    let ran = running.finish(response);
    ran.assert_finished();
    assert_eq!(ran.dead_lettered, [5]);
}

#[tokio::test(start_paused = true)]
async fn a_delivery_that_does_not_call_a_record_keeps_the_note_that_it_has_failed() {
    let running = old().record(5, SUSPECT[0]).start();
    assert_eq!(named(&running.invoke(0..10).await.unwrap()), Some("5"));
    running.take_down(Behavior::Fail(FaultKind::Misconfigured));
    assert_eq!(named(&running.invoke(3..10).await.unwrap()), Some("3"));
    running.bring_up();
    let response = running.invoke(3..10).await.unwrap();
    let ran = running.finish(response);
    ran.assert_finished();
    assert_eq!(ran.dead_lettered, [5]);
}

#[tokio::test(start_paused = true)]
async fn a_record_that_failed_only_in_an_outage_is_not_given_up_when_it_fails_itself() {
    let running = old().record(5, SUSPECT[0]).start();
    running.take_down(Behavior::Fail(FaultKind::Misconfigured));
    assert_eq!(named(&running.invoke(0..10).await.unwrap()), Some("0"));
    running.bring_up();
    assert_eq!(named(&running.invoke(0..10).await.unwrap()), Some("5"));
    assert!(running.lines().1.is_empty());
}

#[tokio::test(start_paused = true)]
async fn without_an_arrival_time_nothing_is_given_up() {
    let running = Scenario::of(0).record(5, Behavior::Fail(FaultKind::Suspect)).start();
    let response = running.deliver_repeatedly(0..10, 10).await;
    let ran = running.finish(response);
    ran.assert_redelivered_from(5);
    assert!(ran.dead_lettered.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_record_that_fails_by_the_endpoints_fault_is_never_given_up() {
    for kind in [FaultKind::Overload, FaultKind::Unreachable, FaultKind::Misconfigured] {
        for give_up_after_s in ["3600", "0"] {
            let scenario = old().with("GIVE_UP_AFTER_S", give_up_after_s);
            let running = scenario.record(5, Behavior::Fail(kind)).start();
            running.deliver_repeatedly(0..10, 10).await;
            assert!(running.finish(json!(null)).dead_lettered.is_empty(), "{kind:?}");
        }
    }
}

/// Redelivers the records from 100 on for an hour. All of them fail.
async fn redeliver_for_an_hour(running: &Running) {
    for _ in 0..60 {
        let response = running.invoke(100..150).await.unwrap();
        assert_eq!(named(&response), Some("100"));
        advance(Duration::from_mins(1)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn in_an_outage_no_record_is_given_up_however_old() {
    for behavior in SUSPECT.into_iter().chain(MISSING_MODEL) {
        let mut scenario = old();
        for number in 100..150 {
            scenario = scenario.record(number, behavior);
        }
        // No record was ever answered, so there is no probe.
        let running = scenario.start();
        redeliver_for_an_hour(&running).await;
        assert!(running.finish(json!(null)).dead_lettered.is_empty(), "{behavior:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_from_before_the_last_attempt_is_not_evidence() {
    let mut scenario = old().attempts_then(0, &[Behavior::PredictAfter(10)], Behavior::Fail(FaultKind::Suspect));
    for number in 100..150 {
        scenario = scenario.record(number, Behavior::Fail(FaultKind::Suspect));
    }
    let running = scenario.start();
    running.invoke([0]).await.unwrap();
    redeliver_for_an_hour(&running).await;
    let ran = running.finish(json!(null));
    assert!(ran.dead_lettered.is_empty());
    let probes = ran.seen.attempts(0) - 1;
    assert!(
        (59..=60).contains(&probes),
        "each delivery probes with record 0 once: {probes}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_lone_record_is_given_up_when_the_probe_is_answered() {
    for behavior in SUSPECT {
        let running = old().record(5, behavior).start();
        running.invoke(0..5).await.unwrap();
        advance(Duration::from_mins(10)).await;
        running.invoke([5]).await.unwrap();
        let response = running.invoke([5]).await.unwrap();
        let ran = running.finish(response);
        ran.assert_finished();
        assert_eq!(ran.dead_lettered, [5], "{behavior:?}");
        assert_eq!(
            ran.predicted,
            [0, 1, 2, 3, 4],
            "the prediction of a probe is not delivered again"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn neighboring_poison_records_are_given_up_together() {
    let scenario = old().record(3, SUSPECT[0]).record(4, SUSPECT[2]).record(5, SUSPECT[0]);
    let running = scenario.with("CAPACITY", "1").start();
    let response = running.deliver_repeatedly(0..10, 2).await;
    let ran = running.finish(response);
    ran.assert_finished();
    assert_eq!(ran.dead_lettered, [3, 4, 5]);
    assert_eq!(ran.seen.most_in_flight, 1);
}

#[tokio::test(start_paused = true)]
async fn a_probe_takes_a_permit_like_any_call() {
    let mut scenario = Scenario::of(0)
        .with("GIVE_UP_AFTER_S", "0")
        .with("CAPACITY", "1")
        .record(5, Behavior::FailAfter(50, FaultKind::Suspect));
    for number in 100..200 {
        scenario = scenario.record(number, Behavior::PredictAfter(100));
    }
    let running = scenario.start();
    running.invoke(0..5).await.unwrap();
    let (lone, beside) = tokio::join!(running.invoke([5]), running.invoke(100..200));
    assert_eq!((named(&lone.unwrap()), named(&beside.unwrap())), (None, None));
    assert_eq!(running.seen.lock().unwrap().most_in_flight, 1);
}

#[tokio::test(start_paused = true)]
async fn a_record_that_failed_at_the_end_of_an_outage_is_not_given_up() {
    for max_attempts in ["1", "2", "3"] {
        for memo_bytes in ["0", "16777216"] {
            // In the delivery that may give the record up, all attempts except the last fail. By then the endpoint
            // answers again.
            let attempts = max_attempts.parse::<usize>().unwrap();
            let failed_before = if memo_bytes == "0" { 0 } else { attempts };
            let failed = failed_before + attempts.max(2) - 1;
            let running = old()
                .with("MAX_ATTEMPTS", max_attempts)
                .with("MEMO_BYTES", memo_bytes)
                .attempts(5, &vec![Behavior::Fail(FaultKind::Suspect); failed])
                .start();
            running.invoke(0..5).await.unwrap();
            let response = running.deliver_repeatedly(5..6, 2).await;
            let ran = running.finish(response);
            ran.assert_finished();
            assert!(ran.dead_lettered.is_empty(), "{max_attempts} {memo_bytes}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_record_that_was_throttled_before_its_only_suspect_fault_is_not_given_up() {
    let faults = [FaultKind::Overload, FaultKind::Overload, FaultKind::Suspect].map(Behavior::Fail);
    let running = old().attempts(5, &faults).start();
    let response = running.invoke(0..10).await.unwrap();
    let ran = running.finish(response);
    ran.assert_redelivered_from(5);
    assert!(ran.dead_lettered.is_empty());
}

#[tokio::test(start_paused = true)]
async fn more_hanging_records_than_permits_are_given_up_in_turn() {
    let mut scenario = old()
        .with("CAPACITY", "2")
        .with("MAX_ATTEMPTS", "2")
        .with("CALL_TIMEOUT_MS", "10000");
    for number in 0..6 {
        scenario = scenario.record(number, Behavior::Hang);
    }
    let running = scenario.deadline(Some(Duration::from_secs(35))).start();
    running.invoke([100]).await.unwrap();
    let response = running.deliver_repeatedly(0..8, 10).await;
    let ran = running.finish(response);
    ran.assert_finished();
    assert_eq!(ran.dead_lettered, [0, 1, 2, 3, 4, 5]);
    assert_eq!(ran.predicted, [100, 6, 7]);
}

#[tokio::test(start_paused = true)]
async fn a_retry_does_not_take_the_time_of_the_last_attempt_and_its_probes() {
    // Calls end 1,000 ms before the deadline: without time for three attempts, or with time for no probe beside them.
    for deadline_ms in [26_000, 31_100] {
        let scenario = old().with("GIVE_UP_AFTER_S", "0").with("CALL_TIMEOUT_MS", "10000");
        let running = scenario
            .record(5, Behavior::Hang)
            .deadline(Some(Duration::from_millis(deadline_ms)))
            .start();
        let response = running.invoke(0..10).await.unwrap();
        let ran = running.finish(response);
        ran.assert_finished();
        assert_eq!((ran.dead_lettered, ran.predicted.len()), (vec![5], 9), "{deadline_ms}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_last_attempt_may_succeed() {
    let running = old().attempts(5, &[Behavior::Fail(FaultKind::Suspect); 2]).start();
    let response = running.invoke(0..10).await.unwrap();
    let ran = running.finish(response);
    ran.assert_finished();
    assert_eq!(ran.predicted, (0..10).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn with_the_memo_off_a_record_is_given_up_as_well() {
    let running = old().with("MEMO_BYTES", "0").record(5, SUSPECT[0]).start();
    let response = running.deliver_repeatedly(0..10, 2).await;
    let ran = running.finish(response);
    ran.assert_finished();
    assert_eq!((ran.dead_lettered, ran.predicted.len()), (vec![5], 9));
}

#[tokio::test(start_paused = true)]
async fn last_attempts_respect_the_deadline() {
    let running = old()
        .deadline(Some(Duration::from_secs(10)))
        .record(5, Behavior::Hang)
        .start();
    for _ in 0..2 {
        let response = running.invoke(0..10).await.unwrap();
        assert_eq!(named(&response), Some("5"));
    }
    assert!(running.elapsed() <= Duration::from_secs(20), "{:?}", running.elapsed());
    assert_eq!(running.seen.lock().unwrap().in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn the_endpoint_is_down() {
    let faults = [
        Behavior::Fail(FaultKind::Suspect),
        Behavior::Fail(FaultKind::Overload),
        Behavior::Fail(FaultKind::Unreachable),
        Behavior::Fail(FaultKind::Misconfigured),
        Behavior::Hang,
    ];
    for behavior in faults.into_iter().chain(MISSING_MODEL) {
        let mut scenario = Scenario::of(0);
        for number in 0..50 {
            scenario = scenario.record(number, behavior);
        }
        let running = scenario.start();
        // The mapping redelivers the batch.
        for _ in 0..20 {
            let response = running.invoke(0..50).await.unwrap();
            assert_eq!(response["batchItemFailures"][0]["itemIdentifier"], "0", "{behavior:?}");
        }
        let ran = running.finish(serde_json::Value::Null);
        assert!(ran.predicted.is_empty() && ran.dead_lettered.is_empty(), "{behavior:?}");
    }
}
