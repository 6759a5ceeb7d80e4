//! The rule of [blame](mod@crate::dispatch::blame) at work: evidence decides about accused requests, and probes provide
//! it.

use std::cmp::Reverse;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

use super::{CallTarget, Scheduler, failed};
use crate::dispatch::blame::{Accused, Progress};
use crate::dispatch::evidence::Witness;
use crate::inference::InferenceRequest;
use crate::outcome::{Fault, FaultKind, Outcome};

impl Scheduler {
    /// Accuses a request whose last call has just failed. `is_last_attempt` is true if there was evidence before that
    /// call.
    pub(super) fn accuse(&mut self, index: usize, fault: Fault, is_last_attempt: bool) {
        if fault.kind == FaultKind::Overload && !self.has_answered_others(index) {
            let last = self
                .pending_request(index)
                .map_or(index, |pending| pending.request.last_record());
            self.stop_at(last + 1);
        }
        let now = self.evidence.now();
        let records = self.request_records(index);
        let pending = self.requests.get_mut(index).and_then(Option::as_mut);
        let (since, witness) = match pending {
            None => (now, Witness::AnyModel),
            Some(pending) => {
                let since = pending.split_off_since.filter(|_| records > 1);
                let model = pending.request.target_model().cloned();
                let is_about_model = fault.is_about_named_model;
                let witness = if is_about_model {
                    Witness::AnyModel
                } else {
                    Witness::Model(model)
                };
                (since.unwrap_or(now), witness)
            }
        };
        let progress = if is_last_attempt {
            Progress::NeedsEvidenceAfter
        } else {
            Progress::NeedsLastAttempt
        };
        let accused = Accused {
            fault,
            since,
            witness,
            progress,
        };
        let has_earlier_evidence = accused.since < now;
        self.blame.accuse(index, accused);
        if has_earlier_evidence {
            self.judge();
        }
    }

    /// Decides about all accused requests for which there is evidence now.
    pub(super) fn judge(&mut self) {
        if self.blame.is_empty() {
            return;
        }
        for (index, accused) in self.blame.take_with_evidence(&self.evidence) {
            match accused.progress {
                Progress::Uncalled => self.push_urgent(index),
                _ if self.request_records(index) > 1 => {
                    let halves = self.split(index, &accused);
                    for half in halves {
                        self.push_urgent(half);
                    }
                }
                Progress::NeedsLastAttempt => {
                    self.pending_mut(index).last_attempts += 1;
                    self.push_urgent(index);
                }
                // The evidence may have shown that some instances of the model are broken.
                Progress::NeedsEvidenceAfter if self.repeat_last_attempt(index, &accused.fault) => {}
                Progress::NeedsEvidenceAfter => self.settle_request(index, accused.rejection().into()),
            }
        }
    }

    /// Continues when no call is left that could provide evidence. Makes calls ready that may provide it, and fails the
    /// accused requests for which there is no such call. Returns whether anything is left to do.
    pub(in crate::dispatch) fn seek_evidence(&mut self) -> bool {
        // Calls of other invocations may have been answered.
        self.judge();
        self.fail_stopped();
        if self.is_out_of_time || self.has_ready() {
            return self.has_ready();
        }
        let mut witnesses = self.blame.witnesses();
        if witnesses.is_empty() && self.is_in_doubt() {
            witnesses.push(Witness::Model(None));
        }
        for witness in &witnesses {
            if let Some(probe) = self.next_probe(witness) {
                self.urgent.push_back(CallTarget::Probe(probe));
            } else if let Some(index) = self.next_request_as_probe(witness) {
                self.urgent.push_back(CallTarget::Request(index));
            } else {
                self.fail_without_evidence(witness);
            }
        }
        !witnesses.is_empty()
    }

    /// Fails the accused requests after a record that stops them. No further call is made for them.
    fn fail_stopped(&mut self) {
        for (index, accused) in self.blame.take_from(self.stop_index) {
            self.fail_accused(index, accused);
        }
    }

    /// Makes probes ready although calls are in flight, if there is just enough time left for these calls, the longest
    /// last attempt and its probes.
    pub(in crate::dispatch) fn push_due_probes(&mut self, call_timeout: Duration) {
        let unprobed = self.blame.unprobed().filter_map(|index| self.pending_request(index));
        let Some(longest) = unprobed.map(|pending| pending.latest_duration).max() else {
            return;
        };
        let reserve = call_timeout + longest + self.probe_reserve;
        if self.is_out_of_time || Instant::now() + reserve < self.calls_end {
            return;
        }
        for witness in self.blame.witnesses() {
            let probe = self.next_probe(&witness);
            self.urgent.extend(probe.map(CallTarget::Probe));
        }
    }

