//! Records of a Kinesis stream with one shard, and the events that an event source mapping makes of them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use serde_json::{Value, json};

/// The stream.
pub(crate) const STREAM_ARN: &str = "arn:aws:kinesis:us-east-1:000000000000:stream/transactions";
/// The function that reads it.
pub(crate) const FUNCTION_ARN: &str = "arn:aws:lambda:us-east-1:000000000000:function:instream";
/// The only shard.
pub(crate) const SHARD: &str = "shardId-000000000000";
/// Sequence numbers have 56 digits; these are the first 40 of them.
const SEQUENCE_START: &str = "4959033827149025660855969253836157109592";

/// One record of the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamRecord {
    /// 56 digits, rising along the shard.
    pub sequence_number: String,
    /// The producer's partition key.
    pub partition_key: String,
    /// The producer's bytes.
    pub data: Bytes,
    /// When the stream took the record, in milliseconds since 1970.
    pub arrival_ms: u64,
}

impl StreamRecord {
    /// The record that holds line `number`, counted from 1, of a file: `line-NUMBER` is its partition key.
    pub fn from_line(number: u64, line: &[u8], arrival_ms: u64) -> Self {
        Self {
            sequence_number: format!("{SEQUENCE_START}{number:016}"),
            partition_key: format!("line-{number}"),
            data: Bytes::copy_from_slice(line),
            arrival_ms,
        }
    }

    /// How much of an event's 6 MB the record takes: its data in base64, and its envelope.
    pub fn size_in_event(&self) -> usize {
        const ENVELOPE: usize = 600;
        self.data.len().div_ceil(3) * 4 + self.partition_key.len() + ENVELOPE
    }

    fn entry(&self) -> Value {
        json!({
            "kinesis": {
                "kinesisSchemaVersion": "1.0",
                "partitionKey": self.partition_key,
                "sequenceNumber": self.sequence_number,
                "data": BASE64.encode(&self.data),
                "approximateArrivalTimestamp": seconds(self.arrival_ms),
            },
            "eventSource": "aws:kinesis",
            "eventVersion": "1.0",
            "eventID": format!("{SHARD}:{}", self.sequence_number),
            "eventName": "aws:kinesis:record",
            "invokeIdentityArn": "arn:aws:iam::000000000000:role/instream",
            "awsRegion": "us-east-1",
            "eventSourceARN": STREAM_ARN,
        })
    }
}

/// The event that hands `records` to a function.
pub fn event<'r>(records: impl IntoIterator<Item = &'r StreamRecord>) -> Bytes {
    let entries: Vec<_> = records.into_iter().map(StreamRecord::entry).collect();
    Bytes::from(json!({ "Records": entries }).to_string())
}

#[expect(
    clippy::cast_precision_loss,
    reason = "times before the year 9999 stay far below 2^53 ms"
)]
fn seconds(milliseconds: u64) -> f64 {
    milliseconds as f64 / 1000.0
}
