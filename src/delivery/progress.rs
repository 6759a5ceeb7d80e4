//! The progress of one invocation's user records: settled, ready for delivery, delivered.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;

use super::line::{LineBuilder, PendingLine};
use super::memo::entry_size;
use super::{OutputMode, PutResult};
use crate::dispatch::{DELIVERY_ENDED, DELIVERY_GOES_ON};
use crate::event::Batch;
use crate::lambda::response::checkpointable_prefix;
use crate::outcome::{Failure, Outcome, Rejection, RejectionKind};

/// The size of the outcomes from which a delivery starts, in bytes. Their lines take about three times as much memory
/// while they are delivered.
const DELIVERY_BYTES: usize = 4 * 1024 * 1024;

/// The outcomes of one invocation's user records, and which records are delivered.
#[derive(Debug)]
pub struct Progress<'b> {
    batch: Batch<'b>,
    rules: ProgressRules,
    outcomes: Vec<Option<Outcome>>,
    is_delivered: Vec<bool>,
    /// The settled records that wait for delivery, in batch order. In `ordered` mode, they belong to a prefix of the
    /// batch.
    ready: Vec<usize>,
    /// The approximate size of the outcomes of these records, in bytes.
    ready_bytes: usize,
    /// The approximate size of the outcomes of all other records that are settled and not delivered, in bytes.
    held_bytes: usize,
    /// The index of the first user record that is not settled or, in `ordered` mode, is unfinished.
    next: usize,
    /// In `ordered` mode, whether the record at `next` is unfinished and so ends the prefix.
    is_blocked: bool,
    /// The rejected records whose dead letter was refused, so that it is delivered without its payload.
    without_payload: HashSet<usize>,
    /// `true` if a delivery left lines undelivered. No other delivery starts after it.
    has_delivery_failed: bool,
    delivered: DeliveredRecords,
}

/// The rules that decide which records are delivered.
#[derive(Debug, Clone, Copy)]
pub(super) struct ProgressRules {
    pub(super) mode: OutputMode,
    /// `true` if a rejected record is unfinished, because there is no `DEAD_LETTER`.
    pub(super) is_rejected_unfinished: bool,
    /// Whether the lines of predictions hold the records.
    pub(super) join_input: bool,
    /// The maximum size of the finished part of an unfinished Kinesis record, in bytes. A larger part is delivered
    /// before the rest is finished, because the memo could not keep it.
    pub(super) held_bytes_max: usize,
    /// The maximum size of the memo, in bytes.
    pub(super) memo_bytes: usize,
}

/// Counts of the records that this invocation delivered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeliveredRecords {
    /// The number of user records with a delivered prediction.
    pub predicted: usize,
    /// The number of user records with a delivered dead letter, by kind of rejection.
    pub rejected: HashMap<RejectionKind, usize>,
    /// The age of the oldest predicted record when its prediction was delivered, measured from its arrival in the
    /// stream. `None` without a delivered prediction whose record has an arrival time.
    pub oldest_age: Option<Duration>,
}

impl<'b> Progress<'b> {
    pub(super) fn new(batch: Batch<'b>, rules: ProgressRules) -> Self {
        let count = batch.user_records.len();
        Self {
            batch,
            rules,
            outcomes: (0..count).map(|_| None).collect(),
            is_delivered: vec![false; count],
            ready: Vec::new(),
            ready_bytes: 0,
            held_bytes: 0,
            next: 0,
            is_blocked: false,
            without_payload: HashSet::new(),
            has_delivery_failed: false,
            delivered: DeliveredRecords::default(),
        }
    }

