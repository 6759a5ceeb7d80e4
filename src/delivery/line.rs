//! What a user record's outcome is delivered as.

use bytes::Bytes;
use serde_json::value::RawValue;

use super::destination::{Entry, Output};
use super::envelope;
use super::{Form, Line};
use crate::delivery::OutputFormat;
use crate::event::KinesisRecord;
use crate::event::{Batch, UserRecord};
use crate::inference::sha256;
use crate::outcome::Prediction;
use crate::outcome::{Failure, Outcome, Rejection, RejectionKind, catch_panic};

/// All that goes into the lines of one invocation.
#[derive(Debug)]
pub(super) struct Writer<'w> {
    pub(super) output: &'w Output,
    pub(super) dead_letter: Option<&'w Output>,
    pub(super) form: &'w Form,
    pub(super) batch: Batch<'w>,
    pub(super) endpoint: &'w str,
}

impl Writer<'_> {
    /// The line for the user record of this index, where its outcome is delivered. A record whose line cannot be made has
    /// failed, one whose prediction is too large for OUTPUT is rejected.
    pub(super) fn line(&self, index: usize, outcome: &mut Outcome) -> Option<Line> {
        catch_panic(|| self.write(index, outcome)).unwrap_or_else(|panicked| {
            *outcome = panicked;
            None
        })
    }

    fn write(&self, index: usize, outcome: &mut Outcome) -> Option<Line> {
        let user_record = self.batch.user_records.get(index)?;
        let record = self.batch.records.get(user_record.position)?;
        let line = self.text(index, outcome)?;
        Some(Line {
            index,
            position: user_record.position,
            is_dead_letter: matches!(outcome, Outcome::Rejected(_)),
            entry: Entry {
                line,
                partition_key: envelope::partition_key(record, user_record)
                    .unwrap_or("none")
                    .to_owned(),
                id: if self.is_told_by_id(outcome) {
                    self.id(index, record)
                } else {
                    String::new()
                },
                arrival_ms: record.approximate_arrival_ms.unwrap_or_default(),
            },
        })
    }

    /// Most destinations make nothing of an identity.
    fn is_told_by_id(&self, outcome: &Outcome) -> bool {
        let destination = match outcome {
            Outcome::Rejected(_) => self.dead_letter,
            Outcome::Predicted(_) | Outcome::Failed(_) | Outcome::Delivered => Some(self.output),
        };
        destination.is_some_and(Output::tells_by_id)
    }

    /// The record's place in its shard, then what else may deliver to the same destination: another endpoint's function,
    /// another stream's. A record without a place is told by all that came of it.
    fn id(&self, index: usize, record: &KinesisRecord<'_>) -> String {
        let Batch { stream_arn, .. } = self.batch;
        let place = self
            .batch
            .id(index)
            .unwrap_or_else(|| sha256(record.raw.map_or("", RawValue::get)));
        format!("{place} {} {stream_arn}", self.endpoint)
    }

    fn prediction(
        &self,
        record: &KinesisRecord<'_>,
        user_record: &UserRecord,
        prediction: &Prediction,
    ) -> Result<String, Rejection> {
        let no_bytes = Bytes::new();
        let data = user_record.data.as_ref().unwrap_or(&no_bytes);
        let in_envelope = self.form.format == OutputFormat::Envelope;
        let shown = self.form.view.show(data, &prediction.output, in_envelope)?;
        let line = if in_envelope {
            envelope::prediction(
                record,
                user_record,
                self.endpoint,
                &shown,
                prediction.variant.as_deref(),
            )
        } else {
            envelope::raw(&shown.output)
        };
        match self.output.exceeded(&line) {
            None => Ok(line),
            Some(max) => Err(Rejection {
                kind: RejectionKind::PredictionTooLarge,
                message: format!("the prediction has {} bytes, OUTPUT takes {max}", line.len()),
            }),
        }
    }

    fn text(&self, index: usize, outcome: &mut Outcome) -> Option<String> {
        let user_record = self.batch.user_records.get(index)?;
        let record = self.batch.records.get(user_record.position)?;
        if let Outcome::Predicted(prediction) = outcome {
            match self.prediction(record, user_record, prediction) {
                Ok(line) => return Some(line),
                Err(rejection) => *outcome = rejection.into(),
            }
        }
        if let (Outcome::Rejected(reason), Some(dead_letter)) = (&outcome, self.dead_letter) {
            let line = envelope::dead_letter(record, user_record, self.endpoint, reason);
            if dead_letter.exceeded(&line).is_none() {
                return Some(line);
            }
            *outcome = Outcome::Failed(Failure::DeadLetterTooLarge);
        }
        None
    }
}
