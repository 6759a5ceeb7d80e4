//! The entry of a record in an event: read from the event of a discarded batch, or created from a dead letter.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use instream_local::aggregate::{KplUserRecord, aggregate};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::{Content, DeadLetter, Origin, PLACEHOLDER_STREAM_ARN, Record, hash, milliseconds, record_key};

/// The size of an event entry without its data and its keys, in bytes.
const ENTRY_OVERHEAD_BYTES: usize = 700;
/// The first bytes of data that may hold several user records: an aggregate of the Kinesis Producer Library, gzip,
/// zstd.
pub(super) const PACKED_PREFIXES: [&[u8]; 3] = [&[0xF3, 0x89, 0x9A, 0xC2], &[0x1F, 0x8B], &[0x28, 0xB5, 0x2F, 0xFD]];

/// The members of an event entry that are used here. Missing ones are null.
#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Entry {
    #[serde(rename = "eventID")]
    event_id: Value,
    event_source: Value,
    #[serde(rename = "eventSourceARN")]
    stream_arn: Value,
    pub(super) kinesis: Value,
}

impl DeadLetter {
    /// Creates a dead letter from an entry of an event. Returns `None` if the entry has no sequence number, which a
    /// batch response must name, or if it is not a Kinesis record.
    pub(crate) fn with_entry(raw: &RawValue, kind: &str, origin: Origin) -> Option<Self> {
        let entry: Entry = serde_json::from_str(raw.get()).ok()?;
        let text = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        let sequence_number = text(entry.kinesis.get("sequenceNumber")?)?;
        if text(&entry.event_source).is_some_and(|source| source != "aws:kinesis") {
            return None;
        }
        let event_id = text(&entry.event_id);
        let data = entry.data();
        let is_packed = data
            .as_ref()
            .is_none_or(|data| PACKED_PREFIXES.iter().any(|magic| data.starts_with(magic)));
        let key = match &event_id {
            Some(event_id) if is_packed => event_id.clone(),
            _ => record_key(event_id.as_deref(), 0, hash(raw.get().as_bytes())),
        };
        let arrival = entry.kinesis.get("approximateArrivalTimestamp").and_then(Value::as_f64);
        Some(Self {
            key,
            content_hash: hash(data.as_deref().unwrap_or(raw.get().as_bytes())),
            kind: kind.to_owned(),
            arrival_ms: arrival.and_then(milliseconds),
            sequence_number,
            stream_arn: Arc::from(text(&entry.stream_arn).as_deref().unwrap_or(PLACEHOLDER_STREAM_ARN)),
            content: Content::Entry(raw.to_owned()),
            payload: None,
            origin,
        })
    }

    /// Returns an upper bound of its size in an event, in bytes.
    pub(crate) fn size_in_event(&self) -> usize {
        match &self.content {
            Content::Entry(raw) => raw.get().len() + 1,
            Content::Data(record) => {
                let keys = [&record.partition_key, &record.explicit_hash_key, &record.event_id];
                let keys: usize = keys.into_iter().flatten().map(String::len).sum();
                let bytes = self.payload.as_ref().map_or(record.data.len(), |payload| payload.bytes);
                // A control character takes six bytes in JSON.
                (bytes + keys).div_ceil(3) * 4 + 6 * keys + ENTRY_OVERHEAD_BYTES
            }
        }
    }

    /// Returns its entry in an event, as JSON.
    pub(crate) fn entry(&self) -> String {
        match &self.content {
            Content::Entry(raw) => raw.get().to_owned(),
            Content::Data(record) => self.entry_of(record).to_string(),
        }
    }

    fn entry_of(&self, record: &Record) -> Value {
        // Members that the dead letter does not have are left out.
        let object = |members: [(&str, Option<Value>); 5]| -> Value {
            let members = members.into_iter();
            let members = members.filter_map(|(name, value)| Some((name.to_owned(), value?)));
            Value::Object(members.collect())
        };
        let kinesis = object([
            ("kinesisSchemaVersion", Some(json!("1.0"))),
            ("sequenceNumber", Some(json!(self.sequence_number))),
            ("partitionKey", record.partition_key.as_ref().map(|key| json!(key))),
            (
                "approximateArrivalTimestamp",
                record.arrival_s.map(|arrival_s| json!(arrival_s)),
            ),
            ("data", Some(json!(BASE64.encode(record.packed())))),
        ]);
        let mut entry = json!({
            "kinesis": kinesis,
            "eventSource": "aws:kinesis",
            "eventVersion": "1.0",
            "eventName": "aws:kinesis:record",
            "invokeIdentityArn": "arn:aws:iam::000000000000:role/instream",
            "awsRegion": self.stream_arn.split(':').nth(3).unwrap_or_default(),
            "eventSourceARN": *self.stream_arn,
        });
        if let (Some(event_id), Some(members)) = (&record.event_id, entry.as_object_mut()) {
            members.insert("eventID".to_owned(), json!(event_id));
        }
        entry
    }
}

impl Record {
    /// Returns the bytes for an event. A record with an explicit hash key becomes an aggregate of one, because an event
    /// entry has no member for that key.
    fn packed(&self) -> Bytes {
        let partition_key = self.partition_key.as_deref().unwrap_or_default();
        match &self.explicit_hash_key {
            None => self.data.clone(),
            Some(explicit_hash_key) => aggregate(&[KplUserRecord {
                partition_key,
                explicit_hash_key: Some(explicit_hash_key),
                data: &self.data,
            }]),
        }
    }
}

impl Entry {
    pub(super) fn data(&self) -> Option<Vec<u8>> {
        BASE64.decode(self.kinesis.get("data")?.as_str()?).ok()
    }
}
