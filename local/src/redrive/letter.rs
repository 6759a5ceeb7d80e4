//! A record that is to be put once more: a dead letter of the function's, or an entry of an event that the mapping gave
//! up.
//!
//! What tells it from all others is its [`key`](Letter::key), `shardId-000000000000:4959…224#3`: the record's `eventId`
//! and `subSequenceNumber`. Records of two files that are replayed as a stream share it: what has gone through is known
//! by its [`id`](Letter::id), which has a hash of the bytes as well.
//!
//! A user record of an aggregate is put alone, without the others: its own event identifier and sequence number in the
//! event end with `#3`, so that no two of an event are the same, and so that another run calls it the same. A record
//! that was not aggregated, and the first user record of an aggregate, keep theirs.

use std::rc::Rc;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::queue::Ticket;
use crate::aggregate::{Put, aggregate};

mod identity;

use identity::{content, without_number};
pub(crate) use identity::{hash, id, key, without_content};

/// The stream that a dead letter, which names none, seems to come from.
const STREAM_ARN: &str = "arn:aws:kinesis:us-east-1:000000000000:stream/redrive";
/// What a record takes in an event beside its data and its keys.
const ENTRY_BYTES: usize = 700;
/// How such data begins that holds more than one record, or may, unpacked: the Kinesis Producer Library's, gzip, zstd.
const PACKED: [&[u8]; 3] = [&[0xF3, 0x89, 0x9A, 0xC2], &[0x1F, 0x8B], &[0x28, 0xB5, 0x2F, 0xFD]];

/// A record to put once more.
#[derive(Debug, Clone)]
pub(crate) struct Letter {
    /// The same in every run. Without `#` where it stands for all user records of an aggregate.
    pub(crate) key: String,
    /// Of the producer's bytes, the same whether a dead letter or the mapping's payload holds them.
    pub(crate) content_hash: u64,
    /// The sort of reason for which it lies here.
    pub(crate) kind: String,
    /// When the stream took the record, in milliseconds since 1970.
    pub(crate) arrival_ms: Option<u64>,
    /// What the event calls it.
    pub(crate) sequence_number: String,
    pub(crate) stream_arn: Arc<str>,
    pub(crate) content: Content,
    pub(crate) origin: Origin,
}

/// What is put.
#[derive(Debug, Clone)]
pub(crate) enum Content {
    /// The producer's bytes.
    Data(Record),
    /// An entry of an event, as it came.
    Entry(Box<RawValue>),
}

/// The record of a dead letter that has its bytes.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) event_id: Option<String>,
    pub(crate) partition_key: Option<String>,
    pub(crate) explicit_hash_key: Option<String>,
    pub(crate) arrival_s: Option<f64>,
    pub(crate) data: Bytes,
}

/// Where a letter was found.
#[derive(Debug, Clone, Default)]
pub(crate) struct Origin {
    /// In words: `dead-letters.jsonl:17`, `s3://bucket/key:1`, `message 3f0a… of a queue`.
    pub(crate) place: String,
    /// Which of all letters about the same record it is, where its source tells.
    pub(crate) version: Option<Version>,
    /// The message that held it.
    pub(crate) ticket: Option<Rc<Ticket>>,
}

/// An object or a message, and when it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Version {
    pub(crate) id: String,
    pub(crate) written_ms: u64,
}

/// A record as a stream takes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StreamEntry {
    pub(crate) partition_key: String,
    pub(crate) explicit_hash_key: Option<String>,
    pub(crate) data: Bytes,
}

/// An entry of an event, as far as it can be read.
#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Entry {
    #[serde(rename = "eventID")]
    event_id: Value,
    event_source: Value,
    #[serde(rename = "eventSourceARN")]
    stream_arn: Value,
    kinesis: Value,
}

impl Letter {
    /// A dead letter with its bytes.
    pub(super) fn with_data(record: Record, sub_sequence_number: u64, kind: String, origin: Origin) -> Self {
        let (event_id, number) = match record.event_id.as_deref() {
            Some(event_id) => {
                let (event_id, number) = without_number(event_id, sub_sequence_number);
                (Some(event_id.to_owned()), number)
            }
            None => (None, sub_sequence_number),
        };
        let key = key(event_id.as_deref(), number, &record.data);
        let named = |name: &str| {
            if number == 0 {
                name.to_owned()
            } else {
                format!("{name}#{number}")
            }
        };
        let sequence_number = event_id
            .as_deref()
            .map_or_else(|| key.clone(), |id| named(id.rsplit(':').next().unwrap_or(id)));
        Self {
            key,
            content_hash: content(&record.data),
            kind,
            arrival_ms: record.arrival_s.and_then(milliseconds),
            sequence_number,
            stream_arn: Arc::from(STREAM_ARN),
            content: Content::Data(Record {
                event_id: event_id.as_deref().map(named),
                ..record
            }),
            origin,
        }
    }

