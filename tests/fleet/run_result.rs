//! The result of a run and the figures computed from it.

use std::ops::Range;
use std::time::Duration;

use crate::endpoint::Limit;
use crate::fleet::{Capacity, Fleet};
use crate::ledger::{Counts, Ledger};

#[derive(Debug)]
pub(crate) struct RunResult {
    pub(crate) fleet: Fleet,
    pub(crate) capacity: Capacity,
    pub(crate) measured: Range<Duration>,
    pub(crate) ledger: Ledger,
    /// Each instance's limit of calls in flight at the end of the run.
    pub(crate) limits: Vec<f64>,
    pub(crate) elapsed: Duration,
    /// True if all records are finished.
    pub(crate) is_done: bool,
}

impl RunResult {
    /// Returns the window of the whole run, including its last moment.
    pub(crate) fn whole_run(&self) -> Range<Duration> {
        Duration::ZERO..self.elapsed + Duration::from_millis(1)
    }

    pub(crate) fn counts(&self, window: &Range<Duration>) -> Counts {
        self.ledger.counts(window)
    }

    /// Returns the used share of the endpoint's limit, from 0 to 1. Without a limit, returns the used share of
    /// CAPACITY.
    pub(crate) fn goodput(&self, window: &Range<Duration>) -> f64 {
        let used = || self.ledger.slot_time(window).as_secs_f64() / length(window);
        match self.fleet.endpoint.limit {
            Limit::Concurrency(calls) => used() / f64::from(calls),
            Limit::Random { .. } => used() / f64::from(self.fleet.capacity),
            Limit::Plan { per_second, .. } | Limit::UnnamedPlan { per_second, .. } => {
                self.rate(window) / f64::from(per_second)
            }
        }
    }

    /// Returns the answers per second.
    pub(crate) fn rate(&self, window: &Range<Duration>) -> f64 {
        f64::from(self.counts(window).answered) / length(window)
    }

    /// Returns the share of the calls that were throttled, from 0 to 1.
    pub(crate) fn throttled(&self, window: &Range<Duration>) -> f64 {
        let Counts { throttled, calls, .. } = self.counts(window);
        f64::from(throttled) / f64::from(calls.max(1))
    }

    /// Returns the answers of the instance with the fewest and of the one with the most, as multiples of a fair share.
    pub(crate) fn shares(&self, window: &Range<Duration>) -> (f64, f64) {
        let instances = self.fleet.instances;
        let each = self.ledger.counts_by_instance(instances, window);
        let answered = || each.iter().map(|counts| counts.answered);
        let fair = f64::from(answered().sum::<u32>().max(1)) / f64::from(u32::try_from(instances).unwrap());
        let shares = |answers: Option<u32>| f64::from(answers.unwrap_or_default()) / fair;
        (shares(answered().min()), shares(answered().max()))
    }
}

/// Returns the length of a window in seconds.
fn length(window: &Range<Duration>) -> f64 {
    window.end.saturating_sub(window.start).as_secs_f64()
}
