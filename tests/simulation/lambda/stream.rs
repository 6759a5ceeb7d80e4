//! The records of the stream, and their names.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use instream::event::kpl::deaggregate;
use instream_local::aggregate::{KplUserRecord, aggregate};
use instream_local::stream::StreamRecord;
use serde_json::Value;
use tokio::sync::mpsc;

use crate::world::{START_MS, World};

/// Returns the shards of the stream. All records are available from the start.
pub(super) fn stream(world: &World) -> Vec<mpsc::UnboundedReceiver<StreamRecord>> {
    let mut random = fastrand::Rng::with_seed(world.seed ^ 0x5713);
    let shard = |(shard, records): (usize, &Vec<_>)| {
        let (sender, receiver) = mpsc::unbounded_channel();
        let numbers: Vec<_> = (0..records.len()).collect();
        for group in numbers.chunks(world.records_per_aggregate) {
            let partition_key = format!("key-{}", random.u64(..world.keys));
            let data: Vec<_> = group
                .iter()
                .map(|number| world.shards[shard][*number].name(shard, *number))
                .collect();
            let mut record = StreamRecord::from_line(group[0] as u64 + 1, data[0].as_bytes(), START_MS);
            if world.records_per_aggregate > 1 {
                let put = |data| put(&partition_key, data);
                record.data = aggregate(&data.iter().map(put).collect::<Vec<_>>());
            }
            record.shard = format!("shardId-{shard:012}");
            record.partition_key = partition_key;
            record.user_records = group.len();
            sender.send(record).unwrap();
        }
        receiver
    };
    world.shards.iter().enumerate().map(shard).collect()
}

fn put<'p>(partition_key: &'p str, data: &'p String) -> KplUserRecord<'p> {
    KplUserRecord {
        partition_key,
        explicit_hash_key: None,
        data: data.as_bytes(),
    }
}

/// Returns the names of the user records in a Kinesis record.
pub(super) fn names(data: &Bytes) -> Vec<String> {
    let name = |data: &Bytes| String::from_utf8(data.to_vec()).unwrap();
    match deaggregate(data).unwrap() {
        Some(puts) => puts.iter().map(|put| name(&put.data)).collect(),
        None => vec![name(data)],
    }
}

/// The records of one event, as the mapping sends them.
pub(super) struct EventRecords(Vec<(String, Vec<String>)>);

impl EventRecords {
    pub(super) fn read(event: &[u8]) -> Self {
        let event: Value = serde_json::from_slice(event).unwrap();
        let records = event["Records"].as_array().unwrap().iter();
        let read = |record: &Value| {
            let sequence_number = record["kinesis"]["sequenceNumber"].as_str().unwrap().to_owned();
            (sequence_number, names(&bytes(&record["kinesis"]["data"])))
        };
        Self(records.map(read).collect())
    }

    /// Returns the names of all user records.
    pub(super) fn names(&self) -> impl Iterator<Item = &String> {
        self.0.iter().flat_map(|(_, names)| names)
    }

    /// Returns the user records before the Kinesis record that the response names, and those in it. With an empty
    /// response, all are before it.
    pub(super) fn split_at_checkpoint(&self, response: &Value) -> (Vec<&str>, Vec<&str>) {
        let failures = response["batchItemFailures"].as_array().unwrap();
        assert!(failures.len() <= 1, "the response names several records: {response}");
        let named = failures
            .first()
            .map(|failure| failure["itemIdentifier"].as_str().unwrap());
        let position = named.map_or(self.0.len(), |named| {
            let position = self.0.iter().position(|(sequence_number, _)| sequence_number == named);
            position.expect("the response names a record that is not in the event")
        });
        let in_range = |position: std::ops::Range<usize>| {
            let records = self.0.get(position).unwrap_or_default().iter();
            records
                .flat_map(|(_, names)| names.iter().map(|name| &**name))
                .collect()
        };
        (in_range(0..position), in_range(position..position + 1))
    }
}

/// Decodes base64.
pub(super) fn bytes(data: &Value) -> Bytes {
    BASE64.decode(data.as_str().unwrap()).unwrap().into()
}
