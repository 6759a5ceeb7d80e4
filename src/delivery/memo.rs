//! The memo: outcomes of records after the checkpoint, remembered so that their redelivery needs no calls. It also
//! remembers which of them failed by a fault that may be their own.
//!
//! Of each Kinesis record, the user records that were delivered from its first one on take one entry together. So a
//! Kinesis record with any number of user records is finished over several deliveries.
//!
//! The memo is filled only when a batch response names a record to redeliver. It belongs to one execution environment,
//! and Lambda may redeliver a batch to any other. So the memo saves calls and duplicates, but guarantees neither.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use lru::LruCache;

use crate::event::{Batch, UserRecord};
use crate::outcome::{Failure, ModelOutput, Outcome};

/// The approximate size of an entry without its key and its prediction: its share of the map and of the list, and the
/// fixed-size values.
const ENTRY_OVERHEAD_BYTES: usize = 256;

/// The outcomes of records that will be redelivered. If the memo is full, the outcomes of earlier batches are evicted
/// first, then those at the end of the batch. One per process.
#[derive(Debug)]
pub struct Memo {
    state: Mutex<MemoState>,
    bytes_max: usize,
}

#[derive(Debug)]
struct MemoState {
    entries: LruCache<String, Entry>,
    bytes: usize,
}

#[derive(Debug)]
enum Entry {
    /// The outcome of a user record.
    Outcome(Outcome),
    /// The number of user records of a Kinesis record that were delivered from its first one on.
    DeliveredPrefix(u64),
}

impl Memo {
    /// Creates a memo of about `bytes_max` bytes. With 0, it remembers nothing.
    pub fn new(bytes_max: usize) -> Self {
        let (entries, bytes) = (LruCache::unbounded(), 0);
        Self {
            state: Mutex::new(MemoState { entries, bytes }),
            bytes_max,
        }
    }

    /// Returns `false` if the memo remembers nothing.
    pub fn is_on(&self) -> bool {
        self.bytes_max > 0
    }

    /// Removes and returns the remembered outcome of each user record of the batch. A record that must be redelivered
    /// again has to be remembered again.
    pub fn recall(&self, batch: &Batch<'_>) -> Vec<Option<Outcome>> {
        let mut state = self.state();
        let is_empty = state.entries.is_empty();
        let mut prefix = (usize::MAX, 0);
        let recall = |(index, user_record): (usize, &UserRecord)| {
            if is_empty || matches!(user_record.data, Err(Outcome::Skipped)) {
                return None;
            }
            if prefix.0 != user_record.record_index {
                prefix = (user_record.record_index, state.take_prefix(batch, index));
            }
            if user_record.sub_sequence_number < prefix.1 {
                return Some(Outcome::Delivered);
            }
            match state.take(&key(batch, index)?)? {
                Entry::Outcome(outcome) => Some(outcome),
                Entry::DeliveredPrefix(_) => None,
            }
        };
        batch.user_records.iter().enumerate().map(recall).collect()
    }

