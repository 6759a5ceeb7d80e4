//! The reactions to a finished call: a retry, an accusation, or outcomes.

use std::cmp::Reverse;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;
use tracing::warn;

use super::{CallTarget, FinishedCall, PendingRequest, Scheduler, failed};
use crate::dispatch::answer_shapes::PACKING_OFF;
use crate::dispatch::attempt::RecordOutputs;
use crate::dispatch::evidence::{Moment, Witness};
use crate::endpoint::Endpoint;
use crate::inference::InferenceRequest;
use crate::outcome::{Failure, Fault, FaultKind, LoadSignal, Outcome};

impl<E: Endpoint> Scheduler<'_, E> {
    /// Handles a finished call.
    pub(super) fn on_finished(&mut self, finished: FinishedCall) {
        let FinishedCall {
            target,
            request,
            start,
            duration,
            ended,
            permit: _permit,
        } = finished;
        match ended {
            // A probe is a request that had an answer of the right form.
            Ok(RecordOutputs::CountMismatch(_)) if !self.is_for_several_records(&target) => {
                let summary = "the number of predictions differs from the number of records";
                let fault = Fault {
                    remedy: "check PREDICTIONS",
                    ..Fault::new(FaultKind::Suspect, summary)
                };
                self.on_fault(&target, &request, duration, fault);
            }
            Ok(answer) => self.on_answer(&target, &request, start, answer),
            Err(fault) if fault.load == LoadSignal::NoRoom && !self.is_out_of_time => match target {
                // This attempt does not count. The next one starts when there is room.
                CallTarget::Request(index) => self.ready.push(Reverse(index)),
                CallTarget::Probe(_) => self.urgent.push_back(target),
            },
            Err(fault) if fault.load == LoadSignal::Unprepared && fault.kind.is_transient() && !self.is_out_of_time => {
                // This attempt does not count. The next one waits for the credentials before it acquires a permit.
                match target {
                    CallTarget::Request(index) if self.is_judged(index) => self.push_urgent(index),
                    CallTarget::Request(index) => self.ready.push(Reverse(index)),
                    CallTarget::Probe(_) => self.urgent.push_back(target),
                }
            }
            Err(fault) => self.on_fault(&target, &request, duration, fault),
        }
    }

    fn is_for_several_records(&self, target: &CallTarget) -> bool {
        matches!(target, CallTarget::Request(index) if self.request_records(*index) > 1)
    }

    /// Handles an answer to `request`, which was sent for `target`. Predictions that cannot be assigned are no
    /// evidence: the answer may describe an error.
    fn on_answer(&mut self, target: &CallTarget, request: &InferenceRequest, start: Moment, answer: RecordOutputs) {
        self.dispatcher.budget.deposit();
        let is_assigned = self.is_assigned(target, request, &answer);
        let evidence = &self.dispatcher.evidence;
        if is_assigned {
            evidence.record_answer(request, start);
            self.blame.allow_probes(&Witness::AnyModel);
            self.blame
                .allow_probes(&Witness::Model(request.target_model().cloned()));
        }
        if let CallTarget::Request(index) = target {
            let pending = self.take_request(*index);
            if let Some(Failure::Fault { fault, .. }) = pending.latest_failure.as_deref()
                && pending.attempts > 0
            {
                evidence.record_recovery(request.target_model(), fault.kind);
            }
            self.settle_answered(&pending.request, answer, is_assigned);
        }
        self.judge();
    }

    /// Returns whether each record gets its prediction from this answer. A single record may be in its request twice.
    /// Then its predictions are equal, unless they are parts of one prediction.
    fn is_assigned(&self, target: &CallTarget, request: &InferenceRequest, answer: &RecordOutputs) -> bool {
        let records = request.records().len();
        let shapes = &self.dispatcher.answer_shapes;
        match answer {
            RecordOutputs::Predictions(predictions) => {
                let is_trusted = shapes.record_match(request.target_model(), records, predictions.form);
                let is_single = !self.is_for_several_records(target);
                let is_probe = matches!(target, CallTarget::Probe(_));
                is_trusted || is_probe || is_single && predictions.are_equal()
            }
            RecordOutputs::CountMismatch(answer) => {
                if shapes.record_mismatch(request.target_model()) {
                    self.stats.packing_off.fetch_add(1, Ordering::Relaxed);
                    warn!(
                        records,
                        answer,
                        "answers in a row do not have one prediction for each record, so this model gets single records \
                         for {} s; PREDICTIONS can name the list of predictions",
                        PACKING_OFF.as_secs(),
                    );
                }
                false
            }
        }
    }

    /// Gives the records their predictions. If the predictions cannot be assigned, replaces the request with one
    /// request for each record, or with its halves if the number of predictions may have fitted by chance. A single
    /// record that was in its request twice is sent once.
    fn settle_answered(&mut self, request: &InferenceRequest, answer: RecordOutputs, is_assigned: bool) {
        match answer {
            RecordOutputs::Predictions(predictions) if is_assigned => {
                for (record, prediction) in request.records().zip(predictions.each) {
                    self.settle_record(record, Outcome::Predicted(prediction));
                }
            }
            RecordOutputs::Predictions(_) if request.has_one_record() => self.add_ready([request.clone()]),
            RecordOutputs::Predictions(_) => {
                self.stats.splits.fetch_add(1, Ordering::Relaxed);
                self.add_ready(request.halves());
            }
            RecordOutputs::CountMismatch(_) => {
                let records = request.records().len();
                self.stats.miscounted_records.fetch_add(records, Ordering::Relaxed);
                self.add_ready(request.split_each());
            }
        }
    }

    fn on_fault(&mut self, target: &CallTarget, request: &InferenceRequest, duration: Duration, fault: Fault) {
        let model = request.target_model();
        self.dispatcher.evidence.record_fault(fault.kind);
        match target {
            CallTarget::Probe(_) => self.dispatcher.evidence.record_probe_fault(model, fault.kind),
            CallTarget::Request(index) => self.on_request_fault(*index, duration, fault),
        }
    }

    /// Schedules a retry, accuses the request, or fails its records.
    fn on_request_fault(&mut self, index: usize, duration: Duration, fault: Fault) {
        let may_be_accused = self.may_be_accused(index, &fault);
        let max_attempts = self.dispatcher.policy.retry.max_attempts;
        let records = self.request_records(index);
        let pending = self.pending_mut(index);
        let failure = failed(fault.clone(), records);
        if failure.is_possibly_record_fault() {
            pending.latest_failure = Some(Box::new(failure));
        }
        pending.latest_duration = duration;
        pending.attempts += 1;
        let attempts = pending.attempts;
        let is_last_attempt = pending.last_attempts > 0;
        let has_one_record = pending.request.has_one_record();
        let is_split = pending.split_off_since.is_some() || !has_one_record && fault.load == LoadSignal::TimedOut;
        // A single record keeps its last attempt until there is evidence.
        let attempts_max = if has_one_record { max_attempts - 1 } else { max_attempts };
        if is_last_attempt && self.push_last_attempt(index, &fault) {
            return;
        }
        if may_be_accused && (is_last_attempt || is_split || attempts >= attempts_max) {
            return self.accuse(index, fault);
        }
        if is_split && fault.kind == FaultKind::Suspect {
            return self.fail(index, fault);
        }
        let wait = self.dispatcher.policy.retry.wait(attempts, fault.kind);
        let retry_at = wait.map(|wait| Instant::now() + wait.max(fault.retry_after.unwrap_or_default()));
        // The retry and the last attempt may take as long as this attempt.
        let time_needed = if may_be_accused {
            duration * 2 + self.probe_reserve
        } else {
            Duration::ZERO
        };
        let has_time = |retry_at: &Instant| *retry_at + time_needed < self.work.calls_end;
        match retry_at.filter(has_time) {
            Some(retry_at)
                if index < self.stop_index && !self.is_out_of_time && self.dispatcher.budget.try_withdraw() =>
            {
                self.waiting.push(Reverse((retry_at, index)));
            }
            _ if may_be_accused => self.accuse(index, fault),
            _ => self.fail(index, fault),
        }
    }

    /// Returns whether the records of the request at this index may be the cause of the fault and, if the request is
    /// for one record, evidence would end in its rejection.
    fn may_be_accused(&self, index: usize, fault: &Fault) -> bool {
        let may_give_up = || self.work.may_give_up.get(index).is_some_and(|may_give_up| *may_give_up);
        match fault.kind {
            FaultKind::Refused => true,
            FaultKind::Suspect => self.request_records(index) > 1 || may_give_up(),
            FaultKind::Overload => fault.is_from_container && may_give_up(),
            FaultKind::Unreachable | FaultKind::Misconfigured => false,
        }
    }

    /// Returns whether the model has answered another call since the first attempt at this request.
    pub(super) fn has_answered_others(&self, index: usize) -> bool {
        self.requests.get(&index).is_some_and(|pending| {
            let model = Witness::Model(pending.request.target_model().cloned());
            let start = pending.split_off_since.or(pending.first_start);
            start.is_some_and(|start| self.dispatcher.evidence.has_answered_since(start, &model))
        })
    }

    /// Handles the outcome of a record that is in no request. After a panic, the record may be given up.
    pub(super) fn settle_without_call(&mut self, index: usize, outcome: Outcome) {
        if let Outcome::Failed(Failure::Fault { fault, .. }) = &outcome
            && self.may_be_accused(index, fault)
        {
            self.accuse(index, fault.clone());
        } else {
            self.settle_request(index, outcome);
        }
    }

    /// Fails the records of a request with the fault of its last attempt.
    pub(super) fn fail(&mut self, index: usize, fault: Fault) {
        let records = self.request_records(index);
        self.settle_request(index, Outcome::Failed(failed(fault, records)));
    }

    /// Returns whether no attempt may start for the records after this one. They go on if the record may be the cause,
    /// or only its model, or if the endpoint answers others.
    fn is_stop_reason(&self, index: usize, outcome: &Outcome) -> bool {
        let isolates_faults = self.dispatcher.policy.isolate_suspects;
        match outcome {
            Outcome::Predicted(_)
            | Outcome::Delivered
            | Outcome::Skipped
            | Outcome::Failed(Failure::DeadLetterRefused) => false,
            Outcome::Rejected(_) => self.dispatcher.policy.is_rejected_unfinished && !isolates_faults,
            Outcome::Failed(_) if !isolates_faults => true,
            Outcome::Failed(Failure::Fault { fault, .. }) => match fault.kind {
                FaultKind::Refused | FaultKind::Suspect => false,
                FaultKind::Overload | FaultKind::Unreachable => {
                    fault.load != LoadSignal::SingleModelOnly && !self.has_answered_others(index)
                }
                FaultKind::Misconfigured => true,
            },
            Outcome::Failed(Failure::OutOfTime | Failure::BatchTooLarge | Failure::AfterFailure) => true,
        }
    }

    /// Gives all records of a request the same outcome, or the one record at an index without a request.
    pub(super) fn settle_request(&mut self, index: usize, outcome: Outcome) {
        if self.is_stop_reason(index, &outcome) {
            self.stop_at(index);
        }
        let request = self.requests.remove(&index);
        let others = request.iter().flat_map(|pending| pending.request.records()).skip(1);
        for record in others {
            self.settle_record(record, outcome.clone());
        }
        self.settle_record(index, outcome);
    }

    /// Gives a record its outcome.
    pub(super) fn settle_record(&self, index: usize, outcome: Outcome) {
        // The receiver may be gone. Then nobody needs the outcome.
        _ = self.work.outcomes.send((index, outcome));
    }

    /// Removes and returns the request at this index.
    pub(super) fn take_request(&mut self, index: usize) -> PendingRequest {
        self.requests.remove(&index).expect("a called index has a request")
    }

    /// Starts no attempt at or after `index`, and drops the waiting requests there. The mapping redelivers all records
    /// after an unfinished one.
    pub(super) fn stop_at(&mut self, index: usize) {
        if index < self.stop_index {
            self.stop_index = index;
            self.waiting.retain(|Reverse((_, waiting))| *waiting < index);
            let is_before = |target: &CallTarget| !matches!(target, CallTarget::Request(urgent) if *urgent >= index);
            self.urgent.retain(is_before);
        }
    }
}
