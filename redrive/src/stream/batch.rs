//! Reads discarded batches from their stream again, if the mapping did not keep their records.

use anyhow::Result;
use aws_sdk_kinesis::types::Record;
use serde::Deserialize;

use super::StreamReader;
use crate::letter::{self, Letter};
use crate::source::Item;

/// The position of a batch in its stream.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct BatchInfo {
    shard_id: String,
    start_sequence_number: String,
    pub(crate) end_sequence_number: String,
    #[serde(default)]
    batch_size: usize,
    stream_arn: String,
}

impl BatchInfo {
    /// Reads the records of the batch that are still in the stream, and records of other batches among them. Also
    /// returns the minimum number of records that are gone.
    pub(crate) async fn read(
        &self,
        streams: &mut StreamReader,
        kind: &str,
        item: &Item,
    ) -> Result<(Vec<Letter>, usize)> {
        let (start, end) = (&self.start_sequence_number, &self.end_sequence_number);
        let records = streams.records(&self.stream_arn, &self.shard_id, start, end).await?;
        let letters: Vec<_> = records
            .into_iter()
            .map(|record| self.letter(record, kind, item))
            .collect();
        let gone = self.count_gone(&letters);
        Ok((letters, gone))
    }

    fn letter(&self, record: Record, kind: &str, item: &Item) -> Letter {
        let of_stream = letter::Record {
            event_id: Some(format!("{}:{}", self.shard_id, record.sequence_number)),
            partition_key: record.partition_key,
            explicit_hash_key: None,
            arrival_s: record.approximate_arrival_timestamp.map(|time| time.as_secs_f64()),
            data: Some(record.data.into_inner().into()),
        };
        let mut letter = Letter::new(of_stream, None, 0, kind, item);
        letter.stream_arn.clone_from(&self.stream_arn);
        letter
    }

    /// Returns the minimum number of its records that are not among `letters`. The count alone proves nothing, because
    /// records of other batches can be between its first and its last record. A stream loses its oldest records first,
    /// so a batch with its first and its last record is complete.
    fn count_gone(&self, letters: &[Letter]) -> usize {
        let mut ends = vec![&self.start_sequence_number, &self.end_sequence_number];
        ends.dedup();
        ends.retain(|number| letters.iter().all(|letter| letter.sequence_number != **number));
        ends.len().max(self.batch_size.saturating_sub(letters.len()))
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_kinesis::primitives::Blob;

    use super::*;

    #[test]
    fn a_batch_is_complete_only_if_its_first_and_last_records_are_present_and_its_size_is_known() {
        for (size, there, gone) in [
            (2, &["7", "8", "9"][..], 0),
            // As many records of other batches as missing ones.
            (2, &["8", "9"], 1),
            (2, &["7", "8"], 1),
            (4, &["7", "8", "9"], 1),
            (3, &[], 3),
        ] {
            let batch = BatchInfo {
                shard_id: "shardId-0".to_owned(),
                start_sequence_number: "7".to_owned(),
                end_sequence_number: "9".to_owned(),
                batch_size: size,
                stream_arn: "arn".to_owned(),
            };
            let item = Item::new("here".to_owned(), "", Ok(String::new()));
            let letter = |number: &&str| {
                let record = Record::builder().sequence_number(*number).partition_key("k");
                batch.letter(record.data(Blob::new("data")).build().unwrap(), "", &item)
            };
            let letters: Vec<_> = there.iter().map(letter).collect();
            assert_eq!(batch.count_gone(&letters), gone, "{size} {there:?}");
        }
    }
}
