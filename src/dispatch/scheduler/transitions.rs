//! How a call ended, and what follows from it: another attempt, two requests in the place of one, or outcomes.

use std::cmp::Reverse;
use std::sync::atomic::Ordering;

use tokio::task::JoinError;
use tokio::time::Instant;
use tracing::warn;

use super::{Scheduler, FinishedCall, Suspect};
use crate::dispatch::attempt::RecordOutputs;
use crate::outcome::{Failure, Outcome};
use crate::outcome::{Fault, FaultKind};

impl Scheduler {
    /// Takes down how a call ended. One that was cancelled has not: its record was not attempted in time.
    pub(super) fn on_finished(&mut self, done: Result<FinishedCall, JoinError>) {
        match done {
            Ok((index, Ok(Ok(answer)), _permit)) => self.on_answer(index, answer),
            Ok((index, Ok(Err(fault)), _permit)) => self.on_fault(index, fault),
            Ok((index, Err(panicked), _permit)) => self.settle_without_answer(index, panicked),
            Err(error) => assert!(error.is_cancelled(), "a call's panic is its outcome"),
        }
    }

    /// Gives the records of a request their predictions, or lets each of them go alone.
    pub(in crate::dispatch) fn on_answer(&mut self, index: usize, answer: RecordOutputs) {
        self.retry_gate.budget.deposit();
        let request = self.request(index).expect("only a request is answered");
        match answer {
            RecordOutputs::Predictions(predictions) => {
                self.suspects.remove(index);
                for (record, prediction) in request.records().zip(predictions) {
                    self.settle_record(record, Outcome::Predicted(prediction));
                }
            }
            RecordOutputs::CountMismatch => {
                let records = request.records().len();
                warn!(
                    records,
                    "an answer has not one prediction for each record: called one by one"
                );
                for single in request.split_each() {
                    self.add(single, None);
                }
            }
        }
    }

    /// Lets the request wait for its next attempt, or ends it with `fault` where it has none.
    fn on_fault(&mut self, index: usize, fault: Fault) {
        if fault.kind == FaultKind::Refused && self.has_several_records(index) {
            return self.split(index, self.pending_request(index).and_then(|pending| pending.split_off_at));
        }
        let max_attempts = self.policy.retry.max_attempts;
        let pending = self.requests.get_mut(index).and_then(Option::as_mut);
        let pending = pending.expect("only a request is tried");
        pending.attempts += 1;
        let is_split_off = pending.split_off_at.is_some();
        let attempts = if is_split_off { max_attempts } else { pending.attempts };
        // What may be given up has a last attempt when all others have ended, and so needs two at least.
        let only_last_attempt_left = is_split_off || attempts == max_attempts.max(2) - 1;
        let is_suspect = fault.kind == FaultKind::Suspect;
        let is_lone = !self.has_several_records(index);
        let is_give_up_candidate = is_lone && is_suspect && self.suspects.is_give_up_candidate(index, &fault);
        if only_last_attempt_left && is_give_up_candidate {
            return self.add_suspect(index, fault, 1);
        }
        let Some(wait) = self.policy.retry.wait(attempts, fault.kind) else {
            // The attempt before may have failed by the endpoint's fault: such a record is not given up this time.
            if is_suspect && is_lone {
                return self.settle_request(index, fault.into());
            }
            return self.exhausted(index, fault);
        };
        let over = Instant::now() + wait.max(fault.retry_after.unwrap_or_default());
        if over >= self.calls_end || index >= self.stop_index || self.is_out_of_time {
            self.settle_request(index, fault.into());
        } else if self.retry_gate.try_withdraw() {
            self.waiting.push(Reverse((over, index)));
        } else if is_give_up_candidate {
            // These are none of the budget's: each comes only if the endpoint answers others.
            self.add_suspect(index, fault, max_attempts.max(2) - attempts);
        } else {
            self.exhausted(index, fault);
        }
    }

    /// Takes down that one more attempt at what may be given up has failed.
    pub(in crate::dispatch) fn on_suspect_fault(&mut self, index: usize, suspect: &Suspect, fault: Fault) {
        match suspect.attempts_left {
            2.. if fault.kind == FaultKind::Suspect => self.add_suspect(index, fault, suspect.attempts_left - 1),
            _ => self.exhausted(index, fault),
        }
    }

