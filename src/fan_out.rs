//! The scheduler: requests in, one outcome for each of them out, in the same order.
//!
//! Each invocation runs one scheduler. It waits for one process-wide permit at a time, gives it to the ready request
//! with the lowest position, and starts the call as a task of its own: a call that panics ends as a failed record,
//! not as a failed batch. No more tasks exist than permits, whatever the size of the batch.
//!
//! What it never does: leave a call running when it has returned or was dropped.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{Id, JoinError, JoinSet, yield_now};

use crate::capacity::{Capacity, Permit};
use crate::endpoint::{Endpoint, Fault, FaultKind};
use crate::invoke::invoke;
use crate::outcome::{Outcome, Rejection};
use crate::request::InferenceRequest;

/// How many calls are started before those are let out on their connections. Were all the calls that a burst of answers
/// sets free made first and sent then, they would come back together and wait for each other, wave after wave. Measured
/// with batches of 500, 64 in flight and 20 ms a call: 209 ms a batch without this, 204 with 8, 197 with 1, which however
/// takes half as much CPU again.
const STARTED_AT_ONCE: usize = 8;

/// What every invocation's fan-out shares: the endpoint, the permits, the timeout.
#[derive(Debug)]
pub struct FanOut<E> {
    endpoint: Arc<E>,
    capacity: Capacity,
    call_timeout: Duration,
}

impl<E: Endpoint> FanOut<E> {
    /// A fan-out over `endpoint`, with `capacity` calls in flight at most and `call_timeout` for each.
    pub fn new(endpoint: E, capacity: Capacity, call_timeout: Duration) -> Self {
        Self {
            endpoint: Arc::new(endpoint),
            capacity,
            call_timeout,
        }
    }

    /// The endpoint that is called.
    pub fn endpoint(&self) -> &E {
        &self.endpoint
    }

    /// Sends every request and waits for all outcomes. Outcome *n* belongs to request *n*; what was rejected before
    /// it became a request stays rejected.
    pub async fn run(&self, requests: Vec<Result<InferenceRequest, Rejection>>) -> Vec<Outcome> {
        let count = requests.len();
        let mut batch = Batch::new(requests);
        loop {
            if batch.has_ready() {
                let permit = self.permit(&mut batch).await;
                batch.start(self, permit);
                if batch.started.is_multiple_of(STARTED_AT_ONCE) {
                    yield_now().await;
                }
            } else if let Some(done) = batch.calls.join_next_with_id().await {
                batch.settle(done);
            } else {
                break;
            }
        }
        let outcomes = batch.outcomes();
        assert_eq!(outcomes.len(), count, "one outcome a record");
        outcomes
    }

    /// Waits for a permit, and takes down the calls that end meanwhile. The place in the queue is kept all the time:
    /// who gave it up with every call that ends would let concurrent invocations pass.
    async fn permit(&self, batch: &mut Batch) -> Permit {
        let mut permit = pin!(self.capacity.acquire());
        loop {
            tokio::select! {
                biased;
                permit = &mut permit => return permit,
                Some(done) = batch.calls.join_next_with_id() => batch.settle(done),
            }
        }
    }
}

/// The state of one invocation's fan-out.
struct Batch {
    requests: Vec<Option<InferenceRequest>>,
    outcomes: Vec<Option<Outcome>>,
    /// Indexes of the requests that wait for a permit, the lowest first.
    ready: BinaryHeap<Reverse<usize>>,
    calls: JoinSet<Outcome>,
    /// How many calls have been started.
    started: usize,
    /// Which request a task works on: kept outside the task, so that a panic cannot lose it.
    in_flight: HashMap<Id, usize>,
}

impl Batch {
    fn new(requests: Vec<Result<InferenceRequest, Rejection>>) -> Self {
        let (requests, outcomes): (Vec<_>, Vec<_>) = requests
            .into_iter()
            .map(|request| match request {
                Ok(request) => (Some(request), None),
                Err(rejection) => (None, Some(Outcome::Rejected(rejection))),
            })
            .unzip();
        let ready = requests.iter().enumerate().filter(|(_, request)| request.is_some());
        let ready = ready.map(|(index, _)| Reverse(index)).collect();
        Self {
            requests,
            outcomes,
            ready,
            calls: JoinSet::new(),
            started: 0,
            in_flight: HashMap::new(),
        }
    }

    fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Starts the ready request with the lowest position.
    fn start<E: Endpoint>(&mut self, fan_out: &FanOut<E>, permit: Permit) {
        let Reverse(index) = self.ready.pop().expect("a request is ready");
        let request = self
            .requests
            .get_mut(index)
            .and_then(Option::take)
            .expect("a ready request has not started");
        let endpoint = Arc::clone(&fan_out.endpoint);
        let call_timeout = fan_out.call_timeout;
        let task = self
            .calls
            .spawn(async move { invoke(&*endpoint, &request, permit, call_timeout).await });
        self.in_flight.insert(task.id(), index);
        self.started += 1;
    }

    /// Takes down how a call ended.
    fn settle(&mut self, done: Result<(Id, Outcome), JoinError>) {
        let (id, outcome) = match done {
            Ok(ended) => ended,
            Err(error) => (
                error.id(),
                Fault::new(FaultKind::Suspect, "handling the record panicked").into(),
            ),
        };
        let index = self
            .in_flight
            .remove(&id)
            .expect("every task was taken down when it started");
        let slot = self.outcomes.get_mut(index).expect("an index of this batch");
        assert!(slot.is_none(), "a record has one outcome");
        *slot = Some(outcome);
    }

    fn outcomes(self) -> Vec<Outcome> {
        self.outcomes
            .into_iter()
            .map(|outcome| outcome.expect("every record has an outcome"))
            .collect()
    }
}
