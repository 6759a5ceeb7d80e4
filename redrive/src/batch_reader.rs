//! Reads discarded batches from their stream again, if the mapping did not keep their records.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use anyhow::Result;
use aws_sdk_kinesis::types::Record;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::json;
use serde_json::value::to_raw_value;

use super::dead_letter::{DeadLetter, Origin};
use super::recognise::BatchInfo;
use super::stream_reader::{StreamPosition, StreamReader};

/// Reads the records of the batch that are still in the stream. Records of other batches may be among them.
pub(super) async fn read_batch(reader: &mut StreamReader, batch: &BatchInfo, origin: &Origin) -> Result<BatchRead> {
    let start = StreamPosition {
        stream_arn: batch.stream_arn.clone(),
        shard_id: batch.shard_id.clone(),
        sequence_number: batch.start_sequence_number.clone(),
    };
    let mut letters = Vec::new();
    let mut iterator = reader.iterator(&start).await?;
    while let Some(at) = iterator.take() {
        let page = reader.page(&batch.stream_arn, &at, None).await?;
        let is_at_the_end = page.records.is_empty() && page.millis_behind_latest == Some(0);
        let mut is_past_end = false;
        for record in &page.records {
            is_past_end |= compare_sequence_numbers(&record.sequence_number, &batch.end_sequence_number).is_gt();
            if !is_past_end {
                letters.extend(dead_letter(record, batch, origin));
            }
        }
        let last = page.records.last();
        let is_last = |record: &Record| record.sequence_number == batch.end_sequence_number;
        if is_at_the_end || is_past_end || last.is_some_and(is_last) {
            break;
        }
        iterator = page.next_shard_iterator;
    }
    Ok(BatchRead::of(batch, letters))
}

/// The records of a batch that were read.
#[derive(Debug)]
pub(super) struct BatchRead {
    pub(super) letters: Vec<DeadLetter>,
    /// The minimum number of records that are no longer in the stream.
    pub(super) gone: usize,
    /// True if the batch is known to be complete.
    pub(super) is_whole: bool,
}

impl BatchRead {
    /// Checks whether the batch is complete. The count alone proves nothing, because records of other batches can be
    /// between its first and its last record. A stream loses its oldest records first, so a batch with its first and
    /// its last record is complete.
    fn of(batch: &BatchInfo, letters: Vec<DeadLetter>) -> Self {
        let ends = BTreeSet::from([&batch.start_sequence_number, &batch.end_sequence_number]);
        let is_present = |number: &&String| letters.iter().any(|letter| letter.sequence_number == **number);
        let ends_gone = ends.iter().filter(|number| !is_present(number)).count();
        let gone = ends_gone.max(batch.batch_size.saturating_sub(letters.len()));
        Self {
            letters,
            gone,
            is_whole: gone == 0 && batch.batch_size > 0,
        }
    }
}

/// Converts a record of the stream to a dead letter with an event entry.
fn dead_letter(record: &Record, batch: &BatchInfo, origin: &Origin) -> Option<DeadLetter> {
    let arrival = record.approximate_arrival_timestamp.map(|time| time.as_secs_f64());
    let entry = json!({
        "kinesis": {
            "kinesisSchemaVersion": "1.0",
            "partitionKey": record.partition_key,
            "sequenceNumber": record.sequence_number,
            "data": BASE64.encode(record.data.as_ref()),
            "approximateArrivalTimestamp": arrival,
        },
        "eventSource": "aws:kinesis",
        "eventVersion": "1.0",
        "eventID": format!("{}:{}", batch.shard_id, record.sequence_number),
        "eventName": "aws:kinesis:record",
        "invokeIdentityArn": "arn:aws:iam::000000000000:role/instream",
        "awsRegion": batch.stream_arn.split(':').nth(3).unwrap_or_default(),
        "eventSourceARN": batch.stream_arn,
    });
    DeadLetter::with_entry(&to_raw_value(&entry).ok()?, &batch.condition, origin.clone())
}

/// Compares two decimal sequence numbers. They are too long for any integer type.
fn compare_sequence_numbers(one: &str, other: &str) -> Ordering {
    one.len().cmp(&other.len()).then_with(|| one.cmp(other))
}

#[cfg(test)]
mod tests {
    use aws_sdk_kinesis::primitives::Blob;

    use super::*;

    #[test]
    fn sequence_numbers_are_compared_as_numbers() {
        assert!(
            compare_sequence_numbers("10", "9").is_gt()
                && compare_sequence_numbers("9", "10").is_lt()
                && compare_sequence_numbers("10", "10").is_eq()
        );
    }

    #[test]
    fn a_batch_is_complete_only_if_its_first_and_last_records_are_present_and_its_size_is_known() {
        for (size, there, expected) in [
            (2, &["7", "8", "9"][..], (0, true)),
            // As many records of other batches as missing ones.
            (2, &["8", "9"], (1, false)),
            (2, &["7", "8"], (1, false)),
            (4, &["7", "8", "9"], (1, false)),
            (0, &["7", "8", "9"], (0, false)),
            (3, &[], (3, false)),
        ] {
            let batch = BatchInfo {
                shard_id: "shardId-0".to_owned(),
                start_sequence_number: "7".to_owned(),
                end_sequence_number: "9".to_owned(),
                batch_size: size,
                stream_arn: "arn".to_owned(),
                condition: String::new(),
            };
            let record = |number: &&str| {
                let record = Record::builder().sequence_number(*number).partition_key("k");
                record.data(Blob::new("data")).build().unwrap()
            };
            let letters = there
                .iter()
                .filter_map(|number| dead_letter(&record(number), &batch, &Origin::default()));
            let read = BatchRead::of(&batch, letters.collect());
            assert_eq!((read.gone, read.is_whole), expected, "{size} {there:?}");
        }
    }
}
