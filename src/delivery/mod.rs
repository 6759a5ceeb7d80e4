//! Outcomes in, as they come; predictions delivered to OUTPUT and rejected records to `DEAD_LETTER`, while later calls
//! are in flight.
//!
//! In `ordered` mode what is delivered is the finished prefix of whole Kinesis records, so that nothing before the
//! checkpoint comes again. Only where a destination takes a part of what it is handed may something behind the checkpoint
//! have arrived. In `unordered` mode all that is finished is delivered. What has arrived behind the checkpoint is told, so
//! that it can be remembered.

use std::pin::pin;
use std::time::SystemTime;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tracing::warn;

use crate::event::Batch;
use crate::inference::projection::View;
use crate::lambda::time_budget::Deadline;
use crate::outcome::Outcome;
use destination::{Delivered, Entry, Output};

pub mod destination;
pub mod envelope;
mod line;
pub mod memo;
mod progress;

pub use destination::DestinationSetting;

use line::Writer;
pub use progress::{Arrived, Progress};

/// What a prediction is delivered as. A dead letter is always in its envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputFormat {
    /// With the record's place in the stream, as one JSON object.
    Envelope,
    /// The model's answer alone.
    Raw,
}

/// What of a batch is delivered when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputMode {
    /// The finished prefix, in the order of the batch.
    Ordered,
    /// Each record that is finished, though one before it is not.
    Unordered,
}

/// Where records are delivered, and how. One for the process.
#[derive(Debug)]
pub struct Delivery {
    output: Output,
    dead_letter: Option<Output>,
    form: Form,
    mode: OutputMode,
}

/// In what form predictions are delivered.
#[derive(Debug, Clone)]
pub struct Form {
    /// With the record's place or without.
    pub format: OutputFormat,
    /// What of a prediction and its record.
    pub view: View,
}

/// What one user record is delivered as.
#[derive(Debug)]
struct Line {
    /// Of the user record.
    index: usize,
    /// Of the Kinesis record that holds it.
    position: usize,
    is_dead_letter: bool,
    entry: Entry,
}

/// The outcomes of one invocation, on their way to delivery.
#[derive(Debug)]
pub struct Outcomes {
    /// The outcome of each user record, with its index, once.
    pub settled: mpsc::UnboundedReceiver<(usize, Outcome)>,
    /// Is told the first index from which on calls would be in vain: it is not delivered, and brings back what follows.
    pub stop: watch::Sender<usize>,
    /// Whether a record that may be at fault itself leaves the others to go on.
    pub others_go_on: bool,
}

/// A stream that would feed itself for ever.
#[derive(Debug, thiserror::Error)]
#[error(
    "{variable} is the stream that the event comes from, {stream_arn}: it would feed itself for ever; choose another"
)]
pub struct FeedsItself {
    variable: &'static str,
    stream_arn: String,
}

impl Delivery {
    /// Delivers predictions to `output` and rejected records to `dead_letter`.
    pub fn new(output: Output, dead_letter: Option<Output>, form: Form, mode: OutputMode) -> Self {
        Self {
            output,
            dead_letter,
            form,
            mode,
        }
    }

    /// Whether a rejected record has no place to go to, and so is unfinished like a failed one.
    pub fn rejected_fails(&self) -> bool {
        self.dead_letter.is_none()
    }

    /// Refuses an event of a stream that is a destination as well, for a function of this `account`.
    ///
    /// # Errors
    ///
    /// [`FeedsItself`] names the variable.
    pub fn check_source(&self, stream_arn: &str, account: Option<&str>) -> Result<(), FeedsItself> {
        let destinations = [
            ("OUTPUT", Some(&self.output)),
            ("DEAD_LETTER", self.dead_letter.as_ref()),
        ];
        let feeds = |output: Option<&Output>| output.is_some_and(|output| output.feeds(stream_arn, account));
        match destinations.into_iter().find(|(_, output)| feeds(*output)) {
            Some((variable, _)) => Err(FeedsItself {
                variable,
                stream_arn: stream_arn.to_owned(),
            }),
            None => Ok(()),
        }
    }

