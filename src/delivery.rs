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

/// One line, of the Kinesis record at `position`.
#[derive(Debug)]
struct Letter {
    position: usize,
    is_dead: bool,
    line: String,
}

/// The lines of a batch's finished prefix, ready to be delivered.
#[derive(Debug)]
pub struct Letters {
    letters: Vec<Letter>,
    /// How many Kinesis records, from the first on, are finished: each of their user records is predicted, or rejected
    /// with a dead-letter destination to go to.
    pub finished: usize,
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

    /// Writes the lines of the finished prefix. A record whose line cannot be written has failed.
    pub fn letters(
        &self,
        records: &[KinesisRecord<'_>],
        user_records: &[UserRecord],
        outcomes: &mut [Outcome],
        endpoint: &str,
    ) -> Letters {
        self.letters_by(records.len(), user_records, outcomes, |user_record, outcome| {
            let record = records.get(user_record.position)?;
            match outcome {
                Outcome::Predicted(prediction) => Some(envelope::prediction(record, user_record, endpoint, prediction)),
                Outcome::Rejected(reason) => Some(envelope::dead_letter(record, user_record, endpoint, reason)),
                Outcome::Failed(_) => None,
            }
        })
    }

    fn letters_by(
        &self,
        records: usize,
        user_records: &[UserRecord],
        outcomes: &mut [Outcome],
        line: impl Fn(&UserRecord, &Outcome) -> Option<String>,
    ) -> Letters {
        let mut letters = Vec::with_capacity(outcomes.len());
        for (user_record, outcome) in user_records.iter().zip(outcomes) {
            let position = user_record.position;
            let is_dead = matches!(outcome, Outcome::Rejected(_));
            let line = if is_dead && self.rejected_fails() {
                Ok(None)
            } else {
                contain(|| line(user_record, outcome))
            };
            match line {
                Ok(Some(line)) => letters.push(Letter {
                    position,
                    is_dead,
                    line,
                }),
                Ok(None) => {
                    return Letters {
                        letters,
                        finished: position,
                    };
                }
                Err(panicked) => {
                    *outcome = panicked;
                    return Letters {
                        letters,
                        finished: position,
                    };
                }
            }
        }
        Letters {
            letters,
            finished: records,
        }
    }

    /// Delivers the lines of the first `finished` Kinesis records, until `end` at the latest, and says how many of these
    /// records arrived: all or none.
    pub async fn deliver(&self, letters: Letters, finished: usize, end: Instant) -> usize {
        let (mut predictions, mut dead_letters) = (Vec::new(), Vec::new());
        let before = |letter: &Letter| letter.position < finished;
        for letter in letters.letters.into_iter().take_while(before) {
            if letter.is_dead {
                dead_letters.push(letter.line);
            } else {
                predictions.push(letter.line);
            }
        }
        let error = match timeout_at(end, self.write(&predictions, &dead_letters)).await {
            Ok(Ok(())) => return finished,
            Ok(Err(error)) => error,
            Err(_elapsed) => DeliveryError::OutOfTime,
        };
        let error = &error as &dyn std::error::Error;
        warn!(error, "nothing counts as delivered, the batch comes again");
        0
    }

    async fn write(&self, predictions: &[String], dead_letters: &[String]) -> Result<(), DeliveryError> {
        // Dead letters first: if they fail, no prediction was delivered yet that the next delivery would repeat.
        if let Some(dead_letter) = &self.dead_letter {
            dead_letter.deliver(dead_letters).await?;
        }
        self.output.deliver(predictions).await
    }
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
        let delivery = Delivery::new(Output::None, None);
        let letters = delivery.letters_by(3, &user_records, &mut outcomes, |user_record, _| {
            assert_ne!(user_record.position, 1, "a defect in the envelope");
            Some(String::new())
        });
        assert_eq!((letters.finished, letters.letters.len()), (1, 1));
        assert!(matches!(outcomes[1], Outcome::Failed(_)));
    }
}
