//! Reads a stream from a small Kinesis API that throttles and lets iterators expire.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use instream_local::kinesis::KinesisStream;
use serde_json::{Value, json};
use tokio::net::TcpListener;

const ARN: &str = "arn:aws:kinesis:eu-west-1:123456789012:stream/transactions";
const SHARD: &str = "shardId-000000000002";

/// The operations that were called, in order, with their requests.
type Calls = Arc<Mutex<Vec<(String, Value)>>>;

fn refusal(kind: &str) -> (StatusCode, String) {
    (
        StatusCode::BAD_REQUEST,
        json!({ "__type": kind, "message": kind }).to_string(),
    )
}

fn records(numbers: std::ops::Range<u64>, next: Option<&str>) -> (StatusCode, String) {
    let record = |number| {
        json!({
            "SequenceNumber": format!("{number}"),
            "ApproximateArrivalTimestamp": 1_800_000_000.25,
            "Data": "eHg=",
            "PartitionKey": format!("key-{number}"),
        })
    };
    let records: Vec<_> = numbers.map(record).collect();
    let response = json!({ "Records": records, "NextShardIterator": next, "MillisBehindLatest": 0 });
    (StatusCode::OK, response.to_string())
}

async fn answer(State(calls): State<Calls>, headers: HeaderMap, body: String) -> (StatusCode, String) {
    let operation = headers["x-amz-target"].to_str().unwrap().rsplit('.').next().unwrap();
    let request: Value = serde_json::from_str(&body).unwrap();
    let mut calls = calls.lock().unwrap();
    calls.push((operation.to_owned(), request.clone()));
    let count = calls.iter().filter(|(it, _)| it == operation).count();
    match operation {
        "ListShards" if request["StreamName"] == "nowhere" => refusal("ResourceNotFoundException"),
        "ListShards" if request["NextToken"].is_null() => (
            StatusCode::OK,
            json!({ "Shards": [shard("shardId-000000000001")], "NextToken": "more" }).to_string(),
        ),
        "ListShards" => (StatusCode::OK, json!({ "Shards": [shard(SHARD)] }).to_string()),
        "DescribeStreamSummary" => {
            let summary = json!({
                "StreamName": "transactions", "StreamARN": ARN, "StreamStatus": "ACTIVE", "RetentionPeriodHours": 24,
                "StreamCreationTimestamp": 1_800_000_000, "EnhancedMonitoring": [], "OpenShardCount": 2,
            });
            (
                StatusCode::OK,
                json!({ "StreamDescriptionSummary": summary }).to_string(),
            )
        }
        "GetShardIterator" => (
            StatusCode::OK,
            json!({ "ShardIterator": format!("new-{count}") }).to_string(),
        ),
        "GetRecords" => match request["ShardIterator"].as_str().unwrap() {
            // The SDK's number of attempts.
            "new-1" if count <= 3 => refusal("ProvisionedThroughputExceededException"),
            "new-1" => records(1..3, Some("old")),
            "old" => refusal("ExpiredIteratorException"),
            _ => records(3..6, None),
        },
        _ => refusal("UnknownOperationException"),
    }
}

fn shard(id: &str) -> Value {
    json!({
        "ShardId": id,
        "HashKeyRange": { "StartingHashKey": "0", "EndingHashKey": "1" },
        "SequenceNumberRange": { "StartingSequenceNumber": "0" },
    })
}

async fn api() -> (String, Calls) {
    let calls = Calls::default();
    let router = Router::new().fallback(answer).with_state(Arc::clone(&calls));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, calls)
}

#[tokio::test]
async fn a_shard_is_read_to_its_end_despite_throttling_and_an_expired_iterator() {
    let (url, calls) = api().await;
    let stream = KinesisStream::open(&url, "transactions").await.unwrap();
    assert_eq!(stream.shards(), ["shardId-000000000001", SHARD]);
    let mut reader = stream.shard_reader(SHARD).await.unwrap();
    let mut read = Vec::new();
    while let Some(records) = reader.next(50).await.unwrap() {
        read.extend(records);
    }
    let numbers: Vec<_> = read.iter().map(|record| &*record.sequence_number).collect();
    assert_eq!(numbers, ["1", "2", "3", "4", "5"], "each record once");
    for record in &read {
        assert_eq!((&*record.stream_arn, &*record.shard), (ARN, SHARD));
        assert_eq!(
            (&*record.data, record.arrival_ms),
            (b"xx".as_slice(), 1_800_000_000_250)
        );
        assert_eq!(record.partition_key, format!("key-{}", record.sequence_number));
    }
    let calls = calls.lock().unwrap();
    let requests = |operation: &str| {
        calls
            .iter()
            .filter(|(it, _)| it == operation)
            .map(|(_, request)| request)
            .collect()
    };
    let [first, second]: [&Value; 2] = Vec::try_into(requests("GetShardIterator")).unwrap();
    assert_eq!(first["ShardIteratorType"], "TRIM_HORIZON");
    assert_eq!(second["ShardIteratorType"], "AFTER_SEQUENCE_NUMBER");
    assert_eq!(second["StartingSequenceNumber"], "2");
    assert!(
        requests("GetRecords")
            .iter()
            .all(|request: &&Value| request["Limit"] == 50)
    );
}

#[tokio::test]
async fn opening_a_missing_stream_is_an_error_that_names_it() {
    let (url, _) = api().await;
    let error = KinesisStream::open(&url, "nowhere").await.unwrap_err();
    let expected = format!("cannot read the stream \"nowhere\" at {url}: there is no stream of that name");
    assert_eq!(format!("{error:#}"), expected);
}
