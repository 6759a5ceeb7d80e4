//! Reads an event in one pass if all its records have the shape that AWS sends. Nearly all events do. The records of
//! any other event are read one by one, which parses each of them three times.

use std::borrow::Cow;

use aws_smithy_types::base64;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Event, KINESIS, KinesisPart, KinesisRecord, milliseconds, non_empty, window_state};

#[derive(Deserialize)]
struct WellFormedEvent<'e> {
    #[serde(borrow, rename = "Records")]
    records: Vec<WellFormedRecord<'e>>,
    #[serde(borrow, default)]
    window: Option<&'e RawValue>,
    #[serde(borrow, default)]
    state: Option<&'e RawValue>,
}

#[derive(Deserialize)]
struct WellFormedRecord<'e> {
    #[serde(borrow, rename = "eventID")]
    event_id: Cow<'e, str>,
    #[serde(borrow, rename = "eventSource")]
    event_source: Cow<'e, str>,
    #[serde(borrow, rename = "eventSourceARN")]
    stream_arn: Cow<'e, str>,
    #[serde(borrow)]
    kinesis: KinesisPart<'e>,
}

/// Reads the event. Returns `None` if any part of it deviates from the shape that AWS sends.
pub(super) fn read(payload: &str) -> Option<Event<'_>> {
    let event: WellFormedEvent<'_> = serde_json::from_str(payload).ok()?;
    let encoded: usize = event.records.iter().map(|entry| entry.kinesis.data.len()).sum();
    // One allocation for the data of all records.
    let mut data = Vec::with_capacity(encoded / 4 * 3);
    let ends = event.records.iter().map(|entry| {
        // Unlike the crate `base64`, this decoder uses vector instructions.
        data.extend(base64::decode(&entry.kinesis.data).ok()?);
        Some(data.len())
    });
    let ends: Vec<_> = ends.collect::<Option<_>>()?;
    let data = Bytes::from(data);
    let starts = std::iter::once(0).chain(ends.iter().copied());
    let pieces = starts.zip(&ends).map(|(start, end)| data.slice(start..*end));
    let stream_arn = event.records.first()?.stream_arn.clone();
    let records = event
        .records
        .into_iter()
        .zip(pieces)
        .map(|(entry, data)| entry.record(data));
    let mut records: Vec<_> = records.collect::<Option<_>>()?;
    // `collect` reuses the allocation of the entries, which are larger and whose vector grew by doubling. Shrinking
    // returns the rest of it.
    records.shrink_to_fit();
    Some(Event {
        records,
        stream_arn: Some(stream_arn),
        window_state: window_state(event.window, event.state),
    })
}

impl<'e> WellFormedRecord<'e> {
    fn record(self, data: Bytes) -> Option<KinesisRecord<'e>> {
        let KinesisPart {
            sequence_number,
            partition_key,
            approximate_arrival_timestamp,
            ..
        } = self.kinesis;
        Some(KinesisRecord {
            event_id: Some(non_empty(self.event_id)?),
            sequence_number: Some(non_empty(sequence_number)?),
            partition_key: non_empty(partition_key),
            approximate_arrival_ms: approximate_arrival_timestamp.and_then(milliseconds),
            data: Ok(data),
            raw: None,
        })
        .filter(|_| self.event_source == KINESIS)
    }
}
