//! Records that hold several user records, and records that are skipped.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use instream::outcome::FaultKind;
use instream_local::aggregate::{KplUserRecord, aggregate};
use instream_local::packing::gzip;
use serde_json::{Value, json};

use crate::support::{Behavior, Running, Scenario, entry};

const REFUSED: Behavior = Behavior::Fail(FaultKind::Refused);

fn event(data: &[&[u8]]) -> Value {
    let record = |(number, data): (usize, &&[u8])| {
        let mut record = entry(&number.to_string());
        record["kinesis"]["data"] = BASE64.encode(data).into();
        record
    };
    json!({ "Records": data.iter().enumerate().map(record).collect::<Vec<_>>() })
}

/// Invokes the function with one Kinesis record for each of these data, and checks that the batch is finished.
async fn finish(running: &Running, data: &[&[u8]]) {
    let response = running.invoke_event(&event(data)).await.unwrap();
    assert_eq!(response, json!({ "batchItemFailures": [] }));
}

/// The number of the Kinesis record and the sub-sequence number of each line.
fn positions(lines: &[Value]) -> Vec<String> {
    let position = |line: &Value| {
        let number = line["eventId"].as_str().unwrap().strip_prefix("shard:").unwrap();
        format!("{number}-{}", line["subSequenceNumber"])
    };
    lines.iter().map(position).collect()
}

