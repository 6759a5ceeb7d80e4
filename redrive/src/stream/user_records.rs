//! The user records in the data of a Kinesis record. The settings with which the function has split it are not known
//! here. The length and the hash of a payload identify it, so every way to split the record is tried.

use std::ops::ControlFlow::{self, Break, Continue};

use anyhow::{Result, anyhow};
use bytes::Bytes;
use instream::event::decompress::DecompressBudget;
use instream::event::kpl::deaggregate;
use instream::format::lazy_json::{elements, members};
use instream::outcome::Rejection;

/// The maximum size of a decompressed Kinesis record in bytes: the maximum of the function's `DECOMPRESS_LIMIT_BYTES`.
const DECOMPRESSED_BYTES_MAX: usize = 268_435_456;
/// The maximum depth of an array whose elements are user records: the maximum number of names in `SPLIT_PATH`.
const DEPTH_MAX: usize = 32;
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// Returns the user record of this length for which `is_payload` returns `true`: the Kinesis record itself, a record of
/// a KPL aggregate, a line (`SPLIT_TYPE`), or the record with a single element in one of its arrays (`SPLIT_PATH`).
pub(super) fn find(data: Bytes, bytes: usize, is_payload: &dyn Fn(&[u8]) -> bool) -> Result<Option<Bytes>> {
    if is_payload(&data) {
        return Ok(Some(data));
    }
    let mut budget = DecompressBudget::new(DECOMPRESSED_BYTES_MAX);
    let mut decompress = |data: &Bytes| {
        let decompressed = budget.decompress(data).map_err(|rejection| anyhow!(rejection.message));
        anyhow::Ok(decompressed?.unwrap_or_else(|| data.clone()))
    };
    let data = decompress(&data)?;
    let broken = |rejection: Rejection| anyhow!(rejection.message);
    let records = match deaggregate(&data).map_err(broken)? {
        Some(records) => records.into_iter().map(|record| record.data).collect(),
        None => vec![data],
    };
    for record in records {
        if is_payload(&record) {
            return Ok(Some(record));
        }
        // A broken record of an aggregate does not hide the others.
        let Ok(text) = decompress(&record) else { continue };
        let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&text);
        let mut lines = text.split(|byte| *byte == b'\n');
        let line = lines.find_map(|line| {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            is_payload(line).then(|| Bytes::copy_from_slice(line))
        });
        if let Some(part) = line.or_else(|| find_element(text, bytes, is_payload)) {
            return Ok(Some(part));
        }
    }
    Ok(None)
}

fn find_element(text: &[u8], bytes: usize, is_payload: &dyn Fn(&[u8]) -> bool) -> Option<Bytes> {
    let text = std::str::from_utf8(text).ok()?;
    serde_json::from_str::<serde::de::IgnoredAny>(text).ok()?;
    let found = each_array(text.trim_ascii(), 0, &mut |array| {
        let start = array.as_ptr().addr() - text.as_ptr().addr();
        let (before, after) = (text.get(..=start)?, text.get(start + array.len() - 1..)?);
        elements(array)
            .filter(|element| before.len() + element.len() + after.len() == bytes)
            .map(|element| [before, element, after].concat())
            .find(|alone| is_payload(alone.as_bytes()))
    });
    found.break_value().map(Bytes::from)
}

/// Calls `visit` with each array in the members of a document, until it returns a value.
fn each_array<T>(json: &str, depth: usize, visit: &mut impl FnMut(&str) -> Option<T>) -> ControlFlow<T> {
    if json.starts_with('[') {
        return visit(json).map_or(Continue(()), Break);
    }
    if depth < DEPTH_MAX {
        for (_, value) in members(json) {
            each_array(value, depth + 1, visit)?;
        }
    }
    Continue(())
}
