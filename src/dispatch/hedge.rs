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
/// The maximum number of hedged calls for each first call.
const HEDGE_RATIO: f64 = 0.05;
/// The maximum budget, in hedged calls: the share of a thousand first calls.
const HEDGE_BURST: f64 = 50.0;
/// The minimum interval between checks for a spare permit.
const SPARE_POLL_INTERVAL: Duration = Duration::from_millis(5);

type CallResult = Result<Response, Fault>;

/// An endpoint whose slow calls are hedged, or none if hedging is off. One instance for each process.
#[derive(Debug)]
pub struct Hedged<E> {
    endpoint: E,
    percentile: Option<u8>,
    call_timeout: Duration,
    capacity: Capacity,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    latencies: RecentLatencies<LATENCY_WINDOW>,
    /// The number of latencies since `delay` was computed.
    since_recompute: usize,
    /// The time after which a call is slow.
    delay: Option<Duration>,
    /// The number of hedged calls that may be made now.
    budget: f64,
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
            Some(delay) => match select(invoke(), pin!(self.acquire_spare_when_slow(delay))).await {
                Either::Left((answer, _)) => answer,
                Either::Right((spare, first)) => {
                    CallStats::current().hedges.fetch_add(1, Ordering::Relaxed);
                    race(first, invoke(), spare, started + self.call_timeout).await
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
    /// call is hedged. Hedged calls use only spare permits of `capacity`, and share the `call_timeout` of the first
    /// call.
    pub fn new(endpoint: E, percentile: Option<u8>, call_timeout: Duration, capacity: Capacity) -> Self {
        Self {
            endpoint,
            percentile,
            call_timeout,
            capacity,
            state: Mutex::default(),
        }
    }

    /// Waits until a call is slow, and then polls for a spare permit, without a place in the queue for permits.
    async fn acquire_spare_when_slow(&self, delay: Duration) -> Permit {
        sleep(delay).await;
        loop {
            if let Some(permit) = self.try_acquire_spare() {
                return permit;
            }
            sleep(delay.max(SPARE_POLL_INTERVAL)).await;
        }
    }

    /// Counts a first call. Returns the time after which it is slow, or `None` while too few calls have been answered.
    fn begin(&self) -> Option<Duration> {
        let mut state = self.state();
        state.budget = (state.budget + HEDGE_RATIO).min(HEDGE_BURST);
        state.delay
    }

    /// Returns a spare permit, and withdraws one hedged call from the budget. Returns `None` if the budget is empty.
    fn try_acquire_spare(&self) -> Option<Permit> {
        let mut state = self.state();
        if state.budget < 1.0 {
            return None;
        }
        let permit = self.capacity.try_acquire_for_hedge()?;
        state.budget -= 1.0;
        Some(permit)
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
/// The caller reports the result that it gets. The fault of the other call is reported to the `spare` permit, which is
/// released when the hedged call ends.
async fn race<F>(first: F, hedged: F, mut spare: Permit, end: Instant) -> CallResult
where
    F: Future<Output = CallResult> + Unpin,
{
    let is_transient = |answer: &CallResult| answer.as_ref().is_err_and(|fault| fault.kind.is_transient());
    let mut report_spare = |answer| report(&answer, &mut spare, &CallStats::current());
    match select(first, hedged).await {
        Either::Left((first, hedged)) if is_transient(&first) => match timeout_at(end, hedged).await {
            Ok(hedged) if is_transient(&hedged) => {
                report_spare(hedged);
                first
            }
            Ok(hedged) => {
                report_spare(first);
                hedged
            }
            Err(_elapsed) => first,
        },
        Either::Right((hedged, first)) if is_transient(&hedged) => {
            report_spare(hedged);
            drop(spare);
            first.await
        }
        Either::Left((answer, _)) | Either::Right((answer, _)) => answer,
    }
}

#[cfg(test)]
mod tests;