    /// Remembers the outcomes of the user records at these indexes, which are in batch order. Leaves out records that
    /// have no key, and those that failed by a fault that is not their own.
    pub fn remember(&self, batch: &Batch<'_>, outcomes: Vec<(usize, Outcome)>) {
        let prefixes = delivered_prefixes(batch, &outcomes);
        let mut state = self.state();
        // The first outcomes are added last, so that they are evicted last: the next delivery starts with them.
        for (index, mut outcome) in outcomes.into_iter().rev() {
            if let Outcome::Predicted(prediction) = &mut outcome {
                // The memo has its own limit.
                prediction.memory = None;
            }
            let is_useless = match &outcome {
                Outcome::Failed(failure) => !failure.is_possibly_record_fault(),
                Outcome::Delivered => batch.user_records.get(index).is_some_and(|user_record| {
                    let prefix = prefixes.get(&user_record.record_index);
                    prefix.is_some_and(|(_, count)| user_record.sub_sequence_number < *count)
                }),
                Outcome::Skipped => true,
                Outcome::Predicted(_) | Outcome::Rejected(_) => false,
            };
            if !is_useless && let Some(key) = key(batch, index) {
                state.push(key, Entry::Outcome(outcome), self.bytes_max);
            }
        }
        for (first, count) in prefixes.into_values().rev() {
            if let Some(key) = record_key(batch, first) {
                state.push(key, Entry::DeliveredPrefix(count), self.bytes_max);
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, MemoState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl MemoState {
    fn take(&mut self, key: &str) -> Option<Entry> {
        let entry = self.entries.pop(key)?;
        self.bytes -= key.len() + entry.size();
        Some(entry)
    }

    /// Removes and returns the number of user records that were delivered from the first one on, of the Kinesis record
    /// that holds the user record at `index`.
    fn take_prefix(&mut self, batch: &Batch<'_>, index: usize) -> u64 {
        match record_key(batch, index).and_then(|key| self.take(&key)) {
            Some(Entry::DeliveredPrefix(count)) => count,
            Some(Entry::Outcome(_)) | None => 0,
        }
    }

    fn push(&mut self, key: String, entry: Entry, bytes_max: usize) {
        self.bytes += key.len() + entry.size();
        if let Some((key, replaced)) = self.entries.push(key, entry) {
            self.bytes -= key.len() + replaced.size();
        }
        while self.bytes > bytes_max
            && let Some((key, dropped)) = self.entries.pop_lru()
        {
            self.bytes -= key.len() + dropped.size();
        }
    }
}

impl Entry {
    fn size(&self) -> usize {
        match self {
            Self::Outcome(outcome) => entry_size(outcome),
            Self::DeliveredPrefix(_) => ENTRY_OVERHEAD_BYTES,
        }
    }
}

/// Returns, for each Kinesis record by its index, the index of its first user record and the number of user records
/// that were delivered from that one on.
fn delivered_prefixes(batch: &Batch<'_>, outcomes: &[(usize, Outcome)]) -> BTreeMap<usize, (usize, u64)> {
    let mut prefixes = BTreeMap::new();
    for (index, outcome) in outcomes {
        if let (Outcome::Delivered | Outcome::Skipped, Some(user_record)) = (outcome, batch.user_records.get(*index)) {
            let (_, count) = prefixes.entry(user_record.record_index).or_insert((*index, 0));
            *count += u64::from(user_record.sub_sequence_number == *count);
        }
    }
    prefixes
}

/// Returns a key of the stream, the shard, the sequence number and the sub-sequence number.
fn key(batch: &Batch<'_>, index: usize) -> Option<String> {
    let id = batch.id(index)?;
    Some(format!("{} {id}", batch.stream_arn))
}

/// Returns a key of the stream, the shard and the sequence number.
fn record_key(batch: &Batch<'_>, index: usize) -> Option<String> {
    let id = batch.record_id(index)?;
    Some(format!("{} {id}", batch.stream_arn))
}

/// Returns the approximate size of an outcome in the memo, without its key.
pub(super) fn entry_size(outcome: &Outcome) -> usize {
    let own = match outcome {
        Outcome::Predicted(prediction) => {
            let output = match &prediction.output {
                ModelOutput::Json(json) => json.get().len(),
                ModelOutput::Text(text) => text.len(),
                ModelOutput::Bytes(bytes) => bytes.len(),
            };
            let details = prediction.details.iter();
            let details = details
                .flat_map(|it| [&it.custom_attributes, &it.content_type])
                .flatten();
            output
                + prediction.variant.as_ref().map_or(0, |variant| variant.len())
                + details.map(String::len).sum::<usize>()
        }
        Outcome::Rejected(rejection) => rejection.message.len(),
        Outcome::Failed(Failure::Fault { fault, .. }) => {
            fault.summary.len() + fault.container_message.as_ref().map_or(0, String::len)
        }
        Outcome::Failed(_) | Outcome::Delivered | Outcome::Skipped => 0,
    };
    ENTRY_OVERHEAD_BYTES + own
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::endpoint::Response;
    use crate::event;
    use crate::event::UserRecord;
    use crate::inference::read_prediction;

    /// Calls `check` with two Kinesis records of three user records each.
    fn with_batch(stream_arn: &str, check: impl FnOnce(&Batch<'_>)) {
        let entry = |number: u32| {
            format!(r#"{{"eventID":"shard:{number}","kinesis":{{"sequenceNumber":"{number}","data":""}}}}"#)
        };
        let payload = format!(r#"{{"Records":[{},{}]}}"#, entry(7), entry(8));
        let event = event::read(payload.as_bytes()).unwrap();
        let user_record = |number: usize| UserRecord {
            record_index: number / 3,
            sub_sequence_number: (number % 3) as u64,
            ..UserRecord::not_aggregated(0, &event.records[0], Ok(Bytes::new()))
        };
        let user_records: Vec<_> = (0..6).map(user_record).collect();
        check(&Batch {
            records: &event.records,
            user_records: &user_records,
            stream_arn,
        });
    }

    fn predicted(text: &str) -> Outcome {
        let response = Response {
            body: Bytes::copy_from_slice(text.as_bytes()),
            content_type: None,
            variant: None,
            custom_attributes: None,
        };
        Outcome::Predicted(read_prediction(&response).unwrap())
    }

    fn texts(outcomes: &[Option<Outcome>]) -> Vec<Option<&str>> {
        fn text(outcome: &Outcome) -> Option<&str> {
            match outcome {
                Outcome::Predicted(prediction) => match &prediction.output {
                    ModelOutput::Json(json) => Some(json.get()),
                    ModelOutput::Text(_) | ModelOutput::Bytes(_) => None,
                },
                Outcome::Delivered => Some("delivered"),
                Outcome::Rejected(_) | Outcome::Failed(_) | Outcome::Skipped => None,
            }
        }
        outcomes.iter().map(|outcome| outcome.as_ref().and_then(text)).collect()
    }

    #[test]
    fn each_user_record_has_its_own_outcome() {
        let memo = Memo::new(10_000);
        with_batch("arn:a", |batch| {
            let outcomes = ["1", "2", "3", "4"].map(predicted);
            let others = [Outcome::Delivered, Outcome::Failed(Failure::OutOfTime)];
            memo.remember(batch, outcomes.into_iter().chain(others).enumerate().collect());
        });
        with_batch("arn:other", |batch| {
            assert!(
                memo.recall(batch).iter().all(Option::is_none),
                "the outcomes belong to another stream"
            );
        });
        with_batch("arn:a", |batch| {
            let expected = [Some("1"), Some("2"), Some("3"), Some("4"), Some("delivered"), None];
            assert_eq!(texts(&memo.recall(batch)), expected);
            assert!(
                memo.recall(batch).iter().all(Option::is_none),
                "an outcome is recalled once"
            );
        });
        assert_eq!(memo.state().bytes, 0);
    }

    #[test]
    fn the_outcomes_of_earlier_batches_and_the_last_ones_of_the_batch_are_evicted_first() {
        let big = "7".repeat(1000);
        let memo = Memo::new(4 * (ENTRY_OVERHEAD_BYTES + 1000 + 20));
        let all = || (0..6).map(|index| (index, predicted(&big))).collect();
        for stream_arn in ["arn:a", "arn:b"] {
            with_batch(stream_arn, |batch| memo.remember(batch, all()));
            assert!(memo.state().bytes <= memo.bytes_max);
        }
        let recalled = |batch: &Batch<'_>| memo.recall(batch).iter().map(Option::is_some).collect::<Vec<_>>();
        with_batch("arn:a", |batch| assert_eq!(recalled(batch), [false; 6]));
        with_batch("arn:b", |batch| {
            assert_eq!(recalled(batch), [true, true, true, true, false, false]);
        });
    }

    #[test]
    fn the_delivered_first_user_records_of_a_kinesis_record_take_one_entry() {
        let memo = Memo::new(10_000);
        with_batch("arn:a", |batch| {
            let delivered = |index| (index, Outcome::Delivered);
            let outcomes = vec![
                delivered(0),
                delivered(1),
                (2, predicted("2")),
                delivered(3),
                (4, predicted("4")),
                delivered(5),
            ];
            memo.remember(batch, outcomes);
            assert_eq!(memo.state().entries.len(), 5, "0 and 1 share one");
            let all = [
                Some("delivered"),
                Some("delivered"),
                Some("2"),
                Some("delivered"),
                Some("4"),
                Some("delivered"),
            ];
            assert_eq!(texts(&memo.recall(batch)), all);
            assert_eq!(memo.state().bytes, 0);
        });
    }

    #[test]
    fn a_memo_of_zero_bytes_remembers_nothing() {
        let memo = Memo::new(0);
        with_batch("arn:a", |batch| {
            memo.remember(batch, vec![(0, predicted("1"))]);
            assert!(memo.recall(batch).iter().all(Option::is_none));
        });
        assert!(!memo.is_on());
    }
}
