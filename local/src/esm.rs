//! The event source mapping: the records of a stream to a function, batch by batch, with checkpoint, retries, bisecting
//! and giving up.
//!
//! ```text
//! shard ─┬─ lane: intake ─ batch ─▶ invoke ─ answer ─▶ checkpoint, retry, split or discard
//!        └─ lane: …                                    as many lanes as ParallelizationFactor says
//! ```
//!
//! All lanes of all shards run at once. A lane has one batch in flight; records with the same partition key share a lane,
//! so that they stay in order.
//!
//! The rules are AWS's: <https://docs.aws.amazon.com/lambda/latest/dg/services-kinesis-batchfailurereporting.html> and
//! <https://docs.aws.amazon.com/lambda/latest/dg/kinesis-on-failure-destination.html>. The batch goes on from the lowest
//! sequence number that the answer names. An empty answer is full success. An answer that cannot be understood, an
//! unknown sequence number and a failed invocation are the failure of the whole batch. What is given up goes to the
//! destination for failures, healthy records included.
//!
//! Timers run on Tokio's clock, and nothing here is left to chance: on one thread and a paused clock, a run repeats.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::function::Answer;
use crate::stream::{Over, StreamRecord, place, user_records};

mod answer;
mod batch;
mod intake;
mod lane;

pub(crate) use answer::{Verdict, judge};
pub(crate) use intake::EVENT_BYTES_MAX;
use lane::Lane;
pub(crate) use lane::pause;

/// The mapping's settings.
#[derive(Debug, Clone, Copy)]
pub struct Mapping {
    /// Records in a batch at most, 1–10,000.
    pub batch_size: usize,
    /// `MaximumBatchingWindowInSeconds`: how long records are gathered for a batch, counted from its first, 0–300 s. With
    /// none, a batch holds what is there. A batch that is full, or the last of its stream, does not wait.
    pub batch_window: Duration,
    /// `ParallelizationFactor`: lanes of each shard, 1–10.
    pub parallelization_factor: usize,
    /// `MaximumRetryAttempts`: how often a batch comes again without any progress before the rest of it is discarded.
    /// `None` is AWS's −1, without limit.
    pub max_retries: Option<usize>,
    /// `MaximumRecordAgeInSeconds`: a record that is older is discarded.
    pub max_record_age: Option<Duration>,
    /// `BisectBatchOnFunctionError`: a batch that fails as a whole comes again in two halves, which spends no retry. One
    /// whose answer names a record is split there, as it is without this.
    pub bisect: bool,
}

/// What the mapping has to tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    /// A batch was handed to the function.
    Invoked(Invoked),
    /// Records were given up.
    Discarded(Discarded),
}

/// What happened to one invocation's batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invoked {
    /// The batch's shard.
    pub shard: String,
    /// The batch's lane in that shard, from 0.
    pub lane: usize,
    /// How many records the event held.
    pub records: usize,
    /// How many of them, from the first on, need not come again.
    pub finished: usize,
    /// How many user records the event held.
    pub user_records: usize,
    /// How many of them need not come again.
    pub finished_user_records: usize,
    /// From the event to the answer.
    pub latency: Duration,
    /// Why the whole batch failed, where it did.
    pub failure: Option<String>,
}

/// Records that were given up, as the destination for failures gets them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Discarded {
    /// In the order of the stream; at least one, all of the same shard.
    pub records: Vec<StreamRecord>,
    /// Why.
    pub condition: Condition,
    /// How often the function was invoked with them.
    pub invocations: usize,
}

/// Why records were given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// There was no retry left.
    RetryAttemptsExhausted,
    /// They are too old.
    RecordAgeExceeded,
}

impl Discarded {
    /// How many user records they hold.
    pub fn user_records(&self) -> usize {
        user_records(&self.records)
    }
}

impl Mapping {
    /// Feeds the records of `shards` to `invoke`, which is called by many lanes at once, and reports what happens. Ends
    /// when all channels have ended and all their records are finished or discarded.
    pub async fn run(
        self,
        shards: Vec<mpsc::UnboundedReceiver<StreamRecord>>,
        invoke: &impl AsyncFn(Bytes) -> Answer,
        report: &impl Fn(Report),
    ) {
        let shards = shards.into_iter().map(|shard| self.read(shard, invoke, report));
        join_all(shards).await;
    }

    /// As [`run`](Self::run), with records that are all there when the run begins: their age counts from now.
    pub async fn run_all(
        self,
        shards: Vec<Vec<StreamRecord>>,
        invoke: &impl AsyncFn(Bytes) -> Answer,
        report: &impl Fn(Report),
    ) {
        let entered = Instant::now();
        let channel = |records: Vec<StreamRecord>| {
            let (sender, receiver) = mpsc::unbounded_channel();
            for record in records {
                sender
                    .send(StreamRecord { entered, ..record })
                    .expect("the receiver is still here");
            }
            receiver
        };
        self.run(shards.into_iter().map(channel).collect(), invoke, report)
            .await;
    }

    /// Reads one shard to its end.
    async fn read(
        self,
        mut shard: mpsc::UnboundedReceiver<StreamRecord>,
        invoke: &impl AsyncFn(Bytes) -> Answer,
        report: &impl Fn(Report),
    ) {
        let count = self.parallelization_factor.max(1);
        let (entrances, lanes): (Vec<_>, Vec<_>) = (0..count)
            .map(|number| {
                let (entrance, records) = mpsc::unbounded_channel();
                (entrance, Lane::new(number, self, records))
            })
            .unzip();
        let distribute = async move {
            while let Some(record) = shard.recv().await {
                if let Some(lane) = entrances.get(place(&record.partition_key, Over::Lanes, count)) {
                    lane.send(record).expect("a lane lives as long as its entrance");
                }
            }
        };
        let lanes = join_all(lanes.into_iter().map(|lane| lane.run(invoke, report)));
        tokio::join!(biased; distribute, lanes);
    }
}

#[cfg(test)]
mod tests;
