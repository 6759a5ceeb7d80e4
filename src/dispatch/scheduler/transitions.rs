//! The reactions to a finished call: a retry, a split into two requests, or outcomes.

use std::cmp::Reverse;
use std::sync::atomic::Ordering;

use tokio::task::JoinError;
use tokio::time::Instant;
use tracing::warn;

use super::{FinishedCall, Scheduler, Suspect};
use crate::dispatch::attempt::RecordOutputs;
use crate::outcome::{Failure, Fault, FaultKind, LoadSignal, Outcome};

impl Scheduler {
    /// Handles a finished call. A cancelled call is ignored: its records have no outcome yet.
    pub(super) fn on_finished(&mut self, finished: Result<FinishedCall, JoinError>) {
        match finished {
            Ok((index, Ok(Ok(answer)), _permit)) => self.on_answer(index, answer),
            Ok((index, Ok(Err(fault)), _permit)) => self.on_fault(index, fault),
            Ok((index, Err(panicked), _permit)) => self.settle_without_answer(index, panicked),
            Err(error) => assert!(
                error.is_cancelled(),
                "a panic of a call is caught and becomes an outcome"
            ),
        }
    }

    /// Handles an answer. Gives the records their predictions, or replaces the request with one request for each record
    /// if the predictions cannot be assigned.
    pub(in crate::dispatch) fn on_answer(&mut self, index: usize, answer: RecordOutputs) {
        self.retry_budget.deposit();
        let request = self.request(index).expect("an answered index has a request");
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
                    "the number of predictions differs from the number of records: calling the endpoint for each record"
                );
                for single in request.split_each() {
                    self.add(single, None);
                }
            }
        }
    }

    /// Handles a fault. Splits a refused request for several records, schedules a retry, adds a suspect, or settles the
    /// request with `fault`.
    fn on_fault(&mut self, index: usize, fault: Fault) {
        if fault.load == LoadSignal::Unprepared && fault.kind.is_transient() && !self.is_out_of_time {
            // This attempt does not count. The next one waits for the credentials before it acquires a permit.
            return self.ready.push(Reverse(index));
        }
        if fault.kind == FaultKind::Refused && self.has_several_records(index) {
            return self.split(
                index,
                self.pending_request(index).and_then(|pending| pending.split_off_at),
            );
        }
        let max_attempts = self.policy.retry.max_attempts;
        let pending = self.requests.get_mut(index).and_then(Option::as_mut);
        let pending = pending.expect("an attempted index has a request");
        pending.attempts += 1;
        let is_split_off = pending.split_off_at.is_some();
        let attempts = if is_split_off { max_attempts } else { pending.attempts };
        // The last attempt at a record that may be given up waits for all other requests, so there are at least two
        // attempts.
        let only_last_attempt_left = is_split_off || attempts == max_attempts.max(2) - 1;
        let is_suspect = fault.kind == FaultKind::Suspect;
        let has_one_record = !self.has_several_records(index);
        let is_give_up_candidate = has_one_record && is_suspect && self.suspects.is_give_up_candidate(index, &fault);
        if only_last_attempt_left && is_give_up_candidate {
            return self.add_suspect(index, fault, 1);
        }
        let Some(wait) = self.policy.retry.wait(attempts, fault.kind) else {
            // The endpoint may have caused the fault of the previous attempt, so this delivery does not give the record
            // up.
            if is_suspect && has_one_record {
                return self.settle_request(index, fault.into());
            }
            return self.on_exhausted(index, fault);
        };
        let retry_at = Instant::now() + wait.max(fault.retry_after.unwrap_or_default());
        if retry_at >= self.calls_end || index >= self.stop_index || self.is_out_of_time {
            self.settle_request(index, fault.into());
        } else if self.retry_budget.try_withdraw() {
            self.waiting.push(Reverse((retry_at, index)));
        } else if is_give_up_candidate {
            // These attempts need no budget, because each is made only if the endpoint answers other records.
            self.add_suspect(index, fault, max_attempts.max(2) - attempts);
        } else {
            self.on_exhausted(index, fault);
        }
    }

    /// Handles a fault of an attempt at a suspect record.
    pub(in crate::dispatch) fn on_suspect_fault(&mut self, index: usize, suspect: &Suspect, fault: Fault) {
        match suspect.attempts_left {
            2.. if fault.kind == FaultKind::Suspect => self.add_suspect(index, fault, suspect.attempts_left - 1),
            _ => self.on_exhausted(index, fault),
        }
    }

    /// Handles an answered probe, which earns a retry like any other answer.
    pub(in crate::dispatch) fn on_probe_answer(&self) {
        self.retry_budget.deposit();
    }

    /// Replaces a request with two halves. `split_off_at` is set if the request is suspect or was split off a suspect
    /// request. Each half then has one attempt.
    pub(in crate::dispatch) fn split(&mut self, index: usize, split_off_at: Option<Instant>) {
        self.suspects.remove(index);
        let request = self.request(index).expect("a split index has a request");
        self.stats.splits.fetch_add(1, Ordering::Relaxed);
        if self.stop_index == index {
            // As a suspect, the request set the stop index to its own first record. Its records are now attempted
            // again.
            let delivery_stop_index = *self.delivery_stop_index.borrow();
            self.stop_index = (request.last_record() + 1)
                .min(self.settled_stop_index)
                .min(delivery_stop_index);
        }
        for half in request.halves() {
            self.add(half, split_off_at);
        }
    }

    /// Handles an outcome that is not the result of a call: after a panic, or of a record that is in no request.
    pub(in crate::dispatch) fn settle_without_answer(&mut self, index: usize, outcome: Outcome) {
        if let Outcome::Failed(Failure::Fault(fault)) = outcome {
            self.on_exhausted(index, fault);
        } else {
            self.settle_request(index, outcome);
        }
    }

    /// Handles the fault of a request without further attempts. A request that may be split, or a record that may be
    /// given up, becomes a suspect and is settled after all other requests. Any other request is settled with `fault`.
    pub(in crate::dispatch) fn on_exhausted(&mut self, index: usize, fault: Fault) {
        let is_split = fault.kind == FaultKind::Suspect && self.has_several_records(index);
        if is_split || self.suspects.is_give_up_candidate(index, &fault) {
            self.add_suspect(index, fault, 0);
        } else {
            self.settle_request(index, fault.into());
        }
    }

    fn add_suspect(&mut self, index: usize, fault: Fault, attempts_left: u32) {
        if self.is_stop_reason(&fault.clone().into()) {
            self.stop_at(index);
        }
        // From the split on, an answer to one half is evidence about the other.
        let split_off_at = self.pending_request(index).and_then(|pending| pending.split_off_at);
        let since = split_off_at.filter(|_| self.has_several_records(index));
        self.suspects.add(index, fault, attempts_left, since);
    }

    /// Returns whether no attempt may start for the records after a record with this outcome.
    fn is_stop_reason(&self, outcome: &Outcome) -> bool {
        let isolate_suspects = self.policy.isolate_suspects;
        match outcome {
            Outcome::Predicted(_) | Outcome::Delivered => false,
            Outcome::Rejected(_) => self.policy.is_rejected_unfinished && !isolate_suspects,
            Outcome::Failed(failure) => !(isolate_suspects && failure.is_possibly_record_fault()),
        }
    }

    /// Gives all records of a request the same outcome, or the one record at an index without a request.
    pub(in crate::dispatch) fn settle_request(&mut self, index: usize, outcome: Outcome) {
        self.suspects.remove(index);
        let request = self.request(index);
        let others = request.iter().flat_map(|request| request.records()).skip(1);
        for record in others {
            self.settle_record(record, outcome.clone());
        }
        self.settle_record(index, outcome);
    }

    /// Gives a record its outcome. The mapping redelivers all records after an unfinished record, so no attempt starts
    /// for them, unless their outcomes are remembered.
    fn settle_record(&mut self, index: usize, outcome: Outcome) {
        if self.is_stop_reason(&outcome) {
            self.settled_stop_index = self.settled_stop_index.min(index);
            self.stop_at(index);
        }
        let is_settled = self.is_settled.get_mut(index).expect("an index of this batch");
        assert!(!*is_settled, "a record has one outcome");
        *is_settled = true;
        // The receiver may be gone. Then nobody needs the outcome.
        _ = self.outcomes.send((index, outcome));
    }

    /// Starts no attempt at or after `index`, and drops the waiting requests there.
    pub(super) fn stop_at(&mut self, index: usize) {
        if index < self.stop_index {
            self.stop_index = index;
            self.waiting.retain(|Reverse((_, waiting))| *waiting < index);
        }
    }
}