    /// Takes the outcomes in until there are no more, and delivers what it may of them, as long as the `deadline` leaves time
    /// for it. One delivery is under way at a time, and outcomes are taken in meanwhile.
    pub async fn run<'b>(
        &self,
        batch: Batch<'b>,
        endpoint: &str,
        mut outcomes: Outcomes,
        deadline: Deadline,
    ) -> Progress<'b> {
        let writer = Writer {
            output: &self.output,
            dead_letter: self.dead_letter.as_ref(),
            form: &self.form,
            batch,
            endpoint,
        };
        let mut progress = Progress::new(batch, self.mode);
        let mut more = true;
        loop {
            let worth = if more { self.output.worth_a_delivery() } else { 1 };
            let Some(lines) = progress.take_ready(worth) else {
                if !more {
                    return progress;
                }
                more = outcomes.take_one(&mut progress, &writer).await;
                continue;
            };
            let mut shipping = pin!(self.ship(lines, deadline));
            let runs = loop {
                tokio::select! {
                    biased;
                    runs = &mut shipping => break runs,
                    had_one = outcomes.take_one(&mut progress, &writer), if more => more = had_one,
                }
            };
            if let Some(first) = runs.iter().flat_map(|run| &run.left).min() {
                outcomes.stop_at(*first);
            }
            for run in &runs {
                progress.shipped(run);
            }
        }
    }

    /// Delivers lines that stand in batch order.
    async fn ship(&self, lines: Vec<Line>, deadline: Deadline) -> Vec<Run> {
        match self.mode {
            OutputMode::Ordered => self.ship_in_order(lines, deadline).await,
            OutputMode::Unordered => {
                let end = deadline.delivery_end;
                let (dead_letters, predictions) = lines.into_iter().partition(|line: &Line| line.is_dead_letter);
                let (predictions, dead_letters) = tokio::join!(
                    hand_over(Some(&self.output), predictions, end, deadline),
                    hand_over(self.dead_letter.as_ref(), dead_letters, end, deadline)
                );
                vec![predictions, dead_letters]
            }
        }
    }

    /// In three runs, so that as little as can be is delivered of what comes again: the predictions before the first dead
    /// letter, the dead letters, the predictions behind the first of them.
    async fn ship_in_order(&self, mut lines: Vec<Line>, deadline: Deadline) -> Vec<Run> {
        let end = deadline.delivery_end;
        let first_dead_letter = lines.iter().position(|line| line.is_dead_letter);
        let behind = lines.split_off(first_dead_letter.unwrap_or(lines.len()));
        let before = hand_over(Some(&self.output), lines, end, deadline).await;
        if !before.left.is_empty() {
            return vec![before, Run::in_vain(&behind, deadline)];
        }
        let (dead_letters, predictions): (Vec<_>, Vec<_>) = behind.into_iter().partition(|line| line.is_dead_letter);
        // A destination that does not answer leaves half of the time to the other one.
        let its_end = if predictions.is_empty() { end } else { halfway(end) };
        let positions: Vec<_> = dead_letters.iter().map(|line| (line.index, line.position)).collect();
        let dead_letters = hand_over(self.dead_letter.as_ref(), dead_letters, its_end, deadline).await;
        let failed = positions.iter().find(|(index, _)| dead_letters.left.contains(index));
        let failed_position = failed.map_or(usize::MAX, |(_, position)| *position);
        let (predictions, in_vain): (Vec<_>, Vec<_>) = predictions
            .into_iter()
            .partition(|line| line.position < failed_position);
        let predictions = hand_over(Some(&self.output), predictions, end, deadline).await;
        vec![before, dead_letters, predictions, Run::in_vain(&in_vain, deadline)]
    }
}

/// Lines that were handed to one destination together, by the indexes of their user records.
#[derive(Debug)]
struct Run {
    all: Vec<usize>,
    /// Those that have not arrived, as far as is known.
    left: Vec<usize>,
    /// When that was known.
    at: SystemTime,
}

impl Run {
    /// Lines that are not worth handing over.
    fn in_vain(lines: &[Line], deadline: Deadline) -> Self {
        let all: Vec<_> = lines.iter().map(|line| line.index).collect();
        let (left, at) = (all.clone(), deadline.now());
        Self { all, left, at }
    }
}

impl Outcomes {
    /// Waits for an outcome and takes it in; `false` if there will be none.
    async fn take_one(&mut self, progress: &mut Progress<'_>, writer: &Writer<'_>) -> bool {
        let Some((index, outcome)) = self.settled.recv().await else {
            return false;
        };
        if let Some(failed) = progress.settle(index, outcome, writer)
            && !self.others_go_on
        {
            self.stop_at(failed);
        }
        true
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

/// Delivers the lines, until `end` at the latest.
async fn hand_over(output: Option<&Output>, lines: Vec<Line>, end: Instant, deadline: Deadline) -> Run {
    let Some(output) = output else {
        return Run::in_vain(&lines, deadline);
    };
    let (all, entries): (Vec<_>, Vec<_>) = lines.into_iter().map(|line| (line.index, line.entry)).unzip();
    let Delivered { left, error } = output.deliver(&entries, end).await;
    if let Some(error) = error {
        warn!(%error, records = left.len(), "not everything was delivered");
    }
    let left = left.iter().filter_map(|place| all.get(*place).copied()).collect();
    let at = deadline.now();
    Run { all, left, at }
}
