//! What came of a run, in numbers.

use std::ops::Range;
use std::time::Duration;

use crate::endpoint::Limit;
use crate::fleet::{Capacity, Fleet};
use crate::ledger::{Counts, Ledger};

#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) fleet: Fleet,
    pub(crate) capacity: Capacity,
    pub(crate) measured: Range<Duration>,
    pub(crate) ledger: Ledger,
    /// How many calls each instance might have in flight, at the end.
    pub(crate) limits: Vec<f64>,
    pub(crate) elapsed: Duration,
    /// Whether all records are finished.
    pub(crate) is_done: bool,
}

impl Ran {
    /// The whole run, with what happened in its last moment.
    pub(crate) fn all(&self) -> Range<Duration> {
        Duration::ZERO..self.elapsed + Duration::from_millis(1)
    }

    pub(crate) fn counts(&self, window: &Range<Duration>) -> Counts {
        self.ledger.counts(window)
    }

    /// How much of what the endpoint has room for was used: 1 is all of it.
    pub(crate) fn goodput(&self, window: &Range<Duration>) -> f64 {
        match self.fleet.endpoint.limit {
            Limit::Concurrency(calls) => {
                self.ledger.slot_time(window).as_secs_f64() / length(window) / f64::from(calls)
            }
            Limit::Plan { per_second, .. } => self.rate(window) / f64::from(per_second),
        }
    }

    /// Answers a second.
    pub(crate) fn rate(&self, window: &Range<Duration>) -> f64 {
        f64::from(self.counts(window).answered) / length(window)
    }

    /// Which part of the calls was throttled.
    pub(crate) fn throttled(&self, window: &Range<Duration>) -> f64 {
        let Counts { throttled, calls, .. } = self.counts(window);
        f64::from(throttled) / f64::from(calls.max(1))
    }

    /// The answers that the instance with the fewest has, and the one with the most, in fair shares.
    pub(crate) fn shares(&self, window: &Range<Duration>) -> (f64, f64) {
        let instances = self.fleet.instances;
        let each = self.ledger.of_each(instances, window);
        let answered = || each.iter().map(|counts| counts.answered);
        let fair = f64::from(answered().sum::<u32>().max(1)) / f64::from(u32::try_from(instances).unwrap());
        let shares = |answers: Option<u32>| f64::from(answers.unwrap_or_default()) / fair;
        (shares(answered().min()), shares(answered().max()))
    }
}

/// In seconds.
fn length(window: &Range<Duration>) -> f64 {
    window.end.saturating_sub(window.start).as_secs_f64()
}
