//! The straight line through the stages, from one event to its answer. All branching between stages lives here.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lambda_runtime::Diagnostic;
use tokio::sync::{mpsc, watch};
use tracing::{error, warn};

use crate::config::Config;
use crate::delivery::destination::Destination;
use crate::delivery::memo::Memo;
use crate::delivery::{Delivery, FeedsItself, LineFormat, OutcomeStream, Progress};
use crate::dispatch::attempt::{Invoker, CallStats};
use crate::dispatch::capacity::Capacity;
use crate::dispatch::hedge::Hedge;
use crate::dispatch::retry::RetryBudget;
use crate::dispatch::{Dispatcher, StopPolicy, Work};
use crate::endpoint::Endpoint;
use crate::event::{self, KinesisRecord, NotKinesis};
use crate::event::{Batch, DecompressOptions, decode};
use crate::inference::{self, RequestSpec, Requests};
use crate::lambda::response::{BatchResponse, NoCheckpoint, checkpoint, checkpointable_prefix};
use crate::lambda::time_budget::{Schedule, Invocation, TimeBudget};
use crate::outcome::Outcome;
use crate::telemetry::emf::{Metrics, Origin};
use crate::telemetry::invocation_stats::InvocationStats;
use crate::telemetry::summary;

/// Everything that invocations share. One per process.
#[derive(Debug)]
pub struct Handler<E> {
    dispatcher: Dispatcher<E>,
    delivery: Delivery,
    memo: Memo,
    decompress: DecompressOptions,
    requests: RequestSpec,
    times: Times,
    is_checked: AtomicBool,
    metrics: Option<Metrics>,
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
    NoCheckpoint(#[from] NoCheckpoint),
}

impl From<HandlerError> for Diagnostic {
    fn from(error: HandlerError) -> Self {
        let error_type = match error {
            HandlerError::NotKinesis(_) => "NotKinesis",
            HandlerError::FeedsItself(_) => "FeedsItself",
            HandlerError::NoCheckpoint(_) => "Unnamable",
        };
        Diagnostic {
            error_type: error_type.to_owned(),
            error_message: error.to_string(),
        }
    }
}

impl<E: Endpoint> Handler<E> {
    /// A handler that calls `endpoint` and delivers to these outputs.
    pub fn new(config: &Config, endpoint: E, output: Destination, dead_letter: Option<Destination>) -> Self {
        let form = LineFormat {
            format: config.output_format,
            projection: config.projection.clone(),
        };
        let delivery = Delivery::new(output, dead_letter, form, config.output_mode);
        let memo = Memo::new(config.memo_bytes);
        let policy = StopPolicy {
            retry: config.retry,
            rejected_fails: delivery.rejected_fails(),
            isolate_suspects: memo.is_on(),
        };
        let capacity = Capacity::new(config.capacity, config.adaptive_capacity);
        let hedge = config.hedge.map(Hedge::after);
        let invoker = Invoker::new(endpoint, config.call_timeout, capacity, hedge);
        Self {
            dispatcher: Dispatcher::new(invoker, RetryBudget::new(config.capacity.get()), policy),
            delivery,
            memo,
            decompress: config.decompress,
            requests: config.requests.clone(),
            times: Times {
                call_timeout: config.call_timeout,
                max_attempts: config.retry.max_attempts,
                max_records: config.requests.max_records,
                give_up_after: config.give_up_after,
                time_budget: config.time_budget,
            },
            is_checked: AtomicBool::new(false),
            metrics: None,
        }
    }

    /// The same, with the metrics of each invocation written.
    #[must_use]
    pub fn with_metrics(self, metrics: Option<Metrics>) -> Self {
        Self { metrics, ..self }
    }

