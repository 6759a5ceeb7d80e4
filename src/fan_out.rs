//! The scheduler: requests in, one outcome for each of them out, in the same order.
//!
//! Each invocation runs one scheduler. It waits for one process-wide permit at a time, gives it to the ready request
//! with the lowest position, and starts the attempt as a task of its own: one that panics ends as a failed record, not
//! as a failed batch. No more tasks exist than permits, whatever the size of the batch. A request whose attempt failed
//! for a while waits without a permit, and is then ready again.
//!
//! What it never does: leave a call running when it has returned or was dropped.

use std::pin::pin;
use std::sync::Arc;

use tokio::task::yield_now;
use tokio::time::{Instant, timeout_at};

use crate::capacity::{Capacity, Permit};
use crate::endpoint::Endpoint;
use crate::invoke::Caller;
use crate::outcome::Outcome;
use crate::request::InferenceRequest;
use crate::retry::Retry;

mod batch;

use batch::{Batch, Rules};

/// How many calls are started before those are let out on their connections. Were all the calls that a burst of answers
/// sets free made first and sent then, they would come back together and wait for each other, wave after wave. Measured
/// with batches of 500, 64 in flight and 20 ms a call: 209 ms a batch without this, 204 with 8, 197 with 1, which however
/// takes half as much CPU again.
const STARTED_AT_ONCE: usize = 8;

/// What every invocation's fan-out shares: the endpoint, the permits, the rules.
#[derive(Debug)]
pub struct FanOut<E> {
    caller: Arc<Caller<E>>,
    capacity: Capacity,
    retry: Retry,
    rejected_fails: bool,
}

/// What a fan-out came to.
#[derive(Debug)]
pub struct FannedOut {
    /// One outcome a request, in the order of the requests.
    pub outcomes: Vec<Outcome>,
    /// Attempts that were started.
    pub attempts: usize,
}

impl<E: Endpoint> FanOut<E> {
    /// A fan-out of calls by `caller`, `capacity` of them in flight at most, with another attempt where `retry` allows
    /// one. Where `rejected_fails`, a rejected record is unfinished like a failed one.
    pub fn new(caller: Caller<E>, capacity: Capacity, retry: Retry, rejected_fails: bool) -> Self {
        Self {
            caller: Arc::new(caller),
            capacity,
            retry,
            rejected_fails,
        }
    }

    /// The endpoint that is called.
    pub fn endpoint(&self) -> &E {
        self.caller.endpoint()
    }

    /// Sends every request and waits for all outcomes, until `end` at the latest: what is in flight then is cut. What
    /// has an outcome before it became a request keeps it.
    pub async fn run(&self, requests: Vec<Result<InferenceRequest, Outcome>>, end: Instant) -> FannedOut {
        let count = requests.len();
        let rules = Rules {
            retry: self.retry,
            rejected_fails: self.rejected_fails,
            end,
        };
        let mut batch = Batch::new(requests, rules);
        // At the end, the calls that are still in flight are the batch's to cut.
        _ = timeout_at(end, self.drive(&mut batch)).await;
        batch.cut().await;
        let fanned_out = batch.into_outcomes();
        assert_eq!(fanned_out.outcomes.len(), count, "one outcome a record");
        fanned_out
    }

    async fn drive(&self, batch: &mut Batch) {
        while batch.has_work() {
            let Some(permit) = self.permit(batch).await else {
                batch.advance().await;
                continue;
            };
            if self.caller.is_too_late(Instant::now(), batch.end()) {
                batch.start_no_more();
                continue;
            }
            batch.start(&self.caller, permit);
            if batch.attempts().is_multiple_of(STARTED_AT_ONCE) {
                yield_now().await;
            }
        }
    }

    /// Waits for a permit as long as a request is ready for one, and meanwhile takes down the calls that end and the
    /// waits that are over. The place in the queue is kept all the time: who gave it up with every call that ends would
    /// let concurrent invocations pass.
    async fn permit(&self, batch: &mut Batch) -> Option<Permit> {
        let mut permit = pin!(self.capacity.acquire());
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
