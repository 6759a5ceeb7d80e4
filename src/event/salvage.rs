//! Reads as much as possible of an event entry that has the wrong shape.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{KinesisRecord, Source, broken_record, non_empty};

/// An entry of the wrong shape. Each member is read on its own, so that one broken member does not hide the others.
#[derive(Deserialize, Default)]
#[serde(default)]
struct BrokenEnvelope<'e> {
    #[serde(borrow, rename = "eventID")]
    event_id: Option<&'e RawValue>,
    // SNS begins the name with a capital letter.
    #[serde(borrow, rename = "eventSource", alias = "EventSource")]
    event_source: Option<&'e RawValue>,
    #[serde(borrow)]
    kinesis: Option<&'e RawValue>,
}

/// The `kinesis` member of such an entry.
#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct BrokenKinesisPart<'e> {
    #[serde(borrow)]
    sequence_number: Option<&'e RawValue>,
    #[serde(borrow)]
    partition_key: Option<&'e RawValue>,
}

/// Returns the source and the position in the stream of an entry of the wrong shape, as far as they can be read. The
/// record is rejected.
pub(super) fn salvage<'e>(entry: &'e RawValue, error: &serde_json::Error) -> (Source, KinesisRecord<'e>) {
    let outer: BrokenEnvelope<'e> = serde_json::from_str(entry.get()).unwrap_or_default();
    let inner = outer
        .kinesis
        .and_then(|kinesis| serde_json::from_str::<BrokenKinesisPart<'e>>(kinesis.get()).ok());
    let inner = inner.unwrap_or_default();
    let record = KinesisRecord {
        event_id: text(outer.event_id),
        sequence_number: text(inner.sequence_number),
        partition_key: text(inner.partition_key),
        approximate_arrival_ms: None,
        data: Err(broken_record(format!("the record's envelope is broken: {error}"))),
        raw: Some(entry),
    };
    let source = text(outer.event_source).unwrap_or_default();
    (Source::of(&source, outer.kinesis.is_some()), record)
}

/// Returns the member's text. Returns `None` if it is missing, empty or not a string.
fn text(member: Option<&RawValue>) -> Option<Cow<'_, str>> {
    member
        .and_then(|member| serde_json::from_str::<String>(member.get()).ok())
        .map(Cow::Owned)
        .and_then(non_empty)
}
