//! How far each user record of one invocation has come.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, UNIX_EPOCH};

use super::line::Writer;
use super::{Line, Run};
use crate::delivery::OutputMode;
use crate::event::Batch;
use crate::lambda::response::nameable;
use crate::outcome::{Outcome, RejectionKind};

/// The outcomes of one invocation's user records, and which of them have arrived.
#[derive(Debug)]
pub struct Progress<'b> {
    batch: Batch<'b>,
    mode: OutputMode,
    outcomes: Vec<Option<Outcome>>,
    has_arrived: Vec<bool>,
    /// Lines that wait for their delivery; in `ordered` mode, those of a prefix.
    ready: Vec<Line>,
    /// In `ordered` mode, the first user record that has no line yet.
    next: usize,
    /// In `ordered` mode, whether that one is unfinished for good.
    is_at_its_end: bool,
    /// Whether a delivery fell short. Another one is not begun.
    fell_short: bool,
    arrived: Arrived,
}

/// What has arrived in this invocation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Arrived {
    /// User records whose predictions have.
    pub predicted: usize,
    /// User records whose dead letters have, by why they were rejected.
    pub rejected: HashMap<RejectionKind, usize>,
    /// How old the oldest predicted record was when its prediction arrived, as far as its arrival in the stream is known.
    pub oldest: Option<Duration>,
}

impl<'b> Progress<'b> {
    pub(super) fn new(batch: Batch<'b>, mode: OutputMode) -> Self {
        let count = batch.user_records.len();
        Self {
            batch,
            mode,
            outcomes: (0..count).map(|_| None).collect(),
            has_arrived: vec![false; count],
            ready: Vec::new(),
            next: 0,
            is_at_its_end: false,
            fell_short: false,
            arrived: Arrived::default(),
        }
    }

    /// Takes in an outcome. Returns the index of a record that turns out to be unfinished, though its outcome was not that
    /// it failed: its line cannot be made, or there is no place for it.
    pub(super) fn settle(&mut self, index: usize, outcome: Outcome, writer: &Writer<'_>) -> Option<usize> {
        let slot = self.outcomes.get_mut(index).expect("an index of this batch");
        assert!(slot.is_none(), "a record has one outcome");
        *slot = Some(outcome);
        if self.mode == OutputMode::Unordered {
            return self.write(index, writer).unwrap_or_default();
        }
        while !self.is_at_its_end && self.outcomes.get(self.next).is_some_and(Option::is_some) {
            if let Some(unfinished) = self.write(self.next, writer) {
                self.is_at_its_end = true;
                return unfinished;
            }
            self.next += 1;
        }
        None
    }

    /// Makes the line of a settled record. `Some` if it is unfinished: nothing in it if that was known.
    #[expect(clippy::option_option, reason = "unfinished or not, and if so, news or not")]
    fn write(&mut self, index: usize, writer: &Writer<'_>) -> Option<Option<usize>> {
        let outcome = self.outcomes.get_mut(index)?.as_mut()?;
        match outcome {
            Outcome::Failed(_) => return Some(None),
            Outcome::Delivered => {
                self.has_arrived.get_mut(index).map(|has_arrived| *has_arrived = true)?;
                return None;
            }
            Outcome::Predicted(_) | Outcome::Rejected(_) => {}
        }
        let Some(line) = writer.line(index, outcome) else {
            return Some(Some(index));
        };
        self.ready.push(line);
        None
    }

    /// Takes the lines that may be delivered, in batch order, if there are at least `count` of them.
    pub(super) fn take_ready(&mut self, count: usize) -> Option<Vec<Line>> {
        if self.fell_short || self.ready.len() < count {
            return None;
        }
        if self.mode == OutputMode::Unordered {
            let mut lines = std::mem::take(&mut self.ready);
            lines.sort_by_key(|line| line.index);
            return Some(lines);
        }
        // Were the rest of the batch to fail, this is where it would come again from.
        let whole = self.batch.user_records.get(self.next);
        let whole = whole.map_or(self.batch.records.len(), |user_record| user_record.position);
        let from = nameable(self.batch.records, whole).unwrap_or_default();
        let may_go = self.ready.partition_point(|line| line.position < from);
        (may_go >= count).then(|| self.ready.drain(..may_go).collect())
    }

    /// Takes down what has arrived.
    pub(super) fn shipped(&mut self, run: &Run) {
        let Run { all, left, at } = run;
        self.fell_short |= !left.is_empty();
        let left: HashSet<_> = left.iter().collect();
        let arrived = all.iter().filter(|index| !left.contains(index));
        let mut oldest_ms: Option<u64> = None;
        for index in arrived {
            if let (Some(slot), Some(has_arrived)) = (self.outcomes.get_mut(*index), self.has_arrived.get_mut(*index)) {
                // What it said is not needed any more.
                let outcome = slot.replace(Outcome::Delivered);
                *has_arrived = true;
                if self.arrived.count(outcome) {
                    let arrival = self
                        .batch
                        .record_of(*index)
                        .and_then(|record| record.approximate_arrival_ms);
                    oldest_ms = oldest_ms.into_iter().chain(arrival).min();
                }
            }
        }
        let oldest = oldest_ms.map(|ms| UNIX_EPOCH + Duration::from_millis(ms));
        // A record of the future, by a clock that is behind, has no age.
        let age = oldest.map(|arrival| at.duration_since(arrival).unwrap_or_default());
        self.arrived.oldest = self.arrived.oldest.max(age);
    }

