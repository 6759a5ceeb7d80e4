//! The straight line through the stages. An event's bytes enter, and the batch response leaves. All branching between
//! stages is here. Never parses, calls or delivers anything itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use lambda_runtime::Diagnostic;
use tokio::sync::{mpsc, watch};

use crate::config::Config;
use crate::delivery::destination::Destination;
use crate::delivery::memo::Memo;
use crate::delivery::{Alert, Delivery, FeedsItself, LineFormat, OutcomeStream, Progress};
use crate::dispatch::attempt::{CallStats, Invoker};
use crate::dispatch::capacity::Capacity;
use crate::dispatch::hedge::Hedged;
use crate::dispatch::retry::RetryBudget;
use crate::dispatch::{DispatchPolicy, Dispatcher, Work};
use crate::endpoint::Endpoint;
use crate::event::{self, Batch, DecodeRules, NotKinesis, Pace, decode};
use crate::inference::{self, RequestSpec, Requests};
use crate::lambda::response::{BatchResponse, NoCheckpoint, checkpoint, checkpointable_prefix};
use crate::lambda::time_budget::{Invocation, Schedule};
use crate::outcome::{AnswerMemory, Failure, Outcome};
use crate::telemetry::emf::{Metrics, Origin};
use crate::telemetry::invocation_stats::InvocationStats;
use crate::telemetry::summary;

mod time_checks;

use time_checks::TimeChecks;

/// The state that all invocations share. One per process.
#[derive(Debug)]
pub struct Handler<E> {
    dispatcher: Dispatcher<Hedged<E>>,
    delivery: Delivery,
    memo: Memo,
    decode: DecodeRules,
    requests: RequestSpec,
    time_checks: TimeChecks,
    has_checked_time: AtomicBool,
    metrics: Option<Metrics>,
}

