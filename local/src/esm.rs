//! The event source mapping: invokes a function with the records of a stream, batch by batch. Implements checkpoints,
//! redelivery, bisecting and discarding.
//!
//! ```text
//! shard ─┬─ lane: intake ─ batch ─▶ invoke ─ batch response ─▶ checkpoint, redeliver, split or discard
//!        └─ lane: …                                            ParallelizationFactor lanes per shard
//! ```
//!
//! All lanes of all shards run concurrently. A lane has one batch in flight. Records with the same partition key share
//! a lane, so they stay in order.
//!
//! The rules are AWS's: <https://docs.aws.amazon.com/lambda/latest/dg/services-kinesis-batchfailurereporting.html> and
//! <https://docs.aws.amazon.com/lambda/latest/dg/kinesis-on-failure-destination.html>. The batch continues from the
//! lowest sequence number that the response names. An empty response means full success. An invalid response, an
//! unknown sequence number or a failed invocation fails the whole batch. Discarded records go to the on-failure
//! destination, healthy ones among them included.
//!
//! Timers run on Tokio's clock and nothing is random: on one thread with a paused clock, a run is reproducible.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::function::InvocationResult;
use crate::stream::{Partitions, StreamRecord, partition_index, user_records};

mod batch;
mod batch_response;
mod intake;
mod lane;

pub use batch_response::{Verdict, judge};
pub use intake::EVENT_BYTES_MAX;
use lane::Lane;
pub use lane::retry_backoff;

/// The mapping's settings.
#[derive(Debug, Clone, Copy)]
pub struct Mapping {
    /// The maximum number of records in a batch, 1–10,000.
    pub batch_size: usize,
    /// `MaximumBatchingWindowInSeconds`: how long to gather records for a batch, counted from its first record, 0–300
    /// s. With 0, a batch holds the records that are already there. A full batch, or the last of its stream, does not
    /// wait.
    pub batch_window: Duration,
    /// `ParallelizationFactor`: the number of lanes per shard, 1–10.
    pub parallelization_factor: usize,
    /// `MaximumRetryAttempts`: how many times a batch is redelivered without progress before the rest of it is
    /// discarded. `None` means no limit (−1 in AWS).
    pub max_retries: Option<usize>,
    /// `MaximumRecordAgeInSeconds`: older records are discarded.
    pub max_record_age: Option<Duration>,
    /// `BisectBatchOnFunctionError`: a batch that fails as a whole is redelivered in two halves, which spends no retry.
    /// A batch whose response names a record is split at that record, with or without this setting.
    pub bisect: bool,
}

/// An event that the mapping reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    /// The function was invoked with a batch.
    Invoked(Invoked),
    /// Records were discarded.
    Discarded(Discarded),
}

/// The result of one invocation, for its batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invoked {
    /// The batch's shard.
    pub shard: String,
    /// The batch's lane in that shard, from 0.
    pub lane: usize,
    /// The number of Kinesis records in the event.
    pub records: usize,
    /// The length of the finished prefix: the Kinesis records that are not redelivered.
    pub finished: usize,
    /// The number of user records in the event.
    pub user_records: usize,
    /// The number of user records in the finished prefix.
    pub finished_user_records: usize,
    /// The time from sending the event to the result of the invocation.
    pub latency: Duration,
    /// The reason, if the whole batch failed.
    pub failure: Option<String>,
}

/// Discarded records, as the on-failure destination receives them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Discarded {
    /// At least one record, all of the same shard, in stream order.
    pub records: Vec<StreamRecord>,
    /// The reason.
    pub condition: Condition,
    /// How many times the function was invoked with them.
    pub invocations: usize,
}

/// The reason why records were discarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// No retry was left.
    RetryAttemptsExhausted,
    /// The records were older than [`Mapping::max_record_age`].
    RecordAgeExceeded,
}

impl Discarded {
    /// The number of user records in the discarded records.
    pub fn user_records(&self) -> usize {
        user_records(&self.records)
    }
}

impl Mapping {
    /// Passes the records of `shards` to `invoke`, which many lanes call concurrently, and reports each event. Returns
    /// when all channels are closed and all their records are finished or discarded.
    pub async fn run(
        self,
        shards: Vec<mpsc::UnboundedReceiver<StreamRecord>>,
        invoke: &impl AsyncFn(Bytes) -> InvocationResult,
        report: &impl Fn(Report),
    ) {
        let shards = shards.into_iter().map(|shard| self.read(shard, invoke, report));
        join_all(shards).await;
    }

    /// Like [`run`](Self::run), for records that all exist when the run begins. Their age counts from now.
    pub async fn run_all(
        self,
        shards: Vec<Vec<StreamRecord>>,
        invoke: &impl AsyncFn(Bytes) -> InvocationResult,
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
        invoke: &impl AsyncFn(Bytes) -> InvocationResult,
        report: &impl Fn(Report),
    ) {
        let count = self.parallelization_factor.max(1);
        let (lane_senders, lanes): (Vec<_>, Vec<_>) = (0..count)
            .map(|number| {
                let (lane_sender, records) = mpsc::unbounded_channel();
                (lane_sender, Lane::new(number, self, records))
            })
            .unzip();
        let distribute = async move {
            while let Some(record) = shard.recv().await {
                let index = partition_index(&record.partition_key, Partitions::Lanes, count);
                if let Some(lane_sender) = lane_senders.get(index) {
                    lane_sender.send(record).expect("a lane lives as long as its sender");
                }
            }
        };
        let lanes = join_all(lanes.into_iter().map(|lane| lane.run(invoke, report)));
        tokio::join!(biased; distribute, lanes);
    }
}

#[cfg(test)]
mod tests;