    /// Records an outcome, and the records that it makes ready for delivery.
    pub(super) fn settle(&mut self, index: usize, outcome: Outcome) {
        let slot = self.outcomes.get_mut(index).expect("the index is in this batch");
        assert!(slot.is_none(), "a record has exactly one outcome");
        *slot = Some(outcome);
        self.held_bytes += self.size(index);
        if self.rules.mode == OutputMode::Unordered {
            self.is_finished(index);
        }
        while !self.is_blocked && self.outcomes.get(self.next).is_some_and(Option::is_some) {
            if self.rules.mode == OutputMode::Unordered || self.is_finished(self.next) {
                self.next += 1;
            } else {
                self.is_blocked = true;
            }
        }
    }

    /// Returns the index of the record without whose outcome nothing more can be delivered. Returns
    /// [`DELIVERY_GOES_ON`] if there is much to deliver first, and [`DELIVERY_ENDED`] if nothing more will be
    /// delivered.
    pub(super) fn needed_index(&self) -> usize {
        let can_deliver = || self.ready_bytes > DELIVERY_BYTES && self.deliverable() > 0;
        if self.has_delivery_failed || self.is_blocked && self.ready.is_empty() {
            DELIVERY_ENDED
        } else if self.is_blocked || can_deliver() {
            DELIVERY_GOES_ON
        } else {
            self.next
        }
    }

    /// Returns the index of the unfinished record that ends the prefix, if the outcomes after it take more memory than
    /// the memo has. Then no further outcome can be kept for the redelivery.
    pub(super) fn overfull_from(&self) -> Option<usize> {
        (self.is_blocked && self.held_bytes > self.rules.memo_bytes).then_some(self.next)
    }

    /// Returns whether a settled record is finished after its delivery. Marks it as ready or as delivered.
    fn is_finished(&mut self, index: usize) -> bool {
        match self.outcomes.get(index) {
            Some(Some(Outcome::Predicted(_))) => self.ready.push(index),
            Some(Some(Outcome::Rejected(_))) if !self.rules.is_rejected_unfinished => self.ready.push(index),
            Some(Some(Outcome::Delivered)) => self.mark_delivered(index),
            Some(Some(Outcome::Rejected(_) | Outcome::Failed(_)) | None) | None => return false,
        }
        let size = self.size(index);
        self.held_bytes -= size.min(self.held_bytes);
        if !self.is_delivered.get(index).is_some_and(|is_delivered| *is_delivered) {
            self.ready_bytes += size;
        }
        true
    }

    fn mark_delivered(&mut self, index: usize) {
        if let Some(is_delivered) = self.is_delivered.get_mut(index) {
            *is_delivered = true;
        }
    }

    /// Returns the approximate memory of a settled record's outcome with the part of the record that its line has.
    fn size(&self, index: usize) -> usize {
        let (Some(Some(outcome)), Some(user_record)) = (self.outcomes.get(index), self.batch.user_records.get(index))
        else {
            return 0;
        };
        let input = match outcome {
            Outcome::Rejected(_) => user_record.original.as_ref(),
            Outcome::Predicted(_) | Outcome::Failed(_) | Outcome::Delivered => {
                user_record.data.as_ref().ok().filter(|_| self.rules.join_input)
            }
        };
        entry_size(outcome) + input.map_or(0, Bytes::len)
    }

    /// Removes and returns the records of the next delivery in batch order: from `lines_min` to `lines_max` records, or
    /// fewer that take [`DELIVERY_BYTES`] or more.
    pub(super) fn take_ready(&mut self, lines_min: usize, lines_max: usize) -> Option<Vec<usize>> {
        let is_large = self.ready_bytes >= DELIVERY_BYTES;
        if self.has_delivery_failed || self.ready.is_empty() || self.ready.len() < lines_min && !is_large {
            return None;
        }
        if self.rules.mode == OutputMode::Unordered {
            self.ready.sort_unstable();
        }
        let deliverable = self.deliverable();
        if deliverable == 0 || deliverable < lines_min && !is_large {
            return None;
        }
        let (mut count, mut bytes) = (0, 0);
        while count < deliverable.min(lines_max) && bytes < DELIVERY_BYTES {
            bytes += self.ready.get(count).map_or(0, |index| self.size(*index));
            count += 1;
        }
        self.ready_bytes -= bytes;
        Some(self.ready.drain(..count).collect())
    }

