//! One batch: invoking the function with it, and splitting or discarding it.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::batch_response::{Verdict, judge};
use super::{Condition, Discarded, Invoked};
use crate::function::InvocationResult;
use crate::stream::{self, StreamRecord};

/// The unfinished records of a batch, with the counts of its invocations.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) records: VecDeque<StreamRecord>,
    /// The number of retries without progress since the last invocation that made progress.
    pub(super) retries: usize,
    invocations: usize,
}

impl Batch {
    pub(super) fn new(records: VecDeque<StreamRecord>) -> Self {
        Self {
            records,
            retries: 0,
            invocations: 0,
        }
    }

    /// Invokes the function with the batch and removes the finished records from it.
    pub(super) async fn invoke(&mut self, lane: usize, invoke: &impl AsyncFn(Bytes) -> InvocationResult) -> Invoked {
        self.invocations += 1;
        let shard = self.records.front().map(|record| record.shard.clone());
        let event = stream::event(&self.records);
        let started = Instant::now();
        let result = invoke(event).await;
        let latency = started.elapsed();
        let sequence_numbers: Vec<_> = self.records.iter().map(|record| &*record.sequence_number).collect();
        let (finished, failure) = match judge(&result, &sequence_numbers) {
            Verdict::Finished(finished) => (finished, None),
            Verdict::Failed(why) => (0, Some(why)),
        };
        let (records, user_records) = (self.records.len(), stream::user_records(&self.records));
        let finished_user_records = stream::user_records(self.records.iter().take(finished));
        self.records.drain(..finished);
        if finished > 0 {
            self.retries = 0;
        }
        Invoked {
            shard: shard.unwrap_or_default(),
            lane,
            records,
            finished,
            user_records,
            finished_user_records,
            latency,
            failure,
        }
    }

    /// Keeps the first half and returns the second.
    pub(super) fn split(&mut self) -> Self {
        let middle = self.records.len() / 2;
        Self {
            records: self.records.split_off(middle),
            ..*self
        }
    }

    /// Removes the records that are older than `age`, if any. These are the first ones, because the records of a shard
    /// are in order of arrival.
    pub(super) fn discard_older(&mut self, age: Duration) -> Option<Discarded> {
        let is_old = |record: &&StreamRecord| record.entered.elapsed() > age;
        let old = self.records.iter().take_while(is_old).count();
        let rest = self.records.split_off(old);
        let old = Self {
            records: std::mem::replace(&mut self.records, rest),
            ..*self
        };
        (!old.records.is_empty()).then(|| old.discard(Condition::RecordAgeExceeded))
    }

    pub(super) fn discard(self, condition: Condition) -> Discarded {
        Discarded {
            records: self.records.into(),
            condition,
            invocations: self.invocations,
        }
    }
}
