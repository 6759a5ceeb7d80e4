//! `kinesis:STREAM`: a record of a data stream for each line, with the partition key of the record that it comes from.

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::PutRecordsRequestEntry;

use super::OutputLine;
use super::batch_put::{BatchLimits, PutError, Service, client_config};

/// `PutRecords` takes so many records at once, and so many bytes of data and partition keys:
/// <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_PutRecords.html>. A stream may be set up for more bytes.
const LIMITS: BatchLimits = BatchLimits {
    lines: 500,
    bytes: 5 * 1024 * 1024,
    concurrent_requests: 1,
};
/// What any stream takes for one record, its partition key included. A stream may be set up for more.
const RECORD_BYTES_MAX: usize = 1024 * 1024;
/// A partition key has at most so many characters.
const PARTITION_KEY_MAX: usize = 256;

/// A data stream in the function's account and region.
#[derive(Debug)]
pub struct Kinesis {
    client: Client,
    stream: String,
}

impl Kinesis {
    /// The data stream of this name.
    pub fn new(environment: &aws_config::SdkConfig, stream: String) -> Self {
        Self {
            client: Client::new(&client_config(environment)),
            stream,
        }
    }

    /// The limit in bytes that the line is too long for: the longest partition key fits beside it.
    pub(super) fn exceeded_limit(line: &str) -> Option<usize> {
        const MAX: usize = RECORD_BYTES_MAX - 4 * PARTITION_KEY_MAX;
        (line.len() > MAX).then_some(MAX)
    }

    /// Whether `stream_arn` is this very stream, for a function of this `account`. Where an account is not known, it is
    /// taken for the same.
    pub(super) fn is_source_stream(&self, stream_arn: &str, account: Option<&str>) -> bool {
        let mut parts = stream_arn.splitn(6, ':').skip(3);
        let (region, owner, resource) = (parts.next(), parts.next(), parts.next());
        let own_region = self.client.config().region().map(AsRef::as_ref);
        let same = |its: Option<&str>, own: Option<&str>| own.is_none() || its == own;
        // A consumer's ARN begins with its stream's.
        let name = resource.and_then(|resource| resource.strip_prefix("stream/")?.split('/').next());
        name == Some(&*self.stream) && same(region, own_region) && same(owner, account)
    }
}

impl Service for Kinesis {
    const NAME: &'static str = "kinesis:";

    fn limits(&self) -> BatchLimits {
        LIMITS
    }

    fn size(line: &OutputLine) -> usize {
        line.text.len() + line.partition_key.len()
    }

    async fn put(&self, lines: &[&OutputLine]) -> Result<Vec<Option<String>>, PutError> {
        let records = lines.iter().map(|line| record(line)).collect();
        let request = self.client.put_records().stream_name(&self.stream);
        let answer = request.set_records(Some(records)).send().await;
        let results = answer.map_err(|error| PutError::from_sdk_error(&error))?.records;
        Ok(results.into_iter().map(|result| result.error_code).collect())
    }
}

fn record(line: &OutputLine) -> PutRecordsRequestEntry {
    let key: String = line.partition_key.chars().take(PARTITION_KEY_MAX).collect();
    PutRecordsRequestEntry::builder()
        .data(Blob::new(line.text.as_bytes()))
        .partition_key(key)
        .build()
        .expect("data and partition key are all that a record needs")
}
