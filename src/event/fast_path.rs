//! An event whose records are all as AWS sends them, read in one go. Nearly every event is one; the records of the others
//! are looked at one by one, which reads them three times.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Event, Inner, KINESIS, KinesisRecord, milliseconds, window_state};

#[derive(Deserialize)]
struct Plain<'e> {
    #[serde(borrow, rename = "Records")]
    records: Vec<Entry<'e>>,
    #[serde(borrow, default)]
    window: Option<&'e RawValue>,
    #[serde(borrow, default)]
    state: Option<&'e RawValue>,
}

#[derive(Deserialize)]
struct Entry<'e> {
    #[serde(borrow, rename = "eventID")]
    event_id: Cow<'e, str>,
    #[serde(borrow, rename = "eventSource")]
    event_source: Cow<'e, str>,
    #[serde(borrow, rename = "eventSourceARN")]
    stream_arn: Cow<'e, str>,
    #[serde(borrow)]
    kinesis: Inner<'e>,
}

/// Reads the event; `None` if anything about it is out of the ordinary.
pub(super) fn read(payload: &str) -> Option<Event<'_>> {
    let event: Plain<'_> = serde_json::from_str(payload).ok()?;
    let encoded: usize = event.records.iter().map(|entry| entry.kinesis.data.len()).sum();
    // One piece of memory for the data of all.
    let mut data = Vec::with_capacity(encoded / 4 * 3);
    let ends = event.records.iter().map(|entry| {
        BASE64.decode_vec(entry.kinesis.data.as_bytes(), &mut data).ok()?;
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
    // They stand in the memory of the entries that they were made of, which are larger, and grew by doubling.
    records.shrink_to_fit();
    Some(Event {
        records,
        stream_arn: Some(stream_arn),
        window_state: window_state(event.window, event.state),
    })
}

impl<'e> Entry<'e> {
    fn record(self, data: Bytes) -> Option<KinesisRecord<'e>> {
        let Inner {
            sequence_number,
            partition_key,
            approximate_arrival_timestamp,
            ..
        } = self.kinesis;
        let says = |text: Cow<'e, str>| (!text.is_empty()).then_some(text);
        Some(KinesisRecord {
            event_id: Some(says(self.event_id)?),
            sequence_number: Some(says(sequence_number)?),
            partition_key: says(partition_key),
            approximate_arrival_ms: approximate_arrival_timestamp.map(milliseconds).transpose().ok()?,
            data: Ok(data),
            raw: None,
        })
        .filter(|_| self.event_source == KINESIS)
    }
}
