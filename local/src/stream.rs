//! Records of a Kinesis stream, and the events that an event source mapping builds from them.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use serde_json::{Value, json};
use tokio::time::Instant;

/// The ARN of the stream, if its records come from a file and not from a Kinesis API.
pub(crate) const STREAM_ARN: &str = "arn:aws:kinesis:us-east-1:000000000000:stream/transactions";
/// The ARN of the function that reads the stream.
pub(crate) const FUNCTION_ARN: &str = "arn:aws:lambda:us-east-1:000000000000:function:instream";
/// The first 40 of the 56 digits of a sequence number.
const SEQUENCE_NUMBER_PREFIX: &str = "4959033827149025660855969253836157109592";

/// One record of the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamRecord {
    /// The stream that holds it.
    pub stream_arn: Arc<str>,
    /// The shard that holds it, such as `shardId-000000000000`.
    pub shard: String,
    /// 56 digits. Unique in the shard and ascending along it.
    pub sequence_number: String,
    /// The producer's partition key.
    pub partition_key: String,
    /// The producer's bytes.
    pub data: Bytes,
    /// The number of user records in it: one, unless the producer aggregated several.
    pub user_records: usize,
    /// The time of arrival in the stream, in milliseconds since 1970.
    pub arrival_ms: u64,
    /// The time of arrival on Tokio's clock. The record's age counts from here.
    pub entered: Instant,
}

impl StreamRecord {
    /// Returns a record that holds a line of a file. `number` is the line's number, from 1, and `line-NUMBER` the
    /// partition key. The record enters the first shard now.
    pub fn from_line(number: u64, line: &[u8], arrival_ms: u64) -> Self {
        Self {
            stream_arn: Arc::from(STREAM_ARN),
            shard: shard_id(0),
            sequence_number: format!("{SEQUENCE_NUMBER_PREFIX}{number:016}"),
            partition_key: format!("line-{number}"),
            data: Bytes::copy_from_slice(line),
            user_records: 1,
            arrival_ms,
            entered: Instant::now(),
        }
    }

    /// Returns the record's share of an event's 6 MB, in bytes: its data in base64, and its envelope.
    pub fn size_in_event(&self) -> usize {
        const ENVELOPE: usize = 600;
        self.data.len().div_ceil(3) * 4 + self.partition_key.len() + ENVELOPE
    }

    /// Returns the record's `eventID` in an event.
    pub fn event_id(&self) -> String {
        format!("{}:{}", self.shard, self.sequence_number)
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
            "eventID": self.event_id(),
            "eventName": "aws:kinesis:record",
            "invokeIdentityArn": "arn:aws:iam::000000000000:role/instream",
            "awsRegion": self.stream_arn.split(':').nth(3).unwrap_or_default(),
            "eventSourceARN": *self.stream_arn,
        })
    }
}

/// Returns the number of user records in `records`.
pub fn user_records<'r>(records: impl IntoIterator<Item = &'r StreamRecord>) -> usize {
    records.into_iter().map(|record| record.user_records).sum()
}

/// Returns the name of shard `number`, from 0.
pub fn shard_id(number: usize) -> String {
    format!("shardId-{number:012}")
}

/// Returns the Kinesis event with `records`, as JSON.
pub fn event<'r>(records: impl IntoIterator<Item = &'r StreamRecord>) -> Bytes {
    let entries: Vec<_> = records.into_iter().map(StreamRecord::entry).collect();
    Bytes::from(json!({ "Records": entries }).to_string())
}

/// The kind of partition that a key is hashed to. The values salt the hash: a key's lane must not depend on its shard,
/// otherwise some lanes of a shard would get no records.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Partitions {
    Shards = 0x5348,
    Lanes = 0x4C41,
}

/// Returns the index, below `count`, of the partition that a key belongs to. Keys spread evenly, and the result is the
/// same in every run.
pub(crate) fn partition_index(partition_key: &str, partitions: Partitions, count: usize) -> usize {
    // FNV-1a, then a mixing step in which every bit influences the index.
    let hash = partition_key
        .bytes()
        .fold(0xCBF2_9CE4_8422_2325 ^ partitions as u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3)
        });
    let mixed = (hash ^ (hash >> 33)).wrapping_mul(0xFF51_AFD7_ED55_8CCD);
    let mixed = (mixed ^ (mixed >> 33)) % (count.max(1) as u64);
    usize::try_from(mixed).unwrap_or_default()
}

#[expect(
    clippy::cast_precision_loss,
    reason = "times before the year 9999 stay far below 2^53 ms"
)]
fn seconds(milliseconds: u64) -> f64 {
    milliseconds as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partition_keys_spread_evenly_over_shards_and_over_the_lanes_of_each() {
        let mut counts = [[0; 4]; 2];
        for number in 0..8000 {
            let key = format!("line-{number}");
            counts[partition_index(&key, Partitions::Shards, 2)][partition_index(&key, Partitions::Lanes, 4)] += 1;
        }
        let even = counts.iter().flatten().all(|count| (900..1100).contains(count));
        assert!(even, "{counts:?}");
    }

    #[test]
    fn an_event_names_the_shard_of_each_record() {
        let mut records = [1, 2].map(|number| StreamRecord::from_line(number, b"x", 0));
        records[1].shard = shard_id(7);
        records[1].stream_arn = Arc::from("arn:aws:kinesis:eu-west-1:000000000000:stream/orders");
        let event: Value = serde_json::from_slice(&event(&records)).unwrap();
        for (index, (shard, region)) in [
            ("shardId-000000000000", "us-east-1"),
            ("shardId-000000000007", "eu-west-1"),
        ]
        .into_iter()
        .enumerate()
        {
            let entry = &event["Records"][index];
            let id = format!("{shard}:{}", records[index].sequence_number);
            assert_eq!(entry["eventID"], *id);
            assert_eq!(entry["eventSourceARN"], *records[index].stream_arn);
            assert_eq!(entry["awsRegion"], region);
        }
    }
}
