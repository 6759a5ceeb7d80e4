//! Kinesis, Firehose, SQS and S3 as destinations: the requests that they get, and how refused entries are handled.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use instream::delivery::DestinationSetting;
use instream::outcome::FaultKind;
use serde_json::json;

use crate::cloud::{Cloud, Fate, Request};
use crate::support::{Behavior, Scenario, entry};

pub(crate) fn kinesis() -> DestinationSetting {
    DestinationSetting::Kinesis("scores".to_owned())
}

pub(crate) fn event_bus() -> DestinationSetting {
    DestinationSetting::EventBridge("scores".to_owned())
}

pub(crate) fn firehose() -> DestinationSetting {
    DestinationSetting::Firehose("scores".to_owned())
}

pub(crate) fn queue() -> DestinationSetting {
    DestinationSetting::Sqs("https://sqs.eu-central-1.amazonaws.com/123456789012/scores".to_owned())
}

pub(crate) fn fifo_queue() -> DestinationSetting {
    DestinationSetting::Sqs("https://sqs.eu-central-1.amazonaws.com/123456789012/scores.fifo".to_owned())
}

pub(crate) fn bucket() -> DestinationSetting {
    DestinationSetting::S3 {
        bucket: "scores".to_owned(),
        prefix: "fraud".to_owned(),
    }
}

/// Returns the numbers of the records whose envelopes arrived, in order of arrival.
pub(crate) fn numbers(cloud: &Cloud) -> Vec<usize> {
    let objects = cloud.objects();
    let lines = objects.values().flat_map(|object| object.lines());
    let lines = lines.map(|line| serde_json::from_str(line).unwrap());
    let envelopes = cloud.envelopes().into_iter().chain(lines);
    let number = |envelope: serde_json::Value| {
        let id = envelope["eventId"].as_str().unwrap();
        id.strip_prefix("shard:").unwrap().parse().unwrap()
    };
    envelopes.map(number).collect()
}

pub(crate) fn sorted(mut numbers: Vec<usize>) -> Vec<usize> {
    numbers.sort_unstable();
    numbers
}

