//! Sends records back to a stream, as new records.

use anyhow::{Result, ensure};
use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::config::retry::RetryConfig;
use aws_sdk_kinesis::error::{ProvideErrorMetadata as _, SdkError};
use aws_sdk_kinesis::operation::put_records::PutRecordsError;
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::{PutRecordsRequestEntry, PutRecordsResultEntry};

use super::aws::{Services, error_with_causes};
use super::dead_letter::{DeadLetter, StreamEntry};
use super::target::Attempt;

/// The maximum number of records in a `PutRecords` request.
pub(super) const PUT_RECORDS_MAX: usize = 500;

/// A stream as target.
#[derive(Debug)]
pub(super) struct StreamTarget {
    client: Client,
    name: String,
}

impl StreamTarget {
    /// Creates a client for the stream with this name. The first request shows whether the stream exists.
    pub(super) async fn open(services: &Services, name: &str) -> Result<Self> {
        ensure!(!name.is_empty(), "--to-stream needs the name of a stream");
        let config = services.config("KINESIS").await.into_builder();
        // The SDK must not retry: a request whose response was lost may have succeeded, and a retry must be counted.
        let config = config.retry_config(RetryConfig::disabled()).build();
        Ok(Self {
            client: Client::new(&config),
            name: name.to_owned(),
        })
    }

    /// Sends the dead letters in one request, except those without readable data or a partition key.
    pub(super) async fn send(&self, letters: &[DeadLetter]) -> Attempt {
        let entries: Vec<_> = letters.iter().map(DeadLetter::stream_entry).collect();
        let requests = entries.iter().flatten().map(request);
        let requests: Vec<_> = requests.collect::<Result<_, _>>().unwrap_or_default();
        if requests.is_empty() {
            return attempt(&entries, Vec::new(), Some(NOT_SENDABLE.to_owned()));
        }
        let request = self.client.put_records().stream_name(&self.name);
        match request.set_records(Some(requests)).send().await {
            Ok(response) => {
                let failure = response.records.iter().find_map(|record| record.error_code.clone());
                let failure = failure.or_else(|| entries.contains(&None).then(|| NOT_SENDABLE.to_owned()));
                attempt(&entries, response.records, failure)
            }
            Err(error) => Attempt {
                is_batch_failure: true,
                ..attempt(&entries, Vec::new(), Some(failure_message(&error)))
            },
        }
    }
}

/// Returns the code of an error of Kinesis, whose message may quote partition keys, or the causes of another error.
fn failure_message(error: &SdkError<PutRecordsError>) -> String {
    match error.as_service_error() {
        Some(error) => error.code().unwrap_or("an error without a code").to_owned(),
        None => error_with_causes(error).to_string(),
    }
}

const NOT_SENDABLE: &str = "it has no readable data or no partition key";

fn request(entry: &StreamEntry) -> Result<PutRecordsRequestEntry, aws_sdk_kinesis::error::BuildError> {
    let request = PutRecordsRequestEntry::builder().partition_key(&entry.partition_key);
    let request = request.set_explicit_hash_key(entry.explicit_hash_key.clone());
    request.data(Blob::new(entry.data.clone())).build()
}

/// Assigns the results to the entries that were sent, in order.
fn attempt(entries: &[Option<StreamEntry>], results: Vec<PutRecordsResultEntry>, failure: Option<String>) -> Attempt {
    let mut results = results.into_iter();
    let is_accepted = |result: PutRecordsResultEntry| result.error_code.is_none() && result.sequence_number.is_some();
    let finished = entries
        .iter()
        .map(|entry| entry.is_some() && results.next().is_some_and(is_accepted))
        .collect();
    Attempt {
        finished,
        failure,
        is_batch_failure: false,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use axum::Router;
    use axum::http::StatusCode;
    use axum::routing::post;
    use instream_local::environment::Settings;
    use instream_local::server::Server;

    use super::*;
    use crate::dead_letter::{Origin, Record};

    #[tokio::test]
    async fn the_failure_is_the_code_of_an_error_and_no_request_is_retried_by_the_sdk() {
        let calls = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&calls);
        let refuse = move || {
            count.fetch_add(1, Ordering::Relaxed);
            let answer = r#"{"__type":"InternalFailure","message":"the key card-secret"}"#;
            async move { (StatusCode::INTERNAL_SERVER_ERROR, answer) }
        };
        let server = Server::start(0, Router::new().route("/", post(refuse))).await.unwrap();
        let url = format!("http://{}", server.address);
        let settings = Settings::from([("AWS_ENDPOINT_URL_KINESIS".to_owned(), url)]);
        let target = StreamTarget::open(&Services::new(settings), "stream").await.unwrap();
        let record = Record {
            event_id: None,
            partition_key: Some("card-secret".to_owned()),
            explicit_hash_key: None,
            arrival_s: None,
            data: "data".into(),
        };
        let letter = DeadLetter::with_data(record, 0, String::new(), Origin::default());
        let attempt = target.send(&[letter]).await;
        assert_eq!(attempt.failure.as_deref(), Some("InternalFailure"));
        assert!(attempt.is_batch_failure && attempt.finished == [false]);
        assert_eq!(calls.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn each_result_is_assigned_to_its_entry() {
        let entry = Some(StreamEntry {
            partition_key: "k".to_owned(),
            explicit_hash_key: None,
            data: "data".into(),
        });
        let taken = PutRecordsResultEntry::builder()
            .sequence_number("7")
            .shard_id("s")
            .build();
        let refused = PutRecordsResultEntry::builder()
            .error_code("ProvisionedThroughputExceededException")
            .build();
        let entries = [entry.clone(), None, entry.clone(), entry];
        let attempt = attempt(&entries, vec![taken.clone(), refused, taken], None);
        assert_eq!(attempt.finished, [true, false, false, true]);
    }
}
