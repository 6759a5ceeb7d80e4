//! Outcomes enter as they are settled. Predictions leave for OUTPUT and rejected records for `DEAD_LETTER`, while later
//! calls are in flight. Never makes an inference call and never starts a delivery after the schedule's delivery end.
//!
//! In `ordered` mode, only the finished prefix of whole Kinesis records is delivered, so that no record before the
//! checkpoint is repeated. A record after the checkpoint is delivered only if a destination accepts a part of the lines
//! that it gets, or if its Kinesis record holds more than the memo. In `unordered` mode, every finished record is
//! delivered. [`Progress`] reports the records delivered after the checkpoint, so that the [`memo`] can skip them when
//! the batch is redelivered.
//!
//! A line that its destination will never accept holds up no other: the prediction becomes a rejected record, and the
//! dead letter is delivered without its payload.

use std::collections::HashSet;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tracing::warn;

use crate::event::Batch;
use crate::lambda::time_budget::Schedule;
use crate::outcome::{AnswerMemory, Outcome};
use destination::{DeliveryResult, Destination};

pub mod destination;
pub mod envelope;
mod line;
pub mod memo;
mod progress;
pub mod projection;

pub use destination::DestinationSetting;

use line::{LineBuilder, PendingLine};
pub use line::{LineFormat, OutputFormat};
use progress::ProgressRules;
pub use progress::{DeliveredRecords, Progress};

/// The order in which the records of a batch are delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputMode {
    /// The finished prefix only, in batch order.
    Ordered,
    /// Every finished record, even if an earlier record is unfinished.
    Unordered,
}

/// The destinations of the process and the way it delivers to them. One per process.
#[derive(Debug)]
pub struct Delivery {
    output: Destination,
    dead_letter: Option<Destination>,
    line_format: LineFormat,
    mode: OutputMode,
    memo_bytes: usize,
}

/// The stream of one invocation's outcomes, from dispatch to delivery.
#[derive(Debug)]
pub struct OutcomeStream {
    /// Receives each user record's index and outcome, once.
    pub settled: mpsc::UnboundedReceiver<(usize, Outcome)>,
    /// Sends the lowest index of a record that cannot be delivered. Its redelivery includes every later record, so that
    /// no further call is useful from this index on.
    pub stop: watch::Sender<usize>,
    /// The index of the record without whose outcome delivery cannot go on, or what
    /// [`Work::needed_index`](crate::dispatch::Work::needed_index) allows instead.
    pub needed: Arc<AtomicUsize>,
    /// The memory for answers, which is notified when `needed` changes.
    pub memory: AnswerMemory,
    /// `true` if calls for other records go on after a record that may be poison.
    pub isolate_suspects: bool,
}

/// A destination is the event's own source stream.
#[derive(Debug, thiserror::Error)]
#[error(
    "{variable} is the event's source stream, {stream_arn}, which would feed itself forever: choose another destination"
)]
pub struct FeedsItself {
    variable: &'static str,
    stream_arn: String,
}

impl Delivery {
    /// Creates a delivery of predictions to `output` and of rejected records to `dead_letter`, beside a memo of
    /// `memo_bytes`.
    pub fn new(
        output: Destination,
        dead_letter: Option<Destination>,
        line_format: LineFormat,
        mode: OutputMode,
        memo_bytes: usize,
    ) -> Self {
        Self {
            output,
            dead_letter,
            line_format,
            mode,
            memo_bytes,
        }
    }

    /// Returns `true` without a dead-letter destination: a rejected record is then unfinished, like a failed one.
    pub fn is_rejected_unfinished(&self) -> bool {
        self.dead_letter.is_none()
    }

    /// Checks that no destination is the event's source stream, for a function in this `account`.
    ///
    /// # Errors
    ///
    /// Returns [`FeedsItself`] with the setting's name if a destination is the source stream.
    pub fn check_source(&self, stream_arn: &str, account: Option<&str>) -> Result<(), FeedsItself> {
        let destinations = [
            ("OUTPUT", Some(&self.output)),
            ("DEAD_LETTER", self.dead_letter.as_ref()),
        ];
        let is_source = |destination: Option<&Destination>| {
            destination.is_some_and(|destination| destination.is_source_stream(stream_arn, account))
        };
        match destinations
            .into_iter()
            .find(|(_, destination)| is_source(*destination))
        {
            Some((variable, _)) => Err(FeedsItself {
                variable,
                stream_arn: stream_arn.to_owned(),
            }),
            None => Ok(()),
        }
    }

