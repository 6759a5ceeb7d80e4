//! Which records are finished in, the answer to the event source mapping out.
//!
//! AWS takes the lowest sequence number that is returned as the checkpoint and delivers everything from there again,
//! and reads an empty or unknown identifier as the failure of the whole batch:
//! <https://docs.aws.amazon.com/lambda/latest/dg/services-kinesis-batchfailurereporting.html>. So the answer names the
//! first unfinished record, by its position in the batch, and no other. Sequence numbers are never compared.

use serde::Serialize;
use serde_json::value::RawValue;

use crate::event::KinesisRecord;

/// The answer to the event source mapping.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BatchResponse {
    /// Empty if every record is finished, else the first that is not.
    pub batch_item_failures: Vec<ItemFailure>,
    /// The state of a tumbling-window event: without it the mapping takes the invocation for failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<Box<RawValue>>,
}

/// A record from which the stream is to be delivered again.
#[derive(Debug, Serialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ItemFailure {
    /// The record's sequence number, never empty.
    pub item_identifier: String,
}

/// An unfinished record cannot be named, so that only the failure of the whole invocation brings it back.
#[derive(Debug, thiserror::Error)]
#[error("record {position} of the batch is unfinished, and neither it nor any record before it has a sequence number")]
pub struct Unnamable {
    position: usize,
}

/// How many records, from the first on, may count as finished, if the first `finished` of them are: the record behind
/// them has to be named in the answer. Where it has no sequence number, the nearest earlier one that has is named
/// instead. What lies between comes again, so it must not be delivered now.
///
/// # Errors
///
/// [`Unnamable`] if no such record has a sequence number.
pub fn nameable(records: &[KinesisRecord<'_>], finished: usize) -> Result<usize, Unnamable> {
    let Some(up_to_the_first_unfinished) = records.get(..=finished) else {
        return Ok(finished);
    };
    let named = up_to_the_first_unfinished
        .iter()
        .rposition(|record| record.sequence_number.is_some());
    named.ok_or(Unnamable { position: finished })
}

/// The answer for a batch of which the first `finished` records are finished and delivered.
///
/// # Errors
///
/// [`Unnamable`] if the first unfinished record has no sequence number.
pub fn checkpoint(records: &[KinesisRecord<'_>], finished: usize) -> Result<Vec<ItemFailure>, Unnamable> {
    let Some(unfinished) = records.get(finished) else {
        return Ok(Vec::new());
    };
    let item_identifier = unfinished
        .sequence_number
        .as_deref()
        .ok_or(Unnamable { position: finished })?
        .to_owned();
    Ok(vec![ItemFailure { item_identifier }])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event;

    /// The identifier that is named for a batch with these sequence numbers, `None` where all is finished.
    fn named(sequence_numbers: &[&str], finished: usize) -> Result<Option<String>, Unnamable> {
        let entry = |number: &&str| {
            format!(r#"{{"eventSource":"aws:kinesis","kinesis":{{"sequenceNumber":"{number}","data":""}}}}"#)
        };
        let entries: Vec<_> = sequence_numbers.iter().map(entry).collect();
        let payload = format!(r#"{{"Records":[{}]}}"#, entries.join(","));
        let event = event::read(payload.as_bytes()).unwrap();
        let mut failures = checkpoint(&event.records, nameable(&event.records, finished)?)?;
        assert!(failures.len() <= 1);
        Ok(failures.pop().map(|failure| failure.item_identifier))
    }

    #[test]
    fn the_first_unfinished_record_is_named_by_position() {
        // In the order of strings "9" is higher than "10": position decides.
        let numbers = ["9", "10", "11"];
        for (finished, expected) in [(0, Some("9")), (1, Some("10")), (2, Some("11")), (3, None)] {
            assert_eq!(named(&numbers, finished).unwrap().as_deref(), expected);
        }
        assert_eq!(named(&[], 0).unwrap(), None);
    }

    #[test]
    fn without_a_sequence_number_the_nearest_earlier_record_is_named() {
        assert_eq!(named(&["7", "", ""], 2).unwrap().as_deref(), Some("7"));
        assert_eq!(named(&["", "8"], 1).unwrap().as_deref(), Some("8"));
        let error = named(&["", "8"], 0).unwrap_err();
        assert!(error.to_string().starts_with("record 0 of the batch"), "{error}");
    }
}
