//! The straight line through the stages, from one event to its answer. All branching between stages lives here.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lambda_runtime::Diagnostic;
use serde_json::value::RawValue;
use tracing::{error, info, warn};

use crate::capacity::Capacity;
use crate::checkpoint::{BatchResponse, Unnamable, checkpoint, nameable};
use crate::config::Config;
use crate::deadline::{Deadline, Invocation, Limits};
use crate::decode::{UserRecord, decode};
use crate::delivery::{Delivery, FeedsItself};
use crate::endpoint::{Endpoint, FaultKind};
use crate::event::{self, KinesisRecord, NotKinesis};
use crate::fan_out::{FanOut, FannedOut};
use crate::invoke::Caller;
use crate::outcome::{Failure, Outcome};
use crate::output::Output;
use crate::request;

/// Everything that invocations share. One per process.
#[derive(Debug)]
pub struct Handler<E> {
    fan_out: FanOut<E>,
    delivery: Delivery,
    max_payload_bytes: usize,
    call_timeout: Duration,
    limits: Limits,
    deadline_checked: AtomicBool,
}

/// The invocation fails as a whole, and the mapping delivers the whole batch again.
#[derive(Debug, thiserror::Error)]
pub enum HandlerError {
    /// The event is none of Kinesis's.
    #[error(transparent)]
    NotKinesis(#[from] NotKinesis),
    /// A destination is the event's own stream.
    #[error(transparent)]
    FeedsItself(#[from] FeedsItself),
    /// No checkpoint can be named.
    #[error(transparent)]
    Unnamable(#[from] Unnamable),
}

impl From<HandlerError> for Diagnostic {
    fn from(error: HandlerError) -> Self {
        let error_type = match error {
            HandlerError::NotKinesis(_) => "NotKinesis",
            HandlerError::FeedsItself(_) => "FeedsItself",
            HandlerError::Unnamable(_) => "Unnamable",
        };
        Diagnostic {
            error_type: error_type.to_owned(),
            error_message: error.to_string(),
        }
    }
}

impl<E: Endpoint> Handler<E> {
    /// A handler that calls `endpoint` and delivers to these outputs.
    pub fn new(config: &Config, endpoint: E, output: Output, dead_letter: Option<Output>) -> Self {
        let delivery = Delivery::new(output, dead_letter);
        let capacity = Capacity::new(config.capacity);
        let rejected_fails = delivery.rejected_fails();
        let caller = Caller::new(endpoint, config.call_timeout);
        Self {
            fan_out: FanOut::new(caller, capacity, config.retry, rejected_fails),
            delivery,
            max_payload_bytes: config.max_payload_bytes,
            call_timeout: config.call_timeout,
            limits: config.limits,
            deadline_checked: AtomicBool::new(false),
        }
    }

    /// Handles one event: every record to its outcome, the finished ones delivered, the rest reported. Calls and delivery
    /// end early enough for the answer to be in time. Nothing of the invocation runs any more when this has returned, but
    /// for a write to standard output that nobody reads.
    ///
    /// # Errors
    ///
    /// [`HandlerError`] where the batch cannot be answered record by record.
    pub async fn handle(&self, payload: &RawValue, invocation: Invocation<'_>) -> Result<BatchResponse, HandlerError> {
        let deadline = Deadline::new(invocation, self.limits);
        self.check(deadline);
        let event = event::read(payload)?;
        if let Some(stream_arn) = &event.stream_arn {
            self.delivery.check_source(stream_arn, invocation.account())?;
        }
        let user_records = decode(&event.records);
        let requests = request::build(&event.records, &user_records, self.max_payload_bytes);
        let FannedOut { mut outcomes, attempts } = self.fan_out.run(requests, deadline.calls_end).await;
        let endpoint = self.fan_out.endpoint().name();
        let prefix = self
            .delivery
            .prefix(&event.records, &user_records, &mut outcomes, endpoint);
        let finished = nameable(&event.records, prefix.finished)?;
        let delivered = self
            .delivery
            .deliver(prefix.up_to(finished), deadline.delivery_end)
            .await;
        summarise(&event.records, &user_records, &outcomes, attempts, delivered);
        // A delivery that fell short may end before a record without a number: those back to one that has repeat.
        let batch_item_failures = checkpoint(&event.records, nameable(&event.records, delivered)?)?;
        Ok(BatchResponse {
            batch_item_failures,
            state: event.window_state.map(std::borrow::Cow::into_owned),
        })
    }

    /// Warns, at the first event, of a timeout that the function's own does not leave room for: only there is it known.
    fn check(&self, deadline: Deadline) {
        let Deadline { left, .. } = deadline;
        let Limits { reserve, .. } = self.limits;
        if self.deadline_checked.swap(true, Ordering::Relaxed) {
            return;
        }
        let left_ms = left.as_millis();
        if left <= reserve {
            error!(
                left_ms,
                "DEADLINE_RESERVE_MS is all of an invocation's time: no call can start; raise the function's timeout or \
                 lower DEADLINE_RESERVE_MS"
            );
        } else if left < self.call_timeout + reserve {
            warn!(
                left_ms,
                "CALL_TIMEOUT_MS + DEADLINE_RESERVE_MS is more than an invocation's time: a slow call is cut before its \
                 timeout; raise the function's timeout or lower CALL_TIMEOUT_MS"
            );
        }
    }
}

/// One line an invocation: what became of its records, and what stopped it where something did.
fn summarise(
    records: &[KinesisRecord<'_>],
    user_records: &[UserRecord],
    outcomes: &[Outcome],
    attempts: usize,
    delivered: usize,
) {
    let misconfigured = outcomes.iter().find_map(|outcome| match outcome {
        Outcome::Failed(Failure::Fault(fault)) if fault.kind == FaultKind::Misconfigured => Some(&fault.summary),
        Outcome::Failed(_) | Outcome::Predicted(_) | Outcome::Rejected(_) => None,
    });
    if let Some(what) = misconfigured {
        error!("the endpoint cannot be called as it is configured: {what}");
    }
    let count = |of: fn(&Outcome) -> bool| outcomes.iter().filter(|outcome| of(outcome)).count();
    let predicted = count(|outcome| matches!(outcome, Outcome::Predicted(_)));
    let rejected = count(|outcome| matches!(outcome, Outcome::Rejected(_)));
    let failed = count(|outcome| matches!(outcome, Outcome::Failed(_)));
    let Some(unfinished) = records.get(delivered) else {
        info!(records = records.len(), predicted, rejected, attempts, "batch finished");
        return;
    };
    // The rejection's message may quote the record: its kind has to do.
    let its_own = user_records
        .iter()
        .zip(outcomes)
        .filter(|(user_record, _)| user_record.position == delivered);
    let why = its_own.map(|(_, outcome)| outcome).find_map(|outcome| match outcome {
        Outcome::Predicted(_) => None,
        Outcome::Rejected(rejection) => Some(format!("{:?}, and its dead letter has gone nowhere", rejection.kind)),
        Outcome::Failed(failure) => Some(failure.to_string()),
    });
    warn!(
        records = records.len(),
        predicted,
        rejected,
        failed,
        attempts,
        finished = delivered,
        from = unfinished.sequence_number.as_deref(),
        why = why.unwrap_or_else(|| "its delivery fell short".to_owned()),
        "batch comes again from here"
    );
}