#[tokio::test(start_paused = true)]
async fn every_destination_gets_predictions_and_dead_letters() {
    for destination in [event_bus(), kinesis(), firehose(), queue(), fifo_queue(), bucket()] {
        let (output, dead_letter) = (Cloud::default(), Cloud::default());
        let ran = Scenario::of(1200)
            .output(output.open(&destination))
            .dead_letter(dead_letter.open(&destination))
            .record(700, Behavior::Fail(FaultKind::Refused))
            .run()
            .await;
        ran.assert_finished();
        let expected: Vec<_> = (0..1200).filter(|number| *number != 700).collect();
        assert_eq!(sorted(numbers(&output)), expected, "{destination:?}");
        assert_eq!(numbers(&dead_letter), [700], "{destination:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn entries_that_a_destination_refuses_are_retried_alone_and_arrive_once() {
    for destination in [event_bus(), kinesis(), firehose(), queue(), fifo_queue(), bucket()] {
        let mut random = fastrand::Rng::with_seed(7);
        let cloud = Cloud::deciding(move |_, entries| Fate::Partly((0..entries).map(|_| random.f64() > 0.3).collect()));
        let ran = Scenario::of(1200).output(cloud.open(&destination)).run().await;
        ran.assert_finished();
        assert_eq!(
            sorted(numbers(&cloud)),
            (0..1200).collect::<Vec<_>>(),
            "{destination:?}"
        );
        assert_eq!(ran.seen.calls.len(), 1200);
    }
}

#[tokio::test(start_paused = true)]
async fn no_request_exceeds_the_limits_of_the_service() {
    const MIB: usize = 1024 * 1024;
    for (destination, entries, bytes) in [
        (kinesis(), 500, 5 * MIB),
        (firehose(), 500, 4 * MIB),
        (queue(), 10, MIB),
        (bucket(), 1, usize::MAX),
    ] {
        let cloud = Cloud::default();
        let mut scenario = Scenario::of(1100).output(cloud.open(&destination));
        for number in (0..1100).step_by(40) {
            scenario = scenario.record(number, Behavior::PredictBytes(600_000));
        }
        scenario.run().await.assert_finished();
        let requests = cloud.requests();
        assert!(
            requests
                .iter()
                .all(|request| request.entries <= entries && request.bytes <= bytes),
            "{destination:?}"
        );
        assert_eq!(numbers(&cloud).len(), 1100);
    }
}

#[tokio::test(start_paused = true)]
async fn predictions_are_delivered_while_later_calls_are_in_flight() {
    for destination in [event_bus(), kinesis(), firehose(), queue()] {
        let cloud = Cloud::default();
        let scenario = Scenario::of(3000).output(cloud.open(&destination));
        let running = scenario.with("CAPACITY", "10").start();
        running.invoke(0..3000).await.unwrap();
        let last_call = *running.seen.lock().unwrap().started.last().unwrap();
        let early: usize = cloud
            .requests()
            .iter()
            .filter(|it| it.at < last_call)
            .map(|it| it.entries)
            .sum();
        assert!(
            early >= 2500,
            "{destination:?}: {early} of 3,000 were delivered before the last call"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn an_early_delivery_contains_no_record_that_may_be_redelivered() {
    let cloud = Cloud::default();
    let scenario = Scenario::of(2000).output(cloud.open(&kinesis()));
    let scenario = scenario
        .with("CAPACITY", "10")
        .record(800, Behavior::FailAfter(500, FaultKind::Suspect));
    let ran = scenario.run().await;
    ran.assert_redelivered_from(800);
    assert_eq!(numbers(&cloud), (0..800).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_batch_is_written_as_one_object() {
    let cloud = Cloud::default();
    Scenario::of(2000)
        .output(cloud.open(&bucket()))
        .run()
        .await
        .assert_finished();
    let objects = cloud.objects();
    assert_eq!(objects.len(), 1);
    let (key, object) = objects.first_key_value().unwrap();
    assert!(key.contains("/fraud/1970/01/01/00/prediction-shard-0-0-"), "{key}");
    assert_eq!(object.lines().count(), 2000);
}

#[tokio::test(start_paused = true)]
async fn redelivered_records_overwrite_their_object() {
    let cloud = Cloud::deciding(|request, _| {
        if request == 0 {
            Fate::TakenWithoutResponse
        } else {
            Fate::Taken(5)
        }
    });
    Scenario::of(20)
        .output(cloud.open(&bucket()))
        .run()
        .await
        .assert_finished();
    assert_eq!((cloud.requests().len(), cloud.objects().len()), (2, 1));
    // Another process overwrites the same object.
    Scenario::of(20)
        .output(cloud.open(&bucket()))
        .run()
        .await
        .assert_finished();
    assert_eq!((cloud.requests().len(), cloud.objects().len()), (3, 1));
}

#[tokio::test(start_paused = true)]
async fn a_fifo_queue_gets_one_message_of_a_group_at_a_time_with_deduplication() {
    let cloud = Cloud::deciding(|request, _| {
        if request == 1 {
            Fate::TakenWithoutResponse
        } else {
            Fate::Taken(5)
        }
    });
    Scenario::of(45)
        .output(cloud.open(&fifo_queue()))
        .run()
        .await
        .assert_finished();
    assert_eq!(numbers(&cloud), (0..45).collect::<Vec<_>>(), "in order, each once");
    assert_eq!(cloud.most_in_flight(), 1);
    assert_eq!(cloud.requests().len(), 46, "one was sent twice");
    assert!(cloud.taken().iter().all(|taken| taken.key == "key"));
    let identities: std::collections::HashSet<_> = cloud.taken().into_iter().map(|it| it.deduplication).collect();
    assert_eq!(identities.len(), 45);
    let cloud = Cloud::default();
    Scenario::of(400)
        .output(cloud.open(&queue()))
        .run()
        .await
        .assert_finished();
    assert!(cloud.most_in_flight() > 1, "a standard queue gets concurrent requests");
    assert!(cloud.taken().iter().all(|taken| taken.deduplication.is_empty()));
}

#[tokio::test(start_paused = true)]
async fn records_of_two_streams_and_broken_records_do_not_overwrite_each_other() {
    for destination in [bucket(), fifo_queue()] {
        let cloud = Cloud::default();
        let dead_letter = Cloud::default();
        let scenario = Scenario::of(0).output(cloud.open(&destination));
        let running = scenario.dead_letter(dead_letter.open(&destination)).start();
        for stream in ["one", "two"] {
            let mut record = entry("7");
            record["eventSourceARN"] = format!("arn:aws:kinesis:eu-central-1:123456789012:stream/{stream}").into();
            running.invoke_event(&json!({ "Records": [record] })).await.unwrap();
            // Two broken records differ only in the stray member.
            let broken = json!({ "kinesis": {}, "stray": stream });
            running.invoke_event(&json!({ "Records": [broken] })).await.unwrap();
        }
        for cloud in [cloud, dead_letter] {
            assert_eq!(cloud.objects().len() + cloud.taken().len(), 2, "{destination:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn firehose_entries_end_with_a_line_break() {
    let cloud = Cloud::default();
    Scenario::of(3)
        .output(cloud.open(&firehose()))
        .run()
        .await
        .assert_finished();
    assert!(cloud.taken().iter().all(|taken| taken.text.ends_with("}\n")));
}

#[tokio::test(start_paused = true)]
async fn raw_output_is_the_answer_alone_and_a_dead_letter_keeps_its_envelope() {
    let (output, dead_letter) = (Cloud::default(), Cloud::default());
    let scenario = Scenario::of(3).with("OUTPUT_FORMAT", "raw");
    let scenario = scenario
        .output(output.open(&queue()))
        .dead_letter(dead_letter.open(&queue()));
    scenario
        .record(1, Behavior::Fail(FaultKind::Refused))
        .run()
        .await
        .assert_finished();
    let texts: Vec<_> = output.taken().into_iter().map(|taken| taken.text).collect();
    assert_eq!(texts, [r#"{"of":"0"}"#, r#"{"of":"2"}"#]);
    assert_eq!(numbers(&dead_letter), [1]);
}

#[tokio::test(start_paused = true)]
async fn records_delivered_after_one_that_output_refused_are_not_delivered_again() {
    for destination in [event_bus(), kinesis(), firehose(), queue()] {
        // For a minute, every second entry of each request is refused.
        let mut started = None;
        let cloud = Cloud::deciding(move |_, entries| {
            let started = *started.get_or_insert_with(tokio::time::Instant::now);
            if started.elapsed() > Duration::from_mins(1) {
                return Fate::Taken(5);
            }
            Fate::Partly((0..entries).map(|index| entries > 1 && index % 2 == 0).collect())
        });
        let scenario = Scenario::of(0).output(cloud.open(&destination));
        let running = scenario.deadline(Some(Duration::from_secs(20))).start();
        let response = running.deliver_repeatedly(0..40, 5).await;
        let ran = running.finish(response);
        ran.assert_finished();
        assert_eq!(
            sorted(numbers(&cloud)),
            (0..40).collect::<Vec<_>>(),
            "{destination:?}: each once"
        );
        assert_eq!(ran.seen.calls.len(), 40);
    }
}

#[tokio::test(start_paused = true)]
async fn calls_stop_soon_when_output_does_not_exist() {
    let cloud = Cloud::deciding(|_, _| Fate::Refused(400, "ResourceNotFoundException"));
    let ran = Scenario::of(10_000).output(cloud.open(&kinesis())).run().await;
    ran.assert_redelivered_from(0);
    assert!(ran.seen.calls.len() < 700, "{} calls were made", ran.seen.calls.len());
    assert_eq!(cloud.requests().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn no_request_follows_one_that_was_refused_as_a_whole() {
    for mode in ["ordered", "unordered"] {
        let cloud = Cloud::deciding(|_, _| Fate::Refused(400, "ResourceNotFoundException"));
        let mut scenario = Scenario::of(12)
            .with("OUTPUT_MODE", mode)
            .output(cloud.open(&kinesis()));
        for number in 0..12 {
            scenario = scenario.record(number, Behavior::PredictBytes(1_000_000));
        }
        scenario.run().await.assert_redelivered_from(0);
        assert_eq!(cloud.requests().len(), 1, "of three");
    }
}

#[tokio::test(start_paused = true)]
async fn a_destination_that_does_not_respond_is_retried_until_the_deadline() {
    for destination in [event_bus(), kinesis(), firehose(), queue(), fifo_queue(), bucket()] {
        let cloud = Cloud::deciding(|_, _| Fate::Hangs);
        let scenario = Scenario::of(1200).output(cloud.open(&destination));
        let ran = scenario.deadline(Some(Duration::from_secs(20))).run().await;
        ran.assert_redelivered_from(0);
        assert!(ran.elapsed <= Duration::from_millis(19_800), "{:?}", ran.elapsed);
        assert!(cloud.requests().len() > 2, "the request was retried");
    }
}

#[tokio::test(start_paused = true)]
async fn a_prediction_over_the_limit_of_the_destination_is_rejected() {
    for (destination, size, is_rejected) in [
        (firehose(), 1000 * 1024, true),
        (queue(), 1024 * 1024, true),
        (kinesis(), 1024 * 1024, true),
        (bucket(), 9 * 1024 * 1024, false),
    ] {
        let cloud = Cloud::default();
        let scenario = Scenario::of(3).output(cloud.open(&destination));
        let ran = scenario.record(1, Behavior::PredictBytes(size)).run().await;
        ran.assert_finished();
        let expected = if is_rejected { vec![1] } else { vec![] };
        assert_eq!(ran.dead_lettered, expected, "{destination:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_of_any_size_goes_to_s3() {
    let large = "x".repeat(9 * 1024 * 1024);
    let mut poison = entry("1");
    poison["kinesis"]["data"] = BASE64.encode(&large).into();
    let cloud = Cloud::default();
    let scenario = Scenario::of(0)
        .with("MAX_PAYLOAD_BYTES", "26214400")
        .dead_letter(cloud.open(&bucket()));
    let running = scenario.body(&large, Behavior::Fail(FaultKind::Refused)).start();
    let event = json!({ "Records": [entry("0"), poison, entry("2")] });
    let response = running.invoke_event(&event).await.unwrap();
    running.finish(response).assert_finished();
    let objects = cloud.objects();
    let dead_letter: serde_json::Value = serde_json::from_str(objects.values().next().unwrap()).unwrap();
    assert_eq!(dead_letter["data"], BASE64.encode(&large), "it is complete");
}

#[tokio::test(start_paused = true)]
async fn the_size_of_an_event_includes_its_other_parts() {
    let cloud = Cloud::default();
    let large = (0..4).fold(Scenario::of(40), |scenario, number| {
        scenario.record(number, Behavior::PredictBytes(130_500))
    });
    large.output(cloud.open(&event_bus())).run().await.assert_finished();
    let fits = |request: &Request| request.entries <= 10 && request.bytes + request.entries * 1024 <= 256 * 1024;
    assert!(cloud.requests().iter().all(fits));
    assert_eq!(numbers(&cloud).len(), 40);
}
