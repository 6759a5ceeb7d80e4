//! Small versions of the services of AWS on this machine.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::http::{HeaderMap, Uri};
use bytes::Bytes;
use instream_local::server::Server;
use serde_json::{Value, json};

/// Small versions of the services.
#[derive(Default)]
pub(super) struct Aws {
    /// The operations so far, with their requests.
    pub(super) calls: Vec<(String, Value)>,
    /// The messages of each receive, in this order.
    pub(super) receives: VecDeque<Vec<Value>>,
    /// The sequence numbers of the records that the function gets and its stream accepts.
    pub(super) taken: Vec<String>,
    /// The records that the function cannot take and the stream does not accept, by their partition keys.
    pub(super) refused: BTreeSet<String>,
    /// The text of the object `letters` in the bucket `dead`, and the time at which it was written.
    pub(super) object: (String, &'static str),
}

impl Aws {
    fn answer(&mut self, uri: &Uri, headers: &HeaderMap, body: &[u8]) -> (HeaderMap, String) {
        let target = headers.get("x-amz-target").map(|target| target.to_str().unwrap());
        let operation = target.map_or(uri.path(), |target| target.rsplit('.').next().unwrap());
        let request: Value = serde_json::from_slice(body).unwrap_or_default();
        let mut answer_headers = HeaderMap::new();
        let answer = match operation {
            "/dead/" => "<ListBucketResult><Contents><Key>letters</Key></Contents></ListBucketResult>".to_owned(),
            "/dead/letters" => {
                answer_headers.insert("last-modified", self.object.1.parse().unwrap());
                self.object.0.clone()
            }
            "/2015-03-31/functions/target/invocations" => {
                let records = request["Records"].as_array().unwrap();
                if records
                    .iter()
                    .any(|record| !self.takes(&record["kinesis"]["partitionKey"]))
                {
                    answer_headers.insert("x-amz-function-error", "Unhandled".parse().unwrap());
                }
                r#"{"batchItemFailures":[]}"#.to_owned()
            }
            "ReceiveMessage" => json!({"Messages": self.receives.pop_front().unwrap_or_default()}).to_string(),
            "PutRecords" => {
                let records = request["Records"].as_array().unwrap();
                let results = records.iter().map(|record| {
                    if self.takes(&record["PartitionKey"]) {
                        json!({"SequenceNumber": "1", "ShardId": "shardId-0"})
                    } else {
                        json!({"ErrorCode": "InternalFailure"})
                    }
                });
                json!({"FailedRecordCount": 0, "Records": results.collect::<Vec<_>>()}).to_string()
            }
            _ => json!({"Successful": [], "Failed": []}).to_string(),
        };
        self.calls.push((operation.to_owned(), request));
        (answer_headers, answer)
    }

    fn takes(&mut self, partition_key: &Value) -> bool {
        let partition_key = partition_key.as_str().unwrap();
        self.taken.push(partition_key.to_owned());
        !self.refused.contains(partition_key)
    }

    /// Returns the receipts in the requests of this operation.
    pub(super) fn receipts(&self, operation: &str) -> Vec<&str> {
        let requests = self.calls.iter().filter(|(name, _)| name == operation);
        let entries = requests.flat_map(|(_, request)| request["Entries"].as_array().unwrap());
        let mut receipts: Vec<_> = entries.map(|entry| entry["ReceiptHandle"].as_str().unwrap()).collect();
        receipts.sort_unstable();
        receipts
    }
}

pub(super) async fn aws(aws: Aws) -> (Server, Arc<Mutex<Aws>>) {
    let aws = Arc::new(Mutex::new(aws));
    let shared = Arc::clone(&aws);
    let answer = move |uri: Uri, headers: HeaderMap, body: Bytes| {
        let mut aws = shared.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = aws.answer(&uri, &headers, &body);
        async move { answer }
    };
    let server = Server::start(0, Router::new().fallback(answer)).await.unwrap();
    (server, aws)
}
