//! The measured values of one invocation.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::delivery::{DeliveredRecords, Progress};
use crate::dispatch::attempt::CallStats;
use crate::event::{Batch, UserRecord};
use crate::outcome::{Failure, FaultKind, Outcome};

/// The statistics of one invocation.
#[derive(Debug, Clone, Default)]
pub struct InvocationStats {
    /// The number of Kinesis records in the event.
    pub kinesis_records: usize,
    /// The number of user records in them.
    pub user_records: usize,
    /// The delivered predictions and dead letters.
    pub delivered: DeliveredRecords,
    /// The number of user records that are empty or do not match `RECORD_PATTERN`, and will not be redelivered.
    pub skipped: usize,
    /// The number of user records that will be redelivered, by cause.
    pub failed: HashMap<Cause, usize>,
    /// The number of user records whose outcome was remembered from an earlier delivery.
    pub remembered: usize,
    /// The number of remembered user records that had already been delivered.
    pub delivered_before: usize,
    /// The number of attempts at requests, including retries.
    pub attempts: usize,
    /// The number of hedged calls.
    pub hedges: usize,
    /// The number of attempts after the first for the same request.
    pub retries: usize,
    /// The number of calls that ended with Overload.
    pub throttles: usize,
    /// The number of attempts without an answer within the call timeout.
    pub timeouts: usize,
    /// The number of requests that were split.
    pub splits: usize,
    /// The number of records in requests whose answers had the wrong number of predictions.
    pub miscounted_records: usize,
    /// The number of models for which packing was turned off.
    pub packing_off: usize,
    /// The duration of each answered attempt, in microseconds, in no particular order.
    pub latencies_us: Vec<u32>,
    /// The limit of calls in flight.
    pub limit: f64,
    /// The time from the event to the response.
    pub elapsed: Duration,
    /// The time from the response to the deadline.
    pub remaining: Duration,
}

/// The reason why a user record will be redelivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "`Failure` documents them")]
pub enum Cause {
    Fault(FaultKind),
    OutOfTime,
    DeadLetterRefused,
    BatchTooLarge,
    AfterFailure,
    /// The record was predicted, rejected or skipped, but a record before it has failed.
    Waiting,
    /// The record was predicted or rejected, but its destination has not accepted the result or is not set.
    Undelivered,
}

impl Cause {
    fn of(outcome: &Outcome, progress: &Progress<'_>, is_rejected_unfinished: bool) -> Option<Self> {
        match outcome {
            Outcome::Failed(failure) => Some(match failure {
                Failure::Fault { fault, .. } => Self::Fault(fault.kind),
                Failure::OutOfTime => Self::OutOfTime,
                Failure::DeadLetterRefused => Self::DeadLetterRefused,
                Failure::BatchTooLarge => Self::BatchTooLarge,
                Failure::AfterFailure => Self::AfterFailure,
            }),
            Outcome::Rejected(_) if is_rejected_unfinished => Some(Self::Undelivered),
            Outcome::Predicted(_) | Outcome::Rejected(_) if progress.has_delivery_failed() => Some(Self::Undelivered),
            Outcome::Predicted(_) | Outcome::Rejected(_) => Some(Self::Waiting),
            Outcome::Delivered | Outcome::Skipped => None,
        }
    }
}

impl InvocationStats {
    /// Returns the statistics of the batch and its calls. `is_rejected_unfinished` is true if there is no destination
    /// for dead letters. The remembered records, the limit and the times are left at zero for the caller to fill in.
    pub fn of(
        batch: &Batch<'_>,
        progress: &Progress<'_>,
        call_stats: &CallStats,
        is_rejected_unfinished: bool,
    ) -> Self {
        let count = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
        let mut failed = HashMap::new();
        for (_, outcome) in progress.outcomes() {
            if let Some(cause) = Cause::of(outcome, progress, is_rejected_unfinished) {
                *failed.entry(cause).or_default() += 1;
            }
        }
        let finished = progress.finished_prefix();
        let is_skipped = |user_record: &&UserRecord| matches!(user_record.data, Err(Outcome::Skipped));
        let skipped = batch.user_records.iter().filter(is_skipped);
        let (skipped, waiting) = skipped.partition::<Vec<_>, _>(|user_record| user_record.record_index < finished);
        if !waiting.is_empty() {
            *failed.entry(Cause::Waiting).or_default() += waiting.len();
        }
        Self {
            skipped: skipped.len(),
            kinesis_records: batch.records.len(),
            user_records: batch.user_records.len(),
            delivered: progress.delivered().clone(),
            failed,
            attempts: count(&call_stats.attempts),
            hedges: count(&call_stats.hedges),
            retries: count(&call_stats.retries),
            throttles: count(&call_stats.throttles),
            timeouts: count(&call_stats.timeouts),
            splits: count(&call_stats.splits),
            miscounted_records: count(&call_stats.miscounted_records),
            packing_off: count(&call_stats.packing_off),
            latencies_us: call_stats.latencies_us(),
            ..Self::default()
        }
    }

    /// Returns the number of user records with a delivered dead letter.
    pub fn rejected(&self) -> usize {
        self.delivered.rejected.values().sum()
    }

    /// Returns the number of user records that will be redelivered.
    pub fn failed(&self) -> usize {
        self.failed.values().sum()
    }

    /// Returns the number of calls, including hedged calls.
    pub fn calls(&self) -> usize {
        self.attempts + self.hedges
    }
}
