//! The kinds of lines on the function's standard output: envelopes, alerts and metrics.

use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::function::Line;

/// The fields of an envelope that are needed here. The model's output is not parsed: it can be something other than a
/// number, or a number that fits no type.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Envelope<'l> {
    pub(super) event_id: Option<String>,
    pub(super) sub_sequence_number: u64,
    pub(super) partition_key: Option<String>,
    /// The model's output. `null` counts as an output, too.
    #[serde(borrow, default, deserialize_with = "some_even_if_null")]
    pub(super) output: Option<&'l RawValue>,
    pub(super) reason: Option<Value>,
}

/// A line with an alert, which has no other member.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Alert<'l> {
    /// The line of the prediction.
    #[serde(borrow)]
    alert: &'l RawValue,
}

/// A line with metrics.
#[derive(Deserialize)]
struct Metrics {
    #[serde(rename = "_aws")]
    _metadata: IgnoredAny,
}

fn some_even_if_null<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// Returns the line of the prediction in an alert.
pub(super) fn alert(line: &Line) -> Option<&RawValue> {
    let Line::Output(text) = line else { return None };
    let is_alert = text.starts_with("{\"alert\":");
    let alert = is_alert.then(|| serde_json::from_str::<Alert<'_>>(text));
    Some(alert?.ok()?.alert)
}

/// Returns whether a line holds metrics.
pub(super) fn is_metrics(text: &str) -> bool {
    serde_json::from_str::<Metrics>(text).is_ok()
}
