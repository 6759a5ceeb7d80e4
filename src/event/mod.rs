//! Event JSON in, Kinesis records and their user records out.
//!
//! AWS defines the shape of the event: <https://docs.aws.amazon.com/lambda/latest/dg/with-kinesis.html>. Each record is
//! read on its own: a broken record never fails the event or another record. A record from another source is not a
//! broken record. It shows that the event is not a Kinesis event.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::outcome::{Rejection, RejectionKind};

pub mod decompress;
mod fast_path;
pub mod kpl;
mod pace;
mod salvage;
mod split;
mod user_records;

pub use pace::Pace;
#[cfg(test)]
pub(crate) use pace::on_a_paused_clock;
pub use split::{Around, Split, SplitRules};
pub use user_records::{Batch, DecodeRules, DecompressOptions, UserRecord, decode};

use salvage::salvage;

/// The `eventSource` of a Kinesis record.
const KINESIS: &str = "aws:kinesis";
/// The latest valid arrival time, in seconds since 1970: the end of the year 9999.
const ARRIVAL_MAX_S: f64 = 253_402_300_799.0;
/// The event sources of other AWS services. The log may show no other source, because it may be any text.
/// <https://docs.aws.amazon.com/lambda/latest/dg/lambda-services.html>
const OTHER_SOURCES: [&str; 9] = [
    "aws:codecommit",
    "aws:dynamodb",
    "aws:kafka",
    "aws:mq",
    "aws:rmq",
    "aws:s3",
    "aws:ses",
    "aws:sns",
    "aws:sqs",
];
/// Members that only events of one kind have, and this kind.
const OTHER_EVENTS: [(&str, &str); 7] = [
    ("awslogs", "an event of CloudWatch Logs"),
    ("deliveryStreamArn", "an event of a Firehose transformation"),
    ("detail-type", "an event of EventBridge"),
    ("eventSource", "an event of Kafka or a message broker"),
    ("key1", "the console's test event"),
    (
        "requestContext",
        "a request of API Gateway, a load balancer or a function URL",
    ),
    ("Records", "an object whose \"Records\" are not a list"),
];

/// One invocation's event, borrowed from its JSON.
#[derive(Debug)]
pub struct Event<'e> {
    /// The records in batch order. The index of a record in this list is its *record index*.
    pub records: Vec<KinesisRecord<'e>>,
    /// The ARN of the stream of the records, if one of them has it.
    pub stream_arn: Option<Cow<'e, str>>,
    /// The `state` of a tumbling-window event, which the batch response must return. `None` for any other event.
    pub window_state: Option<Cow<'e, RawValue>>,
}

/// One entry of the event: a record with one sequence number, or a broken entry that must be reported.
#[derive(Debug)]
pub struct KinesisRecord<'e> {
    /// The event ID, such as `shardId-000000000000:4959…`, if the entry has one.
    pub event_id: Option<Cow<'e, str>>,
    /// About 56 digits, too many for any integer type. Sequence numbers are never compared: the record index gives the
    /// order.
    pub sequence_number: Option<Cow<'e, str>>,
    /// The producer's partition key, if the entry has one.
    pub partition_key: Option<Cow<'e, str>>,
    /// The time at which Kinesis accepted the record, in milliseconds since 1970.
    pub approximate_arrival_ms: Option<u64>,
    /// The record's bytes, or the reason why they cannot be read.
    pub data: Result<Bytes, Rejection>,
    /// The original entry, for a dead letter without bytes. `None` if the whole event is well-formed.
    pub raw: Option<&'e RawValue>,
}

/// The event does not come from a Kinesis event source mapping.
#[derive(Debug, thiserror::Error)]
#[error("this is not a Kinesis event: expected an object whose \"Records\" come from aws:kinesis, but got {received}")]
pub struct NotKinesis {
    received: String,
}

/// Reads an event.
///
/// # Errors
///
/// Returns [`NotKinesis`] if the event has no `Records`, or a record of another source. A broken record is not an
/// error: it becomes a [`KinesisRecord`] whose `data` is the reason for its rejection.
pub fn read(payload: &[u8]) -> Result<Event<'_>, NotKinesis> {
    let Ok(payload) = str::from_utf8(payload) else {
        let received = "bytes that are not UTF-8".to_owned();
        return Err(NotKinesis { received });
    };
    // Serde would also read the struct from an array.
    if !payload.trim_ascii_start().starts_with('{') {
        let received = describe(payload).to_owned();
        return Err(NotKinesis { received });
    }
    fast_path::read(payload).map_or_else(|| read_one_by_one(payload), Ok)
}

fn read_one_by_one(payload: &str) -> Result<Event<'_>, NotKinesis> {
    let Ok(event) = serde_json::from_str::<EventEnvelope<'_>>(payload) else {
        return Err(NotKinesis {
            received: describe(payload).to_owned(),
        });
    };
    let entries = event
        .records
        .and_then(|records| serde_json::from_str::<Vec<&RawValue>>(records.get()).ok());
    let Some(entries) = entries else {
        return Err(NotKinesis {
            received: describe(payload).to_owned(),
        });
    };
    let stream_arn = entries.iter().find_map(|entry| stream_arn(entry));
    let mut records = Vec::with_capacity(entries.len());
    let mut sources = Vec::with_capacity(entries.len());
    for entry in entries {
        let (source, record) = read_record(entry);
        sources.push(source);
        records.push(record);
    }
    if let Some(Source::Other(name)) = sources.iter().find(|source| matches!(source, Source::Other(_))) {
        return Err(NotKinesis {
            received: format!("a record from {name}"),
        });
    }
    if !sources.is_empty() && sources.iter().all(|source| *source == Source::Unknown) {
        return Err(NotKinesis {
            received: "records without \"eventSource\" and \"kinesis\"".to_owned(),
        });
    }
    Ok(Event {
        records,
        stream_arn,
        window_state: window_state(event.window, event.state),
    })
}

