//! Event JSON in, Kinesis records out, each read on its own, so that a broken one never fails its neighbours.
//!
//! The event's shape is AWS's: <https://docs.aws.amazon.com/lambda/latest/dg/with-kinesis.html>. What this module
//! never does: fail an event because one of its records is broken. A record that comes from elsewhere is not broken:
//! with it, the event is none of Kinesis's.

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
mod salvage;
mod user_records;

pub use user_records::{Batch, Unpacking, UserRecord, decode};

use salvage::salvage;

/// The `eventSource` of a record that comes from a Kinesis stream.
const KINESIS: &str = "aws:kinesis";
/// Arrival times past the year 9999 are no times.
const LAST_ARRIVAL_S: f64 = 253_402_300_799.0;
/// How many member names an error about a foreign event lists, and how much of each, in characters.
const MEMBERS_NAMED: usize = 10;
const NAME_SHOWN: usize = 50;

/// One invocation's event, borrowed from its JSON.
#[derive(Debug)]
pub struct Event<'e> {
    /// The records in batch order. A record's place in this list is its *position*.
    pub records: Vec<KinesisRecord<'e>>,
    /// The ARN of the stream that the records come from, where one of them tells.
    pub stream_arn: Option<Cow<'e, str>>,
    /// The `state` of a tumbling-window event, which the answer must carry back. `None` for any other event.
    pub window_state: Option<Cow<'e, RawValue>>,
}

/// One entry of the event: one sequence number, or a broken entry that has to be told of.
#[derive(Debug)]
pub struct KinesisRecord<'e> {
    /// `shardId-000000000000:4959…`, where the entry has one.
    pub event_id: Option<Cow<'e, str>>,
    /// Some 56 digits; no integer type holds them, and they are never compared: position says what comes first.
    pub sequence_number: Option<Cow<'e, str>>,
    /// The producer's partition key, where the entry has one.
    pub partition_key: Option<Cow<'e, str>>,
    /// When Kinesis took the record, in milliseconds since 1970.
    pub approximate_arrival_ms: Option<u64>,
    /// The record's bytes, or why there are none.
    pub data: Result<Bytes, Rejection>,
    /// The entry as it came, for a dead letter that has no bytes to show; left out where the whole event is in order.
    pub raw: Option<&'e RawValue>,
}

/// The event is none that a Kinesis event source mapping sends.
#[derive(Debug, thiserror::Error)]
#[error("this is not a Kinesis event: expected an object whose \"Records\" come from aws:kinesis, but got {came}")]
pub struct NotKinesis {
    came: String,
}

/// Reads an event.
///
/// # Errors
///
/// [`NotKinesis`] if the event has no `Records`, or a record of another source. A broken record is no error here: it
/// becomes a [`KinesisRecord`] whose `data` says why it is rejected.
pub fn read(payload: &[u8]) -> Result<Event<'_>, NotKinesis> {
    let Ok(payload) = str::from_utf8(payload) else {
        let came = "bytes that are no UTF-8".to_owned();
        return Err(NotKinesis { came });
    };
    // An array would do for a struct as well.
    if !payload.trim_ascii_start().starts_with('{') {
        let came = describe(payload);
        return Err(NotKinesis { came });
    }
    fast_path::read(payload).map_or_else(|| read_one_by_one(payload), Ok)
}

fn read_one_by_one(payload: &str) -> Result<Event<'_>, NotKinesis> {
    let Ok(shell) = serde_json::from_str::<Shell<'_>>(payload) else {
        return Err(NotKinesis {
            came: describe(payload),
        });
    };
    let entries = shell
        .records
        .and_then(|records| serde_json::from_str::<Vec<&RawValue>>(records.get()).ok());
    let Some(entries) = entries else {
        return Err(NotKinesis {
            came: describe(payload),
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
            came: format!("a record from {name}"),
        });
    }
    if !sources.is_empty() && sources.iter().all(|source| *source == Source::Unknown) {
        return Err(NotKinesis {
            came: "records without \"eventSource\" and \"kinesis\"".to_owned(),
        });
    }
    Ok(Event {
        records,
        stream_arn,
        window_state: window_state(shell.window, shell.state),
    })
}

