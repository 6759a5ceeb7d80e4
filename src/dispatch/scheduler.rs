//! The state of one invocation's requests: ready, in flight, waiting for a retry, suspect or settled.
//!
//! A request is identified by the index of its first record. The index is unique, because each record is in one request
//! at a time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tracing::Instrument as _;

use super::attempt::{CallStats, Invoker, RecordOutputs};
use super::capacity::Permit;
use super::retry::RetryBudget;
use super::suspects::{Suspect, Suspects};
use super::{DispatchPolicy, Work, annotate_span, call_span};
use crate::endpoint::Endpoint;
use crate::inference::InferenceRequest;
use crate::outcome::{Failure, Fault, Outcome, catch_panic_async};

mod transitions;

/// The index of a request, the result of its attempt (`Err` with the outcome after a panic), and the permit. The permit
/// is released only after the result is processed: the result may forbid attempts at later records.
type FinishedCall = (usize, Result<Result<RecordOutputs, Fault>, Outcome>, Permit);

pub(super) struct Scheduler {
    policy: DispatchPolicy,
    retry_budget: Arc<RetryBudget>,
    /// The requests, each at the index of its first record.
    requests: Vec<Option<PendingRequest>>,
    /// For each record, whether its outcome has been sent to `outcomes`.
    is_settled: Vec<bool>,
    outcomes: mpsc::UnboundedSender<(usize, Outcome)>,
    /// The indexes of the requests that are ready for an attempt, the lowest first.
    ready: BinaryHeap<Reverse<usize>>,
    /// The requests that wait for a retry, with the end of the wait, the earliest first.
    waiting: BinaryHeap<Reverse<(Instant, usize)>>,
    calls: JoinSet<FinishedCall>,
    suspects: Suspects,
    stats: Arc<CallStats>,
    /// The index from which on no attempt starts: the first record that is unfinished, so that the mapping redelivers
    /// all records after it.
    stop_index: usize,
    /// The first record that is unfinished and settled. Suspects are not settled: they may still be split.
    settled_stop_index: usize,
    /// The first index that delivery left unfinished.
    delivery_stop_index: watch::Receiver<usize>,
    /// The time at which calls in flight are cancelled.
    calls_end: Instant,
    is_out_of_time: bool,
}

/// A request whose records have no outcomes yet.
#[derive(Clone)]
struct PendingRequest {
    request: Arc<InferenceRequest>,
    /// The number of failed attempts.
    attempts: u32,
    /// The time at which it was split off a suspect request. Such a request has only one attempt.
    split_off_at: Option<Instant>,
}

impl Scheduler {
    pub(super) fn new(work: Work, policy: DispatchPolicy, retry_budget: Arc<RetryBudget>) -> Self {
        let count = work.records;
        let mut scheduler = Self {
            policy,
            retry_budget,
            requests: vec![None; count],
            is_settled: vec![false; count],
            outcomes: work.outcomes,
            ready: BinaryHeap::with_capacity(work.requests.to_send.len()),
            waiting: BinaryHeap::new(),
            calls: JoinSet::new(),
            suspects: Suspects::new(work.give_up_eligible),
            stats: Arc::new(CallStats::new(work.trace_id)),
            stop_index: count,
            settled_stop_index: count,
            delivery_stop_index: work.stop_index,
            calls_end: work.calls_end,
            is_out_of_time: false,
        };
        for request in work.requests.to_send {
            scheduler.add(request, None);
        }
        for (index, outcome) in work.requests.settled {
            scheduler.settle_without_answer(index, outcome);
        }
        scheduler
    }

    fn add(&mut self, request: InferenceRequest, split_off_at: Option<Instant>) {
        let index = request.first_record();
        let pending = PendingRequest {
            request: Arc::new(request),
            attempts: 0,
            split_off_at,
        };
        *self.requests.get_mut(index).expect("an index of this batch") = Some(pending);
        self.ready.push(Reverse(index));
    }

    pub(super) fn calls_end(&self) -> Instant {
        self.calls_end
    }

    pub(super) fn stats(&self) -> &CallStats {
        &self.stats
    }

    pub(super) fn request(&self, index: usize) -> Option<Arc<InferenceRequest>> {
        self.pending_request(index).map(|pending| Arc::clone(&pending.request))
    }

    fn pending_request(&self, index: usize) -> Option<&PendingRequest> {
        self.requests.get(index)?.as_ref()
    }

    /// Returns whether there is a request for several records at this index.
    pub(super) fn has_several_records(&self, index: usize) -> bool {
        self.pending_request(index)
            .is_some_and(|pending| !pending.request.has_one_record())
    }

