//! Builds the lines to deliver from the outcomes of user records.

use bytes::Bytes;
use serde_json::value::RawValue;

use super::destination::{Destination, OutputLine};
use super::envelope;
use super::projection::Projection;
use crate::event::{Batch, KinesisRecord, UserRecord};
use crate::inference::sha256;
use crate::outcome::{Failure, Outcome, Prediction, Rejection, RejectionKind, catch_panic};

/// The format of a delivered prediction. A dead letter always has its envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputFormat {
    /// One JSON object with the prediction and the record's position in the stream.
    Envelope,
    /// The model's output alone.
    Raw,
}

/// The content and format of the lines for predictions.
#[derive(Debug, Clone)]
pub struct LineFormat {
    /// With or without the envelope.
    pub format: OutputFormat,
    /// The parts of the prediction and its record to deliver.
    pub projection: Projection,
}

/// The line of one user record, ready for delivery.
#[derive(Debug)]
pub(super) struct PendingLine {
    /// The index of the user record.
    pub(super) index: usize,
    /// The index of the Kinesis record that holds it.
    pub(super) record_index: usize,
    pub(super) is_dead_letter: bool,
    pub(super) line: OutputLine,
}

/// Builds the lines of one invocation.
#[derive(Debug)]
pub(super) struct LineBuilder<'w> {
    pub(super) output: &'w Destination,
    pub(super) dead_letter: Option<&'w Destination>,
    pub(super) line_format: &'w LineFormat,
    pub(super) batch: Batch<'w>,
    pub(super) endpoint: &'w str,
}

impl LineBuilder<'_> {
    /// Returns the line for the user record at `index`, or `None` if its outcome is not delivered. If building the line
    /// panics, the outcome becomes Failed. If the prediction is too large for OUTPUT, the outcome becomes Rejected.
    pub(super) fn build(&self, index: usize, outcome: &mut Outcome) -> Option<PendingLine> {
        catch_panic(|| self.build_line(index, outcome)).unwrap_or_else(|panicked| {
            *outcome = panicked;
            None
        })
    }

    fn build_line(&self, index: usize, outcome: &mut Outcome) -> Option<PendingLine> {
        let user_record = self.batch.user_records.get(index)?;
        let record = self.batch.records.get(user_record.record_index)?;
        let text = self.text(index, outcome)?;
        Some(PendingLine {
            index,
            record_index: user_record.record_index,
            is_dead_letter: matches!(outcome, Outcome::Rejected(_)),
            line: OutputLine {
                text,
                partition_key: envelope::partition_key(record, user_record)
                    .unwrap_or("none")
                    .to_owned(),
                id: if self.is_id_used(outcome) {
                    self.id(index, record)
                } else {
                    String::new()
                },
                arrival_ms: record.approximate_arrival_ms.unwrap_or_default(),
            },
        })
    }

    /// Returns `true` if the outcome's destination uses the line's ID. Most destinations do not.
    fn is_id_used(&self, outcome: &Outcome) -> bool {
        let destination = match outcome {
            Outcome::Rejected(_) => self.dead_letter,
            Outcome::Predicted(_) | Outcome::Failed(_) | Outcome::Delivered => Some(self.output),
        };
        destination.is_some_and(Destination::has_line_ids)
    }

    /// Returns the line's ID: the record's ID in its shard, the endpoint and the stream. The endpoint and the stream
    /// distinguish lines if several functions deliver to one destination. A record without an ID gets the hash of its
    /// entry in the event instead.
    fn id(&self, index: usize, record: &KinesisRecord<'_>) -> String {
        let Batch { stream_arn, .. } = self.batch;
        let record_id = self
            .batch
            .id(index)
            .unwrap_or_else(|| sha256(record.raw.map_or("", RawValue::get)));
        format!("{record_id} {} {stream_arn}", self.endpoint)
    }

    fn prediction(
        &self,
        record: &KinesisRecord<'_>,
        user_record: &UserRecord,
        prediction: &Prediction,
    ) -> Result<String, Rejection> {
        let no_bytes = Bytes::new();
        let data = user_record.data.as_ref().unwrap_or(&no_bytes);
        let in_envelope = self.line_format.format == OutputFormat::Envelope;
        let projected = self
            .line_format
            .projection
            .apply(data, &prediction.output, in_envelope)?;
        let line = if in_envelope {
            envelope::prediction(
                record,
                user_record,
                self.endpoint,
                &projected,
                prediction.variant.as_deref(),
            )
        } else {
            envelope::raw(&projected.output)
        };
        match self.output.exceeded_limit(&line) {
            None => Ok(line),
            Some(max) => Err(Rejection {
                kind: RejectionKind::PredictionTooLarge,
                message: format!("the prediction has {} bytes, OUTPUT accepts at most {max}", line.len()),
            }),
        }
    }

    fn text(&self, index: usize, outcome: &mut Outcome) -> Option<String> {
        let user_record = self.batch.user_records.get(index)?;
        let record = self.batch.records.get(user_record.record_index)?;
        if let Outcome::Predicted(prediction) = outcome {
            match self.prediction(record, user_record, prediction) {
                Ok(line) => return Some(line),
                Err(rejection) => *outcome = rejection.into(),
            }
        }
        if let (Outcome::Rejected(reason), Some(dead_letter)) = (&outcome, self.dead_letter) {
            let line = envelope::dead_letter(record, user_record, self.endpoint, reason);
            if dead_letter.exceeded_limit(&line).is_none() {
                return Some(line);
            }
            *outcome = Outcome::Failed(Failure::DeadLetterTooLarge);
        }
        None
    }
}
