//! The straight line through the stages, from one event to its answer. All branching between stages lives here.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lambda_runtime::Diagnostic;
use tokio::sync::{mpsc, watch};
use tracing::{error, info, warn};

use crate::capacity::Capacity;
use crate::checkpoint::{BatchResponse, Unnamable, checkpoint, nameable};
use crate::config::Config;
use crate::deadline::{Deadline, Invocation, Limits};
use crate::decode::{Batch, Unpacking, decode};
use crate::delivery::{Counts, Delivery, FeedsItself, Form, Outcomes, Progress};
use crate::endpoint::{Endpoint, FaultKind};
use crate::event::{self, KinesisRecord, NotKinesis};
use crate::fan_out::{self, FanOut, Work};
use crate::hedge::Hedge;
use crate::invoke::{Caller, Tally};
use crate::memo::Memo;
use crate::outcome::{Failure, Outcome};
use crate::output::Output;
use crate::request::{self, Requests, Rules};
use crate::retry::Budget;

/// Everything that invocations share. One per process.
#[derive(Debug)]
pub struct Handler<E> {
    fan_out: FanOut<E>,
    delivery: Delivery,
    memo: Memo,
    unpacking: Unpacking,
    requests: Rules,
    times: Times,
    is_checked: AtomicBool,
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
        let form = Form {
            format: config.output_format,
            view: config.view.clone(),
        };
        let delivery = Delivery::new(output, dead_letter, form, config.output_mode);
        let memo = Memo::new(config.memo_bytes);
        let rules = fan_out::Rules {
            retry: config.retry,
            rejected_fails: delivery.rejected_fails(),
            others_go_on: memo.is_on(),
        };
        let capacity = Capacity::new(config.capacity, config.adaptive_capacity);
        let hedge = config.hedge.map(Hedge::after);
        let caller = Caller::new(endpoint, config.call_timeout, capacity, hedge);
        Self {
            fan_out: FanOut::new(caller, Budget::new(config.capacity.get()), rules),
            delivery,
            memo,
            unpacking: config.unpacking,
            requests: config.requests.clone(),
            times: Times {
                call_timeout: config.call_timeout,
                max_attempts: config.retry.max_attempts,
                max_records: config.requests.max_records,
                give_up_after: config.give_up_after,
                limits: config.limits,
            },
            is_checked: AtomicBool::new(false),
        }
    }

    /// Handles one event: every record to its outcome, the finished ones delivered, the rest reported. Calls and delivery
    /// end early enough for the answer to be in time. Nothing of the invocation runs any more when this has returned, but
    /// for a write to standard output that nobody reads.
    ///
    /// # Errors
    ///
    /// [`HandlerError`] where the batch cannot be answered record by record.
    pub async fn handle(&self, payload: &[u8], invocation: Invocation<'_>) -> Result<BatchResponse, HandlerError> {
        let deadline = Deadline::new(invocation, self.times.limits);
        if !self.is_checked.swap(true, Ordering::Relaxed) {
            self.times.check(deadline.left);
        }
        let event = event::read(payload)?;
        let stream_arn = event.stream_arn.as_deref().unwrap_or_default();
        self.delivery.check_source(stream_arn, invocation.account())?;
        let user_records = decode(&event.records, self.unpacking);
        let batch = Batch {
            records: &event.records,
            user_records: &user_records,
            stream_arn,
        };
        let remembered = self.memo.recall(&batch);
        let requests = request::build(&batch, remembered, &self.requests);
        let is_old = self.times.old(&batch, invocation.now);
        // Boxed, since the futures inside are deep and large.
        let (tally, progress) = Box::pin(self.call_and_deliver(batch, requests, is_old, deadline)).await;
        let from = nameable(batch.records, progress.finished());
        summarise(&batch, &progress, &tally, self.limit());
        self.remember(&batch, progress, from.as_ref().copied().unwrap_or_default());
        let batch_item_failures = checkpoint(batch.records, from?)?;
        Ok(BatchResponse {
            batch_item_failures,
            state: event.window_state.map(std::borrow::Cow::into_owned),
        })
    }

    /// How many calls may be in flight now: CAPACITY, or what the endpoint turned out to take.
    pub fn limit(&self) -> f64 {
        self.fan_out.caller().capacity().limit()
    }

    /// Runs the calls and the delivery of what comes of them side by side.
    async fn call_and_deliver<'b>(
        &self,
        batch: Batch<'b>,
        requests: Requests,
        is_old: Vec<bool>,
        deadline: Deadline,
    ) -> (Arc<Tally>, Progress<'b>) {
        let (settle, settled) = mpsc::unbounded_channel();
        let (stop, stopped) = watch::channel(usize::MAX);
        let work = Work {
            records: batch.user_records.len(),
            requests,
            is_old,
            outcomes: settle,
            stop: stopped,
            end: deadline.calls_end,
        };
        let outcomes = Outcomes {
            settled,
            stop,
            others_go_on: self.memo.is_on(),
        };
        let endpoint = self.fan_out.caller().endpoint().name();
        let delivery = self.delivery.run(batch, endpoint, outcomes, deadline.delivery_end);
        tokio::join!(self.fan_out.run(work), delivery)
    }

    /// Remembers how those ended that will be delivered again: all from the Kinesis record at position `from` on.
    fn remember(&self, batch: &Batch<'_>, progress: Progress<'_>, from: usize) {
        if !self.memo.is_on() || from == batch.records.len() {
            return;
        }
        for (index, outcome) in progress.into_outcomes() {
            let user_record = batch.user_records.get(index);
            if user_record.is_some_and(|user_record| user_record.position >= from) {
                self.memo.remember(batch, index, outcome);
            }
        }
    }
}

