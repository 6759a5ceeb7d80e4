//! What can still be read of an entry whose shape is wrong.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{KinesisRecord, Source, broken, non_empty};

/// An entry whose shape is wrong, member by member: one that cannot be read does not hide the others.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Broken<'e> {
    #[serde(borrow, rename = "eventID")]
    event_id: Option<&'e RawValue>,
    #[serde(borrow, rename = "eventSource")]
    event_source: Option<&'e RawValue>,
    #[serde(borrow)]
    kinesis: Option<&'e RawValue>,
}

/// The same for its `kinesis` member.
#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct BrokenInner<'e> {
    #[serde(borrow)]
    sequence_number: Option<&'e RawValue>,
    #[serde(borrow)]
    partition_key: Option<&'e RawValue>,
}

/// What can still be told of an entry whose shape is wrong: its place in the stream, where it says so.
pub(super) fn salvage<'e>(entry: &'e RawValue, error: &serde_json::Error) -> (Source, KinesisRecord<'e>) {
    let outer: Broken<'e> = serde_json::from_str(entry.get()).unwrap_or_default();
    let inner = outer
        .kinesis
        .and_then(|kinesis| serde_json::from_str::<BrokenInner<'e>>(kinesis.get()).ok());
    let inner = inner.unwrap_or_default();
    let record = KinesisRecord {
        event_id: text(outer.event_id),
        sequence_number: text(inner.sequence_number),
        partition_key: text(inner.partition_key),
        approximate_arrival_ms: None,
        data: Err(broken(format!("the record's envelope is broken: {error}"))),
        raw: Some(entry),
    };
    let source = text(outer.event_source).unwrap_or_default();
    (Source::of(&source, outer.kinesis.is_some()), record)
}

/// The member's text, where it is text that says something.
fn text(member: Option<&RawValue>) -> Option<Cow<'_, str>> {
    member
        .and_then(|member| serde_json::from_str::<String>(member.get()).ok())
        .map(Cow::Owned)
        .and_then(non_empty)
}
