//! Second calls for requests whose first one is slow: the tail of a batch is as long as its slowest call, and a second
//! call is seldom slow as well (Dean and Barroso, "The Tail at Scale", 2013).
//!
//! A call is slow when it has taken longer than the chosen percentile of the latest ones, and half as long again as the
//! median: where all take about the same, one that takes a little longer is no straggler. At most one call in twenty has
//! a second one.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How many latencies are looked at.
const LATENCY_WINDOW: usize = 512;
/// And how many there must be: five beyond the 95th percentile, one beyond the 99th.
const MIN_SAMPLES: usize = 100;
/// How many come in until the percentile is looked for again.
const RECOMPUTE_EVERY: usize = 16;
/// Second calls for each first one, at most.
const HEDGE_RATIO: f64 = 0.05;
/// Second calls that may be saved up: those of a thousand first ones.
const HEDGE_BURST: f64 = 50.0;

/// When a second call is made, and how many. One for the process.
#[derive(Debug)]
pub struct Hedge {
    percentile: u8,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    latencies: VecDeque<Duration>,
    /// Since the delay was looked for.
    since_recompute: usize,
    delay: Option<Duration>,
    budget: f64,
}

impl Hedge {
    /// After this `percentile` of the latest latencies, 95–99.
    pub fn after(percentile: u8) -> Self {
        Self {
            percentile,
            state: Mutex::default(),
        }
    }

    /// A first call has begun. Returns after what time it is slow; `None` while too few have been answered.
    pub fn begin(&self) -> Option<Duration> {
        let mut state = self.state();
        state.budget = (state.budget + HEDGE_RATIO).min(HEDGE_BURST);
        state.delay
    }

    /// Takes a second call out of what is saved up; false if there is none.
    pub fn try_withdraw(&self) -> bool {
        let mut state = self.state();
        let is_available = state.budget >= 1.0;
        if is_available {
            state.budget -= 1.0;
        }
        is_available
    }

    /// A request was answered, so long after its first call began.
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
    fn slow_is_beyond_the_percentile_of_the_latest() {
        let ms = |milliseconds| Some(Duration::from_millis(milliseconds));
        assert_eq!(hedge(1..=99).begin(), None, "too few");
        assert_eq!(hedge(1..=100).begin(), ms(95));
        assert_eq!(
            hedge((1..=100).chain([8; 512])).begin(),
            ms(12),
            "and half as long again as the median"
        );
        assert_eq!(
            hedge((0..128).map(|call| if call % 10 == 0 { 500 } else { 10 })).begin(),
            ms(500)
        );
    }

    #[test]
    fn one_call_in_twenty_has_a_second_one() {
        let hedge = hedge([]);
        for first in 1..=400 {
            hedge.begin();
            assert_eq!(hedge.try_withdraw(), first % 20 == 0, "{first}");
        }
        (0..10_000).for_each(|_| _ = hedge.begin());
        assert_eq!((0..100).filter(|_| hedge.try_withdraw()).count(), 50, "no more are saved up");
    }
}