    /// The endpoint has answered another record than those of this batch.
    pub(in crate::dispatch) fn on_probe_answer(&self) {
        self.retry_gate.budget.deposit();
    }

    /// Puts two halves in the place of a request. Where it was split off one that may be at fault itself, or is now, each
    /// has one attempt.
    pub(in crate::dispatch) fn split(&mut self, index: usize, split_off_at: Option<Instant>) {
        self.suspects.remove(index);
        let request = self.request(index).expect("only a request is split");
        self.stats.splits.fetch_add(1, Ordering::Relaxed);
        if self.stop_index == index {
            // It stopped what is behind it, and has come back to life.
            let elsewhere = *self.delivery_stop_index.borrow();
            self.stop_index = (request.last_record() + 1).min(self.settled_stop_index).min(elsewhere);
        }
        for half in request.halves() {
            self.add(half, split_off_at);
        }
    }

    /// Ends a request with an outcome that it has without an answer.
    pub(in crate::dispatch) fn settle_without_answer(&mut self, index: usize, outcome: Outcome) {
        if let Outcome::Failed(Failure::Fault(fault)) = outcome {
            self.exhausted(index, fault);
        } else {
            self.settle_request(index, outcome);
        }
    }

    /// Ends a request with a fault that no further attempt follows. Whether one for several records is split, or an old
    /// record is given up, is seen when all others have ended.
    pub(in crate::dispatch) fn exhausted(&mut self, index: usize, fault: Fault) {
        let is_split = fault.kind == FaultKind::Suspect && self.has_several_records(index);
        if is_split || self.suspects.is_give_up_candidate(index, &fault) {
            self.add_suspect(index, fault, 0);
        } else {
            self.settle_request(index, fault.into());
        }
    }

    fn add_suspect(&mut self, index: usize, fault: Fault, attempts: u32) {
        if self.is_stop_reason(&fault.clone().into()) {
            self.stop_at(index);
        }
        // Halves of one request speak for one another from when they were split off.
        let split_off_at = self.pending_request(index).and_then(|pending| pending.split_off_at);
        let since = split_off_at.filter(|_| self.has_several_records(index));
        self.suspects.add(index, fault, attempts, since);
    }

    /// Whether what lies behind a record with this outcome must not go on.
    fn is_stop_reason(&self, outcome: &Outcome) -> bool {
        let isolate_suspects = self.policy.isolate_suspects;
        match outcome {
            Outcome::Predicted(_) | Outcome::Delivered => false,
            Outcome::Rejected(_) => self.policy.rejected_fails && !isolate_suspects,
            Outcome::Failed(failure) => !(isolate_suspects && failure.is_possibly_record_fault()),
        }
    }

    /// Gives all records of a request their outcome, or the one record that has no request.
    pub(in crate::dispatch) fn settle_request(&mut self, index: usize, outcome: Outcome) {
        self.suspects.remove(index);
        let request = self.request(index);
        let others = request.iter().flat_map(|request| request.records()).skip(1);
        for record in others {
            self.settle_record(record, outcome.clone());
        }
        self.settle_record(index, outcome);
    }

    /// Gives a record its outcome. One that leaves it unfinished brings back all records behind it, so that no attempt
    /// starts for them any more, unless theirs are remembered.
    fn settle_record(&mut self, index: usize, outcome: Outcome) {
        if self.is_stop_reason(&outcome) {
            self.settled_stop_index = self.settled_stop_index.min(index);
            self.stop_at(index);
        }
        let is_settled = self.is_settled.get_mut(index).expect("an index of this batch");
        assert!(!*is_settled, "a record has one outcome");
        *is_settled = true;
        // Whoever does not listen any more has no use for it.
        _ = self.outcomes.send((index, outcome));
    }

    pub(super) fn stop_at(&mut self, index: usize) {
        if index < self.stop_index {
            self.stop_index = index;
            self.waiting.retain(|Reverse((_, waiting))| *waiting < index);
        }
    }
}