    /// Handles one event: every record to its outcome, the finished ones delivered, the rest reported. Calls and delivery
    /// end early enough for the answer to be in time. Nothing of the invocation runs any more when this has returned, but
    /// for a write to standard output that nobody reads.
    ///
    /// # Errors
    ///
    /// [`HandlerError`] where the batch cannot be answered record by record.
    pub async fn handle(&self, payload: &[u8], invocation: Invocation<'_>) -> Result<BatchResponse, HandlerError> {
        let schedule = Schedule::new(invocation, self.times.time_budget);
        if !self.is_checked.swap(true, Ordering::Relaxed) {
            self.times.check(schedule.total);
        }
        let event = event::read(payload)?;
        let stream_arn = event.stream_arn.as_deref().unwrap_or_default();
        self.delivery.check_source(stream_arn, invocation.account())?;
        let user_records = decode(&event.records, self.decompress);
        let batch = Batch {
            records: &event.records,
            user_records: &user_records,
            stream_arn,
        };
        let outcomes = self.memo.recall(&batch);
        let remembered = outcomes.iter().flatten().count();
        let is_delivered = |outcome: &&Outcome| matches!(outcome, Outcome::Delivered);
        let before = outcomes.iter().flatten().filter(is_delivered).count();
        let requests = inference::build(&batch, outcomes, &self.requests);
        let give_up_eligible = self.times.old(&batch, invocation.now);
        let work = (requests, give_up_eligible, invocation.trace_id);
        // Boxed, since the futures inside are deep and large.
        let (call_stats, progress) = Box::pin(self.call_and_deliver(batch, work, schedule)).await;
        let stats = InvocationStats {
            remembered,
            before,
            limit: self.limit(),
            ..InvocationStats::of(&batch, &progress, &call_stats, self.delivery.rejected_fails())
        };
        summary::log_summary(&batch, &progress, &stats);
        let from = checkpointable_prefix(batch.records, progress.finished_prefix());
        self.remember(&batch, progress, from.as_ref().copied().unwrap_or_default());
        let batch_item_failures = checkpoint(batch.records, from?)?;
        self.measure(stats, invocation, schedule).await;
        Ok(BatchResponse {
            batch_item_failures,
            state: event.window_state.map(std::borrow::Cow::into_owned),
        })
    }

    async fn measure(&self, stats: InvocationStats, invocation: Invocation<'_>, schedule: Schedule) {
        let Some(metrics) = &self.metrics else { return };
        let spent = schedule.elapsed();
        let stats = InvocationStats {
            spent,
            left: schedule.total.saturating_sub(spent),
            ..stats
        };
        let origin = Origin {
            request_id: invocation.request_id,
            endpoint: self.dispatcher.invoker().endpoint().name(),
            now: schedule.now(),
        };
        metrics.write(&stats, origin, schedule.metrics_end).await;
    }

    /// How many calls may be in flight now: CAPACITY, or what the endpoint turned out to take.
    pub fn limit(&self) -> f64 {
        self.dispatcher.invoker().capacity().limit()
    }

    /// Runs the calls and the delivery of what comes of them side by side.
    async fn call_and_deliver<'b>(
        &self,
        batch: Batch<'b>,
        (requests, give_up_eligible, trace_id): (Requests, Vec<bool>, Option<&str>),
        schedule: Schedule,
    ) -> (Arc<CallStats>, Progress<'b>) {
        let (settle, settled) = mpsc::unbounded_channel();
        let (stop, stopped) = watch::channel(usize::MAX);
        let work = Work {
            records: batch.user_records.len(),
            requests,
            trace_id: trace_id.map(Arc::from),
            give_up_eligible,
            outcomes: settle,
            stop_index: stopped,
            calls_end: schedule.calls_end,
        };
        let outcomes = OutcomeStream {
            settled,
            stop,
            isolate_suspects: self.memo.is_on(),
        };
        let endpoint = self.dispatcher.invoker().endpoint().name();
        let delivery = self.delivery.run(batch, endpoint, outcomes, schedule);
        tokio::join!(self.dispatcher.run(work), delivery)
    }

    /// Remembers how those ended that will be delivered again: all from the Kinesis record at index `from` on.
    fn remember(&self, batch: &Batch<'_>, progress: Progress<'_>, from: usize) {
        if !self.memo.is_on() || from == batch.records.len() {
            return;
        }
        for (index, outcome) in progress.into_outcomes() {
            let user_record = batch.user_records.get(index);
            if user_record.is_some_and(|user_record| user_record.record_index >= from) {
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
    time_budget: TimeBudget,
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
        let records = user_records.map(|user_record| batch.records.get(user_record.record_index));
        records.map(|record| record.is_some_and(is_old)).collect()
    }

    /// Until a record that hangs stands alone and has had its last attempt.
    fn attempts(&self) -> u32 {
        let halvings = self.max_records.next_power_of_two().ilog2();
        self.max_attempts.max(2) + halvings
    }

    /// Warns of timeouts that the function's own does not leave room for. Only the first event tells what is `left`.
    fn check(&self, left: Duration) {
        let reserve = self.time_budget.reserve;
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
