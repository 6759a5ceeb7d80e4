//! Builds the batch response for the event source mapping from the number of finished records.
//!
//! The mapping uses the lowest returned sequence number as the checkpoint and redelivers all records from there on. It
//! treats an empty or unknown identifier as a failure of the whole batch:
//! <https://docs.aws.amazon.com/lambda/latest/dg/services-kinesis-batchfailurereporting.html>. So the response names
//! only the first unfinished record in batch order. Sequence numbers are never compared.

use aws_lambda_events::streams::KinesisEventResponse;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::event::KinesisRecord;

/// The batch response for the event source mapping.
#[derive(Debug, Serialize)]
pub struct BatchResponse {
    /// The first unfinished record. Empty if every record is finished.
    #[serde(flatten)]
    pub failures: KinesisEventResponse,
    /// The state of a tumbling-window event. Without it, the mapping treats the invocation as failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<Box<RawValue>>,
}

/// No record can be named as the checkpoint. The whole invocation must fail, so that the unfinished record is
/// redelivered.
#[derive(Debug, thiserror::Error)]
#[error(
    "record {record_index} of the batch is unfinished, and neither it nor any record before it has a sequence number"
)]
pub struct NoCheckpoint {
    record_index: usize,
}

/// Returns how many of the first `finished` records can be reported as finished. These are all of them if the next
/// record can be named as the checkpoint.
///
/// The response must name the record after the prefix. If that record has no sequence number, the nearest earlier
/// record with a sequence number is named instead. The records from there on are redelivered, so they must not be
/// delivered now.
///
/// # Errors
///
/// [`NoCheckpoint`] if no such record has a sequence number.
pub fn checkpointable_prefix(records: &[KinesisRecord<'_>], finished: usize) -> Result<usize, NoCheckpoint> {
    let Some(up_to_the_first_unfinished) = records.get(..=finished) else {
        return Ok(finished);
    };
    let named = up_to_the_first_unfinished
        .iter()
        .rposition(|record| record.sequence_number.is_some());
    named.ok_or(NoCheckpoint { record_index: finished })
}

/// Returns the failures to report for a batch of which the first `finished` records are finished and delivered.
///
/// # Errors
///
/// [`NoCheckpoint`] if the first unfinished record has no sequence number.
pub fn checkpoint(records: &[KinesisRecord<'_>], finished: usize) -> Result<KinesisEventResponse, NoCheckpoint> {
    let mut failures = KinesisEventResponse::default();
    if let Some(unfinished) = records.get(finished) {
        let number = unfinished.sequence_number.as_deref();
        failures.add_failure(number.ok_or(NoCheckpoint { record_index: finished })?);
    }
    Ok(failures)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event;

    /// Returns the reported identifier for a batch with these sequence numbers, or `None` if every record is finished.
    fn named(sequence_numbers: &[&str], finished: usize) -> Result<Option<String>, NoCheckpoint> {
        let entry = |number: &&str| {
            format!(r#"{{"eventSource":"aws:kinesis","kinesis":{{"sequenceNumber":"{number}","data":""}}}}"#)
        };
        let entries: Vec<_> = sequence_numbers.iter().map(entry).collect();
        let payload = format!(r#"{{"Records":[{}]}}"#, entries.join(","));
        let event = event::read(payload.as_bytes()).unwrap();
        let response = checkpoint(&event.records, checkpointable_prefix(&event.records, finished)?)?;
        let mut failures = response.batch_item_failures;
        assert!(failures.len() <= 1);
        Ok(failures.pop().and_then(|failure| failure.item_identifier))
    }

    #[test]
    fn the_first_unfinished_record_is_named_by_position() {
        // As a string, "9" is greater than "10". The position in the batch decides.
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
