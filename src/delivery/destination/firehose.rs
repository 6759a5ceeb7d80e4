//! `firehose:STREAM`: one Firehose record for each line, with a line break at its end, because Firehose concatenates
//! records as they are.

use aws_sdk_firehose::Client;
use aws_sdk_firehose::primitives::Blob;
use aws_sdk_firehose::types::{PutRecordBatchResponseEntry, Record};

use super::OutputLine;
use super::batch_put::{BatchLimits, LastAccepted, PutError, Service, client_config};

/// The limits of `PutRecordBatch` for records and bytes:
/// <https://docs.aws.amazon.com/firehose/latest/APIReference/API_PutRecordBatch.html>.
const LIMITS: BatchLimits = BatchLimits {
    lines: 500,
    bytes: 4 * 1024 * 1024,
    concurrent_requests: 1,
};
/// The maximum size of one record, in bytes.
const RECORD_BYTES_MAX: usize = 1000 * 1024;

/// A Firehose stream in the function's account and region.
#[derive(Debug)]
pub struct Firehose {
    client: Client,
    stream: String,
    last_accepted: LastAccepted,
}

impl Firehose {
    /// Creates a destination for the Firehose stream of this name.
    pub fn new(environment: &aws_config::SdkConfig, stream: String) -> Self {
        Self {
            client: Client::new(&client_config(environment)),
            stream,
            last_accepted: LastAccepted::default(),
        }
    }

    /// The maximum size of a line, in bytes. It leaves room for the line break.
    pub(super) const LINE_BYTES_MAX: usize = RECORD_BYTES_MAX - 1;
}

impl Service for Firehose {
    const NAME: &'static str = "firehose:";

    fn limits(&self) -> BatchLimits {
        LIMITS
    }

    fn last_accepted(&self) -> &LastAccepted {
        &self.last_accepted
    }

    fn size(line: &OutputLine) -> usize {
        line.text.len() + 1
    }

    async fn put(&self, lines: &[&OutputLine]) -> Result<Vec<Option<PutError>>, PutError> {
        let records = lines.iter().map(|line| record(line)).collect();
        let request = self.client.put_record_batch().delivery_stream_name(&self.stream);
        let response = request.set_records(Some(records)).send().await;
        let results = response
            .map_err(|error| PutError::from_sdk_error(&error))?
            .request_responses;
        let error = |result: PutRecordBatchResponseEntry| {
            let message = result.error_message();
            result.error_code().map(|code| PutError::of_line(code, message))
        };
        Ok(results.into_iter().map(error).collect())
    }
}

fn record(line: &OutputLine) -> Record {
    let data = Blob::new(format!("{}\n", line.text));
    Record::builder()
        .data(data)
        .build()
        .expect("a record requires only data")
}
