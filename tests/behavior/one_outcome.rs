//! Every record ends in exactly one outcome, and none of them fails its neighbours.

use instream::endpoint::FaultKind;
use serde_json::{Value, json};

use crate::support::{Does, Scenario, entry};

#[tokio::test(start_paused = true)]
async fn all_records_are_predicted() {
    // The later a record, the sooner its answer: order must not come from luck.
    let mut scenario = Scenario::of(30).with("CAPACITY", "30");
    for number in 0..30 {
        scenario = scenario.record(number, Does::PredictAfter(1000 - 30 * number as u64));
    }
    let ran = scenario.run().await;
    ran.is_finished();
    assert_eq!(ran.predicted, (0..30).collect::<Vec<_>>());
    assert!(ran.dead_lettered.is_empty());
    assert_eq!(ran.seen.calls.len(), 30);
}

#[tokio::test(start_paused = true)]
async fn the_endpoint_refuses_a_record() {
    let ran = Scenario::of(5).record(2, Does::Fail(FaultKind::Refused)).run().await;
    ran.is_finished();
    assert_eq!(ran.predicted, [0, 1, 3, 4]);
    assert_eq!(ran.dead_lettered, [2]);
}

#[tokio::test(start_paused = true)]
async fn dead_letter_is_not_set() {
    let ran = Scenario::of(5)
        .with("DEAD_LETTER", "")
        .record(2, Does::Fail(FaultKind::Refused))
        .run()
        .await;
    ran.comes_again_from(2);
    assert_eq!(ran.predicted, [0, 1]);
    assert!(ran.dead_lettered.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_fault_that_is_not_the_records_own_dead_letters_nothing() {
    for kind in [
        FaultKind::Suspect,
        FaultKind::Overload,
        FaultKind::Unreachable,
        FaultKind::Misconfigured,
    ] {
        let ran = Scenario::of(5).record(3, Does::Fail(kind)).run().await;
        ran.comes_again_from(3);
        assert_eq!(ran.predicted, [0, 1, 2], "{kind:?}");
        assert!(ran.dead_lettered.is_empty(), "{kind:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_is_over_max_payload_bytes() {
    let ran = Scenario::of(12).with("MAX_PAYLOAD_BYTES", "10").run().await;
    ran.is_finished();
    assert_eq!(ran.dead_lettered, [10, 11]);
    assert_eq!(ran.seen.calls.len(), 10);
}

#[tokio::test(start_paused = true)]
async fn a_records_envelope_is_broken() {
    let running = Scenario::of(0).start();
    let mut broken = entry("1");
    broken["kinesis"]["data"] = Value::Null;
    let event = json!({ "Records": [entry("0"), broken, entry("2")] });
    let answer = running.invoke_event(&event).await.unwrap();
    let ran = running.ran(answer);
    ran.is_finished();
    assert_eq!(ran.predicted, [0, 2]);
    assert_eq!(ran.dead_lettered, [1]);
}

#[tokio::test(start_paused = true)]
async fn handling_one_record_panics() {
    // One permit: were it lost with the panic, a record before it that needs another attempt could not have it.
    let ran = Scenario::of(3)
        .with("CAPACITY", "1")
        .attempts(0, &[Does::Fail(FaultKind::Overload)])
        .record(1, Does::Panic)
        .run()
        .await;
    ran.comes_again_from(1);
    assert_eq!(ran.predicted, [0]);
    assert_eq!(ran.seen.calls[..2], ["0", "1"]);
    assert_eq!(
        (ran.seen.attempts(1), ran.seen.attempts(2)),
        (1, 1),
        "it has one attempt, and the others go on"
    );
}

#[tokio::test(start_paused = true)]
async fn a_record_has_no_sequence_number() {
    let without = |number| {
        let mut entry = entry(number);
        entry["kinesis"]["sequenceNumber"] = json!("");
        entry
    };
    // With dead letters it is rejected like any broken record.
    let running = Scenario::of(0).start();
    let answer = running
        .invoke_event(&json!({ "Records": [entry("0"), without("1")] }))
        .await
        .unwrap();
    let ran = running.ran(answer);
    ran.is_finished();
    assert_eq!(ran.dead_lettered, [1]);
    // Without them the nearest earlier record that has a number is named …
    let running = Scenario::of(0).with("DEAD_LETTER", "").start();
    let answer = running
        .invoke_event(&json!({ "Records": [entry("0"), without("1"), entry("2")] }))
        .await
        .unwrap();
    let ran = running.ran(answer);
    ran.comes_again_from(0);
    assert!(
        ran.predicted.is_empty(),
        "record 0 comes again, so it must not be delivered yet"
    );
    // … and where none has, the invocation fails.
    let running = Scenario::of(0).with("DEAD_LETTER", "").start();
    let error = running
        .invoke_event(&json!({ "Records": [without("0"), entry("1")] }))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("record 0 of the batch"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn the_event_is_a_tumbling_window_event() {
    let running = Scenario::of(0).record(1, Does::Fail(FaultKind::Overload)).start();
    let event = json!({ "Records": [entry("0"), entry("1")], "window": {}, "state": { "seen": 1 } });
    let answer = running.invoke_event(&event).await.unwrap();
    assert_eq!(
        answer,
        json!({ "batchItemFailures": [{ "itemIdentifier": "1" }], "state": { "seen": 1 } })
    );
}

#[tokio::test(start_paused = true)]
async fn the_event_is_not_a_kinesis_event() {
    let running = Scenario::of(0).start();
    let error = running.invoke_event(&json!({ "key1": "value1" })).await.unwrap_err();
    assert!(error.to_string().contains("members [key1]"), "{error}");
}
