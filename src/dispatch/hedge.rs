//! Hedged calls: a second call for a request whose first call is slow. A batch takes as long as its slowest call, and
//! two calls for the same request are seldom both slow (Dean and Barroso, "The Tail at Scale", 2013).
//!
//! A call is slow if it takes longer than the chosen percentile of the latest latencies, and longer than 1.5 times
//! their median. The second condition is for calls that all take about the same time: a call that takes slightly longer
//! is not a straggler. At most one call in twenty is hedged.

use std::pin::pin;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::{Either, select};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout_at};

use super::attempt::report;
use super::call_stats::CallStats;
use super::capacity::{Capacity, Permit};
use super::latency::RecentLatencies;
use crate::endpoint::{Call, Endpoint, Response};
use crate::outcome::Fault;

/// The number of latencies that are kept.
const LATENCY_WINDOW: usize = 512;
/// The minimum number of latencies for a percentile: five are beyond the 95th percentile, and one is beyond the 99th.
const MIN_SAMPLES: usize = 100;
/// The number of new latencies after which the percentile is computed again.
const RECOMPUTE_EVERY: usize = 16;
/// The number of first calls after which one more call may be hedged.
const FIRST_CALLS_PER_HEDGE: usize = 20;
/// The maximum budget, in hedged calls: the share of a thousand first calls.
const HEDGE_BURST: usize = 50;

type CallResult = Result<Response, Fault>;

/// An endpoint whose slow calls are hedged, or none if hedging is off. One instance for each process.
#[derive(Debug)]
pub struct Hedged<E> {
    endpoint: E,
    percentile: Option<u8>,
    call_timeout: Duration,
    capacity: Capacity,
    /// One permit for each hedged call that may be made now.
    budget: Semaphore,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    latencies: RecentLatencies<LATENCY_WINDOW>,
    /// The number of latencies since `delay` was computed.
    since_recompute: usize,
    /// The time after which a call is slow.
    delay: Option<Duration>,
    /// The number of first calls since the budget was raised.
    since_raise: usize,
}

impl<E: Endpoint> Endpoint for Hedged<E> {
    async fn prepare(&self) -> Result<(), Fault> {
        self.endpoint.prepare().await
    }

    async fn invoke(&self, call: Call<'_>) -> CallResult {
        match self.percentile {
            Some(percentile) => self.invoke_hedged(call, percentile).await,
            None => self.endpoint.invoke(call).await,
        }
    }

    fn name(&self) -> &str {
        self.endpoint.name()
    }
}

impl<E: Endpoint> Hedged<E> {
    /// Makes a call, and a hedged call if the first is slow.
    async fn invoke_hedged(&self, call: Call<'_>, percentile: u8) -> CallResult {
        let started = Instant::now();
        let invoke = || Box::pin(self.endpoint.invoke(call.clone()));
        let answer = match self.begin() {
            None => invoke().await,
            Some(delay) => match select(invoke(), pin!(self.acquire_when_slow(delay))).await {
                Either::Left((answer, _)) => answer,
                Either::Right((permit, first)) => {
                    CallStats::current().hedges.fetch_add(1, Ordering::Relaxed);
                    race(first, invoke(), permit, started + self.call_timeout).await
                }
            },
        };
        if answer.is_ok() {
            self.record_answer(started.elapsed(), percentile);
        }
        answer
    }
}

impl<E> Hedged<E> {
    /// Hedges calls that take longer than this `percentile` of the latest latencies, 95–99. Without a `percentile`, no
    /// call is hedged. Hedged calls get the permits of `capacity` before first calls, and share the `call_timeout` of
    /// the first call.
    pub fn new(endpoint: E, percentile: Option<u8>, call_timeout: Duration, capacity: Capacity) -> Self {
        Self {
            endpoint,
            percentile,
            call_timeout,
            capacity,
            budget: Semaphore::new(0),
            state: Mutex::default(),
        }
    }

    /// Waits until a call is slow, and then for the budget and a permit. A call that is answered meanwhile drops this
    /// future, which returns what it took from the budget.
    async fn acquire_when_slow(&self, delay: Duration) -> Permit {
        sleep(delay).await;
        let withdrawn = self.budget.acquire().await.expect("the budget is never closed");
        let permit = self.capacity.acquire_for_hedge().await;
        withdrawn.forget();
        permit
    }

    /// Counts a first call. Returns the time after which it is slow, or `None` while too few calls have been answered.
    fn begin(&self) -> Option<Duration> {
        let mut state = self.state();
        state.since_raise += 1;
        if state.since_raise == FIRST_CALLS_PER_HEDGE {
            state.since_raise = 0;
            self.budget.add_permits(1);
            // A call that returned what it had withdrawn may have raised the budget above its maximum, too.
            let excess = self.budget.available_permits().saturating_sub(HEDGE_BURST);
            self.budget.forget_permits(excess);
        }
        state.delay
    }

    /// Records that a request was answered, `latency` after its first call started.
    fn record_answer(&self, latency: Duration, percentile: u8) {
        let mut state = self.state();
        state.latencies.add(latency);
        state.since_recompute += 1;
        if state.since_recompute >= RECOMPUTE_EVERY && state.latencies.len() >= MIN_SAMPLES {
            state.since_recompute = 0;
            let [slow, median] = [percentile.into(), 50].map(|percent| state.latencies.percentile(percent));
            state.delay = slow.max(median.map(|median| median * 3 / 2));
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the result of the call that ends first, unless it is a transient fault. Then returns the result of the other
/// call. If both calls fail transiently, or the hedged call takes until `end`, returns the fault of the first call.
///
/// The caller reports the result that it gets. The fault of the other call is reported to the `permit` of the hedged
/// call, which is released when that call ends.
async fn race<F>(first: F, hedged: F, mut permit: Permit, end: Instant) -> CallResult
where
    F: Future<Output = CallResult> + Unpin,
{
    let is_transient = |answer: &CallResult| answer.as_ref().is_err_and(|fault| fault.kind.is_transient());
    let mut report_other = |answer| report(&answer, &mut permit, &CallStats::current());
    match select(first, hedged).await {
        Either::Left((first, hedged)) if is_transient(&first) => match timeout_at(end, hedged).await {
            Ok(hedged) if is_transient(&hedged) => {
                report_other(hedged);
                first
            }
            Ok(hedged) => {
                report_other(first);
                hedged
            }
            Err(_elapsed) => first,
        },
        Either::Right((hedged, first)) if is_transient(&hedged) => {
            report_other(hedged);
            drop(permit);
            first.await
        }
        Either::Left((answer, _)) | Either::Right((answer, _)) => answer,
    }
}

#[cfg(test)]
mod tests;
