//! The straight line through the stages, from one event to its answer. All branching between stages lives here.

use lambda_runtime::Diagnostic;
use serde_json::value::RawValue;
use tracing::{info, warn};

use crate::capacity::Capacity;
use crate::checkpoint::{BatchResponse, Unnamable, checkpoint, nameable};
use crate::config::Config;
use crate::decode::{UserRecord, decode};
use crate::endpoint::Endpoint;
use crate::event::{self, KinesisRecord, NotKinesis};
use crate::fan_out::FanOut;
use crate::outcome::Outcome;
use crate::output::{DeliveryError, Output, envelope};
use crate::request;

/// Everything that invocations share. One per process.
#[derive(Debug)]
pub struct Handler<E> {
    fan_out: FanOut<E>,
    output: Output,
    dead_letter: Option<Output>,
    max_payload_bytes: usize,
}

/// The invocation fails as a whole, and the mapping delivers the whole batch again.
#[derive(Debug, thiserror::Error)]
pub enum HandlerError {
    /// The event is none of Kinesis's.
    #[error(transparent)]
    NotKinesis(#[from] NotKinesis),
    /// No checkpoint can be named.
    #[error(transparent)]
    Unnamable(#[from] Unnamable),
}

impl From<HandlerError> for Diagnostic {
    fn from(error: HandlerError) -> Self {
        let error_type = match error {
            HandlerError::NotKinesis(_) => "NotKinesis",
            HandlerError::Unnamable(_) => "Unnamable",
        };
        Diagnostic {
            error_type: error_type.to_owned(),
            error_message: error.to_string(),
        }
    }
}

impl<E: Endpoint> Handler<E> {
    /// A handler that calls `endpoint` and delivers where `config` says.
    pub fn new(config: &Config, endpoint: E) -> Self {
        let output = Output::open(config.output);
        Self::with_outputs(config, endpoint, output, config.dead_letter.map(Output::open))
    }

    /// As [`Handler::new`], with outputs that are open already.
    pub fn with_outputs(config: &Config, endpoint: E, output: Output, dead_letter: Option<Output>) -> Self {
        let fan_out = FanOut::new(endpoint, Capacity::new(config.capacity), config.call_timeout);
        Self {
            fan_out,
            output,
            dead_letter,
            max_payload_bytes: config.max_payload_bytes,
        }
    }

    /// Handles one event: every record to its outcome, the finished ones delivered, the rest reported.
    ///
    /// # Errors
    ///
    /// [`HandlerError`] where the batch cannot be answered record by record.
    pub async fn handle(&self, payload: &RawValue) -> Result<BatchResponse, HandlerError> {
        let event = event::read(payload)?;
        let user_records = decode(&event.records);
        let requests = request::build(&event.records, &user_records, self.max_payload_bytes);
        let outcomes = self.fan_out.run(requests).await;
        let finished = self.finished(event.records.len(), &user_records, &outcomes);
        let finished = nameable(&event.records, finished)?;
        let delivered = self.deliver(&event.records, &user_records, &outcomes, finished);
        summarise(&event.records, &user_records, &outcomes, delivered);
        let batch_item_failures = checkpoint(&event.records, delivered)?;
        Ok(BatchResponse {
            batch_item_failures,
            state: event.window_state.map(std::borrow::Cow::into_owned),
        })
    }

    /// How many Kinesis records, from the first on, are finished: each of their user records is predicted, or rejected
    /// with a dead-letter destination to go to.
    fn finished(&self, records: usize, user_records: &[UserRecord], outcomes: &[Outcome]) -> usize {
        let unfinished = |outcome: &Outcome| match outcome {
            Outcome::Predicted(_) => false,
            Outcome::Rejected(_) => self.dead_letter.is_none(),
            Outcome::Failed(_) => true,
        };
        let first = user_records
            .iter()
            .zip(outcomes)
            .find(|(_, outcome)| unfinished(outcome));
        first.map_or(records, |(user_record, _)| user_record.position)
    }

    /// Delivers the first `finished` Kinesis records and says how many of them arrived: all or none.
    fn deliver(
        &self,
        records: &[KinesisRecord<'_>],
        user_records: &[UserRecord],
        outcomes: &[Outcome],
        finished: usize,
    ) -> usize {
        let endpoint = self.fan_out.endpoint().name();
        let mut predictions = Vec::new();
        let mut dead_letters = Vec::new();
        for (user_record, outcome) in user_records.iter().zip(outcomes) {
            let Some(record) = records
                .get(user_record.position)
                .filter(|_| user_record.position < finished)
            else {
                break;
            };
            match outcome {
                Outcome::Predicted(prediction) => {
                    predictions.push(envelope::prediction(record, user_record, endpoint, prediction));
                }
                Outcome::Rejected(reason) => {
                    dead_letters.push(envelope::dead_letter(record, user_record, endpoint, reason));
                }
                Outcome::Failed(_) => unreachable!("a finished record has not failed"),
            }
        }
        match self.write(&predictions, &dead_letters) {
            Ok(()) => finished,
            Err(error) => {
                warn!(
                    error = &error as &dyn std::error::Error,
                    "nothing was delivered, the batch comes again"
                );
                0
            }
        }
    }

    fn write(&self, predictions: &[String], dead_letters: &[String]) -> Result<(), DeliveryError> {
        // Dead letters first: if they fail, no prediction was delivered yet that the next delivery would repeat.
        if let Some(dead_letter) = &self.dead_letter {
            dead_letter.deliver(dead_letters)?;
        }
        self.output.deliver(predictions)
    }
}

/// One line an invocation: what became of its records, and what stopped it where something did.
fn summarise(records: &[KinesisRecord<'_>], user_records: &[UserRecord], outcomes: &[Outcome], delivered: usize) {
    let count = |of: fn(&Outcome) -> bool| outcomes.iter().filter(|outcome| of(outcome)).count();
    let predicted = count(|outcome| matches!(outcome, Outcome::Predicted(_)));
    let rejected = count(|outcome| matches!(outcome, Outcome::Rejected(_)));
    let failed = count(|outcome| matches!(outcome, Outcome::Failed(_)));
    let Some(unfinished) = records.get(delivered) else {
        info!(records = records.len(), predicted, rejected, "batch finished");
        return;
    };
    // The rejection's message may quote the record: its kind has to do.
    let its_own = user_records
        .iter()
        .zip(outcomes)
        .filter(|(user_record, _)| user_record.position == delivered);
    let why = its_own.map(|(_, outcome)| outcome).find_map(|outcome| match outcome {
        Outcome::Predicted(_) => None,
        Outcome::Rejected(rejection) => Some(format!("{:?}, and there is no DEAD_LETTER for it", rejection.kind)),
        Outcome::Failed(fault) => Some(fault.to_string()),
    });
    warn!(
        records = records.len(),
        predicted,
        rejected,
        failed,
        finished = delivered,
        from = unfinished.sequence_number.as_deref(),
        why = why.unwrap_or_else(|| "nothing was delivered from here on".to_owned()),
        "batch comes again from here"
    );
}
