//! Builds the lines to deliver from the outcomes of user records.

use bytes::Bytes;
use serde_json::value::RawValue;

use super::destination::{Destination, LineKind, OutputLine};
use super::projection::Projection;
use super::{Alert, envelope};
use crate::event::{Batch, KinesisRecord, UserRecord};
use crate::inference::sha256;
use crate::outcome::{Failure, ModelOutput, Outcome, Prediction, Rejection, RejectionKind, catch_panic};

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
    pub(super) line: OutputLine,
    /// The same prediction for ALERT, if it matches `ALERT_PATTERN`. Boxed, because most lines have none.
    pub(super) alert: Option<Box<OutputLine>>,
}

impl PendingLine {
    pub(super) fn is_dead_letter(&self) -> bool {
        self.line.kind == LineKind::DeadLetter
    }
}

/// Builds the lines of one invocation.
#[derive(Debug)]
pub(super) struct LineBuilder<'w> {
    pub(super) output: &'w Destination,
    pub(super) dead_letter: Option<&'w Destination>,
    pub(super) alert: Option<&'w Alert>,
    pub(super) line_format: &'w LineFormat,
    pub(super) batch: Batch<'w>,
    pub(super) endpoint: &'w str,
}

impl LineBuilder<'_> {
    /// Returns the line for the user record at `index`, or `None` if its outcome is not delivered. A dead letter has no
    /// payload if it does not fit otherwise, or if `DEAD_LETTER` refused it with its payload. If building the line
    /// panics, the outcome becomes Failed. If OUTPUT cannot carry the prediction, the outcome becomes Rejected.
    pub(super) fn build(&self, index: usize, outcome: &mut Outcome, has_payload: bool) -> Option<PendingLine> {
        catch_panic(|| self.build_line(index, outcome, has_payload)).unwrap_or_else(|panicked| {
            *outcome = panicked;
            None
        })
    }

    fn build_line(&self, index: usize, outcome: &mut Outcome, has_payload: bool) -> Option<PendingLine> {
        let user_record = self.batch.user_records.get(index)?;
        let record = self.batch.records.get(user_record.record_index)?;
        let (text, alert) = self.text(record, user_record, outcome, has_payload)?;
        let line = |kind, destination: &Destination, text| OutputLine {
            kind,
            text,
            partition_key: envelope::partition_key(record, user_record)
                .unwrap_or("none")
                .to_owned(),
            id: if destination.has_line_ids() {
                self.id(index, record, kind)
            } else {
                String::new()
            },
            arrival_ms: record.approximate_arrival_ms.unwrap_or_default(),
        };
        let alert = self.alert.zip(alert);
        let alert = alert.map(|(alert, text)| Box::new(line(LineKind::Alert, &alert.destination, text)));
        let line = match (&*outcome, self.dead_letter) {
            (Outcome::Rejected(_), Some(dead_letter)) => line(LineKind::DeadLetter, dead_letter, text),
            _ => line(LineKind::Prediction, self.output, text),
        };
        Some(PendingLine {
            index,
            record_index: user_record.record_index,
            line,
            alert,
        })
    }

    /// Returns the line's ID: the record's ID in its shard, the kind of the line, the endpoint and the stream. The
    /// endpoint and the stream distinguish lines if several functions deliver to one destination. A record without an
    /// ID gets the hash of its entry in the event instead.
    fn id(&self, index: usize, record: &KinesisRecord<'_>, kind: LineKind) -> String {
        let Batch { stream_arn, .. } = self.batch;
        let record_id = self
            .batch
            .id(index)
            .unwrap_or_else(|| sha256(record.raw.map_or("", RawValue::get)));
        format!("{record_id} {} {} {stream_arn}", kind.name(), self.endpoint)
    }

    /// Returns the text of the line, and of the alert if it raises one.
    fn text(
        &self,
        record: &KinesisRecord<'_>,
        user_record: &UserRecord,
        outcome: &mut Outcome,
        has_payload: bool,
    ) -> Option<(String, Option<String>)> {
        if let Outcome::Predicted(prediction) = outcome {
            let line = self.prediction(record, user_record, prediction);
            match line.and_then(|line| Ok((self.alert(&line)?, line))) {
                Ok((alert, line)) => return Some((line, alert)),
                Err(rejection) => *outcome = rejection.into(),
            }
        }
        let (Outcome::Rejected(reason), Some(dead_letter)) = (&*outcome, self.dead_letter) else {
            return None;
        };
        let text = self.dead_letter(record, user_record, reason, dead_letter.line_bytes_max(), has_payload);
        if text.is_none() {
            *outcome = Outcome::Failed(Failure::DeadLetterRefused);
        }
        Some((text?, None))
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
        let (projection, max) = (&self.line_format.projection, self.output.line_bytes_max());
        let projected = projection.apply(data, &prediction.output, in_envelope)?;
        let line = if in_envelope {
            envelope::prediction(record, user_record, self.endpoint, &projected, prediction, max)
        } else {
            self.raw(&projected.output)?
        };
        line.ok_or_else(|| Rejection {
            kind: RejectionKind::PredictionTooLarge,
            message: format!("the prediction takes more than {max} bytes, which is the maximum of OUTPUT"),
        })
    }

    /// Returns the alert that the line of a prediction raises.
    fn alert(&self, line: &str) -> Result<Option<String>, Rejection> {
        let Some(alert) = self.alert.filter(|alert| alert.is_raised_by(line)) else {
            return Ok(None);
        };
        let max = alert.destination.line_bytes_max();
        let too_large = (line.len() > max).then(|| Rejection {
            kind: RejectionKind::PredictionTooLarge,
            message: format!("the alert takes more than {max} bytes, which is the maximum of ALERT"),
        });
        let refusal = || {
            alert.destination.text_refusal(line).map(|reason| Rejection {
                kind: RejectionKind::PredictionRefused,
                message: format!("ALERT cannot carry the prediction: {reason}"),
            })
        };
        too_large
            .or_else(refusal)
            .map_or_else(|| Ok(Some(line.to_owned())), Err)
    }

    /// Returns the output alone, or `None` if it is too large for OUTPUT.
    fn raw(&self, output: &ModelOutput) -> Result<Option<String>, Rejection> {
        let line = envelope::raw(output);
        let refusal = match output {
            ModelOutput::Json(json) => self.output.json_refusal(json),
            ModelOutput::Text(_) => self.output.text_refusal(&line),
            ModelOutput::Bytes(_) => None,
        };
        match refusal {
            Some(reason) => Err(Rejection {
                kind: RejectionKind::PredictionRefused,
                message: format!("OUTPUT cannot carry the prediction with OUTPUT_FORMAT=raw: {reason}"),
            }),
            None => Ok(Some(line).filter(|line| line.len() <= self.output.line_bytes_max())),
        }
    }

    fn dead_letter(
        &self,
        record: &KinesisRecord<'_>,
        user_record: &UserRecord,
        reason: &Rejection,
        max: usize,
        has_payload: bool,
    ) -> Option<String> {
        let endpoint = self.endpoint;
        let whole = has_payload.then(|| envelope::dead_letter(record, user_record, endpoint, reason, max));
        let stream_arn = self.batch.stream_arn;
        let without = || envelope::dead_letter_without_payload(record, user_record, endpoint, reason, stream_arn, max);
        whole.flatten().or_else(without)
    }
}
