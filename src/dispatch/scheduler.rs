//! The state of one invocation's requests: ready, in flight, waiting for a retry, accused or settled.
//!
//! A request is identified by the index of its first record. The index is unique, because each record is in one request
//! at a time.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::future::pending;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep_until};
use tracing::{Instrument as _, Span};

use super::attempt::CallStats;
use super::blame::Blame;
use super::capacity::Permit;
use super::{Dispatcher, Work, call_span};
use crate::endpoint::Endpoint;
use crate::inference::InferenceRequest;
use crate::outcome::{Failure, Fault, catch_panic_async};

mod ending;
mod judgement;
mod pending;
mod room;
mod transitions;

use pending::{CallTarget, FinishedCall, PendingRequest};

pub(super) struct Scheduler<'d, E> {
    dispatcher: &'d Dispatcher<E>,
    pub(super) work: Work,
    /// The requests whose records have no outcomes yet, each at the index of its first record.
    requests: BTreeMap<usize, PendingRequest>,
    /// The indexes of the requests that are ready for an attempt, the lowest first.
    ready: BinaryHeap<Reverse<usize>>,
    /// The calls for evidence that are ready. They go before all other requests.
    urgent: VecDeque<CallTarget>,
    /// The requests that wait for a retry, with the end of the wait, the earliest first.
    waiting: BinaryHeap<Reverse<(Instant, usize)>>,
    calls: JoinSet<Box<FinishedCall>>,
    blame: Blame,
    stats: Arc<CallStats>,
    /// The index from which on no attempt starts: the first record that is unfinished, so that the mapping redelivers
    /// all records after it.
    stop_index: usize,
    /// The time for the probes of a judgement.
    probe_reserve: Duration,
    is_out_of_time: bool,
}

impl<'d, E: Endpoint> Scheduler<'d, E> {
    pub(super) fn new(dispatcher: &'d Dispatcher<E>, mut work: Work) -> Self {
        dispatcher.evidence.end_doubt_without_probe();
        let requests = mem::take(&mut work.requests);
        let mut scheduler = Self {
            dispatcher,
            requests: BTreeMap::new(),
            ready: BinaryHeap::with_capacity(requests.to_send.len()),
            urgent: VecDeque::new(),
            waiting: BinaryHeap::new(),
            calls: JoinSet::new(),
            blame: Blame::default(),
            stats: Arc::new(CallStats::new(work.trace_id.clone())),
            stop_index: usize::MAX,
            probe_reserve: dispatcher.invoker.probe_reserve(),
            is_out_of_time: false,
            work,
        };
        scheduler.add_ready(requests.to_send);
        for (index, outcome) in requests.settled {
            scheduler.settle_without_call(index, outcome);
        }
        scheduler
    }

    /// Adds a request, which is not ready yet, and returns its index.
    fn add(&mut self, request: InferenceRequest) -> usize {
        let index = request.first_record();
        self.requests.insert(index, PendingRequest::new(request));
        index
    }

    /// Adds requests that are ready.
    pub(super) fn add_ready(&mut self, requests: impl IntoIterator<Item = InferenceRequest>) {
        for request in requests {
            let index = self.add(request);
            self.ready.push(Reverse(index));
        }
    }

    fn pending_mut(&mut self, index: usize) -> &mut PendingRequest {
        self.requests.get_mut(&index).expect("a called index has a request")
    }

    /// Returns the number of records of the request at this index. It is 1 for a record without a request.
    fn request_records(&self, index: usize) -> usize {
        let pending = self.requests.get(&index);
        pending.map_or(1, |pending| pending.request.records().len())
    }

    fn is_in_doubt(&self) -> bool {
        self.dispatcher.evidence.is_in_doubt()
    }

    /// Returns whether an event will make a request ready or settle it.
    pub(super) fn has_events(&self) -> bool {
        !self.calls.is_empty() || !self.waiting.is_empty() && !self.is_in_doubt()
    }

    /// Removes and returns the next call: a call for evidence, or else the ready request with the lowest index.
    fn take_ready(&mut self) -> CallTarget {
        let urgent = self.urgent.pop_front();
        urgent.unwrap_or_else(|| {
            let Reverse(index) = self.ready.pop().expect("a request is ready");
            CallTarget::Request(index)
        })
    }

