//! Answers as real servers write them: JSON by another name, numbers that are not finite, lists of predictions under
//! several names, and lists that have the right length by chance.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use instream::config::Config;
use instream::delivery::destination::Destination;
use instream::delivery::destination::stdout::StdoutLines;
use instream::endpoint::{Call, Endpoint, Response};
use instream::handler::Handler;
use instream::lambda::time_budget::Invocation;
use instream::outcome::{Fault, FaultKind};
use serde_json::{Value, json};
use tokio::time::{advance, sleep};

use crate::support::{TestWriter, entry};

const MULTI: (&str, &str) = ("BATCH_STRATEGY", "MultiRecord");
const CSV: (&str, &str) = ("CONTENT_TYPE", "text/csv");

/// A model that answers with a function of the request's lines. Each record is one line. Without an answer, it fails.
struct Model {
    answer: fn(&[&str]) -> String,
    content_type: &'static str,
    custom_attributes: Option<&'static str>,
    /// The number of records of each call.
    calls: Arc<Mutex<Vec<usize>>>,
}

impl Endpoint for Model {
    async fn invoke(&self, call: Call<'_>) -> Result<Response, Fault> {
        sleep(Duration::from_millis(10)).await;
        let body = String::from_utf8(call.body.to_vec()).unwrap();
        let lines: Vec<_> = body.lines().collect();
        self.calls.lock().unwrap().push(lines.len());
        let answer = (self.answer)(&lines);
        if answer.is_empty() {
            return Err(Fault::new(FaultKind::Suspect, "no answer"));
        }
        Ok(Response {
            body: answer.into(),
            content_type: Some(self.content_type.to_owned()),
            variant: None,
            custom_attributes: self.custom_attributes.map(str::to_owned),
        })
    }

    fn name(&self) -> &'static str {
        "model"
    }
}

struct Running {
    handler: Handler<Model>,
    output: TestWriter,
    dead_letter: TestWriter,
    calls: Arc<Mutex<Vec<usize>>>,
}

fn start(settings: &[(&str, &str)], content_type: &'static str, answer: fn(&[&str]) -> String) -> Running {
    let calls = Arc::default();
    let model = Model {
        answer,
        content_type,
        custom_attributes: None,
        calls: Arc::clone(&calls),
    };
    start_model(settings, model)
}

fn start_model(settings: &[(&str, &str)], model: Model) -> Running {
    let fixed = [
        ("ENDPOINT_NAME", "fraud"),
        ("OUTPUT", "stdout:"),
        ("DEAD_LETTER", "stdout:"),
    ];
    let setting = |name: &str| {
        let mut all = settings.iter().chain(&fixed);
        let found = all.find(|(key, _)| *key == name);
        found.map(|(_, value)| (*value).to_owned())
    };
    let config = Config::from_lookup(setting).unwrap();
    let (output, dead_letter) = (TestWriter::default(), TestWriter::default());
    let to = |writer: &TestWriter| Destination::Stdout(StdoutLines::new(Box::new(writer.clone())));
    let calls = Arc::clone(&model.calls);
    Running {
        handler: Handler::new(&config, model, to(&output), Some(to(&dead_letter))),
        output,
        dead_letter,
        calls,
    }
}

impl Running {
    /// Delivers the records of these numbers. All are finished. Returns the new lines in OUTPUT, and the size of each
    /// call, sorted.
    async fn invoke(&self, numbers: std::ops::Range<usize>) -> (Vec<Value>, Vec<usize>) {
        let before = self.output.lines().len();
        let response = self.deliver(numbers).await;
        assert_eq!(response, json!({ "batchItemFailures": [] }));
        let mut calls = std::mem::take(&mut *self.calls.lock().unwrap());
        calls.sort_unstable();
        (self.output.lines().split_off(before), calls)
    }

    async fn deliver(&self, numbers: std::ops::Range<usize>) -> Value {
        let records = numbers.map(|number| {
            let mut record = entry(&number.to_string());
            record["kinesis"]["data"] = BASE64.encode(number.to_string()).into();
            record
        });
        let event = json!({ "Records": records.collect::<Vec<_>>() }).to_string();
        let invocation = Invocation {
            function_arn: "",
            request_id: "",
            trace_id: None,
            deadline_ms: 60_000,
            now: SystemTime::UNIX_EPOCH,
        };
        let response = self.handler.handle(event.as_bytes(), invocation).await.unwrap();
        assert!(self.dead_letter.lines().is_empty(), "{:?}", self.dead_letter.lines());
        serde_json::to_value(response).unwrap()
    }

    async fn outputs(&self, numbers: std::ops::Range<usize>) -> Vec<Value> {
        let (lines, _) = self.invoke(numbers).await;
        lines.into_iter().map(|line| line["output"].clone()).collect()
    }
}