/// The settings that have to do with time.
#[derive(Debug)]
struct Times {
    call_timeout: Duration,
    max_attempts: u32,
    max_records: usize,
    give_up_after: Option<Duration>,
    limits: Limits,
}

impl Times {
    /// Which user records are old enough to be given up, `now`.
    fn old(&self, batch: &Batch<'_>, now: SystemTime) -> Vec<bool> {
        let Some(give_up_after) = self.give_up_after else {
            return Vec::new();
        };
        let is_old = |record: &KinesisRecord<'_>| {
            let arrival = record.approximate_arrival_ms.map(Duration::from_millis);
            let age = arrival.and_then(|arrival| now.duration_since(UNIX_EPOCH + arrival).ok());
            age.is_some_and(|age| age >= give_up_after)
        };
        let user_records = batch.user_records.iter();
        let records = user_records.map(|user_record| batch.records.get(user_record.position));
        records.map(|record| record.is_some_and(is_old)).collect()
    }

    /// Until a record that hangs stands alone and has had its last attempt.
    fn attempts(&self) -> u32 {
        let halvings = self.max_records.next_power_of_two().ilog2();
        self.max_attempts.max(2) + halvings
    }

    /// Warns of timeouts that the function's own does not leave room for. Only the first event tells what is `left`.
    fn check(&self, left: Duration) {
        let reserve = self.limits.reserve;
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
        } else if self.give_up_after.is_some() && left < self.call_timeout * self.attempts() + reserve {
            warn!(
                left_ms,
                attempts = self.attempts(),
                "MAX_ATTEMPTS, and with MultiRecord one more for each halving, x CALL_TIMEOUT_MS + DEADLINE_RESERVE_MS is more than an invocation's time: a record that \
                 hangs cannot spend its attempts, and is never given up; raise the function's timeout or lower \
                 CALL_TIMEOUT_MS"
            );
        }
    }
}

/// One line an invocation: what became of its records, and what stopped it where something did.
fn summarise(batch: &Batch<'_>, progress: &Progress<'_>, tally: &Tally, limit: f64) {
    let attempts = tally.attempts.load(Ordering::Relaxed);
    let hedges = tally.hedges.load(Ordering::Relaxed);
    let misconfigured = progress.outcomes().find_map(|(_, outcome)| match outcome {
        Outcome::Failed(Failure::Fault(fault)) if fault.kind == FaultKind::Misconfigured => Some(&fault.summary),
        Outcome::Failed(_) | Outcome::Predicted(_) | Outcome::Rejected(_) | Outcome::Delivered => None,
    });
    if let Some(what) = misconfigured {
        error!("the endpoint cannot be called as it is configured: {what}");
    }
    let Counts {
        predicted,
        rejected,
        failed,
        delivered,
    } = progress.counts;
    let (records, finished) = (batch.records.len(), progress.finished());
    let user_records = batch.user_records.len();
    let Some(unfinished) = batch.records.get(finished) else {
        info!(
            records,
            user_records, predicted, rejected, delivered, attempts, hedges, limit, "batch finished"
        );
        return;
    };
    // The rejection's message may quote the record: its kind has to do.
    let why = progress.outcomes().find_map(|(index, outcome)| {
        let is_its_own = batch.user_records.get(index)?.position == finished;
        match outcome {
            _ if !is_its_own => None,
            Outcome::Predicted(_) | Outcome::Delivered => None,
            Outcome::Rejected(rejection) => Some(format!("{:?}, and its dead letter has gone nowhere", rejection.kind)),
            Outcome::Failed(failure) => Some(failure.to_string()),
        }
    });
    warn!(
        records,
        user_records,
        predicted,
        rejected,
        failed,
        delivered,
        attempts,
        hedges,
        limit,
        finished,
        from = unfinished.sequence_number.as_deref(),
        why = why.unwrap_or_else(|| "its delivery fell short".to_owned()),
        "batch comes again from here"
    );
}
