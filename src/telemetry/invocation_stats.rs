//! What is measured of an invocation.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::delivery::{DeliveredRecords, Progress};
use crate::dispatch::attempt::CallStats;
use crate::event::Batch;
use crate::outcome::FaultKind;
use crate::outcome::{Failure, Outcome};

/// An invocation in figures.
#[derive(Debug, Clone, Default)]
pub struct InvocationStats {
    /// Kinesis records in the event.
    pub kinesis_records: usize,
    /// User records in them.
    pub user_records: usize,
    /// What was delivered.
    pub arrived: DeliveredRecords,
    /// User records that come again, by why.
    pub failed: HashMap<Cause, usize>,
    /// User records whose outcome was remembered.
    pub remembered: usize,
    /// Those of them that had been delivered before.
    pub before: usize,
    /// Attempts at requests, repeated ones included.
    pub attempts: usize,
    /// Second calls.
    pub hedges: usize,
    /// Attempts after the first at the same request.
    pub retries: usize,
    /// Calls that ended by Overload.
    pub throttles: usize,
    /// Attempts that had no answer in time.
    pub timeouts: usize,
    /// Requests that were split.
    pub splits: usize,
    /// How long each attempt took that was answered, in microseconds, in no order.
    pub latencies_us: Vec<u32>,
    /// How many calls may be in flight.
    pub limit: f64,
    /// From the event to the answer.
    pub spent: Duration,
    /// From the answer to the deadline.
    pub left: Duration,
}

/// Why a user record comes again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "as `Failure` has them")]
pub enum Cause {
    Fault(FaultKind),
    OutOfTime,
    DeadLetterTooLarge,
    BatchTooLarge,
    AfterFailure,
    /// It has its prediction or its rejection, and a record before it has failed.
    Waiting,
    /// It has its prediction or its rejection, but its destination has not taken that, or there is none.
    Undelivered,
}

impl Cause {
    fn of(outcome: &Outcome, progress: &Progress<'_>, rejected_fails: bool) -> Option<Self> {
        match outcome {
            Outcome::Failed(failure) => Some(match failure {
                Failure::Fault(fault) => Self::Fault(fault.kind),
                Failure::OutOfTime => Self::OutOfTime,
                Failure::DeadLetterTooLarge => Self::DeadLetterTooLarge,
                Failure::BatchTooLarge => Self::BatchTooLarge,
                Failure::AfterFailure => Self::AfterFailure,
            }),
            Outcome::Rejected(_) if rejected_fails => Some(Self::Undelivered),
            Outcome::Predicted(_) | Outcome::Rejected(_) if progress.has_delivery_failed() => Some(Self::Undelivered),
            Outcome::Predicted(_) | Outcome::Rejected(_) => Some(Self::Waiting),
            Outcome::Delivered => None,
        }
    }
}

impl InvocationStats {
    /// What has become of the batch, and by which calls; `rejected_fails` where there are no dead letters. What the memory
    /// knew and the times are not known here.
    pub fn of(batch: &Batch<'_>, progress: &Progress<'_>, call_stats: &CallStats, rejected_fails: bool) -> Self {
        let count = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
        let mut failed = HashMap::new();
        for (_, outcome) in progress.outcomes() {
            if let Some(cause) = Cause::of(outcome, progress, rejected_fails) {
                *failed.entry(cause).or_default() += 1;
            }
        }
        Self {
            kinesis_records: batch.records.len(),
            user_records: batch.user_records.len(),
            arrived: progress.delivered().clone(),
            failed,
            attempts: count(&call_stats.attempts),
            hedges: count(&call_stats.hedges),
            retries: count(&call_stats.retries),
            throttles: count(&call_stats.throttles),
            timeouts: count(&call_stats.timeouts),
            splits: count(&call_stats.splits),
            latencies_us: call_stats.latencies_us(),
            ..Self::default()
        }
    }

    /// User records whose dead letters have arrived.
    pub fn rejected(&self) -> usize {
        self.arrived.rejected.values().sum()
    }

    /// User records that come again.
    pub fn failed(&self) -> usize {
        self.failed.values().sum()
    }

    /// All calls.
    pub fn calls(&self) -> usize {
        self.attempts + self.hedges
    }
}
