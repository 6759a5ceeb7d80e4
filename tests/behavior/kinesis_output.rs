//! Predictions and dead letters to a Kinesis data stream.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use instream::delivery::DestinationSetting;
use instream::delivery::destination::Destination;
use instream::outcome::FaultKind;
use serde_json::{Value, json};

use crate::replay::{Reply, credentials, environment};
use crate::support::{Behavior, Scenario, entry};

const TAKEN: &str = r#"{"SequenceNumber":"1","ShardId":"shardId-000000000000"}"#;

/// Returns an output to a stream with these replies, and the list of the requests that it gets.
fn stream(answers: &[Reply]) -> (Destination, Arc<Mutex<Vec<HttpRequest>>>) {
    let (environment, requests) = environment(credentials(), answers);
    let destination = DestinationSetting::Kinesis("scores".to_owned());
    (Destination::open(&destination, &environment), requests)
}

/// Returns the reply to a request of whose records only those marked `true` were accepted.
fn taken(records: &[bool]) -> Reply {
    let throttled = r#"{"ErrorCode":"ProvisionedThroughputExceededException","ErrorMessage":"slow down"}"#;
    let results: Vec<_> = records
        .iter()
        .map(|taken| if *taken { TAKEN } else { throttled })
        .collect();
    let failed = records.iter().filter(|taken| !**taken).count();
    let body = format!(r#"{{"FailedRecordCount":{failed},"Records":[{}]}}"#, results.join(","));
    Reply::Http(200, &[("content-type", "application/x-amz-json-1.1")], body.leak())
}

/// Returns the requests as JSON, with the data of each record decoded to its envelope.
fn puts(requests: &Mutex<Vec<HttpRequest>>) -> Vec<Value> {
    let requests = requests.lock().unwrap();
    let put = |request: &HttpRequest| {
        let mut put: Value = serde_json::from_slice(request.body().bytes().unwrap()).unwrap();
        for record in put["Records"].as_array_mut().unwrap() {
            let data = BASE64.decode(record["Data"].as_str().unwrap()).unwrap();
            record["Data"] = serde_json::from_slice(&data).unwrap();
        }
        put
    };
    requests.iter().map(put).collect()
}

/// Returns the event identifiers of the records in each request.
fn event_ids(requests: &Mutex<Vec<HttpRequest>>) -> Vec<Vec<String>> {
    let of = |put: &Value| {
        let records = put["Records"].as_array().unwrap().iter();
        records
            .map(|record| record["Data"]["eventId"].as_str().unwrap().to_owned())
            .collect()
    };
    puts(requests).iter().map(of).collect()
}

#[tokio::test(start_paused = true)]
async fn predictions_go_to_a_stream_with_the_partition_keys_of_their_records() {
    let (output, requests) = stream(&[taken(&[true, true])]);
    let ran = Scenario::of(2).output(output).run().await;
    ran.assert_finished();
    let puts = puts(&requests);
    assert_eq!(puts.len(), 1);
    assert_eq!(puts[0]["StreamName"], "scores");
    for (number, record) in puts[0]["Records"].as_array().unwrap().iter().enumerate() {
        assert_eq!(record["PartitionKey"], "key");
        assert_eq!(record["Data"]["output"], json!({ "of": number.to_string() }));
    }
}

#[tokio::test(start_paused = true)]
async fn entries_that_a_stream_refuses_are_retried_alone() {
    let (output, requests) = stream(&[
        taken(&[true, false, true, false]),
        taken(&[false, true]),
        taken(&[true]),
    ]);
    let ran = Scenario::of(4).output(output).run().await;
    ran.assert_finished();
    let expected: [&[&str]; 3] = [
        &["shard:0", "shard:1", "shard:2", "shard:3"],
        &["shard:1", "shard:3"],
        &["shard:1"],
    ];
    assert_eq!(event_ids(&requests), expected);
}

#[tokio::test(start_paused = true)]
async fn a_record_that_the_stream_keeps_refusing_is_redelivered() {
    let (output, requests) = stream(&[taken(&[true, false, true]), taken(&[false])]);
    let scenario = Scenario::of(3).output(output).deadline(Some(Duration::from_secs(20)));
    let ran = scenario.run().await;
    ran.assert_redelivered_from(1);
    assert!(ran.elapsed <= Duration::from_millis(19_800), "{:?}", ran.elapsed);
    assert!(event_ids(&requests).len() > 5, "it is retried until the deadline");
}

#[tokio::test(start_paused = true)]
async fn a_refused_entry_of_a_later_request_sets_the_checkpoint_to_its_record() {
    let mut second = vec![true; 100];
    second[50] = false;
    let (output, requests) = stream(&[taken(&[true; 500]), taken(&second), taken(&[false])]);
    let scenario = Scenario::of(600).output(output).deadline(Some(Duration::from_secs(20)));
    scenario.run().await.assert_redelivered_from(550);
    assert_eq!(
        event_ids(&requests)[..2].iter().map(Vec::len).collect::<Vec<_>>(),
        [500, 100]
    );
}

#[tokio::test(start_paused = true)]
async fn a_response_without_a_result_for_each_record_is_retried_as_a_whole() {
    let (output, requests) = stream(&[taken(&[true]), taken(&[true; 3])]);
    Scenario::of(3).output(output).run().await.assert_finished();
    assert_eq!(event_ids(&requests).iter().map(Vec::len).collect::<Vec<_>>(), [3, 3]);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_does_not_respond_is_retried_until_the_deadline() {
    let (output, requests) = stream(&[Reply::Hang, taken(&[true])]);
    let ran = Scenario::of(1).output(output).run().await;
    ran.assert_finished();
    assert_eq!(event_ids(&requests).len(), 2);
    assert!(ran.elapsed < Duration::from_secs(10), "{:?}", ran.elapsed);
    let (output, _) = stream(&[Reply::Hang]);
    let ran = Scenario::of(1)
        .output(output)
        .deadline(Some(Duration::from_secs(12)))
        .run()
        .await;
    ran.assert_redelivered_from(0);
    assert!(ran.elapsed <= Duration::from_millis(11_800), "{:?}", ran.elapsed);
}

#[tokio::test(start_paused = true)]
async fn a_transient_error_of_the_service_is_retried() {
    const SLOW: &[(&str, &str)] = &[("x-amzn-errortype", "LimitExceededException")];
    const TIMEOUT: &[(&str, &str)] = &[("x-amzn-errortype", "RequestTimeout")];
    for passing in [
        Reply::Http(400, TIMEOUT, "{}"),
        Reply::Http(409, &[], "{}"),
        Reply::Http(500, &[], "{}"),
        Reply::Http(400, SLOW, "{}"),
        Reply::Io(std::io::ErrorKind::ConnectionReset),
    ] {
        let (output, requests) = stream(&[passing, passing, passing, passing, taken(&[true])]);
        Scenario::of(1).output(output).run().await.assert_finished();
        assert_eq!(requests.lock().unwrap().len(), 5, "{passing:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_dead_letter_leaves_time_for_the_output() {
    // The first dead letter arrives. The request for the second gets no response.
    let (dead_letter, _) = stream(&[taken(&[true, false]), Reply::Hang]);
    let ran = Scenario::of(10)
        .dead_letter(dead_letter)
        .deadline(Some(Duration::from_secs(5)))
        .record(4, Behavior::Fail(FaultKind::Refused))
        .record(8, Behavior::Fail(FaultKind::Refused))
        .run()
        .await;
    ran.assert_redelivered_from(8);
    assert_eq!(ran.predicted, [0, 1, 2, 3, 5, 6, 7]);
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_is_held_back_if_output_refuses_a_record_before_it() {
    const NOT_FOUND: &[(&str, &str)] = &[("x-amzn-errortype", "ResourceNotFoundException")];
    let (output, _) = stream(&[Reply::Http(400, NOT_FOUND, "{}")]);
    let scenario = Scenario::of(10)
        .output(output)
        .record(4, Behavior::Fail(FaultKind::Refused));
    let ran = scenario.run().await;
    ran.assert_redelivered_from(0);
    assert!(ran.dead_lettered.is_empty(), "it would be repeated with every delivery");
}

#[tokio::test(start_paused = true)]
async fn a_missing_stream_fails_the_batch_after_one_request() {
    const NOT_FOUND: &[(&str, &str)] = &[("x-amzn-errortype", "ResourceNotFoundException")];
    let (output, requests) = stream(&[Reply::Http(400, NOT_FOUND, "{}")]);
    let ran = Scenario::of(3).output(output).run().await;
    ran.assert_redelivered_from(0);
    assert_eq!(event_ids(&requests).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_prediction_is_too_large_for_output() {
    let (output, requests) = stream(&[taken(&[true])]);
    let ran = Scenario::of(3)
        .output(output)
        .record(1, Behavior::PredictBytes(1024 * 1024))
        .run()
        .await;
    ran.assert_finished();
    assert_eq!(ran.dead_lettered, [1]);
    assert_eq!(event_ids(&requests), [["shard:0"], ["shard:2"]]);
}

#[tokio::test(start_paused = true)]
async fn a_destination_is_the_events_own_stream() {
    let event = |arn: &str| {
        let mut entry = entry("0");
        entry["eventSourceARN"] = arn.into();
        json!({ "Records": [entry] })
    };
    let own = "arn:aws:kinesis:eu-central-1:123456789012:stream/scores";
    let mut after_a_broken_record = event(own);
    after_a_broken_record["Records"]
        .as_array_mut()
        .unwrap()
        .insert(0, json!("broken"));
    let owns = [
        event(own),
        event(&format!("{own}/consumer/fast:1540000000")),
        after_a_broken_record,
    ];
    let others = [
        "arn:aws:kinesis:eu-central-1:123456789012:stream/transactions",
        "arn:aws:kinesis:us-east-1:123456789012:stream/scores",
        "arn:aws:kinesis:eu-central-1:210987654321:stream/scores",
    ];
    for variable in ["OUTPUT", "DEAD_LETTER", "ALERT"] {
        let (output, _) = stream(&[taken(&[true])]);
        let scenario = Scenario::of(0)
            .with("ALERT", "stdout:")
            .with("ALERT_PATTERN", r#"{"a":[1]}"#);
        let running = match variable {
            "OUTPUT" => scenario.output(output),
            "DEAD_LETTER" => scenario.dead_letter(output),
            _ => scenario.alert(output),
        };
        let running = running.start();
        for own in &owns {
            let error = running.invoke_event(own).await.unwrap_err().to_string();
            assert!(
                error.starts_with(&format!("{variable} is the event's source stream")),
                "{error}"
            );
        }
        assert!(running.seen.lock().unwrap().calls.is_empty(), "no call was made");
        for other in others {
            let response = running.invoke_event(&event(other)).await.unwrap();
            assert_eq!(response, json!({ "batchItemFailures": [] }), "{other}");
        }
    }
}
