//! The state of one invocation's fan-out: which request is ready, in flight, waiting or ended.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::future::pending;
use std::sync::Arc;

use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep_until};

use super::FannedOut;
use crate::capacity::Permit;
use crate::endpoint::{Endpoint, Fault};
use crate::invoke::Caller;
use crate::outcome::{Failure, Outcome, contain_async};
use crate::prediction::Prediction;
use crate::request::InferenceRequest;
use crate::retry::Retry;

/// By what rules an invocation's requests go on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    /// When another attempt is made.
    pub(super) retry: Retry,
    /// Whether a rejected record is unfinished like a failed one.
    pub(super) rejected_fails: bool,
    /// Calls in flight are cut here.
    pub(super) end: Instant,
}

/// The request of this index, how the attempt at it ended, or the outcome of a panic, and its permit: given back only
/// when all of this has been taken down, lest it start an attempt that what is to be taken down forbids.
type Ended = (usize, Result<Result<Prediction, Fault>, Outcome>, Permit);

pub(super) struct Batch {
    rules: Rules,
    requests: Vec<Option<Arc<InferenceRequest>>>,
    /// Attempts that each request has spent.
    spent: Vec<u32>,
    outcomes: Vec<Option<Outcome>>,
    /// Indexes of the requests that wait for a permit, the lowest first.
    ready: BinaryHeap<Reverse<usize>>,
    /// Requests between two attempts, those first that are ready first.
    waiting: BinaryHeap<Reverse<(Instant, usize)>>,
    calls: JoinSet<Ended>,
    /// Attempts that were started.
    attempts: usize,
    /// The first index that is left unfinished, and brings back all behind it: no attempt starts from here on.
    stop: usize,
    out_of_time: bool,
}

impl Batch {
    pub(super) fn new(requests: Vec<Result<InferenceRequest, Outcome>>, rules: Rules) -> Self {
        let count = requests.len();
        let mut batch = Self {
            rules,
            requests: Vec::with_capacity(count),
            spent: vec![0; count],
            outcomes: Vec::with_capacity(count),
            ready: BinaryHeap::with_capacity(count),
            waiting: BinaryHeap::new(),
            calls: JoinSet::new(),
            attempts: 0,
            stop: count,
            out_of_time: false,
        };
        for (index, request) in requests.into_iter().enumerate() {
            batch.outcomes.push(None);
            match request {
                Ok(request) => {
                    batch.requests.push(Some(Arc::new(request)));
                    batch.ready.push(Reverse(index));
                }
                Err(outcome) => {
                    batch.requests.push(None);
                    batch.settle(index, outcome);
                }
            }
        }
        batch
    }

    pub(super) fn end(&self) -> Instant {
        self.rules.end
    }

    pub(super) fn attempts(&self) -> usize {
        self.attempts
    }

    pub(super) fn has_ready(&self) -> bool {
        let lowest = self.ready.peek();
        !self.out_of_time && lowest.is_some_and(|Reverse(index)| *index < self.stop)
    }

    pub(super) fn has_work(&self) -> bool {
        self.has_ready() || !self.waiting.is_empty() || !self.calls.is_empty()
    }

    /// Starts an attempt at the ready request with the lowest position.
    pub(super) fn start<E: Endpoint>(&mut self, caller: &Arc<Caller<E>>, permit: Permit) {
        let Reverse(index) = self.ready.pop().expect("a request is ready");
        let request = self.requests.get(index).and_then(Clone::clone);
        let request = request.expect("only a request becomes ready");
        let caller = Arc::clone(caller);
        self.calls.spawn(async move {
            let ended = contain_async(caller.attempt(&request)).await;
            (index, ended, permit)
        });
        self.attempts += 1;
    }

    /// Waits until a call ends or a wait is over, whichever is first; for ever if there is neither.
    pub(super) async fn advance(&mut self) {
        let over = self.waiting.peek().map(|Reverse((over, _))| *over);
        let wait_is_over = async {
            match over {
                Some(over) => sleep_until(over).await,
                None => pending().await,
            }
        };
        tokio::select! {
            biased;
            Some(done) = self.calls.join_next() => self.take(done),
            () = wait_is_over => self.wake(),
        }
    }

    fn wake(&mut self) {
        let now = Instant::now();
        while self.waiting.peek().is_some_and(|Reverse((over, _))| *over <= now) {
            let Reverse((_, index)) = self.waiting.pop().expect("one was seen");
            self.ready.push(Reverse(index));
        }
    }

    /// Takes down how a call ended. One that was cancelled has not: its record was not attempted in time.
    fn take(&mut self, done: Result<Ended, JoinError>) {
        match done {
            Ok((index, Ok(Ok(prediction)), _permit)) => self.settle(index, Outcome::Predicted(prediction)),
            Ok((index, Ok(Err(fault)), _permit)) => self.try_again(index, fault),
            Ok((index, Err(panicked), _permit)) => self.settle(index, panicked),
            Err(error) => assert!(error.is_cancelled(), "a call's panic is its outcome"),
        }
    }

    /// Lets the request wait for its next attempt, or ends it with `fault` where it has none.
    fn try_again(&mut self, index: usize, fault: Fault) {
        let spent = self.spent.get_mut(index).expect("an index of this batch");
        *spent += 1;
        let wait = self.rules.retry.wait(*spent, fault.kind);
        let over = wait.map(|wait| Instant::now() + wait);
        let in_time = over.filter(|over| *over < self.rules.end && index < self.stop && !self.out_of_time);
        match in_time {
            Some(over) => self.waiting.push(Reverse((over, index))),
            None => self.settle(index, fault.into()),
        }
    }

    /// Gives a request its outcome. One that leaves its record unfinished brings back all records behind it, so that no
    /// attempt starts for them any more.
    fn settle(&mut self, index: usize, outcome: Outcome) {
        let unfinished = match outcome {
            Outcome::Predicted(_) => false,
            Outcome::Rejected(_) => self.rules.rejected_fails,
            Outcome::Failed(_) => true,
        };
        if unfinished && index < self.stop {
            self.stop = index;
            self.waiting.retain(|Reverse((_, waiting))| *waiting < index);
        }
        let slot = self.outcomes.get_mut(index).expect("an index of this batch");
        assert!(slot.is_none(), "a record has one outcome");
        *slot = Some(outcome);
    }

    /// Lets calls in flight end, but starts no other.
    pub(super) fn start_no_more(&mut self) {
        self.out_of_time = true;
        self.waiting.clear();
    }

    /// Cancels the calls in flight and waits until they are gone. One that has just ended still counts.
    pub(super) async fn cut(&mut self) {
        self.start_no_more();
        self.calls.abort_all();
        while let Some(done) = self.calls.join_next().await {
            self.take(done);
        }
    }

    pub(super) fn into_outcomes(self) -> FannedOut {
        let failed_first = self.stop;
        let unended = |index: usize| {
            let failure = if index > failed_first {
                Failure::Behind
            } else {
                Failure::OutOfTime
            };
            Outcome::Failed(failure)
        };
        let outcomes = self.outcomes.into_iter().enumerate();
        let outcomes = outcomes.map(|(index, outcome)| outcome.unwrap_or_else(|| unended(index)));
        FannedOut {
            outcomes: outcomes.collect(),
            attempts: self.attempts,
        }
    }
}
