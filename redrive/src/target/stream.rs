//! Sends records back to a stream, as new records.

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::config::retry::RetryConfig;
use aws_sdk_kinesis::error::ProvideErrorMetadata as _;
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::PutRecordsRequestEntry;
use instream_local::environment::Settings;

use super::Attempt;
use crate::aws::config;
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
    pub(super) async fn open(settings: &Settings, name: &str) -> Self {
        let config = config(settings, "KINESIS").await.into_builder();
        // The SDK must not retry: a request whose response was lost may have succeeded, and a retry must be counted.
        let config = config.retry_config(RetryConfig::disabled()).build();
        Self {
            client: Client::new(&config),
            name: name.to_owned(),
        }
    }

    /// Sends the letters in one request.
    pub(super) async fn send(&self, letters: &[Letter]) -> Attempt {
        let Some(entries) = letters.iter().map(entry).collect() else {
            return Attempt::failed("a record has no readable data or no partition key".to_owned());
        };
        let request = self
            .client
            .put_records()
            .stream_name(&self.name)
            .set_records(Some(entries));
        match request.send().await {
            Ok(response) => {
                let codes: Vec<_> = response.records.into_iter().map(|result| result.error_code).collect();
                Attempt {
                    finished: codes.iter().map(Option::is_none).collect(),
                    failure: codes.into_iter().flatten().next(),
                }
            }
            // The message of Kinesis may quote partition keys.
            Err(error) => {
                let code = error.code().map(str::to_owned);
                Attempt::failed(code.unwrap_or_else(|| format!("{:#}", anyhow::Error::from(error))))
            }
        }
    }
}

fn entry(letter: &Letter) -> Option<PutRecordsRequestEntry> {
    let record = &letter.record;
    let entry = PutRecordsRequestEntry::builder().set_explicit_hash_key(record.explicit_hash_key.clone());
    let entry = entry.partition_key(record.partition_key.clone().filter(|key| !key.is_empty())?);
    entry.data(Blob::new(record.data.clone()?)).build().ok()
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
    use crate::letter::Record;
    use crate::source::Item;

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
        let target = StreamTarget::open(&settings, "stream").await;
        let record = Record {
            partition_key: Some("card-secret".to_owned()),
            data: Some("data".into()),
            ..Record::default()
        };
        let item = Item::new("here".to_owned(), "", Ok(String::new()));
        let attempt = target.send(&[Letter::new(record, None, 0, "", &item)]).await;
        assert_eq!(attempt.failure.as_deref(), Some("InternalFailure"));
        assert_eq!(attempt.finished, [false; 0]);
        assert_eq!(calls.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn each_result_is_assigned_to_its_letter() {
        let answer = || async {
            let taken = r#"{"SequenceNumber":"1","ShardId":"s"}"#;
            let refused = r#"{"ErrorCode":"ProvisionedThroughputExceededException"}"#;
            format!(r#"{{"FailedRecordCount":1,"Records":[{taken},{refused},{taken}]}}"#)
        };
        let server = Server::start(0, Router::new().route("/", post(answer))).await.unwrap();
        let target = StreamTarget::open(&crate::tests::settings(&server), "stream").await;
        let item = Item::new("here".to_owned(), "", Ok(String::new()));
        let letters = ["k"; 3].map(|key| {
            let record = Record {
                partition_key: Some(key.to_owned()),
                data: Some("data".into()),
                ..Record::default()
            };
            Letter::new(record, None, 0, "", &item)
        });
        let attempt = target.send(&letters).await;
        assert_eq!(attempt.finished, [true, false, true]);
        assert_eq!(
            attempt.failure.as_deref(),
            Some("ProvisionedThroughputExceededException")
        );
    }
}
