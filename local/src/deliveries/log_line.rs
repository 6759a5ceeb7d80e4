//! The members of the function's log lines that are counted.

use serde_json::Value;

/// Returns the member `why` of a log line, as text or as JSON. It tells why a batch is left unfinished.
pub(crate) fn why_unfinished(line: &str) -> Option<String> {
    if let Some((_, why)) = line.split_once(" why=\"") {
        return Some(why.strip_suffix('"').unwrap_or(why).replace("\\\"", "\""));
    }
    let line: Value = line.contains("\"why\"").then(|| serde_json::from_str(line).ok())??;
    line.get("why")?.as_str().map(str::to_owned)
}

/// Returns the member `skipped` of a log line, as text or as JSON: the number of records that a batch skipped.
pub(super) fn skipped(line: &str) -> Option<u64> {
    if let Some((_, rest)) = line.split_once(" skipped=") {
        return rest.split(' ').next()?.parse().ok();
    }
    let line: Value = line
        .contains("\"skipped\"")
        .then(|| serde_json::from_str(line).ok())??;
    line.get("skipped")?.as_u64()
}