    /// Receives outcomes until the stream ends, and delivers the deliverable ones until the `schedule`'s delivery end.
    /// Runs one delivery at a time, and receives further outcomes meanwhile.
    pub async fn run<'b>(
        &self,
        batch: Batch<'b>,
        endpoint: &str,
        mut outcomes: OutcomeStream,
        schedule: Schedule,
    ) -> Progress<'b> {
        let builder = LineBuilder {
            output: &self.output,
            dead_letter: self.dead_letter.as_ref(),
            line_format: &self.line_format,
            batch,
            endpoint,
        };
        let mut progress = Progress::new(batch, self.progress_rules());
        let lines_max = self.output.full_request_lines();
        let mut more = true;
        loop {
            let lines_min = if more { lines_max } else { 1 };
            let Some(indexes) = progress.take_ready(lines_min, lines_max) else {
                if !more {
                    return progress;
                }
                more = outcomes.receive(&mut progress).await;
                continue;
            };
            let (lines, unfinished) = progress.build_lines(&indexes, &builder);
            if let Some(index) = unfinished
                && !outcomes.isolate_suspects
            {
                outcomes.stop_at(index);
            }
            let mut delivering = pin!(self.deliver_lines(lines, schedule));
            let results = loop {
                tokio::select! {
                    biased;
                    results = &mut delivering => break results,
                    received = outcomes.receive(&mut progress), if more => more = received,
                }
            };
            if let Some(first) = results.iter().flat_map(|result| &result.undelivered).min() {
                outcomes.stop_at(*first);
            }
            for result in results {
                progress.record_result(result);
            }
            outcomes.set_needed(&progress);
        }
    }

    fn progress_rules(&self) -> ProgressRules {
        // The memo keeps outcomes of other batches as well. Without a memo, nothing would be known of a part.
        let held_bytes_max = if self.memo_bytes > 0 {
            self.memo_bytes / 2
        } else {
            usize::MAX
        };
        ProgressRules {
            mode: self.mode,
            is_rejected_unfinished: self.is_rejected_unfinished(),
            join_input: self.line_format.projection.join_input,
            held_bytes_max,
            memo_bytes: self.memo_bytes,
        }
    }

    /// Delivers lines, which must be in batch order.
    async fn deliver_lines(&self, lines: Vec<PendingLine>, schedule: Schedule) -> Vec<PutResult> {
        match self.mode {
            OutputMode::Ordered => self.deliver_in_order(lines, schedule).await,
            OutputMode::Unordered => {
                let end = schedule.delivery_end;
                let (dead_letters, predictions) = lines.into_iter().partition(PendingLine::is_dead_letter);
                let (predictions, dead_letters) = tokio::join!(
                    put_lines(Some(&self.output), predictions, end, schedule),
                    put_lines(self.dead_letter.as_ref(), dead_letters, end, schedule)
                );
                vec![predictions, dead_letters]
            }
        }
    }

    /// Delivers in three steps: the predictions of the Kinesis records before the first dead letter, all dead letters,
    /// then the other predictions. After a failed step, the next steps deliver only the lines of the Kinesis records
    /// before the first undelivered line, or nothing, so that a redelivery repeats few lines.
    async fn deliver_in_order(&self, mut lines: Vec<PendingLine>, schedule: Schedule) -> Vec<PutResult> {
        let end = schedule.delivery_end;
        let first_dead_letter = lines.iter().find(|line| line.is_dead_letter());
        let record_index = first_dead_letter.map_or(usize::MAX, |line| line.record_index);
        let after = lines.split_off(lines.partition_point(|line| line.record_index < record_index));
        let before = put_lines(Some(&self.output), lines, end, schedule).await;
        if !before.undelivered.is_empty() {
            return vec![before, PutResult::skipped(&after, schedule)];
        }
        let (dead_letters, predictions): (Vec<_>, Vec<_>) = after.into_iter().partition(PendingLine::is_dead_letter);
        // If DEAD_LETTER does not respond, OUTPUT still has half of the time.
        let dead_letter_end = if predictions.is_empty() { end } else { halfway(end) };
        let indexes: Vec<_> = dead_letters
            .iter()
            .map(|line| (line.index, line.record_index))
            .collect();
        let dead_letters = put_lines(self.dead_letter.as_ref(), dead_letters, dead_letter_end, schedule).await;
        // The undelivered lines are in batch order.
        let first = dead_letters.undelivered.first();
        let failed = indexes.iter().find(|(index, _)| Some(index) == first);
        let failed_record = failed.map_or(usize::MAX, |(_, record_index)| *record_index);
        let (predictions, skipped): (Vec<_>, Vec<_>) = predictions
            .into_iter()
            .partition(|line| line.record_index < failed_record);
        let predictions = put_lines(Some(&self.output), predictions, end, schedule).await;
        vec![
            before,
            dead_letters,
            predictions,
            PutResult::skipped(&skipped, schedule),
        ]
    }
}