    /// Starts the next call with this permit. A request for several records whose model gets only single records is
    /// replaced instead.
    pub(super) fn start(&mut self, mut permit: Permit) {
        let start = self.dispatcher.evidence.now();
        let is_urgent = !self.urgent.is_empty();
        let target = self.take_ready();
        if let CallTarget::Request(index) = target
            && !is_urgent
            && self.is_packing_off(index)
        {
            let pending = self.take_request(index);
            return self.add_ready(pending.request.split_each());
        }
        let request = match &target {
            CallTarget::Probe(probe) => Arc::clone(probe),
            CallTarget::Request(index) => {
                let pending = self.pending_mut(*index);
                pending.first_start.get_or_insert(start);
                let is_retry = pending.attempts > 0;
                let is_doubtful = pending.latest_failure.is_some();
                let request = Arc::clone(&pending.request);
                let request = request.for_attempt(is_doubtful || self.is_judged(*index));
                self.stats.retries.fetch_add(is_retry.into(), Ordering::Relaxed);
                request
            }
        };
        let is_needed = matches!(&target, CallTarget::Request(index) if self.is_needed(*index));
        let memory = self.dispatcher.invoker.memory().reserve(is_needed);
        let (invoker, stats) = (Arc::clone(&self.dispatcher.invoker), Arc::clone(&self.stats));
        let span = call_span(&request);
        let started = Instant::now();
        let call = async move {
            let attempt = invoker.attempt(&request, memory, &mut permit, &stats);
            let ended = catch_panic_async(attempt).await.flatten();
            if let Err(fault) = &ended {
                let span = Span::current();
                span.record("fault", fault.to_string())
                    .record("otel.status_code", "ERROR");
            }
            // Boxed, because the result of a task is moved several times.
            Box::new(FinishedCall {
                target,
                request,
                start,
                duration: started.elapsed(),
                ended,
                permit,
            })
        };
        // Boxed, because a task moves its future several times.
        self.calls.spawn(Box::pin(call.instrument(span)));
    }

    /// Returns whether this is a request for several records whose model gets only single records. Parts of accused
    /// requests stay as they are, because they are judged together.
    fn is_packing_off(&self, index: usize) -> bool {
        self.dispatcher.answer_shapes.has_packing_off()
            && self.requests.get(&index).is_some_and(|pending| {
                let request = &pending.request;
                let is_whole = pending.split_off_since.is_none() && !request.has_one_record();
                is_whole && self.dispatcher.answer_shapes.is_packing_off(request.target_model())
            })
    }

    /// Returns whether the next call of the request at this index decides about its records.
    fn is_judged(&self, index: usize) -> bool {
        let pending = self.requests.get(&index);
        pending.is_some_and(|pending| pending.last_attempts > 0 || pending.split_off_since.is_some())
    }

    /// Makes a request ready that goes before all others, unless a record before it stops it.
    fn push_urgent(&mut self, index: usize) {
        if index < self.stop_index {
            self.urgent.push_back(CallTarget::Request(index));
        }
    }

    /// Drops the urgent requests that would probably not end in time. Their records fail with their latest fault.
    pub(super) fn drop_late_requests(&mut self) {
        let left = self.work.calls_end.saturating_duration_since(Instant::now());
        self.urgent.retain(|target| match target {
            CallTarget::Probe(_) => true,
            CallTarget::Request(index) => {
                let pending = self.requests.get(index);
                pending.is_none_or(|pending| pending.latest_duration + self.probe_reserve <= left)
            }
        });
    }

    /// Fails the next call with the fault because of which no call can be made.
    pub(super) fn fail_ready(&mut self, fault: Fault) {
        if let CallTarget::Request(index) = self.take_ready() {
            self.fail(index, fault);
        }
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
            Ok(()) = self.work.stop_index.changed() => {
                let stop_index = *self.work.stop_index.borrow_and_update();
                self.stop_at(stop_index);
            }
            Some(finished) = self.calls.join_next() => self.on_joined(finished),
            () = next_retry => self.requeue_due(),
        }
    }

    /// Handles a finished call. A cancelled call is ignored: its records have no outcome yet.
    fn on_joined(&mut self, joined: Result<Box<FinishedCall>, JoinError>) {
        if let Ok(finished) = joined {
            self.on_finished(*finished);
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
}

/// Returns the failure of each record of a request of `request_records` records that failed with this fault.
fn failed(fault: Fault, request_records: usize) -> Failure {
    Failure::Fault { fault, request_records }
}
