//! The state of one invocation's fan-out: which request is ready, in flight, waiting or ended.
//!
//! A request goes by the index of its first record. That is its own, since each record is in one request at a time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tracing::Instrument as _;

use super::suspects::{Suspect, Suspects};
use super::{StopPolicy, RetryGate, Work, call_span, annotate_span};
use crate::dispatch::attempt::{RecordOutputs, Invoker, CallStats};
use crate::dispatch::capacity::Permit;
use crate::endpoint::Endpoint;
use crate::inference::InferenceRequest;
use crate::outcome::Fault;
use crate::outcome::{Failure, Outcome, catch_panic_async};

mod transitions;

/// The request of this index, how the attempt at it ended, or the outcome of a panic, and its permit: given back only
/// when all of this has been taken down, lest it start an attempt that what is to be taken down forbids.
type FinishedCall = (usize, Result<Result<RecordOutputs, Fault>, Outcome>, Permit);

pub(super) struct Scheduler {
    policy: StopPolicy,
    retry_gate: RetryGate,
    /// By the index of the first record.
    requests: Vec<Option<PendingRequest>>,
    /// Which records have their outcomes, and where these went.
    is_settled: Vec<bool>,
    outcomes: mpsc::UnboundedSender<(usize, Outcome)>,
    /// Indexes of the requests that wait for a permit, the lowest first.
    ready: BinaryHeap<Reverse<usize>>,
    /// Requests between two attempts, those first that are ready first.
    waiting: BinaryHeap<Reverse<(Instant, usize)>>,
    calls: JoinSet<FinishedCall>,
    suspects: Suspects,
    stats: Arc<CallStats>,
    /// The first index that is left unfinished, and brings back all behind it: no attempt starts from here on.
    stop_index: usize,
    /// The same, without what may still be split.
    settled_stop_index: usize,
    delivery_stop_index: watch::Receiver<usize>,
    /// Calls in flight are cut here.
    calls_end: Instant,
    is_out_of_time: bool,
}

/// A request whose records have no outcomes yet.
#[derive(Clone)]
struct PendingRequest {
    request: Arc<InferenceRequest>,
    /// Attempts that it has spent.
    attempts: u32,
    /// When it was split off a request that may be at fault itself: since then, it has one attempt.
    split_off_at: Option<Instant>,
}

impl Scheduler {
    pub(super) fn new(work: Work, policy: StopPolicy, retry_gate: RetryGate) -> Self {
        let count = work.records;
        let mut scheduler = Self {
            policy,
            retry_gate,
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

    /// Whether the index is that of a request for several records.
    pub(super) fn has_several_records(&self, index: usize) -> bool {
        self.pending_request(index).is_some_and(|pending| !pending.request.has_one_record())
    }

    pub(super) fn has_ready(&self) -> bool {
        let lowest = self.ready.peek();
        !self.is_out_of_time && lowest.is_some_and(|Reverse(index)| *index < self.stop_index)
    }

    pub(super) fn has_work(&self) -> bool {
        self.has_ready() || !self.waiting.is_empty() || !self.calls.is_empty()
    }

    /// Starts an attempt at the ready request with the lowest position.
    pub(super) fn start<E: Endpoint>(&mut self, invoker: &Arc<Invoker<E>>, mut permit: Permit) {
        let Reverse(index) = self.ready.pop().expect("a request is ready");
        let pending = self.pending_request(index).expect("only a request becomes ready");
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

    /// Waits until a call ends, a wait is over or a record is left unfinished elsewhere, whichever is first; for ever if
    /// there is nothing to wait for.
    pub(super) async fn wait_for_event(&mut self) {
        let over = self.waiting.peek().map(|Reverse((over, _))| *over);
        let wait_is_over = async {
            match over {
                Some(over) => sleep_until(over).await,
                None => pending().await,
            }
        };
        tokio::select! {
            biased;
            Ok(()) = self.delivery_stop_index.changed() => {
                let stop_index = *self.delivery_stop_index.borrow_and_update();
                self.stop_at(stop_index);
            }
            Some(done) = self.calls.join_next() => self.on_finished(done),
            () = wait_is_over => self.requeue_due(),
        }
    }

    fn requeue_due(&mut self) {
        let now = Instant::now();
        while self.waiting.peek().is_some_and(|Reverse((over, _))| *over <= now) {
            let Reverse((_, index)) = self.waiting.pop().expect("one was seen");
            self.ready.push(Reverse(index));
        }
    }

    /// The suspect with the lowest position, if nothing before it brings it back anyway.
    pub(super) fn first_suspect(&self) -> Option<(usize, Suspect)> {
        let stop_index = self.stop_index.min(*self.delivery_stop_index.borrow());
        let first = self.suspects.first();
        first.filter(|(index, _)| *index <= stop_index && !self.is_out_of_time)
    }

    /// Lets calls in flight end, but starts no other.
    pub(super) fn stop_starting(&mut self) {
        self.is_out_of_time = true;
        self.waiting.clear();
    }

    /// Starts no other call, and cancels those in flight.
    pub(super) async fn cancel_all(&mut self) {
        self.stop_starting();
        self.cancel_calls().await;
    }

    /// Cancels the calls in flight and waits until they are gone. One that has just ended still counts.
    pub(super) async fn cancel_calls(&mut self) {
        self.calls.abort_all();
        while let Some(done) = self.calls.join_next().await {
            self.on_finished(done);
        }
    }

    /// Gives what has no outcome yet the one that it has for want of an answer, and returns how many calls were made.
    pub(super) fn into_stats(mut self) -> Arc<CallStats> {
        for (index, suspect) in self.suspects.take_all() {
            self.settle_request(index, suspect.fault.into());
        }
        let failed_first = self.stop_index;
        let unended: Vec<_> = self.is_settled.iter().enumerate().filter(|(_, it)| !**it).collect();
        for (index, _) in unended {
            let failure = if index > failed_first {
                Failure::AfterFailure
            } else {
                Failure::OutOfTime
            };
            _ = self.outcomes.send((index, Outcome::Failed(failure)));
        }
        self.stats
    }
}
