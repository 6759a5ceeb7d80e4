//! One lane of a shard. Processes its batches one after the other, each until all its records are finished or
//! discarded.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::batch::Batch;
use super::intake::Intake;
use super::{Condition, Mapping, Report};
use crate::function::InvocationResult;
use crate::stream::StreamRecord;

/// The first pause before a batch that made no progress is redelivered. It doubles with each retry.
const RETRY_BACKOFF_MIN: Duration = Duration::from_millis(100);
/// The longest such pause.
const RETRY_BACKOFF_MAX: Duration = Duration::from_secs(2);

/// A lane. It processes the records of its partition keys strictly in order.
#[derive(Debug)]
pub(super) struct Lane {
    number: usize,
    mapping: Mapping,
    intake: Intake,
}

impl Lane {
    pub(super) fn new(number: usize, mapping: Mapping, records: mpsc::UnboundedReceiver<StreamRecord>) -> Self {
        Self {
            number,
            mapping,
            intake: Intake::new(records),
        }
    }

    /// Processes the lane to its end.
    pub(super) async fn run(mut self, invoke: &impl AsyncFn(Bytes) -> InvocationResult, report: &impl Fn(Report)) {
        let Mapping {
            batch_size,
            batch_window,
            ..
        } = self.mapping;
        while let Some(records) = self.intake.batch(batch_size, batch_window).await {
            // One batch, or the parts of a split batch, in stream order.
            let mut parts = VecDeque::from([Batch::new(records)]);
            while let Some(part) = parts.pop_front() {
                let unfinished = self.attempt(part, invoke, report).await;
                for part in unfinished.into_iter().flatten().rev() {
                    parts.push_front(part);
                }
            }
        }
    }

    /// Invokes the function once with a batch, then waits for the backoff before its redelivery. Returns the batches to
    /// redeliver: the rest of the batch, and its second half if it was split.
    async fn attempt(
        &self,
        mut batch: Batch,
        invoke: &impl AsyncFn(Bytes) -> InvocationResult,
        report: &impl Fn(Report),
    ) -> [Option<Batch>; 2] {
        if let Some(old) = self.mapping.max_record_age.and_then(|age| batch.discard_older(age)) {
            report(Report::Discarded(old));
        }
        if batch.records.is_empty() {
            return [None, None];
        }
        let invoked = batch.invoke(self.number, invoke).await;
        let (failed, progressed) = (invoked.failure.is_some(), invoked.finished > 0);
        report(Report::Invoked(invoked));
        if batch.records.is_empty() {
            return [None, None];
        }
        let mut second = None;
        if failed && self.mapping.bisect && batch.records.len() > 1 {
            second = Some(batch.split());
        } else if !progressed {
            batch.retries += 1;
        }
        if self.mapping.max_retries.is_some_and(|max| batch.retries > max) {
            report(Report::Discarded(batch.discard(Condition::RetryAttemptsExhausted)));
            return [None, second];
        }
        if !progressed {
            sleep(retry_backoff(batch.retries)).await;
        }
        [Some(batch), second]
    }
}

/// Returns the pause before the next delivery after `retries` retries without progress.
pub fn retry_backoff(retries: usize) -> Duration {
    let doublings = u32::try_from(retries.saturating_sub(1)).unwrap_or(u32::MAX);
    RETRY_BACKOFF_MIN
        .saturating_mul(2_u32.saturating_pow(doublings))
        .min(RETRY_BACKOFF_MAX)
}