/// The event source that an entry names.
#[derive(Debug, PartialEq, Eq)]
enum Source {
    Kinesis,
    Other(&'static str),
    Unknown,
}

impl Source {
    /// Events written by hand may omit `eventSource`. A `kinesis` member identifies a Kinesis record as well.
    fn of(name: &str, has_kinesis: bool) -> Self {
        match name {
            KINESIS => Self::Kinesis,
            "" if has_kinesis => Self::Kinesis,
            "" => Self::Unknown,
            other => {
                let known = OTHER_SOURCES.into_iter().find(|known| *known == other);
                Self::Other(known.unwrap_or("another source"))
            }
        }
    }
}

#[derive(Deserialize)]
struct EventEnvelope<'e> {
    #[serde(borrow, default, rename = "Records")]
    records: Option<&'e RawValue>,
    #[serde(borrow, default)]
    window: Option<&'e RawValue>,
    #[serde(borrow, default)]
    state: Option<&'e RawValue>,
}

#[derive(Deserialize)]
struct RecordEnvelope<'e> {
    #[serde(borrow, default, rename = "eventID")]
    event_id: Cow<'e, str>,
    #[serde(borrow, default, rename = "eventSource")]
    event_source: Cow<'e, str>,
    #[serde(borrow)]
    kinesis: KinesisPart<'e>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct KinesisPart<'e> {
    #[serde(borrow, default)]
    sequence_number: Cow<'e, str>,
    #[serde(borrow, default)]
    partition_key: Cow<'e, str>,
    #[serde(borrow)]
    data: Cow<'e, str>,
    #[serde(borrow)]
    approximate_arrival_timestamp: Option<&'e RawValue>,
}

/// Returns the stream of this entry, which is the stream of all records of the event.
fn stream_arn(entry: &RawValue) -> Option<Cow<'_, str>> {
    #[derive(Deserialize)]
    struct Source<'e> {
        #[serde(borrow, rename = "eventSourceARN")]
        arn: Cow<'e, str>,
    }
    serde_json::from_str::<Source<'_>>(entry.get())
        .ok()
        .map(|source| source.arn)
}

fn read_record(entry: &RawValue) -> (Source, KinesisRecord<'_>) {
    match serde_json::from_str::<RecordEnvelope<'_>>(entry.get()) {
        Ok(envelope) => read_envelope(entry, envelope),
        Err(error) => salvage(entry, &error),
    }
}

fn read_envelope<'e>(entry: &'e RawValue, envelope: RecordEnvelope<'e>) -> (Source, KinesisRecord<'e>) {
    let KinesisPart {
        sequence_number,
        partition_key,
        data,
        approximate_arrival_timestamp,
    } = envelope.kinesis;
    let data = if sequence_number.is_empty() {
        Err(broken_record("kinesis.sequenceNumber is missing"))
    } else {
        let data = BASE64.decode(data.as_bytes()).map(Bytes::from);
        data.map_err(|error| broken_record(format!("kinesis.data is not base64: {error}")))
    };
    let record = KinesisRecord {
        event_id: non_empty(envelope.event_id),
        sequence_number: non_empty(sequence_number),
        partition_key: non_empty(partition_key),
        approximate_arrival_ms: approximate_arrival_timestamp.and_then(milliseconds),
        data,
        raw: Some(entry),
    };
    (Source::of(&envelope.event_source, true), record)
}

/// Converts seconds with a fraction, as AWS writes them, to whole milliseconds. A double holds today's time to a
/// quarter of a microsecond, so rounding restores the exact millisecond. Emulators write other units and formats, which
/// give no time: a record can be scored without it.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the range is checked first"
)]
fn milliseconds(seconds: &RawValue) -> Option<u64> {
    let seconds: f64 = seconds.get().parse().ok()?;
    (0.0..=ARRIVAL_MAX_S)
        .contains(&seconds)
        .then(|| (seconds * 1000.0).round() as u64)
}

fn broken_record(message: impl Into<String>) -> Rejection {
    Rejection {
        kind: RejectionKind::BrokenRecord,
        message: message.into(),
    }
}

fn non_empty(text: Cow<'_, str>) -> Option<Cow<'_, str>> {
    (!text.is_empty()).then_some(text)
}

/// Returns the state that the batch response must return, if the event belongs to a window.
fn window_state<'e>(window: Option<&RawValue>, state: Option<&'e RawValue>) -> Option<Cow<'e, RawValue>> {
    let is_window = window.is_some() || state.is_some();
    is_window.then(|| state.map_or_else(empty_state, Cow::Borrowed))
}

fn empty_state<'e>() -> Cow<'e, RawValue> {
    Cow::Owned(RawValue::from_string("{}".to_owned()).expect("{} is JSON"))
}

/// Describes a payload without any part of it, because the description is logged.
fn describe(payload: &str) -> &'static str {
    match serde_json::from_str(payload) {
        Ok(serde_json::Value::Object(members)) => {
            let known = OTHER_EVENTS.into_iter().find(|(name, _)| members.contains_key(*name));
            known.map_or("an object without \"Records\"", |(_, event)| event)
        }
        Ok(serde_json::Value::Array(_)) => "an array",
        Ok(serde_json::Value::String(_)) => "a string",
        Ok(serde_json::Value::Null) => "null",
        Ok(serde_json::Value::Number(_) | serde_json::Value::Bool(_)) => "a number or a boolean",
        Err(_) => "invalid JSON, or JSON that is nested too deep",
    }
}

#[cfg(test)]
mod tests;
