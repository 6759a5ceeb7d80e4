//! The rule of [blame](mod@crate::dispatch::blame) at work: evidence decides about accused requests, and probes provide
//! it.

use std::cmp::Reverse;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::time::Instant;

use super::{CallTarget, PendingRequest, Scheduler, failed};
use crate::dispatch::blame::Accused;
use crate::dispatch::evidence::{Moment, Witness};
use crate::endpoint::Endpoint;
use crate::inference::InferenceRequest;
use crate::outcome::{Fault, FaultKind, LoadSignal, Outcome};

impl<E: Endpoint> Scheduler<'_, E> {
    /// Accuses a request whose last call has just failed, or a record that no request could be made for.
    pub(super) fn accuse(&mut self, index: usize, fault: Fault) {
        let now = self.dispatcher.evidence.now();
        let pending = self.requests.get(&index);
        let last = pending.map_or(index, |pending| pending.request.last_record());
        let split_off_since = pending.and_then(|pending| pending.split_off_since);
        // The halves of a request are judged by the same evidence as the request.
        let since = split_off_since.filter(|_| last > index).unwrap_or(now);
        let witness = match pending {
            Some(pending) if !fault.is_about_named_model => Witness::Model(pending.request.target_model().cloned()),
            _ => Witness::AnyModel,
        };
        if fault.kind == FaultKind::Overload && split_off_since.is_none() && !self.has_answered_others(index) {
            self.stop_at(last + 1);
        }
        self.blame.accused.insert(index, Accused { fault, since, witness });
        if since < now {
            self.judge();
        }
    }

    /// Decides about all accused requests for which there is evidence now.
    pub(super) fn judge(&mut self) {
        for (index, accused) in self.blame.take_with_evidence(&self.dispatcher.evidence) {
            let is_uncalled = self.is_uncalled(index);
            if !is_uncalled && self.request_records(index) > 1 {
                for half in self.split(index, accused.since) {
                    self.push_urgent(half);
                }
            } else if is_uncalled {
                self.push_urgent(index);
            } else if !self.push_last_attempt(index, &accused.fault) {
                self.settle_request(index, accused.rejection().into());
            }
        }
    }

    /// Returns whether this is a part of an accused request that was never called by itself.
    fn is_uncalled(&self, index: usize) -> bool {
        self.requests.get(&index).is_some_and(|pending| pending.attempts == 0)
    }

    /// Makes a single record ready for its next last attempt. Returns false if it has had all of them. A timeout is not
    /// repeated.
    pub(super) fn push_last_attempt(&mut self, index: usize, fault: &Fault) -> bool {
        let Some(pending) = self.requests.get_mut(&index) else {
            return false;
        };
        let is_quick = fault.load == LoadSignal::FromKind;
        let model = pending.request.target_model();
        let last_attempts_max = if is_quick {
            self.dispatcher.evidence.last_attempts(model, fault.kind)
        } else {
            1
        };
        let is_left = pending.last_attempts < last_attempts_max;
        if is_left {
            pending.last_attempts += 1;
            self.push_urgent(index);
        }
        is_left
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
        // Requests that could start are held only by the doubt whether the endpoint works.
        if witnesses.is_empty() && self.is_in_doubt() && self.first_unstarted().is_some() {
            witnesses.push(Witness::AnyModel);
        }
        for witness in &witnesses {
            if let Some(probe) = self.next_probe(witness) {
                self.urgent.push_back(CallTarget::Probe(probe));
            } else if let Some(index) = self.next_request_as_probe(witness) {
                self.push_urgent(index);
            } else {
                self.fail_without_evidence(witness);
            }
        }
        if self.urgent.is_empty()
            && self.is_in_doubt()
            && let Some(first) = self.first_unstarted()
        {
            // The endpoint answered neither a probe nor a request, so further calls are useless.
            self.stop_at(first);
        }
        !witnesses.is_empty()
    }

    /// Fails the accused requests after a record that stops them. No further call is made for them.
    fn fail_stopped(&mut self) {
        let stop_index = self.stop_index;
        for (index, accused) in self.blame.take_if(|index, _| index >= stop_index) {
            self.fail_accused(index, accused);
        }
    }

    /// Makes probes ready although calls are in flight, if there is just enough time left for these calls, the longest
    /// last attempt and its probes.
    pub(in crate::dispatch) fn push_due_probes(&mut self) {
        let accused = self.blame.accused.keys().filter_map(|index| self.requests.get(index));
        let Some(longest) = accused.map(|pending| pending.latest_duration).max() else {
            return;
        };
        let reserve = self.dispatcher.invoker.call_timeout() + longest + self.probe_reserve;
        if self.is_out_of_time || Instant::now() + reserve < self.work.calls_end {
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
            let indexes = self.blame.of(witness).map(|(index, _)| index);
            indexes.filter_map(|index| self.requests.get(&index))
        };
        let is_accused = |probe: &InferenceRequest| accused().any(|pending| pending.request.has_record_of(probe));
        let probe = self.dispatcher.evidence.probe(witness, is_accused)?;
        self.blame.probed.insert(Witness::Model(probe.target_model().cloned()));
        Some(probe)
    }

    /// Returns a request of this batch that serves as a probe: a part that has not been called yet, or a half of it. If
    /// there is no such part, a half of an accused request, once until there is evidence. All these halves are
    /// disjoint, so one bad record fails only one of them. In doubt about the endpoint, any request serves.
    fn next_request_as_probe(&mut self, witness: &Witness) -> Option<usize> {
        let indexes = || self.blame.of(witness).map(|(index, _)| index);
        let uncalled = indexes().find(|index| self.is_uncalled(*index));
        if uncalled.is_none() && !self.blame.searched.insert(witness.clone()) {
            return None;
        }
        let Some(index) = uncalled.or_else(|| self.next_to_halve(witness)) else {
            return self.take_any_ready();
        };
        let accused = self.blame.accused.remove(&index)?;
        if self.request_records(index) == 1 {
            return Some(index);
        }
        let mut halves = self.split(index, accused.since);
        // In a random order, because a delivery without evidence is repeated.
        fastrand::shuffle(&mut halves);
        let [called, uncalled] = halves;
        self.blame.accused.insert(uncalled, accused);
        Some(called)
    }

    /// Returns an accused request for several records. An overloaded container that has answered before gets no further
    /// calls.
    fn next_to_halve(&self, witness: &Witness) -> Option<usize> {
        let has_answered = self.dispatcher.evidence.probe(witness, |_| false).is_some();
        let is_allowed = |accused: &Accused| !(has_answered && accused.fault.kind == FaultKind::Overload);
        let mut accused = self.blame.of(witness);
        let found = accused.find(|(index, accused)| is_allowed(accused) && self.request_records(*index) > 1);
        found.map(|(index, _)| index)
    }

    /// Removes and returns a random ready request, if it is in doubt whether the endpoint works.
    fn take_any_ready(&mut self) -> Option<usize> {
        if !self.is_in_doubt() {
            return None;
        }
        let ready = self.ready.iter().map(|Reverse(index)| *index);
        let ready: Vec<_> = ready.filter(|index| *index < self.stop_index).collect();
        let taken = *fastrand::choice(&ready)?;
        self.ready.retain(|Reverse(index)| *index != taken);
        let model = self.requests.get(&taken)?.request.target_model().cloned();
        self.blame.searched.insert(Witness::Model(model));
        Some(taken)
    }

    /// Fails all accused requests with this witness, because there is no evidence that the endpoint works.
    pub(super) fn fail_without_evidence(&mut self, witness: &Witness) {
        for (index, accused) in self.blame.take_if(|_, accused| accused.witness == *witness) {
            self.fail_accused(index, accused);
        }
    }

    /// Returns the lowest index of the requests that are ready or wait for a retry.
    fn first_unstarted(&self) -> Option<usize> {
        let ready = self.ready.iter().map(|Reverse(index)| *index);
        let waiting = self.waiting.iter().map(|Reverse((_, index))| *index);
        ready.chain(waiting).min().filter(|first| *first < self.stop_index)
    }

    fn fail_accused(&mut self, index: usize, accused: Accused) {
        let pending = self.requests.get(&index);
        let failure = pending.and_then(|pending| pending.latest_failure.clone());
        let failure = failure.unwrap_or_else(|| Box::new(failed(accused.fault, 1)));
        self.settle_request(index, Outcome::Failed(*failure));
    }

    /// Replaces a request that was accused since this moment with two halves, which are not ready yet, and returns
    /// their indexes.
    fn split(&mut self, index: usize, since: Moment) -> [usize; 2] {
        let pending = self.take_request(index);
        self.stats.splits.fetch_add(1, Ordering::Relaxed);
        pending.request.halves().map(|half| {
            let index = half.first_record();
            let half = PendingRequest {
                split_off_since: Some(since),
                latest_duration: pending.latest_duration,
                latest_failure: pending.latest_failure.clone(),
                ..PendingRequest::new(half)
            };
            self.requests.insert(index, half);
            index
        })
    }
}
