//! `kinesis:STREAM`: one record of a data stream for each line, with the partition key of the source record.

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::{PutRecordsRequestEntry, PutRecordsResultEntry};

use super::OutputLine;
use super::batch_put::{BatchLimits, LastAccepted, PutError, Service, client_config};

/// The limits of `PutRecords` for records and for bytes of data and partition keys:
/// <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_PutRecords.html>. A stream can be configured for more
/// bytes.
const LIMITS: BatchLimits = BatchLimits {
    lines: 500,
    bytes: 5 * 1024 * 1024,
    concurrent_requests: 1,
};
/// The maximum size in bytes of one record, including its partition key, that every stream accepts. A stream can be
/// configured for more.
const RECORD_BYTES_MAX: usize = 1024 * 1024;
/// The maximum length of a partition key, in characters.
const PARTITION_KEY_MAX: usize = 256;

/// A data stream in the function's account and region.
#[derive(Debug)]
pub struct Kinesis {
    client: Client,
    stream: String,
    last_accepted: LastAccepted,
}

impl Kinesis {
    /// Creates a destination for the data stream of this name.
    pub fn new(environment: &aws_config::SdkConfig, stream: String) -> Self {
        Self {
            client: Client::new(&client_config(environment)),
            stream,
            last_accepted: LastAccepted::default(),
        }
    }

    /// The maximum size of a line, in bytes. It leaves room for the longest partition key.
    pub(super) const LINE_BYTES_MAX: usize = RECORD_BYTES_MAX - 4 * PARTITION_KEY_MAX;

    /// Returns `true` if `stream_arn` is this stream, for a function in this `account`. An unknown account or region is
    /// assumed to be the same.
    pub(super) fn is_source_stream(&self, stream_arn: &str, account: Option<&str>) -> bool {
        let mut parts = stream_arn.splitn(6, ':').skip(3);
        let (region, owner, resource) = (parts.next(), parts.next(), parts.next());
        let own_region = self.client.config().region().map(AsRef::as_ref);
        let same = |its: Option<&str>, own: Option<&str>| own.is_none() || its == own;
        // The ARN of a consumer begins with the ARN of its stream.
        let name = resource.and_then(|resource| resource.strip_prefix("stream/")?.split('/').next());
        name == Some(&*self.stream) && same(region, own_region) && same(owner, account)
    }
}

impl Service for Kinesis {
    const NAME: &'static str = "kinesis:";

    fn limits(&self) -> BatchLimits {
        LIMITS
    }

    fn last_accepted(&self) -> &LastAccepted {
        &self.last_accepted
    }

    fn size(line: &OutputLine) -> usize {
        line.text.len() + line.partition_key.len()
    }

    async fn put(&self, lines: &[&OutputLine]) -> Result<Vec<Option<PutError>>, PutError> {
        let records = lines.iter().map(|line| record(line)).collect();
        let request = self.client.put_records().stream_name(&self.stream);
        let response = request.set_records(Some(records)).send().await;
        let results = response.map_err(|error| PutError::from_sdk_error(&error))?.records;
        let error = |result: PutRecordsResultEntry| {
            let message = result.error_message();
            result.error_code().map(|code| PutError::of_line(code, message))
        };
        Ok(results.into_iter().map(error).collect())
    }
}

fn record(line: &OutputLine) -> PutRecordsRequestEntry {
    let key: String = line.partition_key.chars().take(PARTITION_KEY_MAX).collect();
    PutRecordsRequestEntry::builder()
        .data(Blob::new(line.text.as_bytes()))
        .partition_key(key)
        .build()
        .expect("a record requires only data and a partition key")
}
