//! Outcomes in, the finished prefix of the batch delivered: predictions to OUTPUT, rejected records to `DEAD_LETTER`.
//!
//! What is delivered is a prefix of whole Kinesis records, so that nothing before the checkpoint comes again. Only where
//! a destination takes a part of what it is handed may something behind the checkpoint have arrived, and then repeats.

use tokio::time::Instant;
use tracing::warn;

use crate::decode::UserRecord;
use crate::event::KinesisRecord;
use crate::outcome::{Failure, Outcome, Rejection, RejectionKind, contain};
use crate::output::{Delivered, Entry, Output, envelope};

/// Where records are delivered. One for the process.
#[derive(Debug)]
pub struct Delivery {
    output: Output,
    dead_letter: Option<Output>,
}

/// What one user record of the Kinesis record at `position` is delivered as.
#[derive(Debug)]
struct Line {
    position: usize,
    is_dead_letter: bool,
    entry: Entry,
}

/// A batch's finished prefix, ready to be delivered.
#[derive(Debug)]
pub struct Prefix {
    lines: Vec<Line>,
    /// How many Kinesis records, from the first on, are finished: each of their user records is predicted, or rejected
    /// with a dead-letter destination to go to.
    pub finished: usize,
}

impl Prefix {
    /// The first `finished` Kinesis records of it.
    #[must_use]
    pub fn up_to(mut self, finished: usize) -> Self {
        self.lines.retain(|line| line.position < finished);
        self.finished = finished;
        self
    }
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
    pub fn new(output: Output, dead_letter: Option<Output>) -> Self {
        Self { output, dead_letter }
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

    /// The finished prefix of the batch. A record whose line cannot be made has failed, and one whose prediction is too
    /// large for OUTPUT is rejected.
    pub fn prefix(
        &self,
        records: &[KinesisRecord<'_>],
        user_records: &[UserRecord],
        outcomes: &mut [Outcome],
        endpoint: &str,
    ) -> Prefix {
        prefix_by(records.len(), user_records, outcomes, |user_record, outcome| {
            let record = records.get(user_record.position)?;
            let line = self.line(record, user_record, outcome, endpoint)?;
            let partition_key = record.partition_key.as_deref().unwrap_or("none");
            Some(Entry {
                line,
                partition_key: partition_key.to_owned(),
            })
        })
    }

    fn line(
        &self,
        record: &KinesisRecord<'_>,
        user_record: &UserRecord,
        outcome: &mut Outcome,
        endpoint: &str,
    ) -> Option<String> {
        if let Outcome::Predicted(prediction) = outcome {
            let line = envelope::prediction(record, user_record, endpoint, prediction);
            let Some(max) = exceeded(&line, &self.output) else {
                return Some(line);
            };
            *outcome = Outcome::Rejected(Rejection {
                kind: RejectionKind::PredictionTooLarge,
                message: format!("the prediction has {} bytes, OUTPUT takes {max}", line.len()),
            });
        }
        if let (Outcome::Rejected(reason), Some(dead_letter)) = (&outcome, &self.dead_letter) {
            let line = envelope::dead_letter(record, user_record, endpoint, reason);
            if exceeded(&line, dead_letter).is_none() {
                return Some(line);
            }
            *outcome = Outcome::Failed(Failure::DeadLetterTooLarge);
        }
        None
    }

    /// Delivers the prefix, until `end` at the latest, and says how many of its Kinesis records arrived.
    ///
    /// In three runs, so that as little as can be is delivered of what comes again: the predictions before the first dead
    /// letter, the dead letters, the predictions behind the first of them.
    pub async fn deliver(&self, prefix: Prefix, end: Instant) -> usize {
        let Prefix { mut lines, finished } = prefix;
        let first_dead_letter = lines.iter().position(|line| line.is_dead_letter);
        let behind = lines.split_off(first_dead_letter.unwrap_or(lines.len()));
        let (dead_letters, predictions): (Vec<_>, Vec<_>) = behind.into_iter().partition(|line| line.is_dead_letter);
        let finished = hand_over(&self.output, lines, finished, end).await;
        let finished = match &self.dead_letter {
            Some(dead_letter) if predictions.is_empty() => hand_over(dead_letter, dead_letters, finished, end).await,
            // A destination that does not answer leaves half of the time to the other one.
            Some(dead_letter) => hand_over(dead_letter, dead_letters, finished, halfway(end)).await,
            None => finished,
        };
        hand_over(&self.output, predictions, finished, end).await
    }
}

fn halfway(end: Instant) -> Instant {
    let now = Instant::now();
    now + end.saturating_duration_since(now) / 2
}

/// The limit in bytes that the line is too long for.
fn exceeded(line: &str, output: &Output) -> Option<usize> {
    output.line_bytes_max().filter(|max| line.len() > *max)
}

/// Delivers the lines of the first `finished` Kinesis records, and says how many of these need not come again.
async fn hand_over(output: &Output, lines: Vec<Line>, finished: usize, end: Instant) -> usize {
    let lines = lines.into_iter().filter(|line| line.position < finished);
    let (positions, entries): (Vec<_>, Vec<_>) = lines.map(|line| (line.position, line.entry)).unzip();
    let Delivered { count, error } = output.deliver(&entries, end).await;
    let Some(error) = error else {
        return finished;
    };
    let delivered = positions.get(count).copied().unwrap_or(finished);
    warn!(%error, delivered, "not everything was delivered");
    delivered
}

/// The prefix of a batch of so many `records`, in the lines that `write` makes; where it makes none, the prefix ends.
fn prefix_by(
    records: usize,
    user_records: &[UserRecord],
    outcomes: &mut [Outcome],
    write: impl Fn(&UserRecord, &mut Outcome) -> Option<Entry>,
) -> Prefix {
    let mut lines = Vec::with_capacity(outcomes.len());
    let mut finished = records;
    for (user_record, outcome) in user_records.iter().zip(outcomes) {
        let position = user_record.position;
        let written = contain(|| write(user_record, outcome)).unwrap_or_else(|panicked| {
            *outcome = panicked;
            None
        });
        let Some(entry) = written else {
            finished = position;
            break;
        };
        let is_dead_letter = matches!(outcome, Outcome::Rejected(_));
        lines.push(Line {
            position,
            is_dead_letter,
            entry,
        });
    }
    // The unfinished record's own lines, where it holds several user records, are not the prefix's.
    Prefix { lines, finished }.up_to(finished)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::endpoint::Response;
    use crate::prediction::Prediction;

    fn user_record(position: usize) -> UserRecord {
        UserRecord {
            position,
            sub_sequence_number: 0,
            data: Ok(Bytes::new()),
        }
    }

    #[test]
    fn a_panic_while_writing_a_line_fails_that_record_and_keeps_those_before_it() {
        let response = Response {
            body: Bytes::from_static(b"1"),
            content_type: None,
            variant: None,
        };
        let predicted = Outcome::Predicted(Prediction::read(response));
        let mut outcomes = vec![predicted; 3];
        let user_records: Vec<_> = (0..3).map(user_record).collect();
        let prefix = prefix_by(3, &user_records, &mut outcomes, |user_record, _| {
            assert_ne!(user_record.position, 1, "a defect in the envelope");
            let (line, partition_key) = Default::default();
            Some(Entry { line, partition_key })
        });
        assert_eq!((prefix.finished, prefix.lines.len()), (1, 1));
        assert!(matches!(outcomes[1], Outcome::Failed(_)));
    }
}