    /// An entry of an event, as it came. `None` if no answer of a function's could name it, or if it is of another kind.
    pub(super) fn with_entry(raw: &RawValue, kind: &str, origin: Origin) -> Option<Self> {
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
            .is_none_or(|data| PACKED.iter().any(|magic| data.starts_with(magic)));
        let key = match &event_id {
            Some(event_id) if is_packed => event_id.clone(),
            _ => key(event_id.as_deref(), 0, raw.get().as_bytes()),
        };
        let arrival = entry.kinesis.get("approximateArrivalTimestamp").and_then(Value::as_f64);
        Some(Self {
            key,
            content_hash: content(data.as_deref().unwrap_or(raw.get().as_bytes())),
            kind: kind.to_owned(),
            arrival_ms: arrival.and_then(milliseconds),
            sequence_number,
            stream_arn: Arc::from(text(&entry.stream_arn).as_deref().unwrap_or(STREAM_ARN)),
            content: Content::Entry(raw.to_owned()),
            origin,
        })
    }

    /// What tells its record from all others, those with its event identifier included.
    pub(crate) fn id(&self) -> String {
        id(&self.key, self.content_hash)
    }

    /// How many bytes it takes in an event, about, and no less.
    pub(crate) fn size_in_event(&self) -> usize {
        match &self.content {
            Content::Entry(raw) => raw.get().len() + 1,
            Content::Data(record) => {
                let keys = [&record.partition_key, &record.explicit_hash_key, &record.event_id];
                let keys: usize = keys.into_iter().flatten().map(String::len).sum();
                // A control character is six in JSON.
                (record.data.len() + keys).div_ceil(3) * 4 + 6 * keys + ENTRY_BYTES
            }
        }
    }

    /// Its entry in an event.
    pub(crate) fn entry(&self) -> String {
        match &self.content {
            Content::Entry(raw) => raw.get().to_owned(),
            Content::Data(record) => self.entry_of(record).to_string(),
        }
    }

    fn entry_of(&self, record: &Record) -> Value {
        // What the dead letter does not know, the event does not say.
        let known = |members: [(&str, Option<Value>); 5]| -> Value {
            let members = members.into_iter();
            let members = members.filter_map(|(name, value)| Some((name.to_owned(), value?)));
            Value::Object(members.collect())
        };
        let kinesis = known([
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

    /// The record for a stream; `None` if it has no bytes that can be read, or no partition key.
    pub(crate) fn stream_entry(&self) -> Option<StreamEntry> {
        match &self.content {
            Content::Data(record) => Some(StreamEntry {
                partition_key: record.partition_key.clone().filter(|key| !key.is_empty())?,
                explicit_hash_key: record.explicit_hash_key.clone(),
                data: record.data.clone(),
            }),
            Content::Entry(raw) => {
                let entry: Entry = serde_json::from_str(raw.get()).ok()?;
                let partition_key = entry.kinesis.get("partitionKey").and_then(Value::as_str)?;
                Some(StreamEntry {
                    partition_key: Some(partition_key).filter(|key| !key.is_empty())?.to_owned(),
                    explicit_hash_key: None,
                    data: entry.data()?.into(),
                })
            }
        }
    }

    /// Whether it may hold more than one user record.
    pub(crate) fn may_be_many(&self) -> bool {
        !self.key.contains('#')
    }
}

impl Record {
    /// The bytes as an event carries them: alone in an aggregate where only that has room for the explicit hash key.
    fn packed(&self) -> Bytes {
        let partition_key = self.partition_key.as_deref().unwrap_or_default();
        match &self.explicit_hash_key {
            None => self.data.clone(),
            Some(explicit_hash_key) => aggregate(&[Put {
                partition_key,
                explicit_hash_key: Some(explicit_hash_key),
                data: &self.data,
            }]),
        }
    }
}

impl Entry {
    fn data(&self) -> Option<Vec<u8>> {
        BASE64.decode(self.kinesis.get("data")?.as_str()?).ok()
    }
}

/// Seconds to whole milliseconds, where they are a time that has a year of four digits.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the range is checked first"
)]
fn milliseconds(seconds: f64) -> Option<u64> {
    (0.0..253_402_300_800.0)
        .contains(&seconds)
        .then(|| (seconds * 1000.0).round() as u64)
}

#[cfg(test)]
mod tests;
