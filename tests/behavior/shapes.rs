//! Input and output shapes: the part of a record that the model gets, and the part of the prediction that is delivered.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use crate::support::{Scenario, entry};

/// Sends one record with this data. Returns the lines in OUTPUT and in `DEAD_LETTER`, and the bodies of the calls.
async fn run(settings: &[(&'static str, &str)], data: &str) -> (Vec<Value>, Vec<Value>, Vec<String>) {
    let with = |scenario: Scenario, (name, value): &(&'static str, &str)| scenario.with(name, value);
    let running = settings.iter().fold(Scenario::of(0), with).start();
    let mut record = entry("0");
    record["kinesis"]["data"] = BASE64.encode(data).into();
    let response = running.invoke_event(&json!({ "Records": [record] })).await.unwrap();
    assert_eq!(response, json!({ "batchItemFailures": [] }));
    let (predictions, dead_letters) = running.lines();
    let calls = running.seen.lock().unwrap().calls.clone();
    (predictions, dead_letters, calls)
}

const RECORD: &str = r#"{"id":7,"amount":2731.360,"hour":5,"model":"b.tar.gz"}"#;

#[tokio::test(start_paused = true)]
async fn a_json_stream_feeds_a_csv_model_by_its_features() {
    let settings = [("FEATURES", "$.amount,$.hour"), ("CONTENT_TYPE", "text/csv")];
    let (_, _, calls) = run(&settings, RECORD).await;
    assert_eq!(calls, ["2731.360,5"]);
    let with_header = [settings[0], settings[1], ("CSV_HEADER", "amount,hour")];
    let (_, _, calls) = run(&with_header, RECORD).await;
    assert_eq!(calls, ["amount,hour\n2731.360,5"]);
}

#[tokio::test(start_paused = true)]
async fn a_prediction_is_joined_with_its_record() {
    let join = ("JOIN_SOURCE", "Input");
    let (predictions, _, calls) = run(&[join, ("INPUT_FILTER", "$.amount")], RECORD).await;
    assert_eq!(calls, ["2731.360"]);
    assert_eq!(
        predictions[0]["input"].to_string(),
        serde_json::from_str::<Value>(RECORD).unwrap().to_string()
    );
    assert_eq!(predictions[0]["output"], json!({ "of": "2731.360" }));
    let raw = [
        join,
        ("INPUT_FILTER", "$.hour"),
        ("OUTPUT_FORMAT", "raw"),
        ("OUTPUT_FILTER", "$['id','SageMakerOutput']"),
    ];
    let (lines, _, _) = run(&raw, RECORD).await;
    assert_eq!(lines, [json!({ "id": 7, "SageMakerOutput": { "of": "5" } })]);
}

#[tokio::test(start_paused = true)]
async fn a_path_finds_nothing() {
    for (setting, path, calls_made) in [
        ("INPUT_FILTER", "$.absent", 0),
        ("FEATURES", "$.absent", 0),
        ("TARGET_MODEL", "$.absent", 0),
        ("OUTPUT_FILTER", "$.absent", 1),
    ] {
        // The scripted endpoint answers a number with JSON.
        let (predictions, dead_letters, calls) =
            run(&[(setting, path)], if calls_made == 1 { "7" } else { RECORD }).await;
        assert_eq!((predictions.len(), calls.len()), (0, calls_made), "{setting}");
        assert_eq!(dead_letters[0]["reason"]["kind"], "WrongShape");
        let message = dead_letters[0]["reason"]["message"].as_str().unwrap();
        assert!(message.starts_with(&format!("{setting} {path} finds no")), "{message}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_record_cannot_stand_among_others() {
    let multi = ("BATCH_STRATEGY", "MultiRecord");
    for (content_type, data) in [
        ("application/json", "1],\"x\":[2"),
        ("application/jsonlines", "{\"a\":1}\n{\"a\":2}"),
        ("text/csv", "1,2\n3,4"),
    ] {
        let (predictions, dead_letters, calls) = run(&[multi, ("CONTENT_TYPE", content_type)], data).await;
        assert_eq!((predictions.len(), calls.len()), (0, 0), "{content_type}");
        assert_eq!(dead_letters[0]["reason"]["kind"], "WrongShape");
        assert_eq!(dead_letters[0]["data"], BASE64.encode(data));
    }
}
