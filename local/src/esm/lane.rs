//! One lane of a shard: its batches one after the other, each until all its records are finished or discarded.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::batch::Batch;
use super::intake::Intake;
use super::{Condition, Mapping, Report};
use crate::function::Answer;
use crate::stream::StreamRecord;

/// First pause before a batch that made no progress comes again; it doubles up to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LAST_PAUSE: Duration = Duration::from_secs(2);

/// Records with the same partition keys, strictly in order.
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
    pub(super) async fn run(mut self, invoke: &impl AsyncFn(Bytes) -> Answer, report: &impl Fn(Report)) {
        let Mapping {
            batch_size,
            batch_window,
            ..
        } = self.mapping;
        while let Some(records) = self.intake.batch(batch_size, batch_window).await {
            // One batch, or the parts of one that was split, in the order of the stream.
            let mut parts = VecDeque::from([Batch::new(records)]);
            while let Some(part) = parts.pop_front() {
                let left = self.attempt(part, invoke, report).await;
                for part in left.into_iter().flatten().rev() {
                    parts.push_front(part);
                }
            }
        }
    }

    /// Invokes the function once with a batch, and waits as long as must be before the next time. Returns what comes
    /// again: the batch, and the second half of it where it was split.
    async fn attempt(
        &self,
        mut batch: Batch,
        invoke: &impl AsyncFn(Bytes) -> Answer,
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
            sleep(pause(batch.retries)).await;
        }
        [Some(batch), second]
    }
}

/// How long to wait after so many attempts without progress.
pub(crate) fn pause(retries: usize) -> Duration {
    let doublings = u32::try_from(retries.saturating_sub(1)).unwrap_or(u32::MAX);
    FIRST_PAUSE
        .saturating_mul(2_u32.saturating_pow(doublings))
        .min(LAST_PAUSE)
}