/// Where an entry says that it comes from.
#[derive(Debug, PartialEq, Eq)]
enum Source {
    Kinesis,
    Other(String),
    Unknown,
}

impl Source {
    /// Events written by hand may leave `eventSource` out: a `kinesis` member says as much.
    fn of(name: &str, has_kinesis: bool) -> Self {
        match name {
            KINESIS => Self::Kinesis,
            "" if has_kinesis => Self::Kinesis,
            "" => Self::Unknown,
            other => Self::Other(shorten(other)),
        }
    }
}

#[derive(Deserialize)]
struct Shell<'e> {
    #[serde(borrow, default, rename = "Records")]
    records: Option<&'e RawValue>,
    #[serde(borrow, default)]
    window: Option<&'e RawValue>,
    #[serde(borrow, default)]
    state: Option<&'e RawValue>,
}

#[derive(Deserialize)]
struct Envelope<'e> {
    #[serde(borrow, default, rename = "eventID")]
    event_id: Cow<'e, str>,
    #[serde(borrow, default, rename = "eventSource")]
    event_source: Cow<'e, str>,
    #[serde(borrow)]
    kinesis: Inner<'e>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Inner<'e> {
    #[serde(borrow, default)]
    sequence_number: Cow<'e, str>,
    #[serde(borrow, default)]
    partition_key: Cow<'e, str>,
    #[serde(borrow)]
    data: Cow<'e, str>,
    approximate_arrival_timestamp: Option<f64>,
}

/// All records of an event come from one stream.
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
    match serde_json::from_str::<Envelope<'_>>(entry.get()) {
        Ok(envelope) => read_envelope(entry, envelope),
        Err(error) => salvage(entry, &error),
    }
}

fn read_envelope<'e>(entry: &'e RawValue, envelope: Envelope<'e>) -> (Source, KinesisRecord<'e>) {
    let Inner {
        sequence_number,
        partition_key,
        data,
        approximate_arrival_timestamp,
    } = envelope.kinesis;
    let arrival = approximate_arrival_timestamp.map(milliseconds).transpose();
    let data = match &arrival {
        _ if sequence_number.is_empty() => Err(broken("kinesis.sequenceNumber is missing")),
        Err(rejection) => Err(rejection.clone()),
        Ok(_) => BASE64
            .decode(data.as_bytes())
            .map(Bytes::from)
            .map_err(|error| broken(format!("kinesis.data is not base64: {error}"))),
    };
    let record = KinesisRecord {
        event_id: non_empty(envelope.event_id),
        sequence_number: non_empty(sequence_number),
        partition_key: non_empty(partition_key),
        approximate_arrival_ms: arrival.unwrap_or_default(),
        data,
        raw: Some(entry),
    };
    (Source::of(&envelope.event_source, true), record)
}

/// Seconds with a fraction, as AWS writes them, to whole milliseconds. A double holds today's time to a quarter of a
/// microsecond, so that rounding gives back the very millisecond that was meant.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the range is checked first"
)]
fn milliseconds(seconds: f64) -> Result<u64, Rejection> {
    if (0.0..=LAST_ARRIVAL_S).contains(&seconds) {
        Ok((seconds * 1000.0).round() as u64)
    } else {
        Err(broken(
            "kinesis.approximateArrivalTimestamp is not a time in seconds since 1970",
        ))
    }
}

fn broken(message: impl Into<String>) -> Rejection {
    Rejection {
        kind: RejectionKind::BrokenRecord,
        message: message.into(),
    }
}

fn non_empty(text: Cow<'_, str>) -> Option<Cow<'_, str>> {
    (!text.is_empty()).then_some(text)
}

/// The state that the answer carries back, where the event is one of a window.
fn window_state<'e>(window: Option<&RawValue>, state: Option<&'e RawValue>) -> Option<Cow<'e, RawValue>> {
    let in_window = window.is_some() || state.is_some();
    in_window.then(|| state.map_or_else(empty_state, Cow::Borrowed))
}

