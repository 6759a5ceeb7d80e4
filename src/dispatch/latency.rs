//! The latencies of recent answers.

use std::collections::VecDeque;
use std::time::Duration;

/// The latest latencies, `WINDOW` at most.
#[derive(Debug, Default)]
pub(super) struct RecentLatencies<const WINDOW: usize>(VecDeque<Duration>);

impl<const WINDOW: usize> RecentLatencies<WINDOW> {
    pub(super) fn add(&mut self, latency: Duration) {
        if self.0.len() == WINDOW {
            self.0.pop_front();
        }
        self.0.push_back(latency);
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns the percentile, or `None` before the first answer.
    pub(super) fn percentile(&self, percent: usize) -> Option<Duration> {
        let mut latencies: Vec<_> = self.0.iter().copied().collect();
        let index = (latencies.len() * percent).div_ceil(100).checked_sub(1)?;
        Some(*latencies.select_nth_unstable(index).1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_covers_the_latest_answers_only() {
        const WINDOW: usize = 64;
        let mut latencies = RecentLatencies::<WINDOW>::default();
        assert_eq!(latencies.percentile(50), None);
        for milliseconds in [30, 10, 20] {
            latencies.add(Duration::from_millis(milliseconds));
        }
        assert_eq!(latencies.percentile(50), Some(Duration::from_millis(20)));
        for _ in 0..WINDOW {
            latencies.add(Duration::from_secs(1));
        }
        assert_eq!(latencies.percentile(50), Some(Duration::from_secs(1)));
    }
}
