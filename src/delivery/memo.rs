//! The memo: outcomes of records after the checkpoint, remembered so that their redelivery needs no calls. It also
//! remembers which of them failed by a fault that may be their own.
//!
//! The memo is filled only when a batch response names a record to redeliver. It belongs to one execution environment,
//! and Lambda may redeliver a batch to any other. So the memo saves calls and duplicates, but guarantees neither.

use std::sync::{Mutex, MutexGuard, PoisonError};

use lru::LruCache;

use crate::event::Batch;
use crate::outcome::{Failure, ModelOutput, Outcome};

/// The approximate size of an entry without its key and its prediction: its share of the map and of the list, and the
/// fixed-size values.
const ENTRY_OVERHEAD_BYTES: usize = 256;

/// The outcomes of records that will be redelivered. The least recently remembered are evicted first. One per process.
#[derive(Debug)]
pub struct Memo {
    state: Mutex<MemoState>,
    bytes_max: usize,
}

#[derive(Debug)]
struct MemoState {
    outcomes: LruCache<String, Outcome>,
    bytes: usize,
}

impl Memo {
    /// Creates a memo of about `bytes_max` bytes. With 0, it remembers nothing.
    pub fn new(bytes_max: usize) -> Self {
        let (outcomes, bytes) = (LruCache::unbounded(), 0);
        Self {
            state: Mutex::new(MemoState { outcomes, bytes }),
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
        let indexes = 0..batch.user_records.len();
        if state.outcomes.is_empty() {
            return indexes.map(|_| None).collect();
        }
        indexes.map(|index| state.take(&key(batch, index)?)).collect()
    }

    /// Remembers the outcome of the user record at `index`, unless the record has no key or failed by a fault that is
    /// not its own.
    pub fn remember(&self, batch: &Batch<'_>, index: usize, outcome: Outcome) {
        let is_useless = matches!(&outcome, Outcome::Failed(failure) if !failure.is_possibly_record_fault());
        let (Some(key), false) = (key(batch, index), is_useless) else {
            return;
        };
        let mut state = self.state();
        state.bytes += entry_size(&key, &outcome);
        if let Some((key, replaced)) = state.outcomes.push(key, outcome) {
            state.bytes -= entry_size(&key, &replaced);
        }
        while state.bytes > self.bytes_max
            && let Some((key, dropped)) = state.outcomes.pop_lru()
        {
            state.bytes -= entry_size(&key, &dropped);
        }
    }

    fn state(&self) -> MutexGuard<'_, MemoState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl MemoState {
    fn take(&mut self, key: &str) -> Option<Outcome> {
        let outcome = self.outcomes.pop(key)?;
        self.bytes -= entry_size(key, &outcome);
        Some(outcome)
    }
}

/// Returns a key of the stream, the shard, the sequence number and the sub-sequence number.
fn key(batch: &Batch<'_>, index: usize) -> Option<String> {
    let id = batch.id(index)?;
    Some(format!("{} {id}", batch.stream_arn))
}

fn entry_size(key: &str, outcome: &Outcome) -> usize {
    let own = match outcome {
        Outcome::Predicted(prediction) => {
            let output = match &prediction.output {
                ModelOutput::Json(json) => json.get().len(),
                ModelOutput::Text(text) => text.len(),
                ModelOutput::Bytes(bytes) => bytes.len(),
            };
            output + prediction.variant.as_ref().map_or(0, |variant| variant.len())
        }
        Outcome::Rejected(rejection) => rejection.message.len(),
        Outcome::Failed(Failure::Fault { fault, .. }) => {
            fault.summary.len() + fault.container_message.as_ref().map_or(0, String::len)
        }
        Outcome::Failed(_) | Outcome::Delivered => 0,
    };
    ENTRY_OVERHEAD_BYTES + key.len() + own
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
        };
        Outcome::Predicted(read_prediction(response).unwrap())
    }

    fn texts(outcomes: &[Option<Outcome>]) -> Vec<Option<&str>> {
        fn text(outcome: &Outcome) -> Option<&str> {
            match outcome {
                Outcome::Predicted(prediction) => match &prediction.output {
                    ModelOutput::Json(json) => Some(json.get()),
                    ModelOutput::Text(_) | ModelOutput::Bytes(_) => None,
                },
                Outcome::Delivered => Some("delivered"),
                Outcome::Rejected(_) | Outcome::Failed(_) => None,
            }
        }
        outcomes.iter().map(|outcome| outcome.as_ref().and_then(text)).collect()
    }

    #[test]
    fn each_user_record_has_its_own_outcome() {
        let memo = Memo::new(10_000);
        with_batch("arn:a", |batch| {
            for (index, text) in ["1", "2", "3", "4"].into_iter().enumerate() {
                memo.remember(batch, index, predicted(text));
            }
            memo.remember(batch, 4, Outcome::Delivered);
            memo.remember(batch, 5, Outcome::Failed(Failure::OutOfTime));
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
    fn the_least_recently_remembered_outcome_is_evicted_first_and_the_size_limit_holds() {
        let big = "7".repeat(1000);
        let memo = Memo::new(4 * (ENTRY_OVERHEAD_BYTES + 1000 + 20));
        with_batch("arn:a", |batch| {
            for index in [0, 1, 2, 3, 0, 4] {
                memo.remember(batch, index, predicted(&big));
                assert!(memo.state().bytes <= memo.bytes_max);
            }
            let recalled: Vec<_> = memo.recall(batch).iter().map(Option::is_some).collect();
            assert_eq!(recalled, [true, false, true, true, true, false]);
        });
    }

    #[test]
    fn a_memo_of_zero_bytes_remembers_nothing() {
        let memo = Memo::new(0);
        with_batch("arn:a", |batch| {
            memo.remember(batch, 0, predicted("1"));
            assert!(memo.recall(batch).iter().all(Option::is_none));
        });
        assert!(!memo.is_on());
    }
}
