use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use instream_local::aggregate::{KplUserRecord, aggregate};
use instream_local::packing::gzip;
use instream_local::server::Server;
use serde_json::{Value, json};

use super::*;
use crate::tests::{Folder, settings};
use crate::{Summary, Target, run};

mod stream;

use stream::stream;

const ARN: &str = "arn:aws:kinesis:eu-west-1:123456789012:stream/transactions";

/// Returns a dead letter of a user record that was delivered without this payload.
fn letter(sequence_number: &str, number: u64, payload: &[u8]) -> Value {
    json!({
        "eventId": format!("shardId-0:{sequence_number}"),
        "subSequenceNumber": number,
        "partitionKey": "card-7",
        "approximateArrivalTimestamp": 1_545_084_650.987,
        "endpoint": "fraud",
        "reason": {"kind": "Refused", "message": "no"},
        "payload": {
            "bytes": payload.len(),
            "sha256": sha256_hex(payload),
            "streamArn": ARN,
            "shardId": "shardId-0",
            "sequenceNumber": sequence_number,
        },
    })
}

/// Redrives dead letters to another stream of the server.
async fn redrive(folder: &Folder, letters: &[Value], server: &Server, yes: bool) -> Summary {
    let lines: Vec<_> = letters.iter().map(Value::to_string).collect();
    let mut options = folder.run(&folder.write(&lines), settings(server));
    options.yes = yes;
    run(options, Target::Stream("target".to_owned())).await.unwrap()
}

fn aggregated(data: &[&[u8]]) -> Bytes {
    let put = |data| KplUserRecord {
        partition_key: "k",
        explicit_hash_key: None,
        data,
    };
    aggregate(&data.iter().copied().map(put).collect::<Vec<_>>())
}

#[tokio::test]
async fn a_payload_is_read_from_its_stream_and_sent_once() {
    let packed = gzip(b"packed");
    let (server, stream) = stream(&[
        ("10", Bytes::from_static(b"plain")),
        ("11", gzip(&aggregated(&[b"first", &packed])).into()),
        ("12", gzip(b"compressed").into()),
    ])
    .await;
    let mut in_aggregate = letter("11", 1, &packed);
    in_aggregate["explicitHashKey"] = "7".into();
    // The record was redriven, and rejected again.
    let mut redriven = letter("11#0", 0, b"first");
    redriven["payload"]["sequenceNumber"] = "11#0".into();
    let letters = [
        letter("10", 0, b"plain"),
        in_aggregate,
        letter("12", 0, &gzip(b"compressed")),
        redriven,
    ];
    let folder = Folder::new("payload");

    let dry = redrive(&folder, &letters, &server, false).await;
    assert_eq!((dry.survey.records, dry.survey.without_payload), (4, 4), "{dry}");
    assert!(dry.to_string().contains("4, in their streams"), "{dry}");
    assert!(
        stream.lock().unwrap().calls.is_empty(),
        "a dry run does not read the stream"
    );

    let summary = redrive(&folder, &letters, &server, true).await;
    assert_eq!((summary.counts.sent, summary.counts.finished), (4, 4), "{summary}");
    assert!(summary.is_complete(), "{summary}");
    let again = redrive(&folder, &letters, &server, true).await;
    assert_eq!((again.counts.done_before, again.counts.read), (4, 4), "{again}");

    let stream = stream.lock().unwrap();
    let sent: Vec<_> = stream
        .requests("PutRecords")
        .iter()
        .flat_map(|it| it["Records"].as_array().unwrap())
        .collect();
    let data: Vec<_> = sent
        .iter()
        .map(|it| BASE64.decode(it["Data"].as_str().unwrap()).unwrap())
        .collect();
    assert_eq!(
        data,
        [b"plain".to_vec(), packed, gzip(b"compressed"), b"first".to_vec()]
    );
    assert_eq!(
        (&sent[1]["PartitionKey"], &sent[1]["ExplicitHashKey"]),
        (&json!("card-7"), &json!("7"))
    );
    let starts = stream.requests("GetShardIterator");
    assert_eq!(starts.len(), 4, "the journal needs no payload");
    assert_eq!(
        *starts[0],
        json!({
            "StreamARN": ARN, "ShardId": "shardId-0", "ShardIteratorType": "AT_SEQUENCE_NUMBER",
            "StartingSequenceNumber": "10",
        })
    );
    assert!(
        stream
            .requests("GetRecords")
            .iter()
            .all(|it| it["Limit"] == 1 && it["StreamARN"] == ARN)
    );
    let is_put = |(operation, _, _): &&(String, String, Value)| operation == "PutRecords";
    let (puts, reads): (Vec<_>, Vec<_>) = stream.calls.iter().partition(is_put);
    assert!(reads.iter().all(|(_, region, _)| region == "eu-west-1") && puts[0].1 == "us-east-1");
}

