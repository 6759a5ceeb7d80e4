//! Outcomes in, the finished prefix of the batch delivered: predictions to OUTPUT, rejected records to `DEAD_LETTER`.
//!
//! What is delivered is a prefix of whole Kinesis records, so that nothing before the checkpoint comes again and nothing
//! behind it was delivered yet.

use tokio::time::{Instant, timeout_at};
use tracing::warn;

use crate::decode::UserRecord;
use crate::event::KinesisRecord;
use crate::outcome::{Outcome, contain};
use crate::output::{DeliveryError, Output, envelope};

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
    text: String,
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

impl Delivery {
    /// Delivers predictions to `output` and rejected records to `dead_letter`.
    pub fn new(output: Output, dead_letter: Option<Output>) -> Self {
        Self { output, dead_letter }
    }

    /// Whether a rejected record has no place to go to, and so is unfinished like a failed one.
    pub fn rejected_fails(&self) -> bool {
        self.dead_letter.is_none()
    }

    /// The finished prefix of the batch. A record whose line cannot be written has failed.
    pub fn prefix(
        &self,
        records: &[KinesisRecord<'_>],
        user_records: &[UserRecord],
        outcomes: &mut [Outcome],
        endpoint: &str,
    ) -> Prefix {
        prefix_by(records.len(), user_records, outcomes, |user_record, outcome| {
            let record = records.get(user_record.position)?;
            match outcome {
                Outcome::Predicted(prediction) => Some(envelope::prediction(record, user_record, endpoint, prediction)),
                Outcome::Rejected(_) if self.rejected_fails() => None,
                Outcome::Rejected(reason) => Some(envelope::dead_letter(record, user_record, endpoint, reason)),
                Outcome::Failed(_) => None,
            }
        })
    }

    /// Delivers the prefix, until `end` at the latest, and says how many of its Kinesis records arrived: all or none.
    pub async fn deliver(&self, prefix: Prefix, end: Instant) -> usize {
        let (mut predictions, mut dead_letters) = (Vec::new(), Vec::new());
        for line in prefix.lines {
            if line.is_dead_letter {
                dead_letters.push(line.text);
            } else {
                predictions.push(line.text);
            }
        }
        let write = async {
            // A timeout looks at its work before it looks at the clock, and this work cannot be taken back.
            if Instant::now() >= end && prefix.finished > 0 {
                return Err(DeliveryError::OutOfTime);
            }
            self.write(&predictions, &dead_letters).await
        };
        let written = timeout_at(end, write).await;
        match written.unwrap_or(Err(DeliveryError::OutOfTime)) {
            Ok(()) => prefix.finished,
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                warn!(error, "nothing counts as delivered, the batch comes again");
                0
            }
        }
    }

    async fn write(&self, predictions: &[String], dead_letters: &[String]) -> Result<(), DeliveryError> {
        // Dead letters first: if they fail, no prediction was delivered yet that the next delivery would repeat.
        if let Some(dead_letter) = &self.dead_letter {
            dead_letter.deliver(dead_letters).await?;
        }
        self.output.deliver(predictions).await
    }
}

/// The prefix of a batch of so many `records`, in the lines that `write` makes; where it makes none, the prefix ends.
fn prefix_by(
    records: usize,
    user_records: &[UserRecord],
    outcomes: &mut [Outcome],
    write: impl Fn(&UserRecord, &Outcome) -> Option<String>,
) -> Prefix {
    let mut lines = Vec::with_capacity(outcomes.len());
    let mut finished = records;
    for (user_record, outcome) in user_records.iter().zip(outcomes) {
        let position = user_record.position;
        let written = contain(|| write(user_record, outcome)).unwrap_or_else(|panicked| {
            *outcome = panicked;
            None
        });
        let Some(text) = written else {
            finished = position;
            break;
        };
        let is_dead_letter = matches!(outcome, Outcome::Rejected(_));
        lines.push(Line {
            position,
            is_dead_letter,
            text,
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
            Some(String::new())
        });
        assert_eq!((prefix.finished, prefix.lines.len()), (1, 1));
        assert!(matches!(outcomes[1], Outcome::Failed(_)));
    }
}