/// The result of a delivery of lines to one destination, by the indexes of their user records.
#[derive(Debug)]
struct PutResult {
    delivered: Vec<usize>,
    /// The lines that are not known to be delivered, in batch order.
    undelivered: Vec<usize>,
    /// The lines that the destination will never accept, with the reason, which may quote a record.
    refused: Vec<(usize, String)>,
    /// The time at which the result was known.
    at: SystemTime,
}

impl PutResult {
    /// Returns the result for lines that are not sent.
    fn skipped(lines: &[PendingLine], schedule: Schedule) -> Self {
        Self {
            delivered: Vec::new(),
            undelivered: lines.iter().map(|line| line.index).collect(),
            refused: Vec::new(),
            at: schedule.now(),
        }
    }
}

impl OutcomeStream {
    /// Waits for an outcome and records it in `progress`. Returns `false` at the end of the stream.
    async fn receive(&mut self, progress: &mut Progress<'_>) -> bool {
        let Some((index, outcome)) = self.settled.recv().await else {
            return false;
        };
        progress.settle(index, outcome);
        self.set_needed(progress);
        if let Some(index) = progress.overfull_from() {
            self.stop_at(index);
        }
        true
    }

    fn set_needed(&self, progress: &Progress<'_>) {
        let needed = progress.needed_index();
        if self.needed.swap(needed, Ordering::SeqCst) != needed {
            self.memory.notify();
        }
    }

    fn stop_at(&self, index: usize) {
        self.stop.send_if_modified(|stop| {
            let is_lower = index < *stop;
            *stop = index.min(*stop);
            is_lower
        });
    }
}

fn halfway(end: Instant) -> Instant {
    let now = Instant::now();
    now + end.saturating_duration_since(now) / 2
}

/// Delivers lines to the destination. Stops at `end` at the latest. Without a destination, no line is delivered.
async fn put_lines(
    destination: Option<&Destination>,
    lines: Vec<PendingLine>,
    end: Instant,
    schedule: Schedule,
) -> PutResult {
    let Some(destination) = destination else {
        return PutResult::skipped(&lines, schedule);
    };
    let (indexes, lines): (Vec<_>, Vec<_>) = lines.into_iter().map(|line| (line.index, line.line)).unzip();
    let DeliveryResult {
        undelivered,
        refused,
        error,
    } = destination.deliver(&lines, end).await;
    if let Some(error) = error {
        warn!(%error, records = undelivered.len(), "some records were not delivered");
    }
    let index = |line: usize| indexes.get(line).copied();
    let (left, never): (HashSet<_>, HashSet<_>) = (
        undelivered.iter().copied().collect(),
        refused.iter().map(|(line, _)| *line).collect(),
    );
    let accepted = (0..indexes.len()).filter(|line| !left.contains(line) && !never.contains(line));
    PutResult {
        delivered: accepted.filter_map(index).collect(),
        undelivered: undelivered.into_iter().filter_map(index).collect(),
        refused: refused
            .into_iter()
            .filter_map(|(line, reason)| Some((index(line)?, reason)))
            .collect(),
        at: schedule.now(),
    }
}
