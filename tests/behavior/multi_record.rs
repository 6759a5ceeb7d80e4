//! Many records in one request, and one bad record among them.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use instream::outcome::FaultKind;
use instream_local::aggregate::{KplUserRecord, aggregate};
use proptest::prelude::*;
use serde_json::json;
use tokio::time::advance;

use crate::support::{Behavior, Scenario, entry, on_a_paused_clock};

const SUSPECT: Behavior = Behavior::Fail(FaultKind::Suspect);
const REFUSED: Behavior = Behavior::Fail(FaultKind::Refused);

fn all_but(count: usize, bad: &[usize]) -> Vec<usize> {
    (0..count).filter(|number| !bad.contains(number)).collect()
}

#[tokio::test(start_paused = true)]
async fn many_records_share_a_request_and_each_has_its_own_prediction() {
    let ran = Scenario::of(250).packed(100).run().await;
    ran.assert_finished();
    assert_eq!(ran.predicted, all_but(250, &[]));
    assert_eq!(ran.seen.sizes(), [84, 83, 83]);
    assert_eq!(
        ran.outputs(),
        (0..250)
            .map(|number| json!({ "of": number.to_string() }))
            .collect::<Vec<_>>()
    );
}

#[tokio::test(start_paused = true)]
async fn a_request_is_refused_for_one_record() {
    let ran = Scenario::of(100).packed(100).record(37, REFUSED).run().await;
    ran.assert_finished();
    assert_eq!(ran.predicted, all_but(100, &[37]));
    assert_eq!(ran.dead_lettered, [37]);
    // There is one call for the whole request, and two for each of at most seven halvings.
    assert!(ran.seen.calls.len() <= 22, "{}", ran.seen.calls.len());
}

#[tokio::test(start_paused = true)]
async fn an_aggregated_record_with_one_bad_user_record_is_finished() {
    let running = Scenario::of(0).packed(100).body("42", REFUSED).start();
    let data: Vec<_> = (0..100).map(|number| number.to_string().into_bytes()).collect();
    let (partition_key, explicit_hash_key) = ("key", None);
    let puts = data.iter().map(|data| KplUserRecord {
        partition_key,
        explicit_hash_key,
        data,
    });
    let mut kinesis_record = entry("0");
    kinesis_record["kinesis"]["data"] = BASE64.encode(aggregate(&puts.collect::<Vec<_>>())).into();
    let response = running
        .invoke_event(&json!({ "Records": [kinesis_record] }))
        .await
        .unwrap();
    let lines = running.lines();
    let ran = running.finish(response);
    ran.assert_finished();
    assert_eq!((ran.predicted.len(), ran.dead_lettered.len()), (99, 1));
    let sub_sequence_numbers: Vec<_> = lines
        .0
        .iter()
        .map(|line| line["subSequenceNumber"].as_u64().unwrap())
        .collect();
    assert_eq!(
        sub_sequence_numbers,
        (0..100).filter(|number| *number != 42).collect::<Vec<_>>()
    );
    assert_eq!(lines.1[0]["subSequenceNumber"], 42);
    assert_eq!(lines.1[0]["data"], BASE64.encode("42"));
    assert!(ran.seen.calls.len() <= 22, "{}", ran.seen.calls.len());
}