/// Returns the JSON array of the records times 10.
fn tens(lines: &[&str]) -> String {
    let tens: Vec<_> = lines.iter().map(|line| format!("{line}0")).collect();
    format!("[{}]", tens.join(","))
}

fn expected(numbers: std::ops::Range<usize>) -> Vec<Value> {
    numbers.map(|number| json!(number * 10)).collect()
}

#[tokio::test(start_paused = true)]
async fn json_by_another_name_is_filtered_as_json() {
    for content_type in ["text/html; charset=utf-8", "text/plain", "application/octet-stream"] {
        let running = start(&[("OUTPUT_FILTER", "$.score")], content_type, |_| {
            "{\"score\":0.9}\n".to_owned()
        });
        assert_eq!(running.outputs(0..3).await, [0.9; 3]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_byte_order_mark_is_not_part_of_a_prediction() {
    for content_type in ["application/json", "text/html"] {
        let running = start(&[], content_type, |_| "\u{FEFF}{\"score\":0.9}\n".to_owned());
        assert_eq!(
            running.outputs(0..2).await,
            [json!({ "score": 0.9 }), json!({ "score": 0.9 })]
        );
    }
    let running = start(&[MULTI, CSV], "text/csv", |lines| {
        format!("\u{FEFF}{}\n", lines.join("\n"))
    });
    assert_eq!(running.outputs(1..4).await, ["1", "2", "3"]);
}

#[tokio::test(start_paused = true)]
async fn a_number_that_is_not_finite_is_delivered_as_null() {
    let running = start(&[("OUTPUT_FILTER", "$[0]")], "application/json", |_| {
        "[NaN, 0.5]".to_owned()
    });
    assert_eq!(running.outputs(0..1).await, [Value::Null]);
    let running = start(&[MULTI, CSV], "application/json", |lines| match lines {
        [_] => "{\"predictions\":[-Infinity]}".to_owned(),
        lines => format!("{{\"predictions\":[NaN{}]}}", ",1".repeat(lines.len() - 1)),
    });
    assert_eq!(
        running.outputs(0..4).await,
        [json!(null), json!(1), json!(null), json!(1)]
    );
}

#[tokio::test(start_paused = true)]
async fn a_prediction_has_the_same_shape_in_both_strategies() {
    let single: &[(&str, &str)] = &[CSV];
    let multi: &[(&str, &str)] = &[CSV, MULTI];
    for settings in [single, multi] {
        let json = |answer| start(settings, "application/json", answer);
        let running = json(|lines| format!("{{\"predictions\":{},\"model\":\"m\"}}", tens(lines)));
        assert_eq!(running.outputs(1..6).await, expected(1..6));
        let running = json(|lines| format!("{{\"scores\":{}}}", tens(lines)));
        assert_eq!(running.outputs(1..6).await, expected(1..6));
        let running = json(|lines| format!("{{\"outputs\":[{{\"name\":\"y\",\"data\":{}}}]}}", tens(lines)));
        assert_eq!(running.outputs(1..6).await, expected(1..6));
        let text = start(settings, "text/csv", |lines| lines.join("\n") + "\n");
        assert_eq!(text.outputs(1..4).await, ["1", "2", "3"]);
        let named = [settings, &[("PREDICTIONS", "$.a.b")]].concat();
        let running = start(&named, "text/html", |lines| {
            format!("{{\"a\":{{\"b\":{}}}}}", tens(lines))
        });
        assert_eq!(running.outputs(1..6).await, expected(1..6));
    }
}

#[tokio::test(start_paused = true)]
async fn a_list_of_records_is_answered_by_a_list_of_predictions_even_of_one() {
    // The model answers with the body.
    let echo = |settings: &[_]| start(settings, "application/json", |lines| lines.concat());
    let array = ("REQUEST_TEMPLATE", "array");
    for settings in [&[array][..], &[array, MULTI]] {
        assert_eq!(echo(settings).outputs(1..6).await, [1, 2, 3, 4, 5], "{settings:?}");
    }
    let not_a_list = ("REQUEST_TEMPLATE", "[$record]");
    assert_eq!(echo(&[not_a_list]).outputs(1..3).await, [json!([1]), json!([2])]);
}

#[tokio::test(start_paused = true)]
async fn a_named_list_that_does_not_fit_the_record_is_a_fault() {
    for answer in [
        |_: &[&str]| "{\"scores\":[0.1,0.9]}".to_owned(),
        |_: &[&str]| "{\"score\":[0.1]}".to_owned(),
    ] {
        let running = start(&[("PREDICTIONS", "$.scores")], "application/json", answer);
        let response = running.deliver(0..1).await;
        assert_eq!(response["batchItemFailures"][0]["itemIdentifier"], "0");
        assert!(running.output.lines().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_list_as_long_as_the_batch_by_chance_is_not_split() {
    // A body and its content type.
    let tuple = |_: &[&str]| json!(["{\"score\":0.9}", "application/json"]).to_string();
    let running = start(&[MULTI, CSV], "application/json", tuple);
    let (lines, calls) = running.invoke(0..2).await;
    assert_eq!(calls, [1, 1, 2]);
    let whole = json!(["{\"score\":0.9}", "application/json"]);
    assert!(lines.iter().all(|line| line["output"] == whole), "{lines:?}");
    // A header and the prediction of the first record.
    let running = start(&[MULTI, CSV], "text/csv", |lines| format!("score\n{}\n", lines[0]));
    assert_eq!(running.outputs(1..3).await, ["score\n1", "score\n2"]);
    // The probabilities of three classes for the first record.
    for answer in [
        |_: &[&str]| "{\"predictions\":[0.5,0.3,0.2]}".to_owned(),
        |_: &[&str]| "[0.5,0.3,0.2]".to_owned(),
    ] {
        let running = start(
            &[MULTI, CSV, ("MAX_RECORDS_PER_REQUEST", "3")],
            "application/json",
            answer,
        );
        let outputs = running.outputs(0..9).await;
        let whole: Value = serde_json::from_str(&answer(&[])).unwrap();
        assert!(outputs.iter().all(|output| *output == whole), "{outputs:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_record_that_is_in_its_request_twice_gets_no_part_of_a_prediction() {
    // The probabilities of two classes for the first record. Record 11 fails.
    let answer = |lines: &[&str]| match lines {
        lines if lines.contains(&"11") => String::new(),
        lines => format!("[{0}.1,{0}.9]", lines[0]),
    };
    let running = start(&[MULTI, CSV, ("OUTPUT_MODE", "unordered")], "application/json", answer);
    running.deliver(1..22).await;
    let outputs = running
        .output
        .lines()
        .into_iter()
        .map(|line| line["output"].to_string());
    let numbers = (1..22).filter(|number| *number != 11);
    let expected: HashSet<_> = numbers.map(|number| format!("[{number}.1,{number}.9]")).collect();
    assert_eq!(outputs.collect::<HashSet<_>>(), expected);
}

#[tokio::test(start_paused = true)]
async fn a_list_is_trusted_after_two_different_lengths() {
    let running = start(&[MULTI, CSV], "application/json", tens);
    let (lines, calls) = running.invoke(1..101).await;
    assert_eq!(calls, [50, 50, 100]);
    assert_eq!(
        (lines[0]["output"].clone(), lines[99]["output"].clone()),
        (json!(10), json!(1000))
    );
    let (_, calls) = running.invoke(1..101).await;
    assert_eq!(calls, [100]);
    let running = start(&[MULTI, CSV, ("PREDICTIONS", "$")], "application/json", tens);
    let (_, calls) = running.invoke(1..101).await;
    assert_eq!(calls, [100], "the setting says that the list has the predictions");
}

#[tokio::test(start_paused = true)]
async fn after_three_mismatches_in_a_row_a_model_gets_single_records() {
    let error = |lines: &[&str]| match lines {
        [line] => format!("{{\"score\":{line}}}"),
        _ => "{\"error\":\"one record at a time\"}".to_owned(),
    };
    let settings = [MULTI, CSV, ("MAX_RECORDS_PER_REQUEST", "10"), ("CAPACITY", "1")];
    let running = start(&settings, "application/json", error);
    let (lines, calls) = running.invoke(0..100).await;
    assert_eq!(lines.len(), 100);
    assert_eq!(calls.iter().filter(|size| **size > 1).count(), 3);
    assert_eq!(calls.len(), 103, "one call for each record besides");
    let (lines, calls) = running.invoke(0..100).await;
    assert_eq!((lines.len(), calls), (100, vec![1; 100]));
    assert_eq!(lines[42]["output"], json!({ "score": 42 }));
    advance(Duration::from_mins(10)).await;
    let (_, calls) = running.invoke(0..100).await;
    assert_eq!(
        calls.iter().filter(|size| **size > 1).count(),
        1,
        "one request finds out"
    );
}

#[tokio::test(start_paused = true)]
async fn the_envelope_has_the_models_custom_attributes_and_the_type_of_bytes() {
    let model = Model {
        answer: |_| "{}".to_owned(),
        content_type: "application/json",
        custom_attributes: Some("model=7"),
        calls: Arc::default(),
    };
    let (lines, _) = start_model(&[], model).invoke(0..1).await;
    assert_eq!(
        (&lines[0]["customAttributes"], &lines[0]["contentType"]),
        (&json!("model=7"), &Value::Null)
    );
}
