//! The state of one invocation's fan-out: which request is ready, in flight, waiting or ended.
//!
//! A request goes by the index of its first record. That is its own, since each record is in one request at a time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::future::pending;
use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep_until};
use tracing::warn;

use super::suspects::{Suspect, Suspects};
use super::{Rules, Work};
use crate::capacity::Permit;
use crate::endpoint::{Endpoint, Fault, FaultKind};
use crate::invoke::{Answer, Caller};
use crate::outcome::{Failure, Outcome, contain_async};
use crate::request::InferenceRequest;

/// The request of this index, how the attempt at it ended, or the outcome of a panic, and its permit: given back only
/// when all of this has been taken down, lest it start an attempt that what is to be taken down forbids.
type Ended = (usize, Result<Result<Answer, Fault>, Outcome>, Permit);

pub(super) struct Batch {
    rules: Rules,
    /// By the index of the first record.
    requests: Vec<Option<Live>>,
    /// Which records have their outcomes, and where these went.
    is_settled: Vec<bool>,
    outcomes: mpsc::UnboundedSender<(usize, Outcome)>,
    /// Indexes of the requests that wait for a permit, the lowest first.
    ready: BinaryHeap<Reverse<usize>>,
    /// Requests between two attempts, those first that are ready first.
    waiting: BinaryHeap<Reverse<(Instant, usize)>>,
    calls: JoinSet<Ended>,
    suspects: Suspects,
    /// Attempts that were started.
    attempts: usize,
    /// The first index that is left unfinished, and brings back all behind it: no attempt starts from here on.
    stop: usize,
    stopped_elsewhere: watch::Receiver<usize>,
    /// Calls in flight are cut here.
    end: Instant,
    out_of_time: bool,
}

/// A request whose records have no outcomes yet.
#[derive(Clone)]
struct Live {
    request: Arc<InferenceRequest>,
    /// Attempts that it has spent.
    spent: u32,
    /// When it was split off a request that may be at fault itself: since then, it has one attempt.
    split_off: Option<Instant>,
}

impl Batch {
    pub(super) fn new(work: Work, rules: Rules) -> Self {
        let count = work.records;
        let mut batch = Self {
            rules,
            requests: vec![None; count],
            is_settled: vec![false; count],
            outcomes: work.outcomes,
            ready: BinaryHeap::with_capacity(work.requests.to_call.len()),
            waiting: BinaryHeap::new(),
            calls: JoinSet::new(),
            suspects: Suspects::new(work.is_old),
            attempts: 0,
            stop: count,
            stopped_elsewhere: work.stop,
            end: work.end,
            out_of_time: false,
        };
        for request in work.requests.to_call {
            batch.add(request, None);
        }
        for (index, outcome) in work.requests.ended {
            batch.end_with(index, outcome);
        }
        batch
    }

    fn add(&mut self, request: InferenceRequest, split_off: Option<Instant>) {
        let index = request.first_record();
        let live = Live {
            request: Arc::new(request),
            spent: 0,
            split_off,
        };
        *self.requests.get_mut(index).expect("an index of this batch") = Some(live);
        self.ready.push(Reverse(index));
    }

    pub(super) fn end(&self) -> Instant {
        self.end
    }

    pub(super) fn attempts(&self) -> usize {
        self.attempts
    }

    pub(super) fn count_attempt(&mut self) {
        self.attempts += 1;
    }

    pub(super) fn request(&self, index: usize) -> Option<Arc<InferenceRequest>> {
        self.live(index).map(|live| Arc::clone(&live.request))
    }

    fn live(&self, index: usize) -> Option<&Live> {
        self.requests.get(index)?.as_ref()
    }

    /// Whether the index is that of a request for several records.
    pub(super) fn has_several(&self, index: usize) -> bool {
        self.live(index).is_some_and(|live| !live.request.is_lone())
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
        let request = self.request(index).expect("only a request becomes ready");
        let caller = Arc::clone(caller);
        self.calls.spawn(async move {
            let ended = contain_async(caller.attempt(&request)).await;
            (index, ended, permit)
        });
        self.attempts += 1;
    }

