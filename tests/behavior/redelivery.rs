//! The memo: the outcomes that the function remembers for the redelivery of a batch.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use instream::outcome::FaultKind;
use instream_local::aggregate::{KplUserRecord, aggregate};
use serde_json::json;

use crate::support::{Behavior, Scenario, entry};

const FAILED_ONCE: [Behavior; 3] = [Behavior::Fail(FaultKind::Suspect); 3];

#[tokio::test(start_paused = true)]
async fn a_record_is_delivered_again_to_the_same_warm_environment() {
    // Record 250 uses up the attempts of two deliveries. It is predicted in the third.
    let running = Scenario::of(0)
        .attempts(250, &[FAILED_ONCE, FAILED_ONCE].concat())
        .start();
    let response = running.deliver_repeatedly(0..500, 3).await;
    let ran = running.finish(response);
    ran.assert_finished();
    assert_eq!(ran.predicted, (0..500).collect::<Vec<_>>(), "each once, in order");
    for number in (0..500).filter(|number| *number != 250) {
        assert_eq!(ran.seen.attempts(number), 1, "record {number} was answered already");
    }
    assert_eq!(ran.seen.attempts(250), 7);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_remembered_as_well() {
    let scenario = Scenario::of(0).attempts(1, &FAILED_ONCE);
    let running = scenario.record(3, Behavior::Fail(FaultKind::Refused)).start();
    let response = running.deliver_repeatedly(0..5, 2).await;
    let ran = running.finish(response);
    ran.assert_finished();
    assert_eq!((ran.predicted, ran.dead_lettered), (vec![0, 1, 2, 4], vec![3]));
    assert_eq!(ran.seen.attempts(3), 4, "all in the first delivery");
}

#[tokio::test(start_paused = true)]
async fn a_call_in_flight_after_a_failed_record_is_remembered() {
    let scenario = Scenario::of(0).with("CAPACITY", "2").with("MAX_ATTEMPTS", "1");
    let scenario = scenario.attempts(0, &[Behavior::FailAfter(5, FaultKind::Overload)]);
    let running = scenario.record(1, Behavior::PredictAfter(1000)).start();
    let response = running.deliver_repeatedly(0..3, 2).await;
    let ran = running.finish(response);
    ran.assert_finished();
    assert_eq!(ran.seen.calls, ["0", "1", "0", "2"]);
}

#[tokio::test(start_paused = true)]
async fn only_calls_cancelled_at_the_deadline_are_repeated_on_redelivery() {
    let scenario = Scenario::of(0).attempts(4, &[Behavior::Hang]);
    let running = scenario.deadline(Some(Duration::from_secs(3))).start();
    let response = running.deliver_repeatedly(0..10, 2).await;
    let ran = running.finish(response);
    ran.assert_finished();
    assert_eq!(ran.predicted, (0..10).collect::<Vec<_>>());
    assert_eq!((ran.seen.attempts(4), ran.seen.calls.len()), (2, 11));
}

#[tokio::test(start_paused = true)]
async fn predictions_that_output_refused_are_redelivered_without_another_call() {
    let running = Scenario::of(0).broken_output().start();
    running.deliver_repeatedly(0..10, 5).await;
    assert_eq!(running.seen.lock().unwrap().calls.len(), 10);
}

#[tokio::test(start_paused = true)]
async fn with_the_memo_off_or_too_small_records_are_called_again_and_delivered_once() {
    for (memo_bytes, calls) in [("0", 2..), ("600", 2..)] {
        let scenario = Scenario::of(0).attempts(0, &FAILED_ONCE);
        let running = scenario.with("MEMO_BYTES", memo_bytes).start();
        let response = running.deliver_repeatedly(0..10, 2).await;
        let ran = running.finish(response);
        ran.assert_finished();
        assert_eq!(ran.predicted, (0..10).collect::<Vec<_>>());
        let repeated = (1..10).filter(|number| ran.seen.attempts(*number) > 1).count();
        assert!(calls.contains(&repeated), "{memo_bytes}: {repeated}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_aggregate_without_time_to_be_decoded_is_not_finished_by_what_is_remembered_of_its_first_user_record() {
    let put = |data| KplUserRecord {
        partition_key: "key",
        explicit_hash_key: None,
        data,
    };
    let [mut broken, mut aggregated] = [entry("1"), entry("2")];
    // The clock is read after 64 KiB.
    let broken_gzip = [vec![0x1F, 0x8B, 8], vec![0xFF; 64 * 1024]].concat();
    broken["kinesis"]["data"] = BASE64.encode(broken_gzip).into();
    aggregated["kinesis"]["data"] = BASE64.encode(aggregate(&[put(b"7"), put(b"8")])).into();
    let scenario = Scenario::of(0).with("MAX_ATTEMPTS", "1");
    let fail_once = [Behavior::FailAfter(20, FaultKind::Overload)];
    let running = scenario.attempts(0, &fail_once).start();
    let failed = |number: &str| json!({ "batchItemFailures": [{ "itemIdentifier": number }] });
    // Both user records are predicted and remembered.
    let response = running
        .invoke_event(&json!({ "Records": [entry("0"), aggregated] }))
        .await;
    assert_eq!(response.unwrap(), failed("0"));
    // This time is less than DEADLINE_RESERVE_MS: it is enough for delivery and for decoding one record.
    let event = json!({ "Records": [broken, aggregated] });
    let response = running.handle(&event, Some(Duration::from_millis(900))).await;
    assert_eq!(response.unwrap(), failed("2"));
    let response = running.invoke_event(&json!({ "Records": [aggregated] })).await.unwrap();
    let ran = running.finish(response);
    ran.assert_finished();
    assert_eq!((&*ran.dead_lettered, &*ran.predicted), (&[1][..], &[2, 2][..]));
    assert_eq!(ran.seen.calls.len(), 3, "what is remembered stays remembered");
}
