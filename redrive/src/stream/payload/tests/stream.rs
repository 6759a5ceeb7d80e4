//! A Kinesis stream on this machine.

use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use instream_local::server::Server;
use serde_json::{Value, json};

/// A stream with one shard. Each call is kept with its operation, its region and its body.
#[derive(Default)]
pub(super) struct Stream {
    records: Vec<(String, Bytes)>,
    /// The code with which `GetShardIterator` fails.
    pub(super) refusal: Option<&'static str>,
    pub(super) calls: Vec<(String, String, Value)>,
}

impl Stream {
    fn answer(&mut self, headers: &HeaderMap, body: &[u8]) -> (StatusCode, String) {
        let text = |name: &str| headers[name].to_str().unwrap();
        let operation = text("x-amz-target").rsplit('.').next().unwrap().to_owned();
        let region = text("authorization").split('/').nth(2).unwrap().to_owned();
        let request: Value = serde_json::from_slice(body).unwrap();
        self.calls.push((operation.clone(), region, request.clone()));
        if let Some(code) = self.refusal.filter(|_| operation == "GetShardIterator") {
            return (
                StatusCode::BAD_REQUEST,
                json!({"__type": code, "message": "no"}).to_string(),
            );
        }
        let answer = match &*operation {
            "GetShardIterator" => json!({"ShardIterator": request["StartingSequenceNumber"]}),
            // A page without records comes first.
            "GetRecords" if !request["ShardIterator"].as_str().unwrap().ends_with('+') => json!({
                "Records": [],
                "NextShardIterator": format!("{}+", request["ShardIterator"].as_str().unwrap()),
                "MillisBehindLatest": 1000,
            }),
            "GetRecords" => {
                let start = request["ShardIterator"].as_str().unwrap().trim_end_matches('+');
                let mut rest = self.records.iter().filter(|(number, _)| &**number >= start);
                let record = rest.next().map(|(number, data)| {
                    json!({"SequenceNumber": number, "Data": BASE64.encode(data), "PartitionKey": "shared"})
                });
                json!({"Records": record.as_slice(), "MillisBehindLatest": 0})
            }
            _ => {
                let sent = request["Records"].as_array().unwrap();
                let result = json!({"SequenceNumber": "1", "ShardId": "shardId-0"});
                json!({"FailedRecordCount": 0, "Records": vec![result; sent.len()]})
            }
        };
        (StatusCode::OK, answer.to_string())
    }

    pub(super) fn requests(&self, operation: &str) -> Vec<&Value> {
        let calls = self.calls.iter().filter(|(name, _, _)| name == operation);
        calls.map(|(_, _, request)| request).collect()
    }
}

/// Serves a stream with these records on this machine.
pub(super) async fn stream(records: &[(&str, Bytes)]) -> (Server, Arc<Mutex<Stream>>) {
    let records = records
        .iter()
        .map(|(number, data)| ((*number).to_owned(), data.clone()));
    let stream = Stream {
        records: records.collect(),
        ..Stream::default()
    };
    let stream = Arc::new(Mutex::new(stream));
    let shared = Arc::clone(&stream);
    let answer = move |headers: HeaderMap, body: Bytes| {
        let answer = shared
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .answer(&headers, &body);
        async move { answer }
    };
    let server = Server::start(0, Router::new().fallback(post(answer))).await.unwrap();
    (server, stream)
}
