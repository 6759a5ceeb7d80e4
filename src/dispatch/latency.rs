//! The latencies of the recent answers in this process.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// The number of latencies that are kept.
const WINDOW: usize = 64;

/// The latest latencies. One instance for each process.
#[derive(Debug, Default)]
pub(super) struct RecentLatencies(Mutex<VecDeque<Duration>>);

impl RecentLatencies {
    pub(super) fn add(&self, latency: Duration) {
        let mut latencies = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if latencies.len() == WINDOW {
            latencies.pop_front();
        }
        latencies.push_back(latency);
    }

    /// Returns the median, or `None` before the first answer.
    pub(super) fn median(&self) -> Option<Duration> {
        let latencies = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut latencies: Vec<_> = latencies.iter().copied().collect();
        let middle = latencies.len().checked_sub(1)? / 2;
        Some(*latencies.select_nth_unstable(middle).1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_covers_the_latest_answers_only() {
        let latencies = RecentLatencies::default();
        assert_eq!(latencies.median(), None);
        for milliseconds in [30, 10, 20] {
            latencies.add(Duration::from_millis(milliseconds));
        }
        assert_eq!(latencies.median(), Some(Duration::from_millis(20)));
        for _ in 0..WINDOW {
            latencies.add(Duration::from_secs(1));
        }
        assert_eq!(latencies.median(), Some(Duration::from_secs(1)));
    }
}