    /// Returns the probe for this witness, once until there is evidence. A record is not evidence against itself.
    fn next_probe(&mut self, witness: &Witness) -> Option<Arc<InferenceRequest>> {
        if !self.blame.probed.insert(witness.clone()) {
            return None;
        }
        let accused = || {
            self.blame
                .of(witness)
                .filter_map(|(index, _)| self.pending_request(index))
        };
        let is_accused = |probe: &InferenceRequest| accused().any(|pending| pending.request.has_record_of(probe));
        self.evidence.probe(witness, is_accused)
    }

    /// Returns a request of this batch that serves as a probe: a half of a part that has not been called yet. If there
    /// is no such part, a half of an accused request, once until there is evidence. All these halves are disjoint, so
    /// one bad record fails only one of them. In doubt about the endpoint, any request serves.
    fn next_request_as_probe(&mut self, witness: &Witness) -> Option<usize> {
        let find = |is_wanted: &dyn Fn(usize, &Accused) -> bool| {
            let mut accused = self.blame.of(witness);
            accused
                .find(|(index, accused)| is_wanted(*index, accused))
                .map(|(index, _)| index)
        };
        let uncalled =
            find(&|index, accused| accused.progress == Progress::Uncalled && self.request_records(index) > 1);
        // An overloaded container that has answered before gets no further calls.
        let has_answered = self.evidence.probe(witness, |_| false).is_some();
        let several = find(&|index, accused| {
            self.request_records(index) > 1 && !(has_answered && accused.fault.kind == FaultKind::Overload)
        });
        if uncalled.is_none() && !self.blame.searched.insert(witness.clone()) {
            return None;
        }
        let Some(index) = uncalled.or(several) else {
            return if self.is_in_doubt() {
                self.take_any_ready()
            } else {
                None
            };
        };
        let accused = self.blame.take(index)?;
        let mut halves = self.split(index, &accused);
        // In a random order, because a delivery without evidence is repeated.
        fastrand::shuffle(&mut halves);
        let [called, uncalled] = halves;
        let progress = Progress::Uncalled;
        self.blame.accuse(uncalled, Accused { progress, ..accused });
        Some(called)
    }

    /// Removes and returns a random ready request.
    fn take_any_ready(&mut self) -> Option<usize> {
        let ready = self.ready.iter().map(|Reverse(index)| *index);
        let ready: Vec<_> = ready.filter(|index| *index < self.stop_index).collect();
        let taken = *fastrand::choice(&ready)?;
        self.ready.retain(|Reverse(index)| *index != taken);
        Some(taken)
    }

    /// Fails all accused requests with this witness, because there is no evidence that the endpoint works.
    pub(super) fn fail_without_evidence(&mut self, witness: &Witness) {
        for (index, accused) in self.blame.take_all_of(witness) {
            self.fail_accused(index, accused);
        }
        if *witness == Witness::Model(None) && self.is_in_doubt() {
            // The endpoint answers nothing, so further calls are useless.
            self.faults_in_row = 0;
            let ready = self.ready.iter().map(|Reverse(index)| *index);
            let waiting = self.waiting.iter().map(|Reverse((_, index))| *index);
            if let Some(first) = ready.chain(waiting).min() {
                self.stop_at(first);
            }
        }
    }

    fn fail_accused(&mut self, index: usize, accused: Accused) {
        let pending = self.pending_request(index);
        let latest_fault = pending.and_then(|pending| pending.latest_fault.clone());
        let (fault, records) = latest_fault.unwrap_or((accused.fault, 1));
        self.settle_request(index, Outcome::Failed(failed(fault, records)));
    }

    /// Replaces an accused request with two halves, which are not ready yet, and returns their indexes.
    fn split(&mut self, index: usize, accused: &Accused) -> [usize; 2] {
        let pending = self.take_request(index);
        let request = &pending.request;
        self.stats.splits.fetch_add(1, Ordering::Relaxed);
        let records = request.records().len();
        let latest_duration = pending.latest_duration;
        request.halves().map(|half| {
            let half = self.add(half);
            let pending = self.pending_mut(half);
            pending.split_off_since = Some(accused.since);
            pending.latest_duration = latest_duration;
            pending.latest_fault = Some((accused.fault.clone(), records));
            half
        })
    }
}
