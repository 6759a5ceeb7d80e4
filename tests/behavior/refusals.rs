//! Lines that a destination will never accept, and lines that do not fit into it.

use std::collections::HashMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use instream::delivery::DestinationSetting;
use instream::outcome::FaultKind;
use instream_local::aggregate::{KplUserRecord, aggregate};
use serde_json::{Value, json};

use crate::cloud::{Cloud, Fate};
use crate::destinations::{bucket, event_bus, fifo_queue, firehose, kinesis, numbers, queue, sorted};
use crate::support::{Behavior, Scenario, entry};

fn all_destinations() -> [DestinationSetting; 6] {
    [event_bus(), kinesis(), firehose(), queue(), fifo_queue(), bucket()]
}

/// Returns true for the line of record 250.
fn is_bad(text: &str) -> bool {
    text.contains("\"eventId\":\"shard:250\"")
}

#[tokio::test(start_paused = true)]
async fn output_will_never_accept_a_prediction() {
    for destination in all_destinations() {
        for cloud in [
            Cloud::default().refusing(is_bad),
            Cloud::default().refusing_requests(is_bad),
        ] {
            let dead_letters = Cloud::default();
            let scenario = Scenario::of(500).output(cloud.open(&destination));
            let ran = scenario.dead_letter(dead_letters.open(&queue())).run().await;
            ran.assert_finished();
            let expected: Vec<_> = (0..500).filter(|number| *number != 250).collect();
            assert_eq!(sorted(numbers(&cloud)), expected, "{destination:?}");
            let [dead_letter] = dead_letters.envelopes().try_into().unwrap();
            assert_eq!(dead_letter["eventId"], "shard:250");
            assert_eq!(dead_letter["reason"]["kind"], "PredictionRefused");
            let message = dead_letter["reason"]["message"].as_str().unwrap();
            assert!(
                message.starts_with("OUTPUT does not accept the prediction: "),
                "{message}"
            );
            assert_eq!(ran.seen.calls.len(), 500, "{destination:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_rejected_while_a_destination_accepts_nothing() {
    for destination in all_destinations() {
        let mut clouds = vec![Cloud::default().refusing_requests(|_| true)];
        // The error of an SQS message says that the message is the cause.
        if !matches!(destination, DestinationSetting::Sqs(_)) {
            clouds.push(Cloud::default().refusing(|_| true));
        }
        for cloud in clouds {
            let scenario = Scenario::of(500).output(cloud.open(&destination));
            let ran = scenario.run().await;
            ran.assert_redelivered_from(0);
            assert!(ran.dead_lettered.is_empty(), "{destination:?}");
            assert!(cloud.requests().len() <= 8 * 20, "{} requests", cloud.requests().len());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_final_error_that_passes_rejects_nothing() {
    // The second of the first three requests is refused: half of the lines.
    let cloud = Cloud::deciding(|request, _| match request {
        0 | 2 => Fate::Refused(400, "SomethingNew"),
        _ => Fate::Taken(5),
    });
    let ran = Scenario::of(2).output(cloud.open(&kinesis())).run().await;
    ran.assert_finished();
    assert_eq!(numbers(&cloud), [0, 1]);
    assert!(ran.dead_lettered.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_lone_prediction_is_rejected_if_the_destination_has_accepted_others() {
    for destination in [kinesis(), firehose(), bucket()] {
        let cloud = Cloud::default().refusing(|text| text.contains("shard:1\""));
        let running = Scenario::of(0).output(cloud.open(&destination)).start();
        let is_held = async || running.invoke([1]).await.unwrap() != json!({ "batchItemFailures": [] });
        assert!(is_held().await, "the destination has not accepted anything");
        running.invoke([0]).await.unwrap();
        tokio::time::sleep(Duration::from_mins(10)).await;
        assert!(is_held().await, "the destination may have changed");
        running.invoke([0]).await.unwrap();
        assert!(!is_held().await, "{destination:?}");
        let (_, dead_letters) = running.lines();
        assert_eq!(dead_letters.len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_prediction_without_dead_letter_holds_the_checkpoint() {
    let cloud = Cloud::default().refusing(|text| text.contains("shard:3\""));
    let scenario = Scenario::of(6).with("DEAD_LETTER", "");
    let ran = scenario.output(cloud.open(&queue())).run().await;
    ran.assert_redelivered_from(3);
    assert_eq!(sorted(numbers(&cloud)), [0, 1, 2, 4, 5]);
}

/// Runs a batch whose record 1 has `data` and is refused by the model, and returns the dead letters.
async fn dead_letters_of(data: &str, dead_letters: &Cloud, destination: &DestinationSetting) -> Vec<Value> {
    let mut poison = entry("1");
    poison["kinesis"]["data"] = BASE64.encode(data).into();
    poison["eventSourceARN"] = "arn:aws:kinesis:eu-central-1:123456789012:stream/in".into();
    let scenario = Scenario::of(0).dead_letter(dead_letters.open(destination));
    let running = scenario.body(data, Behavior::Fail(FaultKind::Refused)).start();
    let event = json!({ "Records": [entry("0"), poison, entry("2")] });
    let response = running.invoke_event(&event).await.unwrap();
    let ran = running.finish(response);
    ran.assert_finished();
    assert_eq!(ran.predicted, [0, 2]);
    dead_letters.envelopes()
}

fn assert_has_no_payload(dead_letter: &Value, data: &str) {
    assert_eq!(dead_letter.get("data"), None);
    let payload = &dead_letter["payload"];
    assert_eq!(payload["bytes"], data.len());
    assert_eq!(payload["sha256"].as_str().unwrap().len(), 64);
    assert_eq!(
        payload["streamArn"],
        "arn:aws:kinesis:eu-central-1:123456789012:stream/in"
    );
    assert_eq!(payload["shardId"], "shard");
    assert_eq!(payload["sequenceNumber"], "1");
    assert_eq!(dead_letter["reason"]["kind"], "Refused");
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_is_too_large_for_dead_letter() {
    let large = "x".repeat(900_000);
    for destination in [kinesis(), firehose(), queue(), fifo_queue()] {
        let dead_letters = dead_letters_of(&large, &Cloud::default(), &destination).await;
        let [dead_letter] = dead_letters.try_into().unwrap();
        assert_has_no_payload(&dead_letter, &large);
    }
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_over_the_queues_own_limit_is_delivered_without_its_payload() {
    // The smallest maximum message size that a queue can have.
    let cloud = Cloud::default().refusing(|text| text.len() > 1024);
    let data = "x".repeat(2000);
    let [dead_letter] = dead_letters_of(&data, &cloud, &queue()).await.try_into().unwrap();
    assert_has_no_payload(&dead_letter, &data);
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_that_is_refused_without_its_payload_holds_the_checkpoint() {
    let cloud = Cloud::default().refusing(|text| text.contains("shard:2\""));
    let scenario = Scenario::of(4).record(1, Behavior::Fail(FaultKind::Refused));
    let scenario = scenario.record(2, Behavior::Fail(FaultKind::Refused));
    let running = scenario.dead_letter(cloud.open(&queue())).start();
    let response = running.invoke(0..4).await.unwrap();
    assert!(running.metrics().contains_key("FailedDeadLetterRefused"));
    running.finish(response).assert_redelivered_from(2);
    assert_eq!(numbers(&cloud), [1]);
}

#[tokio::test(start_paused = true)]
async fn a_raw_prediction_that_output_cannot_carry_is_rejected_before_it_is_sent() {
    let kinesis_takes_all: &[&str] = &[];
    for (destination, refused) in [
        (kinesis(), kinesis_takes_all),
        (firehose(), &["a\nb"]),
        (bucket(), &["a\nb"]),
        (queue(), &["", "a\u{1}b", "\u{ffff}"]),
    ] {
        let cloud = Cloud::default();
        let scenario = Scenario::of(0).with("OUTPUT_FORMAT", "raw");
        let mut scenario = scenario.output(cloud.open(&destination));
        let answers = ["0.5", "", "a\nb", "a\u{1}b", "\u{ffff}"];
        for (number, answer) in answers.into_iter().enumerate() {
            scenario = scenario.record(number, Behavior::PredictText(answer));
        }
        let running = scenario.start();
        let response = running.invoke(0..answers.len()).await.unwrap();
        let (_, dead_letters) = running.lines();
        let expected: Vec<_> = refused
            .iter()
            .map(|refused| answers.iter().position(|answer| answer == refused).unwrap())
            .collect();
        let ran = running.finish(response);
        ran.assert_finished();
        assert_eq!(ran.dead_lettered, expected, "{destination:?}");
        assert!(
            dead_letters
                .iter()
                .all(|it| it["reason"]["kind"] == "PredictionRefused")
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_raw_prediction_never_becomes_a_metric_on_standard_output() {
    let scenario = Scenario::of(0).with("OUTPUT_FORMAT", "raw");
    let scenario = scenario.record(0, Behavior::PredictText(r#"{"\u005faws":{},"Rejected":1e9}"#));
    let running = scenario.record(1, Behavior::PredictText(r#"{"a":"_aws"}"#)).start();
    let response = running.invoke(0..2).await.unwrap();
    let (predicted, dead_letters) = running.lines();
    assert_eq!(predicted, [json!({"a": "_aws"})]);
    assert_eq!(dead_letters.len(), 1);
    assert_eq!(response, json!({ "batchItemFailures": [] }));
}

#[tokio::test(start_paused = true)]
async fn no_message_overtakes_another_of_its_group_in_a_fifo_queue() {
    let mut random = fastrand::Rng::with_seed(7);
    let cloud = Cloud::deciding(move |_, entries| Fate::Partly((0..entries).map(|_| random.f64() > 0.3).collect()));
    let running = Scenario::of(0).output(cloud.open(&fifo_queue())).start();
    for first in (0..10_000).step_by(1000) {
        let keyed = |number: usize| {
            let mut record = entry(&number.to_string());
            record["kinesis"]["partitionKey"] = format!("card-{}", number * 7919 % 300).into();
            record
        };
        let event = json!({ "Records": (first..first + 1000).map(keyed).collect::<Vec<_>>() });
        let response = running.invoke_event(&event).await.unwrap();
        assert_eq!(response, json!({ "batchItemFailures": [] }));
    }
    let mut groups: HashMap<String, Vec<usize>> = HashMap::new();
    for (number, taken) in numbers(&cloud).into_iter().zip(cloud.taken()) {
        groups.entry(taken.key).or_default().push(number);
    }
    assert_eq!(groups.values().map(Vec::len).sum::<usize>(), 10_000);
    assert!(groups.values().all(|numbers| numbers.is_sorted()));
    assert!(cloud.most_in_flight() > 1, "other groups do not wait");
}

#[tokio::test(start_paused = true)]
async fn predictions_and_dead_letters_of_one_place_never_replace_each_other() {
    for destination in [bucket(), fifo_queue()] {
        let cloud = Cloud::default();
        let scenario = || {
            let scenario = Scenario::of(0).output(cloud.open(&destination));
            scenario.dead_letter(cloud.open(&destination))
        };
        let refused = scenario().record(0, Behavior::Fail(FaultKind::Refused)).start();
        refused.invoke(0..2).await.unwrap();
        // The record is sent again after its cause is removed.
        scenario().start().invoke(0..1).await.unwrap();
        assert_eq!(sorted(numbers(&cloud)), [0, 0, 1], "{destination:?}");
    }
}

/// Builds an event of one Kinesis record that holds this number of user records.
fn aggregated(user_records: usize) -> Value {
    let data: Vec<_> = (0..user_records).map(|number| number.to_string()).collect();
    let user_record = |data: &'static str| KplUserRecord {
        partition_key: "key",
        explicit_hash_key: None,
        data: data.as_bytes(),
    };
    let user_records: Vec<_> = data.into_iter().map(|data| user_record(data.leak())).collect();
    let mut record = entry("7");
    record["kinesis"]["data"] = BASE64.encode(aggregate(&user_records)).into();
    json!({ "Records": [record] })
}

#[tokio::test(start_paused = true)]
async fn a_record_holds_more_than_an_invocation_can_do() {
    // 600 user records of 10 ms each, in invocations of three seconds and a memo for some 50 outcomes.
    let scenario = Scenario::of(0).with("CAPACITY", "1").with("MEMO_BYTES", "20000");
    let running = scenario.deadline(Some(Duration::from_secs(3))).start();
    let event = aggregated(600);
    let mut deliveries = 0;
    while running.invoke_event(&event).await.unwrap() != json!({ "batchItemFailures": [] }) {
        deliveries += 1;
        assert!(deliveries < 5, "it makes progress");
    }
    assert!(deliveries >= 2);
    let (predicted, _) = running.lines();
    let numbers = predicted.iter().map(|line| line["subSequenceNumber"].as_u64().unwrap());
    assert!(numbers.eq(0..600), "each once, in order");
}