/// The invocation fails as a whole, and the mapping redelivers the whole batch.
#[derive(Debug, thiserror::Error)]
pub enum HandlerError {
    /// The event is not a Kinesis event.
    #[error(transparent)]
    NotKinesis(#[from] NotKinesis),
    /// A destination is the stream that the event came from.
    #[error(transparent)]
    FeedsItself(#[from] FeedsItself),
    /// No record can be named as the checkpoint.
    #[error(transparent)]
    NoCheckpoint(#[from] NoCheckpoint),
}

impl From<HandlerError> for Diagnostic {
    fn from(error: HandlerError) -> Self {
        let error_type = match error {
            HandlerError::NotKinesis(_) => "NotKinesis",
            HandlerError::FeedsItself(_) => "FeedsItself",
            // Error types are an interface for alarms and log filters, so this one keeps its first name.
            HandlerError::NoCheckpoint(_) => "Unnamable",
        };
        Diagnostic {
            error_type: error_type.to_owned(),
            error_message: error.to_string(),
        }
    }
}

impl<E: Endpoint> Handler<E> {
    /// Creates a handler that calls `endpoint` and delivers to `output` and `dead_letter`.
    pub fn new(config: &Config, endpoint: E, output: Destination, dead_letter: Option<Destination>) -> Self {
        let line_format = LineFormat {
            format: config.output_format,
            projection: config.projection.clone(),
        };
        let delivery = Delivery::new(output, dead_letter, line_format, config.output_mode, config.memo_bytes);
        let memo = Memo::new(config.memo_bytes);
        let policy = DispatchPolicy {
            retry: config.retry,
            is_rejected_unfinished: delivery.is_rejected_unfinished(),
            isolate_suspects: memo.is_on(),
        };
        let capacity = Capacity::new(config.capacity, config.adaptive_capacity);
        let endpoint = Hedged::new(endpoint, config.hedge, config.call_timeout, capacity.clone());
        let memory = AnswerMemory::new(config.buffer_bytes - config.memo_bytes);
        let invoker = Invoker::new(endpoint, config.call_timeout, capacity, memory)
            .with_predictions_at(config.predictions.clone());
        Self {
            dispatcher: Dispatcher::new(
                invoker,
                RetryBudget::new(config.capacity.get()),
                policy,
                config.probe.clone(),
            ),
            delivery,
            memo,
            decode: config.decode.clone(),
            requests: config.requests.clone(),
            time_checks: TimeChecks::new(config),
            has_checked_time: AtomicBool::new(false),
            metrics: None,
        }
    }

    /// Returns the handler with a writer for the metrics of each invocation.
    #[must_use]
    pub fn with_metrics(self, metrics: Option<Metrics>) -> Self {
        Self { metrics, ..self }
    }

    /// Returns the handler with a destination for alerts.
    #[must_use]
    pub fn with_alert(self, alert: Option<Alert>) -> Self {
        let delivery = self.delivery.with_alert(alert);
        Self { delivery, ..self }
    }

    /// Handles one event: brings every record to its outcome, delivers the finished records and reports the first
    /// unfinished one. Calls and delivery end early enough for the response to be in time. When this function returns,
    /// nothing of the invocation is running, except a write to standard output if nobody reads it.
    ///
    /// # Errors
    ///
    /// Returns a [`HandlerError`] if the batch cannot be answered record by record.
    pub async fn handle(&self, payload: &[u8], invocation: Invocation<'_>) -> Result<BatchResponse, HandlerError> {
        let schedule = self.time_checks.schedule(invocation);
        if !self.has_checked_time.swap(true, Ordering::Relaxed) {
            self.time_checks.check(schedule.total);
        }
        let event = event::read(payload)?;
        let stream_arn = event.stream_arn.as_deref().unwrap_or_default();
        self.delivery.check_source(stream_arn, invocation.account())?;
        let pace = Pace::start(schedule.left_for_calls());
        let user_records = decode(&event.records, &self.decode, pace).await;
        let batch = Batch {
            records: &event.records,
            user_records: &user_records,
            stream_arn,
        };
        let outcomes = self.memo.recall(&batch);
        let failed_before: Vec<_> = outcomes
            .iter()
            .map(|outcome| failure(outcome.as_ref()).cloned())
            .collect();
        let remembered = outcomes.iter().flatten().count() - failed_before.iter().flatten().count();
        let is_delivered = |outcome: &&Outcome| matches!(outcome, Outcome::Delivered);
        let delivered_before = outcomes.iter().flatten().filter(is_delivered).count();
        let pace = Pace::start(schedule.left_for_calls());
        let requests = inference::build(&batch, outcomes, &self.requests, pace).await;
        // Without a memo, it is unknown whether a record has failed before.
        let has_failed_before = |index| !self.memo.is_on() || failed_before.get(index).is_some_and(Option::is_some);
        let may_give_up = self.time_checks.may_give_up(&batch, invocation.now, has_failed_before);
        let work = (requests, may_give_up, invocation.trace_id);
        // Boxed, because the futures inside are deeply nested and large.
        let (call_stats, progress) = Box::pin(self.call_and_deliver(batch, work, schedule)).await;
        let stats = InvocationStats {
            remembered,
            delivered_before,
            limit: self.limit(),
            ..InvocationStats::of(&batch, &progress, &call_stats, self.delivery.is_rejected_unfinished())
        };
        summary::log_summary(&batch, &progress, &stats);
        let finished = checkpointable_prefix(batch.records, progress.finished_prefix());
        let from = finished.as_ref().copied().unwrap_or_default();
        self.remember(&batch, progress, failed_before, from);
        let failures = checkpoint(batch.records, finished?)?;
        self.write_metrics(stats, invocation, schedule).await;
        Ok(BatchResponse {
            failures,
            state: event.window_state.map(std::borrow::Cow::into_owned),
        })
    }

    async fn write_metrics(&self, stats: InvocationStats, invocation: Invocation<'_>, schedule: Schedule) {
        let Some(metrics) = &self.metrics else { return };
        let elapsed = schedule.elapsed();
        let stats = InvocationStats {
            elapsed,
            remaining: schedule.total.saturating_sub(elapsed),
            ..stats
        };
        let origin = Origin {
            request_id: invocation.request_id,
            endpoint: self.dispatcher.invoker().endpoint().name(),
            now: schedule.now(),
        };
        metrics.write(&stats, origin, schedule.metrics_end).await;
    }

    /// Returns the current limit of calls in flight: CAPACITY, or what the endpoint was found to accept.
    pub fn limit(&self) -> f64 {
        self.dispatcher.invoker().capacity().limit()
    }

    /// Runs the calls and the delivery of their outcomes concurrently.
    async fn call_and_deliver<'b>(
        &self,
        batch: Batch<'b>,
        (requests, may_give_up, trace_id): (Requests, Vec<bool>, Option<&str>),
        schedule: Schedule,
    ) -> (Arc<CallStats>, Progress<'b>) {
        let (settle, settled) = mpsc::unbounded_channel();
        let (stop, stopped) = watch::channel(usize::MAX);
        let needed = Arc::new(AtomicUsize::new(0));
        let work = Work {
            requests,
            trace_id: trace_id.map(Arc::from),
            may_give_up,
            outcomes: settle,
            stop_index: stopped,
            needed_index: Arc::clone(&needed),
            calls_end: schedule.calls_end,
        };
        let outcomes = OutcomeStream {
            settled,
            stop,
            needed,
            memory: self.dispatcher.invoker().memory().clone(),
            isolate_suspects: self.memo.is_on(),
        };
        let endpoint = self.dispatcher.invoker().endpoint().name();
        let delivery = self.delivery.run(batch, endpoint, outcomes, schedule);
        tokio::join!(self.dispatcher.run(work), delivery)
    }

    /// Remembers the outcomes of the records that will be redelivered: all records from the Kinesis record at index
    /// `from` on. A record that was not called to its end keeps what was remembered of it before.
    fn remember(
        &self,
        batch: &Batch<'_>,
        progress: Progress<'_>,
        mut failed_before: Vec<Option<Failure>>,
        from: usize,
    ) {
        if !self.memo.is_on() || from == batch.records.len() {
            return;
        }
        let with_earlier_failure = |(index, outcome): (usize, Outcome)| {
            let before = failed_before.get_mut(index).and_then(Option::take);
            match (outcome, before) {
                (Outcome::Failed(failure), Some(before)) if !failure.is_possibly_record_fault() => {
                    (index, Outcome::Failed(before))
                }
                (outcome, _) => (index, outcome),
            }
        };
        let is_redelivered = |index: usize| {
            let user_record = batch.user_records.get(index);
            user_record.is_some_and(|user_record| user_record.record_index >= from)
        };
        let outcomes = progress.into_outcomes().filter(|(index, _)| is_redelivered(*index));
        self.memo.remember(batch, outcomes.map(with_earlier_failure).collect());
    }
}

fn failure(outcome: Option<&Outcome>) -> Option<&Failure> {
    match outcome {
        Some(Outcome::Failed(failure)) => Some(failure),
        _ => None,
    }
}