    pub(super) fn has_ready(&self) -> bool {
        let lowest = self.ready.peek();
        !self.is_out_of_time && lowest.is_some_and(|Reverse(index)| *index < self.stop_index)
    }

    pub(super) fn has_work(&self) -> bool {
        self.has_ready() || !self.waiting.is_empty() || !self.calls.is_empty()
    }

    /// Starts an attempt at the ready request with the lowest index.
    pub(super) fn start<E: Endpoint>(&mut self, invoker: &Arc<Invoker<E>>, mut permit: Permit) {
        let Reverse(index) = self.ready.pop().expect("a request is ready");
        let pending = self.pending_request(index).expect("a ready index has a request");
        if pending.attempts > 0 {
            self.stats.retries.fetch_add(1, Ordering::Relaxed);
        }
        let request = Arc::clone(&pending.request);
        let (invoker, stats) = (Arc::clone(invoker), Arc::clone(&self.stats));
        let span = call_span(&request);
        let call = async move {
            let ended = catch_panic_async(invoker.attempt(&request, &mut permit, &stats)).await;
            annotate_span(&ended);
            (index, ended, permit)
        };
        self.calls.spawn(call.instrument(span));
    }

    /// Settles the ready request with the lowest index with the fault because of which no call can be made.
    pub(super) fn fail_ready(&mut self, fault: Fault) {
        let Reverse(index) = self.ready.pop().expect("a request is ready");
        self.settle_request(index, fault.into());
    }

    /// Waits for one event and handles it: a call finishes, the wait for a retry ends, or delivery leaves a record
    /// unfinished. Waits forever if none of these can happen.
    pub(super) async fn wait_for_event(&mut self) {
        let retry_at = self.waiting.peek().map(|Reverse((retry_at, _))| *retry_at);
        let next_retry = async {
            match retry_at {
                Some(retry_at) => sleep_until(retry_at).await,
                None => pending().await,
            }
        };
        tokio::select! {
            biased;
            Ok(()) = self.delivery_stop_index.changed() => {
                let stop_index = *self.delivery_stop_index.borrow_and_update();
                self.stop_at(stop_index);
            }
            Some(finished) = self.calls.join_next() => self.on_finished(finished),
            () = next_retry => self.requeue_due(),
        }
    }

    /// Makes the requests ready whose wait for a retry is over.
    fn requeue_due(&mut self) {
        let now = Instant::now();
        while self
            .waiting
            .peek()
            .is_some_and(|Reverse((retry_at, _))| *retry_at <= now)
        {
            let Reverse((_, index)) = self.waiting.pop().expect("the heap has an entry");
            self.ready.push(Reverse(index));
        }
    }

    /// Returns the suspect with the lowest index. Returns `None` if the time is over, or if an unfinished record before
    /// the suspect causes its redelivery anyway.
    pub(super) fn first_suspect(&self) -> Option<(usize, Suspect)> {
        let stop_index = self.stop_index.min(*self.delivery_stop_index.borrow());
        let first = self.suspects.first();
        first.filter(|(index, _)| *index <= stop_index && !self.is_out_of_time)
    }

    /// Starts no further attempt. Calls in flight can still finish.
    pub(super) fn stop_starting(&mut self) {
        self.is_out_of_time = true;
        self.waiting.clear();
    }

    /// Starts no further attempt, and cancels the calls in flight.
    pub(super) async fn cancel_all(&mut self) {
        self.stop_starting();
        self.cancel_calls().await;
    }

    /// Cancels the calls in flight and waits until they are gone. The result of a call that has just finished still
    /// counts.
    pub(super) async fn cancel_calls(&mut self) {
        self.calls.abort_all();
        while let Some(finished) = self.calls.join_next().await {
            self.on_finished(finished);
        }
    }

    /// Settles all records that still have no outcome, and returns the statistics of the calls. The records of a
    /// suspect fail with its fault. Other records fail because a record before them failed, or because the time is
    /// over.
    pub(super) fn into_stats(mut self) -> Arc<CallStats> {
        for (index, suspect) in self.suspects.take_all() {
            self.settle_request(index, suspect.fault.into());
        }
        let stop_index = self.stop_index;
        let unsettled: Vec<_> = self.is_settled.iter().enumerate().filter(|(_, it)| !**it).collect();
        for (index, _) in unsettled {
            let failure = if index > stop_index {
                Failure::AfterFailure
            } else {
                Failure::OutOfTime
            };
            _ = self.outcomes.send((index, Outcome::Failed(failure)));
        }
        self.stats
    }
}