#[tokio::test]
async fn a_payload_that_cannot_be_read_is_reported_and_stops_no_other() {
    let (server, stream) = stream(&[("10", aggregated(&[b"first"])), ("12", Bytes::from_static(b"later"))]).await;
    let mut without_position = letter("10", 0, b"first");
    without_position["payload"]["shardId"] = Value::Null;
    let mut with_data = letter("11", 0, b"");
    with_data.as_object_mut().unwrap().remove("payload");
    with_data["data"] = BASE64.encode("expired").into();
    let letters = [
        letter("10", 0, b"other"),
        letter("10", 1, b"fist"),
        without_position,
        letter("11", 0, b"expired"),
        letter("10", 0, b"first"),
        with_data,
    ];
    let folder = Folder::new("errors");
    let summary = redrive(&folder, &letters, &server, true).await;
    let counts = &summary.counts;
    assert_eq!(
        (counts.unreadable, counts.gone, counts.finished),
        (3, 1, 2),
        "{summary}"
    );
    assert_eq!((counts.repeated, counts.not_tried), (0, 0), "{summary}");
    assert!(!summary.is_complete(), "{summary}");
    stream.lock().unwrap().refusal = Some("AccessDeniedException");
    let folder = Folder::new("denied");
    let summary = redrive(&folder, &letters[4..], &server, true).await;
    assert_eq!(
        (summary.counts.unreadable, summary.counts.finished),
        (1, 1),
        "{summary}"
    );
}

async fn read(server: &Server, letter: &Value) -> Result<Option<Bytes>> {
    let payload: Payload = serde_json::from_value(letter["payload"].clone()).unwrap();
    let mut reader = StreamReader::new(settings(server));
    payload.read(&mut reader).await
}

#[tokio::test]
async fn a_part_of_a_split_record_is_found() {
    let document = br#" {"n":[7],"a":{"events":[{"x":1}, "]"]}} "#;
    let (server, _) = stream(&[
        ("10", Bytes::from_static(b"\xEF\xBB\xBFone\r\n\ntwo\n")),
        ("11", gzip(&aggregated(&[b"first", &gzip(document)])).into()),
        ("12", Bytes::from_static(b"[1,22]")),
    ])
    .await;
    for (number, payload) in [
        ("10", &b"one"[..]),
        ("10", b"two"),
        ("11", br#" {"n":[7],"a":{"events":[{"x":1}]}} "#),
        ("11", br#" {"n":[7],"a":{"events":["]"]}} "#),
        ("12", b"[22]"),
    ] {
        let found = read(&server, &letter(number, 3, payload)).await.unwrap();
        assert_eq!(found.as_deref(), Some(payload));
    }
    assert!(read(&server, &letter("12", 0, b"[2]")).await.is_err());
}

#[tokio::test]
async fn each_error_names_its_cause() {
    let (server, stream) = stream(&[
        ("10", aggregated(&[b"first"])),
        ("11", gzip(b"data")[..9].to_vec().into()),
    ])
    .await;
    for (letter, expected) in [
        (
            letter("10", 0, b"other"),
            "differs: it holds no user record of 5 bytes with SHA-256 d9298a10",
        ),
        (letter("10", 0, b"long"), "differs: it holds no user record of 4 bytes"),
        (letter("11", 0, b"data"), "starts like gzip"),
    ] {
        let why = format!("{:#}", read(&server, &letter).await.unwrap_err());
        assert!(why.contains(expected), "{why}");
    }
    let of_first = letter("10", 0, b"first");
    for code in ["AccessDeniedException", "KMSDisabledException"] {
        stream.lock().unwrap().refusal = Some(code);
        let why = format!("{:#}", read(&server, &of_first).await.unwrap_err());
        assert!(why.contains(code), "{why}");
    }
    for code in ["ResourceNotFoundException", "InvalidArgumentException"] {
        stream.lock().unwrap().refusal = Some(code);
        assert_eq!(read(&server, &of_first).await.unwrap(), None, "{code}");
    }
    stream.lock().unwrap().refusal = None;
    assert_eq!(
        read(&server, &letter("12", 0, b"newest")).await.unwrap(),
        None,
        "the end of the shard"
    );
    let mut elsewhere = of_first;
    elsewhere["payload"]["streamArn"] = "arn:aws:kinesis:evil.example/:1:stream/s".into();
    let why = format!("{:#}", read(&server, &elsewhere).await.unwrap_err());
    assert!(why.contains("is not the ARN of a stream"), "{why}");
}
