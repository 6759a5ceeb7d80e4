//! A stream that takes the records again, as new ones.

use anyhow::{Result, ensure};
use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::config::retry::RetryConfig;
use aws_sdk_kinesis::error::{ProvideErrorMetadata as _, SdkError};
use aws_sdk_kinesis::operation::put_records::PutRecordsError;
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::{PutRecordsRequestEntry, PutRecordsResultEntry};

use super::aws::{Services, in_words};
use super::letter::{Letter, StreamEntry};
use super::target::Attempt;

/// `PutRecords` takes so many at once.
pub(super) const TOGETHER_MAX: usize = 500;

/// A stream.
#[derive(Debug)]
pub(super) struct StreamTarget {
    client: Client,
    name: String,
}

impl StreamTarget {
    /// The stream of this name. Whether it is there is told by the first records.
    pub(super) async fn open(services: &Services, name: &str) -> Result<Self> {
        ensure!(!name.is_empty(), "--to-stream names no stream");
        let config = services.config("KINESIS").await.into_builder();
        // A request whose answer was lost may have been taken: it comes again only where that is counted.
        let config = config.retry_config(RetryConfig::disabled()).build();
        Ok(Self {
            client: Client::new(&config),
            name: name.to_owned(),
        })
    }

    /// Puts the letters in one request. What has no bytes or no partition key is not put.
    pub(super) async fn put(&self, letters: &[Letter]) -> Attempt {
        let entries: Vec<_> = letters.iter().map(Letter::stream_entry).collect();
        let requests = entries.iter().flatten().map(request);
        let requests: Vec<_> = requests.collect::<Result<_, _>>().unwrap_or_default();
        if requests.is_empty() {
            return attempt(&entries, Vec::new(), Some(NOTHING_TO_PUT.to_owned()));
        }
        let request = self.client.put_records().stream_name(&self.name);
        match request.set_records(Some(requests)).send().await {
            Ok(answer) => {
                let failure = answer.records.iter().find_map(|record| record.error_code.clone());
                let failure = failure.or_else(|| entries.contains(&None).then(|| NOTHING_TO_PUT.to_owned()));
                attempt(&entries, answer.records, failure)
            }
            Err(error) => Attempt {
                failed_as_a_whole: true,
                ..attempt(&entries, Vec::new(), Some(told(&error)))
            },
        }
    }
}

/// Kinesis's own words may quote partition keys: its code will do.
fn told(error: &SdkError<PutRecordsError>) -> String {
    match error.as_service_error() {
        Some(error) => error.code().unwrap_or("an error without a code").to_owned(),
        None => in_words(error).to_string(),
    }
}

const NOTHING_TO_PUT: &str = "it has no bytes that can be read, or no partition key";

fn request(entry: &StreamEntry) -> Result<PutRecordsRequestEntry, aws_sdk_kinesis::error::BuildError> {
    let request = PutRecordsRequestEntry::builder().partition_key(&entry.partition_key);
    let request = request.set_explicit_hash_key(entry.explicit_hash_key.clone());
    request.data(Blob::new(entry.data.clone())).build()
}

/// The results are those of the entries that there are, in their order.
fn attempt(entries: &[Option<StreamEntry>], results: Vec<PutRecordsResultEntry>, failure: Option<String>) -> Attempt {
    let mut results = results.into_iter();
    let taken = |result: PutRecordsResultEntry| result.error_code.is_none() && result.sequence_number.is_some();
    let finished = entries
        .iter()
        .map(|entry| entry.is_some() && results.next().is_some_and(taken))
        .collect();
    Attempt {
        finished,
        failure,
        failed_as_a_whole: false,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use axum::Router;
    use axum::http::StatusCode;
    use axum::routing::post;

    use super::*;
    use crate::environment::Settings;
    use crate::redrive::letter::{Origin, Record};
    use crate::server::Server;

    #[tokio::test]
    async fn an_error_is_told_by_its_code_and_no_request_is_repeated_unasked() {
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
        let letter = Letter::with_data(record, 0, String::new(), Origin::default());
        let attempt = target.put(&[letter]).await;
        assert_eq!(attempt.failure.as_deref(), Some("InternalFailure"));
        assert!(attempt.failed_as_a_whole && attempt.finished == [false]);
        assert_eq!(calls.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn each_result_is_that_of_its_own_entry() {
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