    /// Whether a destination has not taken all that it was handed.
    pub fn fell_short(&self) -> bool {
        self.fell_short
    }

    /// What has arrived in this invocation.
    pub fn arrived(&self) -> &Arrived {
        &self.arrived
    }

    /// How many Kinesis records, from the first on, are finished: all of their user records have arrived.
    pub fn finished(&self) -> usize {
        let unfinished = self.has_arrived.iter().position(|has_arrived| !has_arrived);
        let user_record = unfinished.and_then(|index| self.batch.user_records.get(index));
        user_record.map_or(self.batch.records.len(), |user_record| user_record.position)
    }

    /// The outcomes, with their indexes; [`Outcome::Delivered`] for those that have arrived.
    pub fn into_outcomes(self) -> impl Iterator<Item = (usize, Outcome)> {
        let numbered = self.outcomes.into_iter().enumerate();
        numbered.filter_map(|(index, outcome)| Some((index, outcome?)))
    }

    /// As [`into_outcomes`](Self::into_outcomes).
    pub fn outcomes(&self) -> impl Iterator<Item = (usize, &Outcome)> {
        let numbered = self.outcomes.iter().enumerate();
        numbered.filter_map(|(index, outcome)| Some((index, outcome.as_ref()?)))
    }
}

impl Arrived {
    /// Counts one that has arrived. Returns whether it is a prediction.
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
    use crate::delivery::Form;
    use crate::delivery::OutputFormat;
    use crate::delivery::destination::Output;
    use crate::endpoint::Response;
    use crate::event;
    use crate::event::UserRecord;
    use crate::inference::format::json_path::Path;
    use crate::inference::projection::View;
    use crate::inference::read_prediction;
    use crate::outcome::Failure;

    fn predicted() -> Outcome {
        Outcome::Predicted(read_prediction(Response {
            body: Bytes::from_static(b"1"),
            content_type: None,
            variant: None,
        }))
    }

    /// Three Kinesis records with two user records each, all predicted but the last of the second.
    fn with_progress(mode: OutputMode, check: impl FnOnce(&mut Progress<'_>)) {
        let entry = |number: u32| format!(r#"{{"kinesis":{{"sequenceNumber":"{number}","data":""}}}}"#);
        let entries = [7, 8, 9].map(entry).join(",");
        let payload = format!(r#"{{"Records":[{entries}]}}"#);
        let event = event::read(payload.as_bytes()).unwrap();
        let user_record = |number: usize| UserRecord {
            position: number / 2,
            sub_sequence_number: (number % 2) as u64,
            ..UserRecord::whole(0, &event.records[0], Ok(Bytes::new()))
        };
        let user_records: Vec<_> = (0..6).map(user_record).collect();
        let batch = Batch {
            records: &event.records,
            user_records: &user_records,
            stream_arn: "",
        };
        let form = Form {
            format: OutputFormat::Envelope,
            view: View {
                join_input: false,
                output_filter: Path::read("$").unwrap(),
                records: None,
            },
        };
        let writer = Writer {
            output: &Output::None,
            dead_letter: None,
            form: &form,
            batch,
            endpoint: "fraud",
        };
        let mut progress = Progress::new(batch, mode);
        for index in [5, 4, 0, 2, 1] {
            progress.settle(index, predicted(), &writer);
        }
        progress.settle(3, Outcome::Failed(Failure::OutOfTime), &writer);
        check(&mut progress);
    }

    fn run(all: &[usize], left: &[usize]) -> Run {
        Run {
            all: all.to_vec(),
            left: left.to_vec(),
            at: UNIX_EPOCH,
        }
    }

    fn indexes(lines: &[Line]) -> Vec<usize> {
        lines.iter().map(|line| line.index).collect()
    }

    #[test]
    fn only_whole_kinesis_records_are_delivered_in_order() {
        with_progress(OutputMode::Ordered, |progress| {
            assert!(progress.take_ready(3).is_none());
            let lines = progress.take_ready(1).unwrap();
            assert_eq!(indexes(&lines), [0, 1], "half of the second record would come again");
            progress.shipped(&run(&[0, 1], &[]));
            assert_eq!(progress.finished(), 1);
            assert!(progress.take_ready(1).is_none());
        });
    }

    #[test]
    fn what_arrived_out_of_order_is_told_by_user_record() {
        with_progress(OutputMode::Unordered, |progress| {
            let lines = progress.take_ready(1).unwrap();
            assert_eq!(indexes(&lines), [0, 1, 2, 4, 5]);
            progress.shipped(&run(&[0, 1, 2, 4, 5], &[1, 4]));
            assert_eq!(progress.finished(), 0);
            let arrived = |(index, outcome): (usize, &Outcome)| matches!(outcome, Outcome::Delivered).then_some(index);
            assert_eq!(progress.outcomes().filter_map(arrived).collect::<Vec<_>>(), [0, 2, 5]);
            assert_eq!(progress.arrived().predicted, 3);
        });
    }
}