    /// Returns the number of ready records that would not be redelivered if the rest of the batch failed. If there are
    /// none, because a large Kinesis record is unfinished, the finished part of it counts.
    fn deliverable(&self) -> usize {
        if self.rules.mode == OutputMode::Unordered {
            return self.ready.len();
        }
        let next = self.batch.user_records.get(self.next);
        let finished = next.map_or(self.batch.records.len(), |user_record| user_record.record_index);
        let from = checkpointable_prefix(self.batch.records, finished).unwrap_or_default();
        let is_before = |index: &usize| {
            let user_record = self.batch.user_records.get(*index);
            user_record.is_some_and(|user_record| user_record.record_index < from)
        };
        match self.ready.partition_point(is_before) {
            0 if self.ready_bytes > self.rules.held_bytes_max => self.ready.len(),
            deliverable => deliverable,
        }
    }

    /// Builds the lines of these records, up to the first record that is unfinished. Returns the lines and the index of
    /// that record.
    pub(super) fn build_lines(
        &mut self,
        indexes: &[usize],
        builder: &LineBuilder<'_>,
    ) -> (Vec<PendingLine>, Option<usize>) {
        let mut lines = Vec::with_capacity(indexes.len());
        let mut unfinished = None;
        for index in indexes {
            let has_payload = !self.without_payload.contains(index);
            let outcome = self.outcomes.get_mut(*index).and_then(Option::as_mut);
            let line = outcome.and_then(|outcome| builder.build(*index, outcome, has_payload));
            if line.is_none() {
                unfinished = unfinished.or(Some(*index));
                if self.rules.mode == OutputMode::Ordered {
                    self.block(*index);
                    break;
                }
            }
            lines.extend(line);
        }
        (lines, unfinished)
    }

    /// Ends the prefix at `index` in `ordered` mode.
    fn block(&mut self, index: usize) {
        self.is_blocked = true;
        self.next = self.next.min(index);
        let (before, after): (Vec<_>, Vec<_>) = self.ready.iter().partition(|ready| **ready < index);
        let after_bytes: usize = after.into_iter().map(|index| self.size(index)).sum();
        self.ready = before;
        self.ready_bytes -= after_bytes;
        self.held_bytes += after_bytes;
    }

    /// Records the result of a delivery. A refused prediction is rejected, and a refused dead letter is delivered again
    /// without its payload. If it is refused once more, it fails.
    pub(super) fn record_result(&mut self, result: PutResult) {
        self.has_delivery_failed |= !result.undelivered.is_empty();
        let mut oldest_ms: Option<u64> = None;
        for index in result.delivered {
            // The delivered payload is no longer needed.
            let outcome = self
                .outcomes
                .get_mut(index)
                .and_then(|slot| slot.replace(Outcome::Delivered));
            self.mark_delivered(index);
            if self.delivered.count(outcome) {
                let record = self.batch.record_of(index);
                let arrival = record.and_then(|record| record.approximate_arrival_ms);
                oldest_ms = oldest_ms.into_iter().chain(arrival).min();
            }
        }
        let oldest = oldest_ms.map(|ms| UNIX_EPOCH + Duration::from_millis(ms));
        // If this clock is behind the stream's, the arrival can be in the future. The age is then 0.
        let age = oldest.map(|arrival| result.at.duration_since(arrival).unwrap_or_default());
        self.delivered.oldest_age = self.delivered.oldest_age.max(age);
        for (index, reason) in result.refused {
            self.refuse(index, &reason);
        }
    }

