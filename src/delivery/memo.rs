//! Outcomes remembered for redelivery: what lies behind the checkpoint comes again, and need not be called again.
//!
//! It is filled only when an answer names a record that must come again. Lambda may deliver a batch to any environment,
//! and this memory is one environment's: it saves calls and repeats, it promises nothing.

use std::sync::{Mutex, MutexGuard, PoisonError};

use lru::LruCache;

use crate::event::Batch;
use crate::outcome::ModelOutput;
use crate::outcome::Outcome;

/// What an entry takes beside its key and its prediction, about: the map's and the list's share, and the values.
const ENTRY_BYTES: usize = 256;

/// The outcomes of records that will be delivered again, those dropped first that were taken down first. One for the
/// process.
#[derive(Debug)]
pub struct Memo {
    kept: Mutex<Kept>,
    bytes_max: usize,
}

#[derive(Debug)]
struct Kept {
    outcomes: LruCache<String, Outcome>,
    bytes: usize,
}

impl Memo {
    /// A memory of `bytes_max` bytes, about; 0 remembers nothing.
    pub fn new(bytes_max: usize) -> Self {
        let (outcomes, bytes) = (LruCache::unbounded(), 0);
        Self {
            kept: Mutex::new(Kept { outcomes, bytes }),
            bytes_max,
        }
    }

    /// Whether anything is remembered at all.
    pub fn is_on(&self) -> bool {
        self.bytes_max > 0
    }

    /// What is remembered of the batch's user records, one by one. It is forgotten with that: what must come once more
    /// is taken down once more.
    pub fn recall(&self, batch: &Batch<'_>) -> Vec<Option<Outcome>> {
        let mut kept = self.kept();
        let indexes = 0..batch.user_records.len();
        if kept.outcomes.is_empty() {
            return indexes.map(|_| None).collect();
        }
        indexes.map(|index| kept.take(&key(batch, index)?)).collect()
    }

    /// Takes down how the user record of this index ended. Only what has ended is remembered.
    pub fn remember(&self, batch: &Batch<'_>, index: usize, outcome: Outcome) {
        let (Some(key), false) = (key(batch, index), matches!(outcome, Outcome::Failed(_))) else {
            return;
        };
        let mut kept = self.kept();
        kept.bytes += size(&key, &outcome);
        if let Some((key, replaced)) = kept.outcomes.push(key, outcome) {
            kept.bytes -= size(&key, &replaced);
        }
        while kept.bytes > self.bytes_max
            && let Some((key, dropped)) = kept.outcomes.pop_lru()
        {
            kept.bytes -= size(&key, &dropped);
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn take(&mut self, key: &str) -> Option<Outcome> {
        let outcome = self.outcomes.pop(key)?;
        self.bytes -= size(key, &outcome);
        Some(outcome)
    }
}

/// The stream, the shard, the sequence number and the sub-sequence number.
fn key(batch: &Batch<'_>, index: usize) -> Option<String> {
    let id = batch.id(index)?;
    Some(format!("{} {id}", batch.stream_arn))
}

fn size(key: &str, outcome: &Outcome) -> usize {
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
        Outcome::Failed(_) | Outcome::Delivered => 0,
    };
    ENTRY_BYTES + key.len() + own
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::endpoint::Response;
    use crate::event;
    use crate::event::UserRecord;
    use crate::inference::read_prediction;
    use crate::outcome::Failure;

    /// Two Kinesis records with three user records each.
    fn with_batch(stream_arn: &str, check: impl FnOnce(&Batch<'_>)) {
        let entry = |number: u32| {
            format!(r#"{{"eventID":"shard:{number}","kinesis":{{"sequenceNumber":"{number}","data":""}}}}"#)
        };
        let payload = format!(r#"{{"Records":[{},{}]}}"#, entry(7), entry(8));
        let event = event::read(payload.as_bytes()).unwrap();
        let user_record = |number: usize| UserRecord {
            position: number / 3,
            sub_sequence_number: (number % 3) as u64,
            ..UserRecord::whole(0, &event.records[0], Ok(Bytes::new()))
        };
        let user_records: Vec<_> = (0..6).map(user_record).collect();
        check(&Batch {
            records: &event.records,
            user_records: &user_records,
            stream_arn,
        });
    }

    fn predicted(text: &str) -> Outcome {
        Outcome::Predicted(read_prediction(Response {
            body: Bytes::copy_from_slice(text.as_bytes()),
            content_type: None,
            variant: None,
        }))
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
            assert!(memo.recall(batch).iter().all(Option::is_none), "that is another stream");
        });
        with_batch("arn:a", |batch| {
            let expected = [Some("1"), Some("2"), Some("3"), Some("4"), Some("delivered"), None];
            assert_eq!(texts(&memo.recall(batch)), expected);
            assert!(memo.recall(batch).iter().all(Option::is_none), "it is told once");
        });
        assert_eq!(memo.kept().bytes, 0);
    }

    #[test]
    fn what_was_taken_down_first_gives_way_first_and_the_bound_holds() {
        let big = "7".repeat(1000);
        let memo = Memo::new(4 * (ENTRY_BYTES + 1000 + 20));
        with_batch("arn:a", |batch| {
            for index in [0, 1, 2, 3, 0, 4] {
                memo.remember(batch, index, predicted(&big));
                assert!(memo.kept().bytes <= memo.bytes_max);
            }
            let kept: Vec<_> = memo.recall(batch).iter().map(Option::is_some).collect();
            assert_eq!(kept, [true, false, true, true, true, false]);
        });
    }

    #[test]
    fn no_memory_remembers_nothing() {
        let memo = Memo::new(0);
        with_batch("arn:a", |batch| {
            memo.remember(batch, 0, predicted("1"));
            assert!(memo.recall(batch).iter().all(Option::is_none));
        });
        assert!(!memo.is_on());
    }
}
