//! Requests enter. One outcome for each user record leaves, as soon as it is known. No call is left running when the
//! dispatcher has returned or was dropped.
//!
//! Each invocation runs one scheduler. It waits for credentials and for one process-wide permit at a time, and gives
//! the permit to the ready request with the lowest index. Each attempt is a separate task, so a panic fails one record
//! and not the batch. There are never more tasks than permits, whatever the size of the batch. After a transient fault,
//! a request waits without a permit and is then ready again. The rule of blame decides which records are rejected, and
//! which requests for several records are split.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use tokio::sync::{mpsc, watch};
use tokio::task::yield_now;
use tokio::time::{Instant, timeout_at};
use tracing::field::Empty;
use tracing::{Span, debug_span};

use crate::endpoint::Endpoint;
use crate::inference::{InferenceRequest, Requests};
use crate::outcome::{Fault, Outcome};
use attempt::{CallStats, Invoker};
use capacity::Permit;
use retry::{RetryBudget, RetryPolicy};

mod answer_shapes;
pub mod attempt;
mod blame;
mod call_stats;
pub mod capacity;
mod evidence;
pub mod hedge;
mod latency;
pub mod retry;
mod scheduler;

use answer_shapes::AnswerShapes;
use evidence::Evidence;
use scheduler::Scheduler;

/// The number of calls that are started before the dispatcher yields, so that the calls are sent. Without a yield, all
/// calls after a burst of answers are started before any is sent. Their answers then arrive together and wait for each
/// other, wave after wave. Measured with batches of 500, 64 in flight and 20 ms a call: 209 ms a batch without a yield,
/// 204 ms with 8, and 197 ms with 1. A yield after each call uses 1.5 times as much CPU.
const STARTS_PER_YIELD: usize = 8;

/// Instead of the index of a needed record: delivery goes on without a further outcome.
pub const DELIVERY_GOES_ON: usize = usize::MAX;
/// Instead of the index of a needed record: nothing more is delivered in this invocation.
pub const DELIVERY_ENDED: usize = usize::MAX - 1;

/// Sends the requests of each invocation to the endpoint. Concurrent invocations share it.
#[derive(Debug)]
pub struct Dispatcher<E> {
    invoker: Arc<Invoker<E>>,
    budget: RetryBudget,
    evidence: Evidence,
    answer_shapes: AnswerShapes,
    policy: DispatchPolicy,
}

/// The policy for retries, and for the records after an unfinished one.
#[derive(Debug, Clone, Copy)]
pub struct DispatchPolicy {
    /// The policy for retries.
    pub retry: RetryPolicy,
    /// Makes a rejected record unfinished, like a failed one. True if there is no dead-letter destination.
    pub is_rejected_unfinished: bool,
    /// Whether attempts continue for the records after a failed record, if the endpoint may answer them. True if there
    /// is a memo, which keeps their outcomes for the redelivery.
    pub isolate_suspects: bool,
}

/// The requests of one invocation, and the channel for the outcomes of their records.
#[derive(Debug)]
pub struct Work {
    /// The requests to send. Each user record is in exactly one of them, or has its outcome already.
    pub requests: Requests,
    /// The value of the `X-Amzn-Trace-Id` header of each call.
    pub trace_id: Option<Arc<str>>,
    /// For each user record, whether it may be given up: it is old enough and has failed before, or
    /// `GIVE_UP_AFTER_S` is 0. A missing entry means false.
    pub may_give_up: Vec<bool>,
    /// Receives the index and the outcome of each user record, once.
    pub outcomes: mpsc::UnboundedSender<(usize, Outcome)>,
    /// The index of the first user record that delivery left unfinished. No attempt starts at or after it.
    pub stop_index: watch::Receiver<usize>,
    /// The index of the user record without whose outcome delivery cannot go on, [`DELIVERY_GOES_ON`] or
    /// [`DELIVERY_ENDED`]. The answer to its request may exceed the memory for answers.
    pub needed_index: Arc<AtomicUsize>,
    /// The time at which calls in flight are cancelled.
    pub calls_end: Instant,
}

/// Creates the span of an attempt at `request`, inside the span of the invocation. Its level is below the usual log
/// level, because a batch has hundreds of attempts.
fn call_span(request: &InferenceRequest) -> Span {
    debug_span!(
        "call",
        id = request.inference_id(),
        records = request.records().len(),
        fault = Empty,
        otel.kind = "client",
        otel.status_code = Empty
    )
}

impl<E: Endpoint> Dispatcher<E> {
    /// Creates a dispatcher that makes its attempts with `invoker` and takes its retries from `budget`. `probe` is the
    /// request of the setting `PROBE`.
    pub fn new(
        invoker: Invoker<E>,
        budget: RetryBudget,
        policy: DispatchPolicy,
        probe: Option<InferenceRequest>,
    ) -> Self {
        Self {
            invoker: Arc::new(invoker),
            budget,
            evidence: Evidence::new(probe),
            answer_shapes: AnswerShapes::new(),
            policy,
        }
    }

    /// Returns the invoker, which makes the attempts.
    pub fn invoker(&self) -> &Invoker<E> {
        &self.invoker
    }

    /// Sends every request and waits until each record has its outcome. Returns the statistics of the calls.
    pub async fn run(&self, work: Work) -> Arc<CallStats> {
        let calls_end = work.calls_end;
        let mut scheduler = Scheduler::new(self, work);
        // If the time is over, calls may still be in flight. `cancel_all` cancels them.
        _ = timeout_at(calls_end, self.drive(&mut scheduler)).await;
        scheduler.cancel_all().await;
        scheduler.into_stats()
    }

    /// Starts attempts and handles events until nothing is left to do.
    async fn drive(&self, scheduler: &mut Scheduler<'_, E>) {
        let mut started = 0_usize;
        while scheduler.has_ready() || scheduler.has_events() || scheduler.seek_evidence() || scheduler.will_have_room()
        {
            scheduler.push_due_probes();
            let permit = match self.acquire_permit(scheduler).await {
                Some(Ok(permit)) => permit,
                Some(Err(fault)) => {
                    scheduler.fail_ready(fault);
                    continue;
                }
                None => {
                    scheduler.wait_for_ready().await;
                    continue;
                }
            };
            if self.invoker.is_too_late(Instant::now(), scheduler.work.calls_end) {
                scheduler.stop_starting();
                continue;
            }
            // The wait for the permit may have taken long.
            scheduler.push_due_probes();
            scheduler.drop_late_requests();
            if !scheduler.has_ready() {
                continue;
            }
            scheduler.start(permit);
            started += 1;
            if started.is_multiple_of(STARTS_PER_YIELD) {
                yield_now().await;
            }
        }
    }

    /// Waits for credentials and then for a permit, and handles events meanwhile. Returns `None` when no request is
    /// ready any more, and the fault if no call can be made. The task keeps its place in the queue for permits the
    /// whole time. If it queued again after every finished call, concurrent invocations would overtake it.
    async fn acquire_permit(&self, scheduler: &mut Scheduler<'_, E>) -> Option<Result<Permit, Fault>> {
        let calls_end = scheduler.work.calls_end;
        let mut permit = pin!(async {
            self.invoker.prepare(calls_end).await?;
            Ok(self.invoker.capacity().acquire().await)
        });
        while scheduler.has_ready() {
            tokio::select! {
                biased;
                // Events first: they may make a request with a lower index ready, or stop the ready requests.
                () = scheduler.wait_for_event() => {}
                permit = &mut permit => return Some(permit),
            }
        }
        None
    }
}