    /// Waits until a call ends, a wait is over or a record is left unfinished elsewhere, whichever is first; for ever if
    /// there is nothing to wait for.
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
            Ok(()) = self.stopped_elsewhere.changed() => {
                let stop = *self.stopped_elsewhere.borrow_and_update();
                self.stop_at(stop);
            }
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
            Ok((index, Ok(Ok(answer)), _permit)) => self.answered(index, answer),
            Ok((index, Ok(Err(fault)), _permit)) => self.try_again(index, fault),
            Ok((index, Err(panicked), _permit)) => self.end_with(index, panicked),
            Err(error) => assert!(error.is_cancelled(), "a call's panic is its outcome"),
        }
    }

    /// Gives the records of a request their predictions, or lets each of them go alone.
    pub(super) fn answered(&mut self, index: usize, answer: Answer) {
        let request = self.request(index).expect("only a request is answered");
        match answer {
            Answer::Predictions(predictions) => {
                self.suspects.remove(index);
                for (record, prediction) in request.records().zip(predictions) {
                    self.settle_one(record, Outcome::Predicted(prediction));
                }
            }
            Answer::Unassignable => {
                let records = request.records().len();
                warn!(
                    records,
                    "an answer has not one prediction for each record: called one by one"
                );
                for single in request.singles() {
                    self.add(single, None);
                }
            }
        }
    }

    /// Lets the request wait for its next attempt, or ends it with `fault` where it has none.
    fn try_again(&mut self, index: usize, fault: Fault) {
        if fault.kind == FaultKind::Refused && self.has_several(index) {
            return self.split(index, self.live(index).and_then(|live| live.split_off));
        }
        let max_attempts = self.rules.retry.max_attempts;
        let live = self.requests.get_mut(index).and_then(Option::as_mut);
        let live = live.expect("only a request is tried");
        live.spent += 1;
        let has_one = live.split_off.is_some();
        let attempts = if has_one { max_attempts } else { live.spent };
        // What may be given up has a last attempt when all others have ended, and so needs two at least.
        let is_before_the_last = has_one || attempts == max_attempts.max(2) - 1;
        let is_suspect = fault.kind == FaultKind::Suspect;
        let is_lone = !self.has_several(index);
        if is_lone && is_before_the_last && is_suspect && self.suspects.may_include(index, &fault) {
            return self.suspect(index, fault, true);
        }
        let Some(wait) = self.rules.retry.wait(attempts, fault.kind) else {
            // The attempt before may have failed by the endpoint's fault: such a record is not given up this time.
            if is_suspect && is_lone {
                return self.settle(index, fault.into());
            }
            return self.has_spent_its_attempts(index, fault);
        };
        let over = Instant::now() + wait;
        if over < self.end && index < self.stop && !self.out_of_time {
            self.waiting.push(Reverse((over, index)));
        } else {
            self.settle(index, fault.into());
        }
    }

    /// Puts two halves in the place of a request. Where it was split off one that may be at fault itself, or is now, each
    /// has one attempt.
    pub(super) fn split(&mut self, index: usize, split_off: Option<Instant>) {
        self.suspects.remove(index);
        let request = self.request(index).expect("only a request is split");
        if self.stop == index && *self.stopped_elsewhere.borrow() > index {
            // It stopped what is behind it, and has come back to life.
            self.stop = request.last_record() + 1;
        }
        for half in request.halves() {
            self.add(half, split_off);
        }
    }

    /// Ends a request with an outcome that it has without an answer.
    pub(super) fn end_with(&mut self, index: usize, outcome: Outcome) {
        if let Outcome::Failed(Failure::Fault(fault)) = outcome {
            self.has_spent_its_attempts(index, fault);
        } else {
            self.settle(index, outcome);
        }
    }

    /// Ends a request with a fault that no further attempt follows. Whether one for several records is split, or an old
    /// record is given up, is seen when all others have ended.
    pub(super) fn has_spent_its_attempts(&mut self, index: usize, fault: Fault) {
        let is_split = fault.kind == FaultKind::Suspect && self.has_several(index);
        if is_split || self.suspects.may_include(index, &fault) {
            self.suspect(index, fault, false);
        } else {
            self.settle(index, fault.into());
        }
    }

    fn suspect(&mut self, index: usize, fault: Fault, has_attempt: bool) {
        if self.leaves_unfinished(&fault.clone().into()) {
            self.stop_at(index);
        }
        // Halves of one request speak for one another from when they were split off.
        let split_off = self.live(index).and_then(|live| live.split_off);
        let since = split_off.filter(|_| self.has_several(index));
        self.suspects.add(index, fault, has_attempt, since);
    }

    /// The suspect with the lowest position, if nothing before it brings it back anyway.
    pub(super) fn first_suspect(&self) -> Option<(usize, Suspect)> {
        let stop = self.stop.min(*self.stopped_elsewhere.borrow());
        let first = self.suspects.first();
        first.filter(|(index, _)| *index <= stop && !self.out_of_time)
    }

    /// Whether the record of this index is old enough to be given up.
    pub(super) fn is_old(&self, index: usize) -> bool {
        self.suspects.is_old(index)
    }

    /// Whether what lies behind a record with this outcome must not go on.
    fn leaves_unfinished(&self, outcome: &Outcome) -> bool {
        let others_go_on = self.rules.others_go_on;
        match outcome {
            Outcome::Predicted(_) | Outcome::Delivered => false,
            Outcome::Rejected(_) => self.rules.rejected_fails && !others_go_on,
            Outcome::Failed(failure) => !(others_go_on && failure.may_be_its_own()),
        }
    }

    /// Gives all records of a request their outcome, or the one record that has no request.
    pub(super) fn settle(&mut self, index: usize, outcome: Outcome) {
        self.suspects.remove(index);
        let request = self.request(index);
        let others = request.iter().flat_map(|request| request.records()).skip(1);
        for record in others {
            self.settle_one(record, outcome.clone());
        }
        self.settle_one(index, outcome);
    }

    /// Gives a record its outcome. One that leaves it unfinished brings back all records behind it, so that no attempt
    /// starts for them any more, unless theirs are remembered.
    fn settle_one(&mut self, index: usize, outcome: Outcome) {
        if self.leaves_unfinished(&outcome) {
            self.stop_at(index);
        }
        let is_settled = self.is_settled.get_mut(index).expect("an index of this batch");
        assert!(!*is_settled, "a record has one outcome");
        *is_settled = true;
        // Whoever does not listen any more has no use for it.
        _ = self.outcomes.send((index, outcome));
    }

    fn stop_at(&mut self, index: usize) {
        if index < self.stop {
            self.stop = index;
            self.waiting.retain(|Reverse((_, waiting))| *waiting < index);
        }
    }

    /// Lets calls in flight end, but starts no other.
    pub(super) fn start_no_more(&mut self) {
        self.out_of_time = true;
        self.waiting.clear();
    }

    /// Starts no other call, and cancels those in flight.
    pub(super) async fn cut(&mut self) {
        self.start_no_more();
        self.cut_calls().await;
    }

    /// Cancels the calls in flight and waits until they are gone. One that has just ended still counts.
    pub(super) async fn cut_calls(&mut self) {
        self.calls.abort_all();
        while let Some(done) = self.calls.join_next().await {
            self.take(done);
        }
    }

    /// Gives what has no outcome yet the one that it has for want of an answer, and returns the number of attempts.
    pub(super) fn finish(mut self) -> usize {
        for (index, suspect) in self.suspects.take_all() {
            self.settle(index, suspect.fault.into());
        }
        let failed_first = self.stop;
        let unended: Vec<_> = self.is_settled.iter().enumerate().filter(|(_, it)| !**it).collect();
        for (index, _) in unended {
            let failure = if index > failed_first {
                Failure::Behind
            } else {
                Failure::OutOfTime
            };
            _ = self.outcomes.send((index, Outcome::Failed(failure)));
        }
        self.attempts
    }
}
