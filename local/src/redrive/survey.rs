//! What there is to put: how much of what, from where and when.

use std::collections::BTreeMap;

use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;
use serde::Serialize;

use super::letter::Letter;

/// Letters, counted by what they say.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Survey {
    /// How many.
    pub records: usize,
    /// What they take in events, about.
    pub bytes: usize,
    /// Why they lie there.
    pub reasons: BTreeMap<String, usize>,
    /// Where they were found, by the sources as they were named.
    pub sources: BTreeMap<String, usize>,
    /// When the first of them came into its stream, in milliseconds since 1970.
    pub oldest_ms: Option<u64>,
    /// When the last did.
    pub newest_ms: Option<u64>,
}

impl Survey {
    pub(super) fn add(&mut self, letter: &Letter, source: &str) {
        self.records += 1;
        self.bytes += letter.size_in_event();
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

/// As in `2026-03-14T02:11:09.5Z`; nothing known is a dash.
pub(super) fn time(milliseconds: Option<u64>) -> String {
    let time = milliseconds.and_then(|milliseconds| i64::try_from(milliseconds).ok());
    let time = time.and_then(|milliseconds| DateTime::from_millis(milliseconds).fmt(Format::DateTime).ok());
    time.unwrap_or_else(|| "unknown".to_owned())
}