    fn refuse(&mut self, index: usize, reason: &str) {
        let Some(Some(outcome)) = self.outcomes.get_mut(index) else {
            return;
        };
        if matches!(outcome, Outcome::Rejected(_)) {
            if !self.without_payload.insert(index) {
                *outcome = Outcome::Failed(Failure::DeadLetterRefused);
            }
        } else {
            *outcome = Outcome::Rejected(Rejection {
                kind: RejectionKind::PredictionRefused,
                message: format!("OUTPUT does not accept the prediction: {reason}"),
            });
        }
        self.held_bytes += self.size(index);
        if self.is_finished(index) {
            self.ready.sort_unstable();
        } else if self.rules.mode == OutputMode::Ordered {
            self.block(index);
        }
    }

    /// Returns `true` if a delivery left lines undelivered.
    pub fn has_delivery_failed(&self) -> bool {
        self.has_delivery_failed
    }

    /// Returns the counts of the records that this invocation delivered.
    pub fn delivered(&self) -> &DeliveredRecords {
        &self.delivered
    }

    /// Returns the length of the batch's finished prefix in Kinesis records. A Kinesis record is finished when all of
    /// its user records are delivered.
    pub fn finished_prefix(&self) -> usize {
        let unfinished = self.is_delivered.iter().position(|is_delivered| !is_delivered);
        let user_record = unfinished.and_then(|index| self.batch.user_records.get(index));
        user_record.map_or(self.batch.records.len(), |user_record| user_record.record_index)
    }

    /// Returns each settled record's index and outcome, which is [`Outcome::Delivered`] for a delivered record.
    pub fn into_outcomes(self) -> impl Iterator<Item = (usize, Outcome)> {
        let numbered = self.outcomes.into_iter().enumerate();
        numbered.filter_map(|(index, outcome)| Some((index, outcome?)))
    }

    /// Borrows the pairs that [`into_outcomes`](Self::into_outcomes) returns.
    pub fn outcomes(&self) -> impl Iterator<Item = (usize, &Outcome)> {
        let numbered = self.outcomes.iter().enumerate();
        numbered.filter_map(|(index, outcome)| Some((index, outcome.as_ref()?)))
    }
}