fn empty_state<'e>() -> Cow<'e, RawValue> {
    Cow::Owned(RawValue::from_string("{}".to_owned()).expect("{} is JSON"))
}

/// Says what an event is, by the names of its members; their values stay out of the logs.
fn describe(payload: &str) -> String {
    match serde_json::from_str(payload) {
        Ok(serde_json::Value::Object(members)) => {
            let names: Vec<_> = members.keys().take(MEMBERS_NAMED).map(|name| shorten(name)).collect();
            let more = if members.len() > MEMBERS_NAMED { ", …" } else { "" };
            format!("an object with the members [{}{more}]", names.join(", "))
        }
        Ok(serde_json::Value::Array(_)) => "an array".to_owned(),
        Ok(serde_json::Value::String(_)) => "a string".to_owned(),
        Ok(serde_json::Value::Null) => "null".to_owned(),
        Ok(serde_json::Value::Number(_) | serde_json::Value::Bool(_)) => "a number or a boolean".to_owned(),
        Err(_) => "no JSON, or JSON that is nested too deep".to_owned(),
    }
}

fn shorten(name: &str) -> String {
    name.chars().take(NAME_SHOWN).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(inner: &str) -> String {
        format!(r#"{{"eventSource":"aws:kinesis","eventID":"shardId-000000000000:7","kinesis":{inner}}}"#)
    }

    /// Reads one record and hands it to `check`.
    fn with_record(inner: &str, check: impl FnOnce(&KinesisRecord<'_>)) {
        let payload = format!(r#"{{"Records":[{}]}}"#, record(inner));
        check(&read(payload.as_bytes()).unwrap().records[0]);
    }

    #[test]
    fn arrival_times_are_exact_to_the_millisecond() {
        for (written, expected) in [
            ("1545084650.987", 1_545_084_650_987),
            ("1545084650.5", 1_545_084_650_500),
            ("1545084650.005", 1_545_084_650_005),
            ("1545084650.987654", 1_545_084_650_988),
            ("1545084650", 1_545_084_650_000),
            ("1.545084650987E9", 1_545_084_650_987),
        ] {
            let inner = format!(
                r#"{{"sequenceNumber":"7","partitionKey":"k","data":"aGk=","approximateArrivalTimestamp":{written}}}"#
            );
            with_record(&inner, |record| {
                assert_eq!(record.approximate_arrival_ms, Some(expected), "{written}");
                assert_eq!(record.data.as_deref(), Ok(&b"hi"[..]));
            });
        }
    }

    #[test]
    fn a_broken_record_keeps_its_place_and_says_what_is_wrong() {
        for (inner, expected) in [
            (r#"{"sequenceNumber":"7","data":"!"}"#, "not base64"),
            (r#"{"sequenceNumber":"7","data":"aGk"}"#, "not base64"),
            (r#"{"sequenceNumber":"7","data":7}"#, "expected a string"),
            (r#"{"sequenceNumber":"7"}"#, "missing field `data`"),
            (
                r#"{"sequenceNumber":"7","data":"","approximateArrivalTimestamp":"now"}"#,
                "expected f64",
            ),
            (
                r#"{"sequenceNumber":"7","data":"","approximateArrivalTimestamp":-1}"#,
                "seconds since 1970",
            ),
            (
                r#"{"sequenceNumber":"7","data":"","approximateArrivalTimestamp":1e999}"#,
                "number out of range",
            ),
            (
                r#"{"sequenceNumber":"7","data":"","partitionKey":"\ud800"}"#,
                "hex escape",
            ),
            (
                r#"{"sequenceNumber":"7","data":"","approximateArrivalTimestamp":1e300}"#,
                "seconds since 1970",
            ),
        ] {
            with_record(inner, |record| {
                let rejection = record.data.as_ref().unwrap_err();
                assert_eq!(rejection.kind, RejectionKind::BrokenRecord);
                assert!(rejection.message.contains(expected), "{inner}: {}", rejection.message);
                assert_eq!(record.sequence_number.as_deref(), Some("7"), "{inner}");
                assert_eq!(record.event_id.as_deref(), Some("shardId-000000000000:7"), "{inner}");
            });
        }
    }

    #[test]
    fn a_record_without_a_sequence_number_is_broken() {
        for inner in [r#"{"data":"aGk="}"#, r#"{"sequenceNumber":"","data":"aGk="}"#] {
            with_record(inner, |record| {
                assert_eq!(record.sequence_number, None);
                assert!(
                    record
                        .data
                        .as_ref()
                        .unwrap_err()
                        .message
                        .contains("sequenceNumber is missing")
                );
            });
        }
    }

    #[test]
    fn an_event_in_order_reads_the_same_in_one_go_and_one_by_one() {
        for event in [
            include_str!("../events/five.json"),
            include_str!("../events/tumbling-window.json"),
        ] {
            let payload = event;
            let mut one_by_one = read_one_by_one(payload).unwrap();
            one_by_one.records.iter_mut().for_each(|record| record.raw = None);
            let in_one_go = fast_path::read(payload).unwrap();
            assert_eq!(format!("{in_one_go:?}"), format!("{one_by_one:?}"));
        }
        for out_of_order in [
            include_str!("../events/broken-envelope.json"),
            include_str!("../events/not-kinesis.json"),
        ] {
            assert!(fast_path::read(out_of_order).is_none());
        }
    }

    #[test]
    fn a_broken_record_leaves_its_neighbours_readable() {
        let good = record(r#"{"sequenceNumber":"7","data":"aGk="}"#);
        let payload = format!(r#"{{"Records":[{good},42,"text",null,{{"kinesis":[]}},{good}]}}"#);
        let event = read(payload.as_bytes()).unwrap();
        let readable: Vec<_> = event.records.iter().map(|record| record.data.is_ok()).collect();
        assert_eq!(readable, [true, false, false, false, false, true]);
        assert_eq!(event.records[1].raw.unwrap().get(), "42");
    }

    #[test]
    fn an_event_of_another_kind_says_what_came() {
        for (payload, expected) in [
            (
                r#"{"key1":"secret","key2":"v","key3":"v"}"#,
                "members [key1, key2, key3]",
            ),
            (
                r#"{"Records":[{"eventSource":"aws:sqs","body":"secret"}]}"#,
                "from aws:sqs",
            ),
            (
                r#"{"Records":[{"eventSource":"aws:dynamodb","dynamodb":{}}]}"#,
                "from aws:dynamodb",
            ),
            (r#"{"Records":[{"foo":1}]}"#, "without \"eventSource\""),
            (r#"{"Records":"secret"}"#, "members [Records]"),
            (r"[1]", "an array"),
            ("{\"secret", "no JSON"),
            ("\"secret\"", "a string"),
        ] {
            let error = read(payload.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(expected), "{payload}: {error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn an_event_that_is_no_text_says_so() {
        let error = read(b"{\"Records\":[\xff]}").unwrap_err().to_string();
        assert!(error.contains("no UTF-8"), "{error}");
    }

    #[test]
    fn a_window_event_has_a_state_and_others_have_none() {
        for (payload, expected) in [
            (r#"{"Records":[]}"#, None),
            (
                r#"{"Records":[],"window":{"start":"a","end":"b"},"state":{"n":1}}"#,
                Some(r#"{"n":1}"#),
            ),
            (r#"{"Records":[],"window":{"start":"a","end":"b"}}"#, Some("{}")),
            (r#"{"Records":[],"state":{}}"#, Some("{}")),
        ] {
            let state = read(payload.as_bytes()).unwrap().window_state;
            assert_eq!(state.as_ref().map(|state| state.get()), expected);
        }
    }
}
