//! The progress of one invocation's user records: settled, ready for delivery, delivered.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, UNIX_EPOCH};

use super::line::{LineBuilder, PendingLine};
use super::{OutputMode, PutResult};
use crate::event::Batch;
use crate::lambda::response::checkpointable_prefix;
use crate::outcome::{Outcome, RejectionKind};

/// The outcomes of one invocation's user records, and which records are delivered.
#[derive(Debug)]
pub struct Progress<'b> {
    batch: Batch<'b>,
    mode: OutputMode,
    outcomes: Vec<Option<Outcome>>,
    is_delivered: Vec<bool>,
    /// Lines that wait for delivery. In `ordered` mode, they belong to a prefix of the batch.
    ready: Vec<PendingLine>,
    /// In `ordered` mode, the index of the first user record without a line.
    next: usize,
    /// In `ordered` mode, whether the record at `next` is unfinished and so ends the prefix.
    is_blocked: bool,
    /// `true` if a delivery left lines undelivered. No other delivery starts after it.
    has_delivery_failed: bool,
    delivered: DeliveredRecords,
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
    pub(super) fn new(batch: Batch<'b>, mode: OutputMode) -> Self {
        let count = batch.user_records.len();
        Self {
            batch,
            mode,
            outcomes: (0..count).map(|_| None).collect(),
            is_delivered: vec![false; count],
            ready: Vec::new(),
            next: 0,
            is_blocked: false,
            has_delivery_failed: false,
            delivered: DeliveredRecords::default(),
        }
    }

    /// Records an outcome and makes the lines that it allows. Returns the index of a record that is unfinished although
    /// its outcome was not Failed, because its line cannot be made or has no destination.
    pub(super) fn settle(&mut self, index: usize, outcome: Outcome, builder: &LineBuilder<'_>) -> Option<usize> {
        let slot = self.outcomes.get_mut(index).expect("the index is in this batch");
        assert!(slot.is_none(), "a record has exactly one outcome");
        *slot = Some(outcome);
        if self.mode == OutputMode::Unordered {
            return self.make_line(index, builder).unwrap_or_default();
        }
        while !self.is_blocked && self.outcomes.get(self.next).is_some_and(Option::is_some) {
            if let Some(unfinished) = self.make_line(self.next, builder) {
                self.is_blocked = true;
                return unfinished;
            }
            self.next += 1;
        }
        None
    }

    /// Makes the line of a settled record. Returns `None` if the record can be finished, `Some(None)` if its outcome
    /// was Failed, and `Some(Some(index))` if it is unfinished although its outcome was not Failed.
    #[expect(
        clippy::option_option,
        reason = "three cases: not unfinished, known to be unfinished, newly unfinished"
    )]
    fn make_line(&mut self, index: usize, builder: &LineBuilder<'_>) -> Option<Option<usize>> {
        let outcome = self.outcomes.get_mut(index)?.as_mut()?;
        match outcome {
            Outcome::Failed(_) => return Some(None),
            Outcome::Delivered => {
                self.is_delivered
                    .get_mut(index)
                    .map(|is_delivered| *is_delivered = true)?;
                return None;
            }
            Outcome::Predicted(_) | Outcome::Rejected(_) => {}
        }
        let Some(line) = builder.build(index, outcome) else {
            return Some(Some(index));
        };
        self.ready.push(line);
        None
    }

    /// Removes and returns the deliverable lines in batch order, if there are at least `lines_min` of them.
    pub(super) fn take_ready(&mut self, lines_min: usize) -> Option<Vec<PendingLine>> {
        if self.has_delivery_failed || self.ready.len() < lines_min {
            return None;
        }
        if self.mode == OutputMode::Unordered {
            let mut lines = std::mem::take(&mut self.ready);
            lines.sort_by_key(|line| line.index);
            return Some(lines);
        }
        // If the rest of the batch failed, it would be redelivered from the Kinesis record at `from`.
        let next = self.batch.user_records.get(self.next);
        let finished = next.map_or(self.batch.records.len(), |user_record| user_record.record_index);
        let from = checkpointable_prefix(self.batch.records, finished).unwrap_or_default();
        let deliverable = self.ready.partition_point(|line| line.record_index < from);
        (deliverable >= lines_min).then(|| self.ready.drain(..deliverable).collect())
    }

    /// Records the result of a delivery.
    pub(super) fn record_result(&mut self, result: &PutResult) {
        let PutResult {
            indexes,
            undelivered,
            at,
        } = result;
        self.has_delivery_failed |= !undelivered.is_empty();
        let undelivered: HashSet<_> = undelivered.iter().collect();
        let delivered = indexes.iter().filter(|index| !undelivered.contains(index));
        let mut oldest_ms: Option<u64> = None;
        for index in delivered {
            if let (Some(slot), Some(is_delivered)) = (self.outcomes.get_mut(*index), self.is_delivered.get_mut(*index))
            {
                // The delivered payload is no longer needed.
                let outcome = slot.replace(Outcome::Delivered);
                *is_delivered = true;
                if self.delivered.count(outcome) {
                    let arrival = self
                        .batch
                        .record_of(*index)
                        .and_then(|record| record.approximate_arrival_ms);
                    oldest_ms = oldest_ms.into_iter().chain(arrival).min();
                }
            }
        }
        let oldest = oldest_ms.map(|ms| UNIX_EPOCH + Duration::from_millis(ms));
        // If this clock is behind the stream's, the arrival can be in the future. The age is then 0.
        let age = oldest.map(|arrival| at.duration_since(arrival).unwrap_or_default());
        self.delivered.oldest_age = self.delivered.oldest_age.max(age);
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
    use crate::delivery::destination::Destination;
    use crate::delivery::projection::Projection;
    use crate::delivery::{LineFormat, OutputFormat};
    use crate::endpoint::Response;
    use crate::event;
    use crate::event::UserRecord;
    use crate::inference::format::json_path::JsonPath;
    use crate::inference::read_prediction;
    use crate::outcome::Failure;

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
    fn with_progress(mode: OutputMode, check: impl FnOnce(&mut Progress<'_>)) {
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
        let line_format = LineFormat {
            format: OutputFormat::Envelope,
            projection: Projection {
                join_input: false,
                output_filter: JsonPath::parse("$").unwrap(),
                record_type: None,
            },
        };
        let builder = LineBuilder {
            output: &Destination::None,
            dead_letter: None,
            line_format: &line_format,
            batch,
            endpoint: "fraud",
        };
        let mut progress = Progress::new(batch, mode);
        for index in [5, 4, 0, 2, 1] {
            progress.settle(index, predicted(), &builder);
        }
        progress.settle(3, Outcome::Failed(Failure::OutOfTime), &builder);
        check(&mut progress);
    }

    fn put_result(indexes: &[usize], undelivered: &[usize]) -> PutResult {
        PutResult {
            indexes: indexes.to_vec(),
            undelivered: undelivered.to_vec(),
            at: UNIX_EPOCH,
        }
    }

    fn indexes(lines: &[PendingLine]) -> Vec<usize> {
        lines.iter().map(|line| line.index).collect()
    }

    #[test]
    fn only_whole_kinesis_records_are_delivered_in_order() {
        with_progress(OutputMode::Ordered, |progress| {
            assert!(progress.take_ready(3).is_none());
            let lines = progress.take_ready(1).unwrap();
            assert_eq!(
                indexes(&lines),
                [0, 1],
                "the second record would be redelivered with half of it delivered"
            );
            progress.record_result(&put_result(&[0, 1], &[]));
            assert_eq!(progress.finished_prefix(), 1);
            assert!(progress.take_ready(1).is_none());
        });
    }

    #[test]
    fn unordered_delivery_is_tracked_per_user_record() {
        with_progress(OutputMode::Unordered, |progress| {
            let lines = progress.take_ready(1).unwrap();
            assert_eq!(indexes(&lines), [0, 1, 2, 4, 5]);
            progress.record_result(&put_result(&[0, 1, 2, 4, 5], &[1, 4]));
            assert_eq!(progress.finished_prefix(), 0);
            let delivered =
                |(index, outcome): (usize, &Outcome)| matches!(outcome, Outcome::Delivered).then_some(index);
            assert_eq!(progress.outcomes().filter_map(delivered).collect::<Vec<_>>(), [0, 2, 5]);
            assert_eq!(progress.delivered().predicted, 3);
        });
    }
}
