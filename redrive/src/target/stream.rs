//! Sends records back to a stream, as new records.

use anyhow::{Result, ensure};
use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::config::retry::RetryConfig;
use aws_sdk_kinesis::error::{ProvideErrorMetadata as _, SdkError};
use aws_sdk_kinesis::operation::put_records::PutRecordsError;
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::{PutRecordsRequestEntry, PutRecordsResultEntry};
use instream_local::environment::Settings;

use super::Attempt;
use crate::aws::{config, error_with_causes};
use crate::letter::Letter;

/// The maximum number of records in a `PutRecords` request.
pub(crate) const PUT_RECORDS_MAX: usize = 500;

/// A stream as target.
pub(crate) struct StreamTarget {
    client: Client,
    name: String,
}

impl StreamTarget {
    /// Creates a client for the stream with this name. The first request shows whether the stream exists.
    pub(super) async fn open(settings: &Settings, name: &str) -> Result<Self> {
        ensure!(!name.is_empty(), "--to-stream needs the name of a stream");
        let config = config(settings, "KINESIS").await.into_builder();
        // The SDK must not retry: a request whose response was lost may have succeeded, and a retry must be counted.
        let config = config.retry_config(RetryConfig::disabled()).build();
        Ok(Self {
            client: Client::new(&config),
            name: name.to_owned(),
        })
    }

    /// Sends the letters in one request, except those without readable data or a partition key.
    pub(super) async fn send(&self, letters: &[Letter]) -> Attempt {
        let entries: Vec<_> = letters.iter().map(entry).collect();
        let requests: Vec<_> = entries.iter().flatten().cloned().collect();
        let mut failure = "it has no readable data or no partition key".to_owned();
        let mut results = Vec::new();
        if !requests.is_empty() {
            let request = self.client.put_records().stream_name(&self.name);
            match request.set_records(Some(requests)).send().await {
                Ok(response) => results = response.records,
                Err(error) => failure = failure_message(&error),
            }
        }
        let code = results.iter().find_map(|result| result.error_code.clone());
        let finished = finished(&entries, results);
        Attempt {
            failure: finished.contains(&false).then(|| code.unwrap_or(failure)),
            finished,
        }
    }
}

fn entry(letter: &Letter) -> Option<PutRecordsRequestEntry> {
    let record = &letter.record;
    let entry = PutRecordsRequestEntry::builder().set_explicit_hash_key(record.explicit_hash_key.clone());
    let entry = entry.partition_key(record.partition_key.clone().filter(|key| !key.is_empty())?);
    entry.data(Blob::new(record.data.clone()?)).build().ok()
}

/// Returns the code of an error of Kinesis, whose message may quote partition keys, or the causes of another error.
fn failure_message(error: &SdkError<PutRecordsError>) -> String {
    match error.as_service_error() {
        Some(error) => error.code().unwrap_or("an error without a code").to_owned(),
        None => error_with_causes(error).to_string(),
    }
}

/// Assigns the results to the entries that were sent, in order.
fn finished(entries: &[Option<PutRecordsRequestEntry>], results: Vec<PutRecordsResultEntry>) -> Vec<bool> {
    let mut results = results.into_iter();
    let is_accepted = |result: PutRecordsResultEntry| result.error_code.is_none() && result.sequence_number.is_some();
    let is_finished = |entry: &Option<_>| entry.is_some() && results.next().is_some_and(is_accepted);
    entries.iter().map(is_finished).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use axum::Router;
    use axum::http::StatusCode;
    use axum::routing::post;
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
        let target = StreamTarget::open(&settings, "stream").await.unwrap();
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
