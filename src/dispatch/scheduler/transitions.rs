//! How a call ended, and what follows from it: another attempt, two requests in the place of one, or outcomes.

use std::cmp::Reverse;
use std::sync::atomic::Ordering;

use tokio::task::JoinError;
use tokio::time::Instant;
use tracing::warn;

use super::{Batch, Ended, Suspect};
use crate::dispatch::attempt::Answer;
use crate::outcome::{Failure, Outcome};
use crate::outcome::{Fault, FaultKind};

impl Batch {
    /// Takes down how a call ended. One that was cancelled has not: its record was not attempted in time.
    pub(super) fn take(&mut self, done: Result<Ended, JoinError>) {
        match done {
            Ok((index, Ok(Ok(answer)), _permit)) => self.answered(index, answer),
            Ok((index, Ok(Err(fault)), _permit)) => self.try_again(index, fault),
            Ok((index, Err(panicked), _permit)) => self.end_with(index, panicked),
            Err(error) => assert!(error.is_cancelled(), "a call's panic is its outcome"),
        }
    }

    /// Gives the records of a request their predictions, or lets each of them go alone.
    pub(in crate::dispatch) fn answered(&mut self, index: usize, answer: Answer) {
        self.tries.budget.earn();
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
        let may_be_given_up = is_lone && is_suspect && self.suspects.may_include(index, &fault);
        if is_before_the_last && may_be_given_up {
            return self.suspect(index, fault, 1);
        }
        let Some(wait) = self.rules.retry.wait(attempts, fault.kind) else {
            // The attempt before may have failed by the endpoint's fault: such a record is not given up this time.
            if is_suspect && is_lone {
                return self.settle(index, fault.into());
            }
            return self.has_spent_its_attempts(index, fault);
        };
        let over = Instant::now() + wait.max(fault.retry_after.unwrap_or_default());
        if over >= self.end || index >= self.stop || self.out_of_time {
            self.settle(index, fault.into());
        } else if self.tries.spend() {
            self.waiting.push(Reverse((over, index)));
        } else if may_be_given_up {
            // These are none of the budget's: each comes only if the endpoint answers others.
            self.suspect(index, fault, max_attempts.max(2) - attempts);
        } else {
            self.has_spent_its_attempts(index, fault);
        }
    }

    /// Takes down that one more attempt at what may be given up has failed.
    pub(in crate::dispatch) fn failed_again(&mut self, index: usize, suspect: &Suspect, fault: Fault) {
        match suspect.attempts {
            2.. if fault.kind == FaultKind::Suspect => self.suspect(index, fault, suspect.attempts - 1),
            _ => self.has_spent_its_attempts(index, fault),
        }
    }

    /// The endpoint has answered another record than those of this batch.
    pub(in crate::dispatch) fn answers_another(&self) {
        self.tries.budget.earn();
    }

    /// Puts two halves in the place of a request. Where it was split off one that may be at fault itself, or is now, each
    /// has one attempt.
    pub(in crate::dispatch) fn split(&mut self, index: usize, split_off: Option<Instant>) {
        self.suspects.remove(index);
        let request = self.request(index).expect("only a request is split");
        self.tally.splits.fetch_add(1, Ordering::Relaxed);
        if self.stop == index {
            // It stopped what is behind it, and has come back to life.
            let elsewhere = *self.stopped_elsewhere.borrow();
            self.stop = (request.last_record() + 1).min(self.settled_stop).min(elsewhere);
        }
        for half in request.halves() {
            self.add(half, split_off);
        }
    }

    /// Ends a request with an outcome that it has without an answer.
    pub(in crate::dispatch) fn end_with(&mut self, index: usize, outcome: Outcome) {
        if let Outcome::Failed(Failure::Fault(fault)) = outcome {
            self.has_spent_its_attempts(index, fault);
        } else {
            self.settle(index, outcome);
        }
    }

    /// Ends a request with a fault that no further attempt follows. Whether one for several records is split, or an old
    /// record is given up, is seen when all others have ended.
    pub(in crate::dispatch) fn has_spent_its_attempts(&mut self, index: usize, fault: Fault) {
        let is_split = fault.kind == FaultKind::Suspect && self.has_several(index);
        if is_split || self.suspects.may_include(index, &fault) {
            self.suspect(index, fault, 0);
        } else {
            self.settle(index, fault.into());
        }
    }

    fn suspect(&mut self, index: usize, fault: Fault, attempts: u32) {
        if self.leaves_unfinished(&fault.clone().into()) {
            self.stop_at(index);
        }
        // Halves of one request speak for one another from when they were split off.
        let split_off = self.live(index).and_then(|live| live.split_off);
        let since = split_off.filter(|_| self.has_several(index));
        self.suspects.add(index, fault, attempts, since);
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
    pub(in crate::dispatch) fn settle(&mut self, index: usize, outcome: Outcome) {
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
            self.settled_stop = self.settled_stop.min(index);
            self.stop_at(index);
        }
        let is_settled = self.is_settled.get_mut(index).expect("an index of this batch");
        assert!(!*is_settled, "a record has one outcome");
        *is_settled = true;
        // Whoever does not listen any more has no use for it.
        _ = self.outcomes.send((index, outcome));
    }

    pub(super) fn stop_at(&mut self, index: usize) {
        if index < self.stop {
            self.stop = index;
            self.waiting.retain(|Reverse((_, waiting))| *waiting < index);
        }
    }
}
