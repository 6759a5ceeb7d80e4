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
const KEPT: usize = 512;
/// And how many there must be: five beyond the 95th percentile, one beyond the 99th.
const ENOUGH: usize = 100;
/// How many come in until the percentile is looked for again.
const FRESH: usize = 16;
/// Second calls for each first one, at most.
const SHARE: f64 = 0.05;
/// Second calls that may be saved up: those of a thousand first ones.
const SAVED: f64 = 50.0;

/// When a second call is made, and how many. One for the process.
#[derive(Debug)]
pub struct Hedge {
    percentile: u8,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    latest: VecDeque<Duration>,
    /// Since the delay was looked for.
    fresh: usize,
    delay: Option<Duration>,
    saved: f64,
}

impl Hedge {
    /// After this `percentile` of the latest latencies, 95–99.
    pub fn after(percentile: u8) -> Self {
        Self {
            percentile,
            seen: Mutex::default(),
        }
    }

    /// A first call has begun. Returns after what time it is slow; `None` while too few have been answered.
    pub fn begin(&self) -> Option<Duration> {
        let mut seen = self.seen();
        seen.saved = (seen.saved + SHARE).min(SAVED);
        seen.delay
    }

    /// Takes a second call out of what is saved up; false if there is none.
    pub fn spend(&self) -> bool {
        let mut seen = self.seen();
        let is_left = seen.saved >= 1.0;
        if is_left {
            seen.saved -= 1.0;
        }
        is_left
    }

    /// A request was answered, so long after its first call began.
    pub fn answered(&self, latency: Duration) {
        let mut seen = self.seen();
        if seen.latest.len() == KEPT {
            seen.latest.pop_front();
        }
        seen.latest.push_back(latency);
        seen.fresh += 1;
        if seen.fresh >= FRESH && seen.latest.len() >= ENOUGH {
            seen.fresh = 0;
            seen.delay = Some(slow_from(&seen.latest, self.percentile));
        }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn slow_from(latencies: &VecDeque<Duration>, percentile: u8) -> Duration {
    let mut latencies: Vec<_> = latencies.iter().copied().collect();
    let mut at = |percent: usize| {
        let place = (latencies.len() * percent).div_ceil(100).saturating_sub(1);
        *latencies.select_nth_unstable(place).1
    };
    at(percentile.into()).max(at(50) * 3 / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hedge(latencies_ms: impl IntoIterator<Item = u64>) -> Hedge {
        let hedge = Hedge::after(95);
        for latency in latencies_ms {
            hedge.answered(Duration::from_millis(latency));
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
            assert_eq!(hedge.spend(), first % 20 == 0, "{first}");
        }
        (0..10_000).for_each(|_| _ = hedge.begin());
        assert_eq!((0..100).filter(|_| hedge.spend()).count(), 50, "no more are saved up");
    }
}