impl DeliveredRecords {
    /// Counts a delivered record by its outcome before delivery. Returns whether that was a prediction.
    fn count(&mut self, outcome: Option<Outcome>) -> bool {
        match outcome {
            Some(Outcome::Predicted(_)) => {
                self.predicted += 1;
                return true;
            }
            Some(Outcome::Rejected(rejection)) => *self.rejected.entry(rejection.kind).or_default() += 1,
            Some(Outcome::Failed(_) | Outcome::Delivered) | None => {}
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::endpoint::Response;
    use crate::event;
    use crate::event::UserRecord;
    use crate::inference::read_prediction;

    fn predicted() -> Outcome {
        let response = Response {
            body: Bytes::from_static(b"1"),
            content_type: None,
            variant: None,
        };
        Outcome::Predicted(read_prediction(response).unwrap())
    }

    /// Calls `check` with three Kinesis records of two user records each. All are predicted except the second user
    /// record of the second Kinesis record.
    fn with_progress(mode: OutputMode, held_bytes_max: usize, check: impl FnOnce(&mut Progress<'_>)) {
        let entry = |number: u32| format!(r#"{{"kinesis":{{"sequenceNumber":"{number}","data":""}}}}"#);
        let entries = [7, 8, 9].map(entry).join(",");
        let payload = format!(r#"{{"Records":[{entries}]}}"#);
        let event = event::read(payload.as_bytes()).unwrap();
        let user_record = |number: usize| UserRecord {
            record_index: number / 2,
            sub_sequence_number: (number % 2) as u64,
            ..UserRecord::not_aggregated(0, &event.records[0], Ok(Bytes::new()))
        };
        let user_records: Vec<_> = (0..6).map(user_record).collect();
        let batch = Batch {
            records: &event.records,
            user_records: &user_records,
            stream_arn: "",
        };
        let rules = ProgressRules {
            mode,
            is_rejected_unfinished: false,
            join_input: false,
            held_bytes_max,
            memo_bytes: 10_000,
        };
        let mut progress = Progress::new(batch, rules);
        for index in [5, 4, 0, 2, 1] {
            progress.settle(index, predicted());
        }
        progress.settle(3, Outcome::Failed(Failure::OutOfTime));
        check(&mut progress);
    }

    fn put_result(delivered: &[usize], undelivered: &[usize], refused: &[usize]) -> PutResult {
        PutResult {
            delivered: delivered.to_vec(),
            undelivered: undelivered.to_vec(),
            refused: refused.iter().map(|index| (*index, "too long".to_owned())).collect(),
            at: UNIX_EPOCH,
        }
    }

    #[test]
    fn only_whole_kinesis_records_are_delivered_in_order() {
        with_progress(OutputMode::Ordered, 10_000, |progress| {
            assert_eq!(progress.take_ready(3, 9), None);
            assert_eq!(
                progress.take_ready(1, 9).unwrap(),
                [0, 1],
                "the second record would be redelivered with half of it delivered"
            );
            progress.record_result(put_result(&[0, 1], &[], &[]));
            assert_eq!(progress.finished_prefix(), 1);
            assert_eq!(progress.take_ready(1, 9), None);
        });
    }

    #[test]
    fn the_finished_part_of_a_kinesis_record_is_delivered_if_the_memo_could_not_keep_it() {
        with_progress(OutputMode::Ordered, 100, |progress| {
            assert_eq!(progress.take_ready(1, 9).unwrap(), [0, 1]);
            progress.record_result(put_result(&[0, 1], &[], &[]));
            assert_eq!(progress.take_ready(1, 9).unwrap(), [2]);
            progress.record_result(put_result(&[2], &[], &[]));
            assert_eq!(progress.finished_prefix(), 1);
            assert_eq!(progress.delivered().predicted, 3);
        });
    }

    #[test]
    fn unordered_delivery_is_tracked_per_user_record() {
        with_progress(OutputMode::Unordered, 10_000, |progress| {
            assert_eq!(progress.take_ready(1, 3).unwrap(), [0, 1, 2]);
            assert_eq!(progress.take_ready(1, 9).unwrap(), [4, 5]);
            progress.record_result(put_result(&[0, 2, 5], &[1, 4], &[]));
            assert_eq!(progress.finished_prefix(), 0);
            let delivered =
                |(index, outcome): (usize, &Outcome)| matches!(outcome, Outcome::Delivered).then_some(index);
            assert_eq!(progress.outcomes().filter_map(delivered).collect::<Vec<_>>(), [0, 2, 5]);
            assert_eq!(progress.delivered().predicted, 3);
        });
    }

    #[test]
    fn a_refused_prediction_is_rejected_and_a_refused_dead_letter_is_delivered_without_its_payload() {
        with_progress(OutputMode::Ordered, 10_000, |progress| {
            assert_eq!(progress.take_ready(1, 9).unwrap(), [0, 1]);
            progress.record_result(put_result(&[1], &[], &[0]));
            assert_eq!(progress.take_ready(1, 9).unwrap(), [0], "as a dead letter");
            progress.record_result(put_result(&[], &[], &[0]));
            assert!(progress.without_payload.contains(&0));
            assert_eq!(progress.take_ready(1, 9).unwrap(), [0], "without payload");
            progress.record_result(put_result(&[], &[], &[0]));
            let failure = progress.outcomes().find_map(|(index, outcome)| match outcome {
                Outcome::Failed(failure) if index == 0 => Some(failure.clone()),
                Outcome::Predicted(_) | Outcome::Rejected(_) | Outcome::Failed(_) | Outcome::Delivered => None,
            });
            assert_eq!(failure, Some(Failure::DeadLetterRefused));
            assert_eq!(progress.take_ready(1, 9), None);
            assert_eq!(progress.finished_prefix(), 0);
        });
    }
}