#[tokio::test(start_paused = true)]
async fn a_request_keeps_failing_for_one_record() {
    for memo_bytes in ["16777216", "0"] {
        let scenario = Scenario::of(300)
            .packed(100)
            .record(137, Behavior::FailAfter(5, FaultKind::Suspect))
            .with("MEMO_BYTES", memo_bytes);
        let ran = scenario.run().await;
        ran.assert_redelivered_from(137);
        assert_eq!(ran.predicted, (0..137).collect::<Vec<_>>());
        assert!(ran.dead_lettered.is_empty(), "a lone suspect is not rejected");
        let attempts = ran
            .seen
            .calls
            .iter()
            .filter(|call| call.lines().count() == 100 && call.contains("137"));
        assert_eq!(attempts.count(), 3, "all of MAX_ATTEMPTS before it is split");
        assert_eq!(
            ran.seen.attempts(137),
            1,
            "one attempt for the record that was split off"
        );
        // There are three requests, two retries, one probe, and two calls for each halving. One half is the evidence
        // for the other.
        assert!(ran.seen.calls.len() <= 3 + 2 + 1 + 14, "{}", ran.seen.calls.len());
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_is_split_only_if_the_endpoint_answers_another_call_after_it() {
    // The record that becomes the probe is random.
    fastrand::seed(7);
    let scenario = Scenario::of(600).packed(100).record(550, Behavior::Hang);
    let running = scenario.with("CALL_TIMEOUT_MS", "1000").start();
    running.invoke(500..600).await.unwrap();
    let sizes = running.seen.lock().unwrap().sizes();
    // The request timed out, so it has one attempt. Nothing was answered before, so its halves are its probes.
    assert_eq!(sizes[..3], [100, 50, 50], "{sizes:?}");
    assert_eq!(running.seen.lock().unwrap().attempts(550), 1);
    running.invoke(0..100).await.unwrap();
    let before = running.seen.lock().unwrap().calls.len();
    running.invoke(550..551).await.unwrap();
    let calls = running.seen.lock().unwrap().calls.split_off(before);
    // A retry has the record twice.
    let expected = ["550", "550\n550", "550\n550"];
    assert_eq!(calls, expected, "a lone record is not split and sends no probe");
}

#[tokio::test(start_paused = true)]
async fn the_container_is_down() {
    for down in [
        SUSPECT,
        Behavior::Hang,
        Behavior::Fail(FaultKind::Unreachable),
        Behavior::Fail(FaultKind::Overload),
    ] {
        let scenario = Scenario::of(600).packed(100).with("CALL_TIMEOUT_MS", "1000");
        let running = scenario.with("GIVE_UP_AFTER_S", "1").record_age(60.0).start();
        let response = running.invoke(0..300).await.unwrap();
        assert_eq!(response, json!({ "batchItemFailures": [] }));
        running.take_down(down);
        for _ in 0..5 {
            running.invoke(300..600).await.unwrap();
            advance(Duration::from_secs(5)).await;
        }
        let (_, dead_letters) = running.lines();
        assert!(dead_letters.is_empty(), "{dead_letters:?}");
        let seen = running.seen.lock().unwrap();
        let (whole, probes): (Vec<_>, Vec<_>) = seen.calls.iter().partition(|call| call.lines().count() == 100);
        // Requests that time out are sent in halves by the next delivery.
        assert!(
            down == Behavior::Hang || whole.len() <= 3 + 5 * 9,
            "{down:?}: {}",
            whole.len()
        );
        let is_possibly_record_fault = [SUSPECT, Behavior::Hang].contains(&down);
        let most = if is_possibly_record_fault { 5 * (1 + 7) } else { 0 };
        assert!(
            down == Behavior::Hang || probes.len() <= most,
            "{down:?}: {}",
            probes.len()
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_container_that_never_answered_gets_one_path_of_halves_a_delivery() {
    let scenario = Scenario::of(300).packed(100).with("GIVE_UP_AFTER_S", "1");
    // This capacity has a retry budget for all attempts of five deliveries.
    let scenario = scenario.with("CAPACITY", "100");
    let running = scenario.record_age(60.0).start();
    running.take_down(SUSPECT);
    for _ in 0..5 {
        running.invoke(0..300).await.unwrap();
    }
    assert!(running.lines().1.is_empty());
    let sizes = running.seen.lock().unwrap().sizes();
    let whole = sizes.iter().filter(|size| **size == 100).count();
    assert_eq!(whole, 5 * 3 * 3, "{sizes:?}");
    assert!(
        sizes.len() - whole <= 5 * (7 + 1),
        "one request is halved along one path: {sizes:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn one_old_bad_record_in_the_only_request_is_found_and_given_up() {
    fastrand::seed(7);
    let scenario = Scenario::of(100)
        .packed(100)
        .record(0, SUSPECT)
        .with("GIVE_UP_AFTER_S", "30");
    let running = scenario.record_age(60.0).start();
    let response = running.deliver_repeatedly(0..100, 3).await;
    let ran = running.finish(response);
    ran.assert_finished();
    assert_eq!((ran.predicted, ran.dead_lettered), (all_but(100, &[0]), vec![0]));
}

#[tokio::test(start_paused = true)]
async fn an_answer_has_not_one_prediction_for_each_record() {
    let ran = Scenario::of(10).packed(5).record(7, Behavior::Merge).run().await;
    ran.assert_finished();
    assert_eq!(ran.predicted, all_but(10, &[]));
    let mut sizes = ran.seen.sizes();
    sizes.sort_unstable();
    assert_eq!(sizes, [1, 1, 1, 1, 1, 5, 5]);
}

/// The answer may describe an error.
#[tokio::test(start_paused = true)]
async fn an_answer_with_the_wrong_number_of_predictions_is_not_evidence() {
    let scenario = Scenario::of(0).packed(2).with("CAPACITY", "1");
    let mut scenario = scenario.with("GIVE_UP_AFTER_S", "0").with("MAX_ATTEMPTS", "1");
    // Three such answers in a row would turn packing off.
    for number in 0..4 {
        scenario = scenario.attempts_then(number, &[Behavior::Merge], SUSPECT);
    }
    let running = scenario.start();
    for _ in 0..5 {
        running.invoke(0..4).await.unwrap();
        assert!(running.lines().1.is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_over_one_record_of_a_request_fails_only_that_record() {
    let ran = Scenario::of(200).packed(100).record(150, Behavior::Panic).run().await;
    ran.assert_redelivered_from(150);
    assert_eq!(ran.predicted, (0..150).collect::<Vec<_>>());
    assert!((151..200).all(|number| ran.seen.calls_with(number) > 0));
}

#[tokio::test(start_paused = true)]
async fn a_request_to_an_overloaded_endpoint_is_retried_as_a_whole() {
    let overload = Behavior::Fail(FaultKind::Overload);
    let ran = Scenario::of(100)
        .packed(100)
        .attempts(50, &[overload, overload])
        .run()
        .await;
    ran.assert_finished();
    assert_eq!(ran.seen.sizes(), [100; 3]);
}

#[tokio::test(start_paused = true)]
async fn remembered_records_are_left_out_of_the_next_request() {
    let scenario = Scenario::of(300).packed(100).attempts(137, &[SUSPECT; 11]);
    let running = scenario.start();
    let response = running.deliver_repeatedly(0..300, 10).await;
    let ran = running.finish(response);
    ran.assert_finished();
    assert_eq!(ran.predicted, all_but(300, &[]));
    let of_others = (0..300)
        .filter(|number| *number / 100 != 1)
        .map(|number| ran.seen.calls_with(number));
    assert!(of_others.max() <= Some(2), "one call, and another one as a probe");
}

#[tokio::test(start_paused = true)]
async fn a_record_of_the_failed_request_can_be_the_probe() {
    // The record that becomes the probe is random, and it may be a bad one.
    fastrand::seed(7);
    // Nothing is remembered. So the only request is redelivered unchanged, and it contains the last answered record.
    let scenario = Scenario::of(10)
        .packed(10)
        .with("MEMO_BYTES", "1")
        .with("GIVE_UP_AFTER_S", "0");
    let running = scenario
        .record(3, SUSPECT)
        .record(8, Behavior::Panic)
        .record_age(60.0)
        .start();
    running.invoke(0..3).await.unwrap();
    let response = running.deliver_repeatedly(0..10, 3).await;
    let ran = running.finish(response);
    ran.assert_finished();
    assert_eq!(ran.dead_lettered, [3, 8]);
}

#[tokio::test(start_paused = true)]
async fn answers_of_one_model_are_not_evidence_against_records_of_another() {
    let running = Scenario::of(0)
        .with("BATCH_STRATEGY", "MultiRecord")
        .with("CONTENT_TYPE", "text/csv")
        .with("TARGET_MODEL", "$[0]")
        .with("GIVE_UP_AFTER_S", "1")
        .record_age(60.0);
    let running = (0..20)
        .step_by(2)
        .fold(running, |running, number| {
            running.body(&format!("down,{number}"), SUSPECT)
        })
        .start();
    let record = |number: usize| {
        let mut record = entry(&number.to_string());
        let model = if number.is_multiple_of(2) { "down" } else { "up" };
        record["kinesis"]["data"] = BASE64.encode(format!("{model},{number}")).into();
        record["kinesis"]["approximateArrivalTimestamp"] = 1.into();
        record
    };
    let records: Vec<_> = (0..20).map(record).collect();
    for _ in 0..5 {
        let response = running.invoke_event(&json!({ "Records": records })).await.unwrap();
        assert_eq!(response["batchItemFailures"][0]["itemIdentifier"], "0");
    }
    assert!(running.lines().1.is_empty(), "{:?}", running.lines().1);
    let seen = running.seen.lock().unwrap();
    // Probes have two records.
    let of_the_other = seen
        .calls
        .iter()
        .filter(|call| call.contains("up") && call.lines().count() > 2);
    assert_eq!(of_the_other.count(), 1, "the answer of the other model is remembered");
}

/// Generates a batch size, a request size, and the records that the endpoint refuses.
fn batches() -> impl Strategy<Value = (usize, usize, Vec<usize>)> {
    (1..120_usize, 1..50_usize).prop_flat_map(|(count, size)| {
        let bad = proptest::collection::btree_set(0..count, 0..8.min(count));
        (Just(count), Just(size), bad.prop_map(|bad| bad.into_iter().collect()))
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn splitting_finds_exactly_the_bad_records_in_at_most_2n_minus_1_requests((count, size, bad) in batches()) {
        on_a_paused_clock(async {
            for behavior in [REFUSED, SUSPECT] {
                let mut scenario = Scenario::of(count).packed(size);
                for number in &bad {
                    scenario = scenario.record(*number, behavior);
                }
                // This answered record is the evidence that the endpoint works.
                let running = scenario.start();
                running.invoke([1_000_000]).await.unwrap();
                let response = running.invoke(0..count).await.unwrap();
                let ran = running.finish(response);
                let calls = ran.seen.calls.iter().filter(|call| **call != "1000000");
                // In its last attempts, a record is in its request twice.
                let records = |call: &String| call.lines().map(str::to_owned).collect::<std::collections::BTreeSet<_>>();
                let distinct: std::collections::BTreeSet<_> = calls.map(records).collect();
                let most: usize = (0..count).step_by(size).map(|first| 2 * size.min(count - first) - 1).sum();
                assert!(distinct.len() <= most, "{} requests, at most {most}", distinct.len());
                assert_eq!(ran.dead_lettered, if behavior == REFUSED { bad.clone() } else { Vec::new() });
                let first = bad.first().copied().filter(|_| behavior == SUSPECT).unwrap_or(count);
                assert_eq!(ran.predicted[1..], all_but(first, if behavior == REFUSED { &bad } else { &[] }));
                for number in (0..count).filter(|number| !bad.contains(number)) {
                    let alone_or_among_good = ran.seen.calls.iter().any(|call| {
                        let mut records = call.lines().map(|line| line.parse::<usize>().unwrap());
                        let has_it = call.lines().any(|line| line == number.to_string());
                        has_it && !records.any(|record| bad.contains(&record))
                    });
                    assert!(alone_or_among_good, "{number} was answered");
                }
            }
        });
    }
}
