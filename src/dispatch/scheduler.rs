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
use super::{Rules, Tries, Work, call_span, note};
use crate::dispatch::attempt::{Answer, Caller, Tally};
use crate::dispatch::capacity::Permit;
use crate::endpoint::Endpoint;
use crate::inference::InferenceRequest;
use crate::outcome::Fault;
use crate::outcome::{Failure, Outcome, catch_panic_async};

mod transitions;

/// The request of this index, how the attempt at it ended, or the outcome of a panic, and its permit: given back only
/// when all of this has been taken down, lest it start an attempt that what is to be taken down forbids.
type Ended = (usize, Result<Result<Answer, Fault>, Outcome>, Permit);

pub(super) struct Batch {
    rules: Rules,
    tries: Tries,
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
    tally: Arc<Tally>,
    /// The first index that is left unfinished, and brings back all behind it: no attempt starts from here on.
    stop: usize,
    /// The same, without what may still be split.
    settled_stop: usize,
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
    pub(super) fn new(work: Work, rules: Rules, tries: Tries) -> Self {
        let count = work.records;
        let mut batch = Self {
            rules,
            tries,
            requests: vec![None; count],
            is_settled: vec![false; count],
            outcomes: work.outcomes,
            ready: BinaryHeap::with_capacity(work.requests.to_call.len()),
            waiting: BinaryHeap::new(),
            calls: JoinSet::new(),
            suspects: Suspects::new(work.is_old),
            tally: Arc::new(Tally::new(work.trace_id)),
            stop: count,
            settled_stop: count,
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

    pub(super) fn tally(&self) -> &Tally {
        &self.tally
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
    pub(super) fn start<E: Endpoint>(&mut self, caller: &Arc<Caller<E>>, mut permit: Permit) {
        let Reverse(index) = self.ready.pop().expect("a request is ready");
        let live = self.live(index).expect("only a request becomes ready");
        if live.spent > 0 {
            self.tally.retries.fetch_add(1, Ordering::Relaxed);
        }
        let request = Arc::clone(&live.request);
        let (caller, tally) = (Arc::clone(caller), Arc::clone(&self.tally));
        let span = call_span(&request);
        let call = async move {
            let ended = catch_panic_async(caller.attempt(&request, &mut permit, &tally)).await;
            note(&ended);
            (index, ended, permit)
        };
        self.calls.spawn(call.instrument(span));
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

    /// The suspect with the lowest position, if nothing before it brings it back anyway.
    pub(super) fn first_suspect(&self) -> Option<(usize, Suspect)> {
        let stop = self.stop.min(*self.stopped_elsewhere.borrow());
        let first = self.suspects.first();
        first.filter(|(index, _)| *index <= stop && !self.out_of_time)
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

    /// Gives what has no outcome yet the one that it has for want of an answer, and returns how many calls were made.
    pub(super) fn finish(mut self) -> Arc<Tally> {
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
        self.tally
    }
}
