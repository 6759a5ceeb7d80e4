//! A record to redrive, and its entry in an event.
//!
//! A user record of an aggregate is sent alone. Its event identifier and its sequence number end with its number in the
//! aggregate, such as `shardId-000000000000:4959…224#3`, so that they differ in an event and are the same in every run.

use std::borrow::Cow;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use instream_local::aggregate::{KplUserRecord, aggregate};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::source::Item;
use super::stream::payload::Payload;

pub(crate) mod forms;

/// The stream of dead letters in an event. A dead letter does not name its stream.
const PLACEHOLDER_STREAM_ARN: &str = "arn:aws:kinesis:us-east-1:000000000000:stream/redrive";

/// A record to redrive, from a dead letter or a discarded batch.
#[derive(Debug, Clone)]
pub(crate) struct Letter {
    /// The event identifier, or otherwise the sequence number.
    pub(crate) name: String,
    /// The identity of the record: a hash of its name and its bytes. Replayed files repeat names.
    pub(crate) record_key: u128,
    /// The identity of this letter, by which the journal knows it: a hash of the record's and of the item with it.
    pub(crate) key: u128,
    pub(crate) location: String,
    /// The kind of reason, such as `Refused` or `RetryAttemptsExhausted`.
    pub(crate) kind: String,
    pub(crate) sequence_number: String,
    pub(crate) stream_arn: String,
    pub(crate) record: Record,
    /// The entry of the record in an event, if the letter has it.
    entry: Option<Box<RawValue>>,
    /// The payload that the stream still has and the letter does not. The record has no data until it is read.
    pub(crate) payload: Option<Payload>,
}

/// A record, with the members of a dead letter.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Record {
    pub(crate) event_id: Option<String>,
    pub(crate) partition_key: Option<String>,
    pub(crate) explicit_hash_key: Option<String>,
    /// The arrival in the stream, in seconds since 1970.
    #[serde(rename = "approximateArrivalTimestamp")]
    pub(crate) arrival_s: Option<f64>,
    /// The producer's bytes. `None` if they are in the stream, or cannot be decoded.
    #[serde(default, deserialize_with = "base64")]
    pub(crate) data: Option<Bytes>,
}

/// An entry of an event.
#[derive(Deserialize)]
struct Entry {
    #[serde(rename = "eventID")]
    event_id: Option<String>,
    #[serde(rename = "eventSourceARN")]
    stream_arn: Option<String>,
    kinesis: Value,
}

impl Letter {
    /// Creates a letter from the user record with this number. Its data may be in the stream as `payload`.
    pub(crate) fn new(mut record: Record, payload: Option<Payload>, number: u64, kind: &str, item: &Item) -> Self {
        if number > 0 {
            record.event_id = record.event_id.map(|id| format!("{id}#{number}"));
        }
        // Without an event identifier, the hash of the item is a sequence number that no other record has.
        let item_key = item.key;
        let name = record.event_id.clone().unwrap_or_else(|| format!("{item_key:032x}"));
        let sha256 = match &payload {
            Some(payload) => payload.sha256.clone(),
            None => sha256_hex(record.data.as_deref().unwrap_or_default()),
        };
        let record_key = hash(&format!("{name}\n{sha256}"));
        let stream_arn = payload.as_ref().map(|payload| payload.stream_arn.clone());
        Self {
            record_key,
            key: hash(&format!("{record_key} {item_key}")),
            location: item.location.clone(),
            kind: kind.to_owned(),
            sequence_number: name.rsplit(':').next().unwrap_or(&name).to_owned(),
            stream_arn: stream_arn.unwrap_or_else(|| PLACEHOLDER_STREAM_ARN.to_owned()),
            record,
            entry: None,
            payload,
            name,
        }
    }

    /// Creates a letter from an entry of an event. Returns `None` if the entry has no sequence number, which a batch
    /// response must name.
    pub(crate) fn from_entry(raw: &RawValue, kind: &str, item: &Item) -> Option<Self> {
        let entry: Entry = serde_json::from_str(raw.get()).ok()?;
        let sequence_number = entry.kinesis.get("sequenceNumber")?.as_str()?.to_owned();
        if sequence_number.is_empty() {
            return None;
        }
        // A broken record has nothing but its identity.
        let mut record: Record = serde_json::from_value(entry.kinesis).unwrap_or_default();
        record.event_id = Some(entry.event_id.unwrap_or_else(|| sequence_number.clone()));
        let letter = Self::new(record, None, 0, kind, item);
        Some(Self {
            sequence_number,
            stream_arn: entry.stream_arn.unwrap_or_else(|| PLACEHOLDER_STREAM_ARN.to_owned()),
            entry: Some(raw.to_owned()),
            ..letter
        })
    }

    /// Returns its entry in an event, as JSON. Members that the dead letter does not have are left out.
    pub(crate) fn entry(&self) -> String {
        if let Some(entry) = &self.entry {
            return entry.get().to_owned();
        }
        let record = &self.record;
        let mut kinesis = json!({
            "kinesisSchemaVersion": "1.0",
            "sequenceNumber": self.sequence_number,
            "partitionKey": record.partition_key,
            "approximateArrivalTimestamp": record.arrival_s,
            "data": BASE64.encode(record.packed()),
        });
        remove_nulls(&mut kinesis);
        let mut entry = json!({
            "kinesis": kinesis,
            "eventID": record.event_id,
            "eventSource": "aws:kinesis",
            "eventVersion": "1.0",
            "eventName": "aws:kinesis:record",
            "invokeIdentityArn": "arn:aws:iam::000000000000:role/instream",
            "awsRegion": self.stream_arn.split(':').nth(3),
            "eventSourceARN": self.stream_arn,
        });
        remove_nulls(&mut entry);
        entry.to_string()
    }
}

fn remove_nulls(object: &mut Value) {
    if let Some(members) = object.as_object_mut() {
        members.retain(|_, value| !value.is_null());
    }
}

impl Record {
    /// Returns the bytes for an event. A record with an explicit hash key becomes an aggregate of one, because an event
    /// entry has no member for that key.
    fn packed(&self) -> Bytes {
        let data = self.data.clone().unwrap_or_default();
        let partition_key = self.partition_key.as_deref().unwrap_or_default();
        match self.explicit_hash_key.as_deref() {
            None => data,
            explicit_hash_key => aggregate(&[KplUserRecord {
                partition_key,
                explicit_hash_key,
                data: &data,
            }]),
        }
    }
}

fn base64<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Bytes>, D::Error> {
    let text = Option::<Cow<'_, str>>::deserialize(deserializer)?;
    let data = text.map(|text| BASE64.decode(text.as_bytes()).map(Bytes::from));
    data.transpose().map_err(D::Error::custom)
}

/// Returns the first half of the SHA-256 of a text.
pub(crate) fn hash(text: &str) -> u128 {
    let digest = digest(&SHA256, text.as_bytes());
    u128::from_be_bytes(*digest.as_ref().first_chunk().expect("a SHA-256 has 32 bytes"))
}

/// Returns the SHA-256 as 64 hexadecimal digits.
pub(crate) fn sha256_hex(bytes: &[u8]) -> String {
    format!("{:x}", Bytes::copy_from_slice(digest(&SHA256, bytes).as_ref()))
}

#[cfg(test)]
mod tests;
