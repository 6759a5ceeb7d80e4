//! Outcomes enter as they are settled. Predictions leave for OUTPUT, some of them for ALERT as well, and rejected
//! records for `DEAD_LETTER`, while later calls are in flight. Never makes an inference call and never starts a
//! delivery after the schedule's delivery end.
//!
//! In `ordered` mode, only the finished prefix of whole Kinesis records is delivered, so that no record before the
//! checkpoint is repeated. A record after the checkpoint is delivered only if a destination accepts a part of the lines
//! that it gets, or if its Kinesis record holds more than the memo. In `unordered` mode, every finished record is
//! delivered. [`Progress`] reports the records delivered after the checkpoint, so that the [`memo`] can skip them when
//! the batch is redelivered.
//!
//! A line that its destination will never accept holds up no other: the prediction becomes a rejected record, and the
//! dead letter is delivered without its payload.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::value::RawValue;
use tokio::sync::{mpsc, watch};

use crate::event::Batch;
use crate::format::pattern::EventPattern;
use crate::lambda::time_budget::Schedule;
use crate::outcome::{AnswerMemory, Outcome};
use destination::Destination;

mod deliver_lines;
pub mod destination;
pub mod envelope;
mod line;
pub mod memo;
mod progress;
pub mod projection;

pub use destination::DestinationSetting;

use deliver_lines::PutResult;
use line::LineBuilder;
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
    alert: Option<Alert>,
    line_format: LineFormat,
    mode: OutputMode,
    memo_bytes: usize,
}

/// The predictions that are delivered to a second destination as well.
#[derive(Debug)]
pub struct Alert {
    /// ALERT.
    pub destination: Destination,
    /// `ALERT_PATTERN`: the lines of these predictions match it.
    pub pattern: EventPattern,
}

impl Alert {
    /// Returns whether the line of a prediction matches the pattern. A line that is not JSON matches none.
    fn is_raised_by(&self, line: &str) -> bool {
        serde_json::from_str::<&RawValue>(line).is_ok_and(|json| self.pattern.matches(json.get()))
    }
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
            alert: None,
            line_format,
            mode,
            memo_bytes,
        }
    }

    /// Returns the delivery with a destination for alerts.
    #[must_use]
    pub fn with_alert(self, alert: Option<Alert>) -> Self {
        Self { alert, ..self }
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
            ("ALERT", self.alert.as_ref().map(|alert| &alert.destination)),
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
            alert: self.alert.as_ref(),
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
