//! Hedged calls: a second call for a request whose first call is slow. A batch takes as long as its slowest call, and
//! two calls for the same request are seldom both slow (Dean and Barroso, "The Tail at Scale", 2013).
//!
//! A call is slow if it takes longer than the chosen percentile of the latest latencies, and longer than 1.5 times
//! their median. The second condition is for calls that all take about the same time: a call that takes slightly longer
//! is not a straggler. At most one call in twenty is hedged.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

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

/// Decides when a hedged call is made, and limits their number. One instance for each process.
#[derive(Debug)]
pub struct Hedge {
    percentile: u8,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    latencies: VecDeque<Duration>,
    /// The number of latencies since `delay` was computed.
    since_recompute: usize,
    /// The time after which a call is slow.
    delay: Option<Duration>,
    /// The number of hedged calls that may be made now.
    budget: f64,
}

impl Hedge {
    /// Hedges calls that take longer than this `percentile` of the latest latencies, 95–99.
    pub fn after(percentile: u8) -> Self {
        Self {
            percentile,
            state: Mutex::default(),
        }
    }

    /// Counts a first call. Returns the time after which it is slow, or `None` while too few calls have been answered.
    pub fn begin(&self) -> Option<Duration> {
        let mut state = self.state();
        state.budget = (state.budget + HEDGE_RATIO).min(HEDGE_BURST);
        state.delay
    }

    /// Withdraws one hedged call from the budget. Returns false if the budget is empty.
    pub fn try_withdraw(&self) -> bool {
        let mut state = self.state();
        let is_available = state.budget >= 1.0;
        if is_available {
            state.budget -= 1.0;
        }
        is_available
    }

    /// Records that a request was answered, `latency` after its first call started.
    pub fn record_answer(&self, latency: Duration) {
        let mut state = self.state();
        if state.latencies.len() == LATENCY_WINDOW {
            state.latencies.pop_front();
        }
        state.latencies.push_back(latency);
        state.since_recompute += 1;
        if state.since_recompute >= RECOMPUTE_EVERY && state.latencies.len() >= MIN_SAMPLES {
            state.since_recompute = 0;
            state.delay = Some(slow_threshold(&state.latencies, self.percentile));
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn slow_threshold(latencies: &VecDeque<Duration>, percentile: u8) -> Duration {
    let mut latencies: Vec<_> = latencies.iter().copied().collect();
    let mut at = |percent: usize| {
        let index = (latencies.len() * percent).div_ceil(100).saturating_sub(1);
        *latencies.select_nth_unstable(index).1
    };
    at(percentile.into()).max(at(50) * 3 / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hedge(latencies_ms: impl IntoIterator<Item = u64>) -> Hedge {
        let hedge = Hedge::after(95);
        for latency in latencies_ms {
            hedge.record_answer(Duration::from_millis(latency));
        }
        hedge
    }

    #[test]
    fn a_call_is_slow_beyond_the_percentile_of_the_latest_latencies() {
        let ms = |milliseconds| Some(Duration::from_millis(milliseconds));
        assert_eq!(hedge(1..=99).begin(), None, "too few latencies");
        assert_eq!(hedge(1..=100).begin(), ms(95));
        assert_eq!(
            hedge((1..=100).chain([8; 512])).begin(),
            ms(12),
            "at least 1.5 times the median"
        );
        assert_eq!(
            hedge((0..128).map(|call| if call % 10 == 0 { 500 } else { 10 })).begin(),
            ms(500)
        );
    }

    #[test]
    fn at_most_one_call_in_twenty_is_hedged() {
        let hedge = hedge([]);
        for first in 1..=400 {
            hedge.begin();
            assert_eq!(hedge.try_withdraw(), first % 20 == 0, "{first}");
        }
        (0..10_000).for_each(|_| _ = hedge.begin());
        assert_eq!(
            (0..100).filter(|_| hedge.try_withdraw()).count(),
            50,
            "the budget is limited"
        );
    }
}
