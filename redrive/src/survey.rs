//! The overview of the records to send, by reason, source and age.

use std::collections::BTreeMap;

use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;
use serde::Serialize;

use super::dead_letter::DeadLetter;

/// The dead letters to send, counted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Survey {
    /// The number of records.
    pub records: usize,
    /// Their approximate size in events, in bytes.
    pub bytes: usize,
    /// The number of records whose payload must be read from their stream.
    pub without_payload: usize,
    /// The number of records by kind of reason.
    pub reasons: BTreeMap<String, usize>,
    /// The number of records by source, as named on the command line.
    pub sources: BTreeMap<String, usize>,
    /// The earliest arrival of a record in its stream, in milliseconds since 1970.
    pub oldest_ms: Option<u64>,
    /// The latest arrival, likewise.
    pub newest_ms: Option<u64>,
}

impl Survey {
    pub(super) fn add(&mut self, letter: &DeadLetter, source: &str) {
        self.records += 1;
        self.bytes += letter.size_in_event();
        self.without_payload += usize::from(letter.payload.is_some());
        let kind = if letter.kind.is_empty() {
            "unknown"
        } else {
            &letter.kind
        };
        *self.reasons.entry(kind.to_owned()).or_default() += 1;
        *self.sources.entry(source.to_owned()).or_default() += 1;
        let arrival = letter.arrival_ms;
        self.oldest_ms = self.oldest_ms.into_iter().chain(arrival).min();
        self.newest_ms = self.newest_ms.into_iter().chain(arrival).max();
    }
}

/// Formats a time such as `2026-03-14T02:11:09.5Z`, or `unknown`.
pub(super) fn time(milliseconds: Option<u64>) -> String {
    let time = milliseconds.and_then(|milliseconds| i64::try_from(milliseconds).ok());
    let time = time.and_then(|milliseconds| DateTime::from_millis(milliseconds).fmt(Format::DateTime).ok());
    time.unwrap_or_else(|| "unknown".to_owned())
}
