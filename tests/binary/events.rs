//! The sample events: the function's response to each is in the file beside it.

use std::fs;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use instream_local::event_command;
use serde_json::Value;

use crate::{options, repository};

/// The events with one record that is skipped.
const SKIPPED: [&str; 2] = ["elements.json", "other-producers.json"];

/// Returns the event files, sorted.
fn sample_events() -> Vec<PathBuf> {
    let files = fs::read_dir(repository("events")).unwrap();
    let files = files.map(|file| file.unwrap().path());
    let is_event = |file: &PathBuf| {
        let name = file.file_name().unwrap().to_str().unwrap();
        name.split_once('.').unwrap().1 == "json"
    };
    let mut files: Vec<_> = files.filter(is_event).collect();
    files.sort();
    assert!(files.len() >= 12, "{files:?}");
    files
}

#[tokio::test]
async fn every_sample_event_gets_the_response_in_its_file_and_delivers_the_finished_records() {
    for file in sample_events() {
        let name = file.display();
        let run = event_command::run(&file, options(&[])).await.unwrap();
        let expected = fs::read_to_string(file.with_extension("response.json")).unwrap();
        assert_eq!(
            run.result_line(),
            expected.trim_end(),
            "{name}:\n{}",
            run.log.join("\n")
        );
        let event: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        let (delivered, mut finished) = (
            delivered(&run.output),
            finished(&event, &serde_json::from_str(&expected).unwrap()),
        );
        let finished_records = finished.len();
        // A record whose user records are all skipped is finished without a line.
        finished.retain(|id| delivered.contains(id) || !SKIPPED.iter().any(|skipped| file.ends_with(skipped)));
        assert_eq!(delivered, finished, "{name}");
        assert!(finished_records - finished.len() <= 1, "{name}");
    }
}

/// Returns the event IDs of the delivered lines, sorted and without duplicates.
fn delivered(output: &[String]) -> Vec<String> {
    let id = |line: &String| {
        let envelope: Value = serde_json::from_str(line).unwrap();
        assert!(
            envelope.get("output").is_some() != envelope.get("reason").is_some(),
            "{line}"
        );
        envelope["eventId"].as_str().unwrap().to_owned()
    };
    let mut ids: Vec<_> = output.iter().map(id).collect();
    ids.sort();
    // Each user record of an aggregated record is a line of its own.
    ids.dedup();
    ids
}

/// Returns the event IDs of the records before the one that the response names, or of all records if it names none.
fn finished(event: &Value, response: &Value) -> Vec<String> {
    let no_records = Vec::new();
    let records = event["Records"].as_array().unwrap_or(&no_records);
    let named = &response["batchItemFailures"][0]["itemIdentifier"];
    let before = records
        .iter()
        .take_while(|record| record["kinesis"]["sequenceNumber"] != *named);
    before
        .map(|record| record["eventID"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn one_event_delivers_its_predictions_and_logs_no_payload_at_any_level() {
    let run = event_command::run(&repository("events/refused.json"), options(&[("RUST_LOG", "trace")]))
        .await
        .unwrap();
    let (dead, predicted): (Vec<_>, Vec<_>) = run.output.iter().partition(|line| line.contains("\"reason\""));
    assert_eq!((predicted.len(), dead.len()), (4, 1));
    assert!(
        dead[0].contains(r#""reason":{"kind":"Refused","message":"the container answered with status 400"#),
        "{dead:?}"
    );
    let log = run.log.join("\n");
    assert!(log.contains("predicted=4 rejected=1"), "{log}");
    // The last one is the refused record in base64, as in the event.
    for secret in ["a lot", "merchant", "score", "eyJhbW91bnQiOiJhIGxvdCJ9"] {
        assert!(!log.contains(secret), "{secret}: {log}");
    }
}

#[tokio::test]
async fn neither_log_nor_metrics_show_a_payload_of_any_sample_event_at_any_level() {
    for file in sample_events() {
        let event = fs::read_to_string(&file).unwrap();
        let secrets = payloads(&serde_json::from_str(&event).unwrap());
        let settings = [
            ("RUST_LOG", "trace"),
            ("METRICS", "on"),
            ("AWS_LAMBDA_LOG_FORMAT", "JSON"),
        ];
        let run = event_command::run(&file, options(&settings)).await.unwrap();
        let metrics = run.output.iter().filter(|line| line.contains("\"_aws\""));
        for line in run.log.iter().chain(metrics) {
            let shown = secrets.iter().find(|secret| line.contains(*secret));
            assert_eq!(shown, None, "{}: {line}", file.display());
        }
    }
}

/// Returns texts that a line contains only if it shows a part of a record's data, encoded or decoded, or of a
/// prediction.
fn payloads(event: &Value) -> Vec<String> {
    /// The length of the parts, in characters: long enough not to occur by chance.
    const PART_LENGTH: usize = 12;
    let records = event["Records"].as_array().into_iter().flatten();
    let encoded = records.filter_map(|record| record["kinesis"]["data"].as_str());
    let texts = encoded.flat_map(|encoded| {
        let decoded = BASE64.decode(encoded).unwrap_or_default();
        [encoded.to_owned(), String::from_utf8_lossy(&decoded).into_owned()]
    });
    let parts = texts.flat_map(|text| {
        let characters: Vec<_> = text.chars().collect();
        let windows = characters.windows(PART_LENGTH).map(|window| window.iter().collect());
        windows.collect::<Vec<String>>()
    });
    parts
        .chain([
            "merchant_category".to_owned(),
            "\\\"score".to_owned(),
            "\"score".to_owned(),
        ])
        .collect()
}

#[tokio::test]
async fn a_misconfigured_endpoint_is_logged_in_one_line_that_names_the_fix() {
    let run = event_command::run(&repository("events/misconfigured.json"), options(&[]))
        .await
        .unwrap();
    let told: Vec<_> = run
        .log
        .iter()
        .filter(|line| line.contains("cannot be called as it is configured"))
        .collect();
    let [line] = told[..] else { panic!("{:?}", run.log) };
    assert!(
        line.contains("no-such-endpoint") && line.contains("check ENDPOINT_NAME"),
        "{line}"
    );
}
