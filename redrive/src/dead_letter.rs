//! A record to redrive: a dead letter of the function, or an entry of an event that the mapping discarded.
//!
//! Its [`key`](DeadLetter::key) is the `eventId` and the `subSequenceNumber`, such as
//! `shardId-000000000000:4959…224#3`. The key is not unique: records of two files that are replayed as a stream can
//! share one. So the journal uses the [`id`](DeadLetter::id), which adds a hash of the bytes.
//!
//! A user record of an aggregate is sent alone. Its event identifier and sequence number in the event end with its
//! number, such as `#3`. So they are unique in the event and the same in every run. A record that was not aggregated,
//! and the first user record of an aggregate, keep theirs.

use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;
use serde_json::value::RawValue;

use super::payload::Payload;
use super::queue::HeldMessage;

mod event_entry;
mod identity;

use event_entry::Entry;
use identity::split_number;
pub(crate) use identity::{hash, key_of, record_id, record_key, sha256_hex};

/// The stream of dead letters in an event. A dead letter does not name its stream.
const PLACEHOLDER_STREAM_ARN: &str = "arn:aws:kinesis:us-east-1:000000000000:stream/redrive";

/// A record to redrive.
#[derive(Debug, Clone)]
pub(crate) struct DeadLetter {
    /// The key, the same in every run. A key without `#` stands for all user records in the data.
    pub(crate) key: String,
    /// The hash of the producer's bytes. A dead letter and the mapping's payload have the same hash of a record.
    pub(crate) content_hash: u128,
    /// The kind of reason, such as `Refused` or `RetryAttemptsExhausted`.
    pub(crate) kind: String,
    /// The arrival of the record in its stream, in milliseconds since 1970.
    pub(crate) arrival_ms: Option<u64>,
    /// The sequence number of its entry in an event.
    pub(crate) sequence_number: String,
    pub(crate) stream_arn: Arc<str>,
    pub(crate) content: Content,
    /// The place of the payload in the stream, if the dead letter was delivered without its payload. The data is empty
    /// until it is read from there.
    pub(crate) payload: Option<Payload>,
    pub(crate) origin: Origin,
}

/// The content of a record.
#[derive(Debug, Clone)]
pub(crate) enum Content {
    /// The producer's bytes.
    Data(Record),
    /// An entry of an event, unchanged.
    Entry(Box<RawValue>),
}

/// The record of a dead letter that has `data`.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) event_id: Option<String>,
    pub(crate) partition_key: Option<String>,
    pub(crate) explicit_hash_key: Option<String>,
    pub(crate) arrival_s: Option<f64>,
    pub(crate) data: Bytes,
}

/// The place where a dead letter was found.
#[derive(Debug, Clone, Default)]
pub(crate) struct Origin {
    /// The location for people: `dead-letters.jsonl:17`, `s3://bucket/key:1`, `message 3f0a… of a queue`.
    pub(crate) location: String,
    /// Distinguishes dead letters of the same record, if the source does.
    pub(crate) version: Option<Version>,
    /// The queue message that contains it.
    pub(crate) held_message: Option<Rc<HeldMessage>>,
}

/// An object or a message, and the time at which it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Version {
    pub(crate) id: String,
    pub(crate) written_ms: u64,
}

/// A record for a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StreamEntry {
    pub(crate) partition_key: String,
    pub(crate) explicit_hash_key: Option<String>,
    pub(crate) data: Bytes,
}

impl DeadLetter {
    /// Creates a dead letter from a record with its bytes.
    pub(super) fn with_data(record: Record, sub_sequence_number: u64, kind: String, origin: Origin) -> Self {
        let content_hash = hash(&record.data);
        Self::new(record, content_hash, sub_sequence_number, kind, origin)
    }

    /// Creates a dead letter that was delivered without its payload, from a record without its bytes.
    pub(super) fn without_data(
        record: Record,
        payload: Payload,
        sub_sequence_number: u64,
        kind: String,
        origin: Origin,
    ) -> Self {
        let letter = Self::new(record, payload.content_hash, sub_sequence_number, kind, origin);
        Self {
            stream_arn: Arc::from(&*payload.position.stream_arn),
            payload: Some(payload),
            ..letter
        }
    }

    fn new(record: Record, content_hash: u128, sub_sequence_number: u64, kind: String, origin: Origin) -> Self {
        let (event_id, number) = match record.event_id.as_deref() {
            Some(event_id) => {
                let (event_id, number) = split_number(event_id, sub_sequence_number);
                (Some(event_id.to_owned()), number)
            }
            None => (None, sub_sequence_number),
        };
        let key = record_key(event_id.as_deref(), number, content_hash);
        let numbered = |name: &str| {
            if number == 0 {
                name.to_owned()
            } else {
                format!("{name}#{number}")
            }
        };
        let sequence_number = event_id
            .as_deref()
            .map_or_else(|| key.clone(), |id| numbered(id.rsplit(':').next().unwrap_or(id)));
        Self {
            key,
            content_hash,
            kind,
            arrival_ms: record.arrival_s.and_then(milliseconds),
            sequence_number,
            stream_arn: Arc::from(PLACEHOLDER_STREAM_ARN),
            content: Content::Data(Record {
                event_id: event_id.as_deref().map(numbered),
                ..record
            }),
            payload: None,
            origin,
        }
    }

    /// Returns the identity of the record. Unlike the key, it is unique among records with the same event identifier.
    pub(crate) fn id(&self) -> String {
        record_id(&self.key, self.content_hash)
    }

    /// Sets the data that was read from the stream.
    pub(crate) fn set_data(&mut self, data: Bytes) {
        if let Content::Data(record) = &mut self.content {
            record.data = data;
        }
    }

    /// Returns the record for a stream, or `None` if its data cannot be decoded or it has no partition key.
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

    /// Returns `true` if its data may hold more than one user record.
    pub(crate) fn has_unknown_record_count(&self) -> bool {
        !self.key.contains('#')
    }
}

/// Converts seconds to whole milliseconds. Returns `None` for a time outside the years 1970 to 9999.
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
