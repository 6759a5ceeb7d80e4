//! Predictions and dead letters to a Kinesis data stream.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use instream::config::Destination;
use instream::endpoint::FaultKind;
use instream::output::Output;
use serde_json::{Value, json};

use crate::replay::{Answer, credentials, environment};
use crate::support::{Does, Scenario, entry};

const TAKEN: &str = r#"{"SequenceNumber":"1","ShardId":"shardId-000000000000"}"#;

/// A stream that answers like this, and the requests that it will have taken.
fn stream(answers: &[Answer]) -> (Output, Arc<Mutex<Vec<HttpRequest>>>) {
    let (environment, requests) = environment(credentials(), answers);
    let destination = Destination::Kinesis("scores".to_owned());
    (Output::open(&destination, &environment), requests)
}

/// The answer to a request, of whose records those that are true were taken in.
fn taken(records: &[bool]) -> Answer {
    let throttled = r#"{"ErrorCode":"ProvisionedThroughputExceededException","ErrorMessage":"slow down"}"#;
    let results: Vec<_> = records
        .iter()
        .map(|taken| if *taken { TAKEN } else { throttled })
        .collect();
    let failed = records.iter().filter(|taken| !**taken).count();
    let body = format!(r#"{{"FailedRecordCount":{failed},"Records":[{}]}}"#, results.join(","));
    Answer::Http(200, &[("content-type", "application/x-amz-json-1.1")], body.leak())
}

/// The requests as JSON, each record with its envelope in place of the bytes.
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

/// The event identifiers of the records in each request.
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
    ran.is_finished();
    let puts = puts(&requests);
    assert_eq!(puts.len(), 1);
    assert_eq!(puts[0]["StreamName"], "scores");
    for (number, record) in puts[0]["Records"].as_array().unwrap().iter().enumerate() {
        assert_eq!(record["PartitionKey"], "key");
        assert_eq!(record["Data"]["output"], json!({ "of": number.to_string() }));
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_stream_does_not_take_in_is_put_again_alone() {
    let (output, requests) = stream(&[
        taken(&[true, false, true, false]),
        taken(&[false, true]),
        taken(&[true]),
    ]);
    let ran = Scenario::of(4).output(output).run().await;
    ran.is_finished();
    let expected: [&[&str]; 3] = [
        &["shard:0", "shard:1", "shard:2", "shard:3"],
        &["shard:1", "shard:3"],
        &["shard:1"],
    ];
    assert_eq!(event_ids(&requests), expected);
}

#[tokio::test(start_paused = true)]
async fn what_a_stream_never_takes_in_comes_again() {
    let (output, requests) = stream(&[taken(&[true, false, true]), taken(&[false])]);
    let scenario = Scenario::of(3).output(output).deadline(Some(Duration::from_secs(20)));
    let ran = scenario.run().await;
    ran.comes_again_from(1);
    assert!(ran.elapsed <= Duration::from_millis(19_800), "{:?}", ran.elapsed);
    assert!(event_ids(&requests).len() > 5, "it was tried as long as there was time");
}

#[tokio::test(start_paused = true)]
async fn what_is_not_taken_in_of_a_later_request_is_counted_from_the_first() {
    let mut second = vec![true; 100];
    second[50] = false;
    let (output, requests) = stream(&[taken(&[true; 500]), taken(&second), taken(&[false])]);
    let scenario = Scenario::of(600).output(output).deadline(Some(Duration::from_secs(20)));
    scenario.run().await.comes_again_from(550);
    assert_eq!(
        event_ids(&requests)[..2].iter().map(Vec::len).collect::<Vec<_>>(),
        [500, 100]
    );
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_does_not_tell_of_each_record_tells_of_none() {
    let (output, requests) = stream(&[taken(&[true]), taken(&[true; 3])]);
    Scenario::of(3).output(output).run().await.is_finished();
    assert_eq!(event_ids(&requests).iter().map(Vec::len).collect::<Vec<_>>(), [3, 3]);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_does_not_answer_is_asked_again_until_the_time_is_over() {
    let (output, requests) = stream(&[Answer::Hang, taken(&[true])]);
    let ran = Scenario::of(1).output(output).run().await;
    ran.is_finished();
    assert_eq!(event_ids(&requests).len(), 2);
    assert!(ran.elapsed < Duration::from_secs(10), "{:?}", ran.elapsed);
    let (output, _) = stream(&[Answer::Hang]);
    let ran = Scenario::of(1)
        .output(output)
        .deadline(Some(Duration::from_secs(12)))
        .run()
        .await;
    ran.comes_again_from(0);
    assert!(ran.elapsed <= Duration::from_millis(11_800), "{:?}", ran.elapsed);
}

#[tokio::test(start_paused = true)]
async fn an_error_of_the_service_that_passes_is_waited_for() {
    const SLOW: &[(&str, &str)] = &[("x-amzn-errortype", "LimitExceededException")];
    const TIMEOUT: &[(&str, &str)] = &[("x-amzn-errortype", "RequestTimeout")];
    for passing in [
        Answer::Http(400, TIMEOUT, "{}"),
        Answer::Http(409, &[], "{}"),
        Answer::Http(500, &[], "{}"),
        Answer::Http(400, SLOW, "{}"),
        Answer::Io(std::io::ErrorKind::ConnectionReset),
    ] {
        let (output, requests) = stream(&[passing, passing, passing, passing, taken(&[true])]);
        Scenario::of(1).output(output).run().await.is_finished();
        assert_eq!(requests.lock().unwrap().len(), 5, "{passing:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_dead_letter_leaves_time_for_the_output() {
    // The first dead letter arrives, and for the second there is no answer.
    let (dead_letter, _) = stream(&[taken(&[true, false]), Answer::Hang]);
    let ran = Scenario::of(10)
        .dead_letter(dead_letter)
        .deadline(Some(Duration::from_secs(5)))
        .record(4, Does::Fail(FaultKind::Refused))
        .record(8, Does::Fail(FaultKind::Refused))
        .run()
        .await;
    ran.comes_again_from(8);
    assert_eq!(ran.predicted, [0, 1, 2, 3, 5, 6, 7]);
}

#[tokio::test(start_paused = true)]
async fn what_output_refuses_before_a_dead_letter_keeps_the_dead_letter_back() {
    const NOT_FOUND: &[(&str, &str)] = &[("x-amzn-errortype", "ResourceNotFoundException")];
    let (output, _) = stream(&[Answer::Http(400, NOT_FOUND, "{}")]);
    let scenario = Scenario::of(10)
        .output(output)
        .record(4, Does::Fail(FaultKind::Refused));
    let ran = scenario.run().await;
    ran.comes_again_from(0);
    assert!(ran.dead_lettered.is_empty(), "it would repeat with every delivery");
}

#[tokio::test(start_paused = true)]
async fn there_is_no_such_stream() {
    const NOT_FOUND: &[(&str, &str)] = &[("x-amzn-errortype", "ResourceNotFoundException")];
    let (output, requests) = stream(&[Answer::Http(400, NOT_FOUND, "{}")]);
    let ran = Scenario::of(3).output(output).run().await;
    ran.comes_again_from(0);
    assert_eq!(event_ids(&requests).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_prediction_is_too_large_for_output() {
    let (output, requests) = stream(&[taken(&[true])]);
    let ran = Scenario::of(3)
        .output(output)
        .record(1, Does::PredictBytes(1024 * 1024))
        .run()
        .await;
    ran.is_finished();
    assert_eq!(ran.dead_lettered, [1]);
    assert_eq!(event_ids(&requests), [["shard:0"], ["shard:2"]]);
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_is_too_large_for_dead_letter() {
    let (dead_letter, requests) = stream(&[taken(&[true])]);
    let large = "x".repeat(800 * 1024);
    let mut poison = entry("1");
    poison["kinesis"]["data"] = BASE64.encode(&large).into();
    let mut scenario = Scenario::of(0).dead_letter(dead_letter);
    scenario = scenario.body(&large, Does::Fail(FaultKind::Refused));
    let running = scenario.start();
    let event = json!({ "Records": [entry("0"), poison, entry("2")] });
    let answer = running.invoke_event(&event).await.unwrap();
    let ran = running.ran(answer);
    ran.comes_again_from(1);
    assert_eq!(ran.predicted, [0]);
    assert!(event_ids(&requests).is_empty(), "it is never cut to fit");
}

#[tokio::test(start_paused = true)]
async fn output_or_dead_letter_is_the_events_own_stream() {
    let event = |arn: &str| {
        let mut entry = entry("0");
        entry["eventSourceARN"] = arn.into();
        json!({ "Records": [entry] })
    };
    let own = "arn:aws:kinesis:eu-central-1:123456789012:stream/scores";
    let mut behind_a_broken_one = event(own);
    behind_a_broken_one["Records"]
        .as_array_mut()
        .unwrap()
        .insert(0, json!("broken"));
    let owns = [
        event(own),
        event(&format!("{own}/consumer/fast:1540000000")),
        behind_a_broken_one,
    ];
    let others = [
        "arn:aws:kinesis:eu-central-1:123456789012:stream/transactions",
        "arn:aws:kinesis:us-east-1:123456789012:stream/scores",
        "arn:aws:kinesis:eu-central-1:210987654321:stream/scores",
    ];
    for variable in ["OUTPUT", "DEAD_LETTER"] {
        let (output, _) = stream(&[taken(&[true])]);
        let scenario = Scenario::of(0);
        let running = match variable {
            "OUTPUT" => scenario.output(output),
            _ => scenario.dead_letter(output),
        };
        let running = running.start();
        for own in &owns {
            let error = running.invoke_event(own).await.unwrap_err().to_string();
            assert!(
                error.starts_with(&format!("{variable} is the stream that the event comes from")),
                "{error}"
            );
        }
        assert!(running.seen.lock().unwrap().calls.is_empty(), "nothing was done yet");
        for other in others {
            let answer = running.invoke_event(&event(other)).await.unwrap();
            assert_eq!(answer, json!({ "batchItemFailures": [] }), "{other}");
        }
    }
}
