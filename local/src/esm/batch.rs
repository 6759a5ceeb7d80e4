//! A batch on its way.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::answer::{Verdict, judge};
use super::{Condition, Discarded, Invoked};
use crate::function::Answer;
use crate::stream::{self, StreamRecord};

/// What is left of a batch, and what it has been through.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) records: VecDeque<StreamRecord>,
    /// Invocations without progress since the last one with any.
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

    /// Hands the batch to the function and takes from it what is finished.
    pub(super) async fn invoke(&mut self, lane: usize, invoke: &impl AsyncFn(Bytes) -> Answer) -> Invoked {
        self.invocations += 1;
        let shard = self.records.front().map(|record| record.shard.clone());
        let event = stream::event(&self.records);
        let started = Instant::now();
        let answer = invoke(event).await;
        let latency = started.elapsed();
        let named: Vec<_> = self.records.iter().map(|record| &*record.sequence_number).collect();
        let (finished, failure) = match judge(&answer, &named) {
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

    /// Takes out the records in front that are older than `age`, if any. Along a shard, records have the order of their
    /// arrival: no old one stands behind a younger.
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
