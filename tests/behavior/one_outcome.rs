//! Every record ends in exactly one outcome, and no record makes its neighbors fail.

use instream::outcome::FaultKind;
use serde_json::{Value, json};

use crate::support::{Behavior, Scenario, entry};

#[tokio::test(start_paused = true)]
async fn all_records_are_predicted() {
    // Later records are answered sooner, so the order of the predictions is not an accident.
    let mut scenario = Scenario::of(30).with("CAPACITY", "30");
    for number in 0..30 {
        scenario = scenario.record(number, Behavior::PredictAfter(1000 - 30 * number as u64));
    }
    let ran = scenario.run().await;
    ran.assert_finished();
    assert_eq!(ran.predicted, (0..30).collect::<Vec<_>>());
    assert!(ran.dead_lettered.is_empty());
    assert_eq!(ran.seen.calls.len(), 30);
}

#[tokio::test(start_paused = true)]
async fn the_endpoint_refuses_a_record() {
    let ran = Scenario::of(5)
        .record(2, Behavior::Fail(FaultKind::Refused))
        .run()
        .await;
    ran.assert_finished();
    assert_eq!(ran.predicted, [0, 1, 3, 4]);
    assert_eq!(ran.dead_lettered, [2]);
}

#[tokio::test(start_paused = true)]
async fn dead_letter_is_not_set() {
    let ran = Scenario::of(5)
        .with("DEAD_LETTER", "")
        .record(2, Behavior::Fail(FaultKind::Refused))
        .run()
        .await;
    ran.assert_redelivered_from(2);
    assert_eq!(ran.predicted, [0, 1]);
    assert!(ran.dead_lettered.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_fault_other_than_a_refusal_dead_letters_nothing() {
    for kind in [
        FaultKind::Suspect,
        FaultKind::Overload,
        FaultKind::Unreachable,
        FaultKind::Misconfigured,
    ] {
        let ran = Scenario::of(5).record(3, Behavior::Fail(kind)).run().await;
        ran.assert_redelivered_from(3);
        assert_eq!(ran.predicted, [0, 1, 2], "{kind:?}");
        assert!(ran.dead_lettered.is_empty(), "{kind:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_is_over_max_payload_bytes() {
    let ran = Scenario::of(12).with("MAX_PAYLOAD_BYTES", "10").run().await;
    ran.assert_finished();
    assert_eq!(ran.dead_lettered, [10, 11]);
    assert_eq!(ran.seen.calls.len(), 10);
}

#[tokio::test(start_paused = true)]
async fn a_records_envelope_is_broken() {
    let running = Scenario::of(0).start();
    let mut broken = entry("1");
    broken["kinesis"]["data"] = Value::Null;
    let event = json!({ "Records": [entry("0"), broken, entry("2")] });
    let response = running.invoke_event(&event).await.unwrap();
    let ran = running.finish(response);
    ran.assert_finished();
    assert_eq!(ran.predicted, [0, 2]);
    assert_eq!(ran.dead_lettered, [1]);
}

#[tokio::test(start_paused = true)]
async fn handling_one_record_panics() {
    // There is one permit. If the panic lost it, record 0 could not be retried.
    let ran = Scenario::of(3)
        .with("CAPACITY", "1")
        .attempts(0, &[Behavior::Fail(FaultKind::Overload)])
        .record(1, Behavior::Panic)
        .run()
        .await;
    ran.assert_redelivered_from(1);
    assert_eq!(ran.predicted, [0]);
    assert_eq!(ran.seen.calls[..2], ["0", "1"]);
    assert_eq!(
        (ran.seen.attempts(1), ran.seen.attempts(2)),
        (3, 1),
        "record 1 has MAX_ATTEMPTS, and the others go on"
    );
}

#[tokio::test(start_paused = true)]
async fn a_record_has_no_sequence_number() {
    let without = |number| {
        let mut entry = entry(number);
        entry["kinesis"]["sequenceNumber"] = json!("");
        entry
    };
    // With dead letters, the record is rejected like any broken record.
    let running = Scenario::of(0).start();
    let response = running
        .invoke_event(&json!({ "Records": [entry("0"), without("1")] }))
        .await
        .unwrap();
    let ran = running.finish(response);
    ran.assert_finished();
    assert_eq!(ran.dead_lettered, [1]);
    // Without dead letters, the response names the nearest earlier record with a sequence number.
    let running = Scenario::of(0).with("DEAD_LETTER", "").start();
    let response = running
        .invoke_event(&json!({ "Records": [entry("0"), without("1"), entry("2")] }))
        .await
        .unwrap();
    let ran = running.finish(response);
    ran.assert_redelivered_from(0);
    assert!(
        ran.predicted.is_empty(),
        "record 0 is redelivered, so it must not be delivered yet"
    );
    // If no earlier record has one, the invocation fails.
    let running = Scenario::of(0).with("DEAD_LETTER", "").start();
    let error = running
        .invoke_event(&json!({ "Records": [without("0"), entry("1")] }))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("record 0 of the batch"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn the_event_is_a_tumbling_window_event() {
    let running = Scenario::of(0).record(1, Behavior::Fail(FaultKind::Overload)).start();
    let event = json!({ "Records": [entry("0"), entry("1")], "window": {}, "state": { "seen": 1 } });
    let response = running.invoke_event(&event).await.unwrap();
    assert_eq!(
        response,
        json!({ "batchItemFailures": [{ "itemIdentifier": "1" }], "state": { "seen": 1 } })
    );
}

#[tokio::test(start_paused = true)]
async fn the_event_is_not_a_kinesis_event() {
    let running = Scenario::of(0).start();
    let error = running.invoke_event(&json!({ "key1": "value1" })).await.unwrap_err();
    assert!(error.to_string().contains("test event"), "{error}");
}
