//! The scheduler: requests in, one outcome for each of them out, as they come.
//!
//! Each invocation runs one scheduler. It waits for one process-wide permit at a time, gives it to the ready request
//! with the lowest position, and starts the attempt as a task of its own: one that panics ends as a failed record, not
//! as a failed batch. No more tasks exist than permits, whatever the size of the batch. A request whose attempt failed
//! for a while waits without a permit, and is then ready again. A request for several records that is refused is split in
//! halves until the refused record stands alone. When all others have ended, requests that may be at fault themselves are
//! split in the same way, and old records that may be are tried for the last time.
//!
//! What it never does: leave a call running when it has returned or was dropped.

use std::pin::pin;
use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio::task::yield_now;
use tokio::time::{Instant, timeout_at};
use tracing::field::Empty;
use tracing::{Span, debug_span};

use crate::dispatch::attempt::{Answer, Caller, Tally};
use crate::dispatch::capacity::{Capacity, Permit};
use crate::dispatch::retry::{Budget, Retry};
use crate::endpoint::Endpoint;
use crate::inference::{InferenceRequest, Requests};
use crate::outcome::Fault;
use crate::outcome::Outcome;

pub mod attempt;
mod call_stats;
pub mod capacity;
mod evidence;
mod give_up;
pub mod hedge;
pub mod retry;
mod scheduler;
mod suspects;

use scheduler::Batch;

/// How many calls are started before those are let out on their connections. Were all the calls that a burst of answers
/// sets free made first and sent then, they would come back together and wait for each other, wave after wave. Measured
/// with batches of 500, 64 in flight and 20 ms a call: 209 ms a batch without this, 204 with 8, 197 with 1, which however
/// takes half as much CPU again.
const STARTED_AT_ONCE: usize = 8;

/// What every invocation's fan-out shares: the endpoint, the permits, the rules.
#[derive(Debug)]
pub struct FanOut<E> {
    caller: Arc<Caller<E>>,
    budget: Arc<Budget>,
    rules: Rules,
}

/// By what rules requests go on.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// When another attempt is made.
    pub retry: Retry,
    /// Whether a rejected record is unfinished like a failed one.
    pub rejected_fails: bool,
    /// Whether what is behind a record that may be at fault itself goes on, since its outcome is remembered.
    pub others_go_on: bool,
}

/// Whether further attempts may be made now, by what the whole process has seen.
#[derive(Debug)]
struct Tries {
    budget: Arc<Budget>,
    capacity: Capacity,
}

impl Tries {
    /// While the endpoint is down, the next delivery's first attempt is what asks whether it is back.
    fn spend(&self) -> bool {
        !self.capacity.is_hopeless() && self.budget.spend()
    }
}

/// An invocation's requests, and where the outcomes of their records go.
#[derive(Debug)]
pub struct Work {
    /// How many user records there are.
    pub records: usize,
    /// Each of them is in one request, or has its outcome without one.
    pub requests: Requests,
    /// The `X-Amzn-Trace-Id` that the calls carry.
    pub trace_id: Option<Arc<str>>,
    /// Which user records are old enough to be given up. Those that are not listed are not.
    pub is_old: Vec<bool>,
    /// Gets the outcome of each user record, with its index, once.
    pub outcomes: mpsc::UnboundedSender<(usize, Outcome)>,
    /// The first index that is unfinished for a reason that lies elsewhere: no attempt starts from there on.
    pub stop: watch::Receiver<usize>,
    /// What is in flight then is cut.
    pub end: Instant,
}

/// The span of an attempt at `request`, within that of the invocation. Below the logs' usual level: a batch has hundreds.
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

/// Notes in the span of an attempt how that ended, where not with an answer.
fn note(ended: &Result<Result<Answer, Fault>, Outcome>) {
    let fault = match ended {
        Ok(Ok(_)) => return,
        Ok(Err(fault)) => fault.to_string(),
        Err(_) => "panicked".to_owned(),
    };
    let span = Span::current();
    span.record("fault", fault).record("otel.status_code", "ERROR");
}

impl<E: Endpoint> FanOut<E> {
    /// A fan-out of calls by `caller`, of which `budget` are further attempts.
    pub fn new(caller: Caller<E>, budget: Budget, rules: Rules) -> Self {
        Self {
            caller: Arc::new(caller),
            budget: Arc::new(budget),
            rules,
        }
    }

    /// Who makes the calls.
    pub fn caller(&self) -> &Caller<E> {
        &self.caller
    }

    /// Sends every request and waits until each record has its outcome. Returns how many calls were made.
    pub async fn run(&self, work: Work) -> Arc<Tally> {
        let end = work.end;
        let tries = Tries {
            budget: Arc::clone(&self.budget),
            capacity: self.caller.capacity().clone(),
        };
        let mut batch = Batch::new(work, self.rules, tries);
        let all = async {
            self.drive_in_time(&mut batch).await;
            self.settle_suspects(&mut batch).await;
        };
        // At the end, the calls that are still in flight are the batch's to cut.
        _ = timeout_at(end, all).await;
        batch.cut().await;
        batch.finish()
    }

    /// Drives the batch to its end, or only until a last attempt just fits, if one is due: else calls that hang, each
    /// waiting for those before it, would leave none of them the time for it, however often they come.
    async fn drive_in_time(&self, batch: &mut Batch) {
        let for_one = self.caller.longest_last_attempt();
        let latest = batch.end().checked_sub(for_one).unwrap_or_else(Instant::now);
        let done = timeout_at(latest, self.drive(batch)).await;
        match (done, batch.first_suspect()) {
            (Ok(()), _) => {}
            (Err(_elapsed), Some(_)) => batch.cut_calls().await,
            (Err(_elapsed), None) => self.drive(batch).await,
        }
    }

    async fn drive(&self, batch: &mut Batch) {
        let mut started = 0_usize;
        while batch.has_work() {
            let Some(permit) = self.permit(batch).await else {
                // The call that ended last may have left nothing to wait for.
                if batch.has_work() {
                    batch.advance().await;
                }
                continue;
            };
            if self.caller.is_too_late(Instant::now(), batch.end()) {
                batch.start_no_more();
                continue;
            }
            batch.start(&self.caller, permit);
            started += 1;
            if started.is_multiple_of(STARTED_AT_ONCE) {
                yield_now().await;
            }
        }
    }

    /// Waits for a permit as long as a request is ready for one, and meanwhile takes down the calls that end and the
    /// waits that are over. The place in the queue is kept all the time: who gave it up with every call that ends would
    /// let concurrent invocations pass.
    async fn permit(&self, batch: &mut Batch) -> Option<Permit> {
        let mut permit = pin!(self.caller.capacity().acquire());
        while batch.has_ready() {
            tokio::select! {
                biased;
                // What has ended comes first: it may be ready again before all others, or forbid them.
                () = batch.advance() => {}
                permit = &mut permit => return Some(permit),
            }
        }
        None
    }
}