#[tokio::test(start_paused = true)]
async fn a_record_is_empty_or_does_not_match_record_pattern() {
    let running = Scenario::of(0)
        .with(
            "RECORD_PATTERN",
            r#"{"kind":["card"],"amount":[{"numeric":[">",100]}]}"#,
        )
        .start();
    let card = |amount: u32| format!(r#"{{"kind":"card","amount":{amount}}}"#);
    let (large, small) = (card(101), card(100));
    finish(
        &running,
        &[b"", large.as_bytes(), small.as_bytes(), b"7", b"\xEF\xBB\xBF"],
    )
    .await;
    let (predictions, dead_letters) = running.lines();
    assert_eq!(
        (positions(&predictions), dead_letters.len()),
        (vec!["1-0".to_owned()], 0)
    );
    assert_eq!(running.seen.lock().unwrap().calls, [large]);
    assert_eq!(running.metrics()["Skipped"].sum().to_string(), "4");
}

#[tokio::test(start_paused = true)]
async fn a_record_without_json_does_not_fit_record_pattern() {
    let running = Scenario::of(0).with("RECORD_PATTERN", r#"{"kind":["card"]}"#).start();
    finish(&running, &[b"{\"kind\":\"card\"", b"{\"kind\":\"card\"}"]).await;
    let (predictions, dead_letters) = running.lines();
    assert_eq!(positions(&predictions), ["1-0"]);
    assert_eq!(dead_letters[0]["reason"]["kind"], "WrongShape");
}

#[tokio::test(start_paused = true)]
async fn a_record_holds_several_lines() {
    let running = Scenario::of(0).with("SPLIT_TYPE", "Line").body("bad", REFUSED).start();
    finish(&running, &[b"1\r\n\nbad\n2", &gzip(b"\n"), b"3\n"]).await;
    let (predictions, dead_letters) = running.lines();
    assert_eq!(positions(&predictions), ["0-0", "0-2", "2-0"]);
    assert_eq!(positions(&dead_letters), ["0-1"]);
    assert_eq!(dead_letters[0]["data"], BASE64.encode("bad"));
}

#[tokio::test(start_paused = true)]
async fn a_record_holds_several_elements() {
    let scenario = Scenario::of(0)
        .with("SPLIT_PATH", "$.logEvents")
        .body("\"bad\"", REFUSED);
    let running = scenario
        .with("RECORD_PATTERN", r#"{"messageType":["DATA_MESSAGE"]}"#)
        .start();
    let data = br#"{"messageType":"DATA_MESSAGE","logEvents":["bad",{"id":1}]}"#;
    let control = br#"{"messageType":"CONTROL_MESSAGE","logEvents":[{"id":0}]}"#;
    finish(&running, &[&gzip(data), &gzip(control)]).await;
    let (predictions, dead_letters) = running.lines();
    assert_eq!(
        (positions(&predictions), positions(&dead_letters)),
        (vec!["0-1".to_owned()], vec!["0-0".to_owned()])
    );
    let alone = r#"{"messageType":"DATA_MESSAGE","logEvents":["bad"]}"#;
    assert_eq!(
        dead_letters[0]["data"],
        BASE64.encode(alone),
        "it can be put into the stream again"
    );
}

#[tokio::test(start_paused = true)]
async fn a_line_that_was_answered_is_not_called_again_beside_a_skipped_one() {
    // The memo cannot keep both predictions, so they are delivered before the rest of their Kinesis record.
    let running = Scenario::of(0)
        .with("SPLIT_TYPE", "Line")
        .with("RECORD_PATTERN", r#"{"a":[1]}"#)
        .with("MEMO_BYTES", "700")
        .body_attempts(r#"{"a":1,"n":2}"#, &[Behavior::Fail(FaultKind::Overload); 3])
        .start();
    let lines = br#"{"a":1}
{"a":2}
{"a":1,"n":1}
{"a":1,"n":2}"#;
    let response = running.invoke_event(&event(&[lines])).await.unwrap();
    assert_eq!(response["batchItemFailures"][0]["itemIdentifier"], "0");
    assert!(
        !running.metrics().contains_key("Skipped"),
        "it is counted when it is finished"
    );
    finish(&running, &[lines]).await;
    assert_eq!(running.metrics()["Skipped"].sum().to_string(), "1");
    assert_eq!(positions(&running.lines().0), ["0-0", "0-2", "0-3"]);
    let seen = running.seen.lock().unwrap();
    let calls = seen.calls.iter().filter(|body| !body.contains(r#""n":2"#)).count();
    assert_eq!(calls, 2);
}

#[tokio::test(start_paused = true)]
async fn records_of_other_producers_are_read() {
    // zlib of {"amount":1}.
    let zlib = b"\x78\x9c\xab\x56\x4a\xcc\xcd\x2f\xcd\x2b\x51\xb2\x32\xac\x05\x00\x1c\x7d\x04\x3c";
    let running = Scenario::of(0).start();
    let mut batch = event(&[zlib, b"\xEF\xBB\xBF{}"]);
    batch["Records"][0]["kinesis"]["approximateArrivalTimestamp"] = json!(1_800_000_000_000_u64);
    batch["Records"][1]["kinesis"]["approximateArrivalTimestamp"] = json!("2027-01-15T08:00:00Z");
    running.invoke_event(&batch).await.unwrap();
    assert_eq!(running.seen.lock().unwrap().calls, [r#"{"amount":1}"#, "{}"]);
}

/// Aggregates the data of user records.
fn aggregated(data: &[&[u8]]) -> Vec<u8> {
    let user_record = |data| KplUserRecord {
        partition_key: "key",
        explicit_hash_key: None,
        data,
    };
    aggregate(&data.iter().copied().map(user_record).collect::<Vec<_>>()).to_vec()
}

#[tokio::test(start_paused = true)]
async fn lines_are_numbered_through_an_aggregate() {
    let running = Scenario::of(0).with("SPLIT_TYPE", "Line").body("bad", REFUSED).start();
    let data = aggregated(&[&gzip(b"1\nbad"), b"", b"\xEF\xBB\xBF2\r\n3"]);
    finish(&running, &[&gzip(&data)]).await;
    let (predictions, dead_letters) = running.lines();
    assert_eq!(positions(&predictions), ["0-0", "0-3", "0-4"]);
    assert_eq!(positions(&dead_letters), ["0-1"]);
    assert!(
        !running
            .seen
            .lock()
            .unwrap()
            .calls
            .iter()
            .any(|body| body.contains('\u{FEFF}'))
    );
}

#[tokio::test(start_paused = true)]
async fn record_pattern_holds_inside_compression_aggregation_and_splitting() {
    let running = Scenario::of(0)
        .with("SPLIT_PATH", "$.a")
        .with("RECORD_PATTERN", r#"{"t":[1],"a":{"k":[1]}}"#)
        .body(r#"{"k":1,"bad":1}"#, REFUSED)
        .start();
    let first = br#"{"t":1,"a":[{"k":1},{"k":2},{"k":1,"bad":1}]}"#;
    finish(
        &running,
        &[&gzip(&aggregated(&[&gzip(first), br#"{"t":2,"a":[{"k":1}]}"#]))],
    )
    .await;
    let (predictions, dead_letters) = running.lines();
    assert_eq!(
        (positions(&predictions), positions(&dead_letters)),
        (vec!["0-0".to_owned()], vec!["0-2".to_owned()])
    );
    assert_eq!(
        dead_letters[0]["data"],
        BASE64.encode(r#"{"t":1,"a":[{"k":1,"bad":1}]}"#)
    );
    assert_eq!(running.metrics()["Skipped"].sum().to_string(), "2");
}

#[tokio::test(start_paused = true)]
async fn each_element_must_have_the_value_in_record_pattern() {
    let running = Scenario::of(0)
        .with("SPLIT_PATH", "$.tags")
        .with("RECORD_PATTERN", r#"{"tags":[{"prefix":"a"}]}"#)
        .start();
    finish(&running, &[br#"{"tags":["a1","b",3,"a2"]}"#, br#"{"tags":["b"]}"#]).await;
    assert_eq!(positions(&running.lines().0), ["0-0", "0-3"]);
}

#[tokio::test(start_paused = true)]
async fn no_line_of_a_record_is_delivered_before_its_dead_letters() {
    let scenario = Scenario::of(0).with("SPLIT_TYPE", "Line").body("bad", REFUSED);
    let running = scenario.broken_dead_letter().start();
    let response = running.invoke_event(&event(&[b"1", b"2\nbad\n3"])).await.unwrap();
    assert_eq!(response["batchItemFailures"][0]["itemIdentifier"], "1");
    assert_eq!(positions(&running.lines().0), ["0-0"]);
}
