//! Faults that the local endpoint has on purpose: at given rates, or as a record itself asks for.
//!
//! # At rates
//!
//! What becomes of a call depends on the seed, the record and how many calls there were for that record before, and on
//! nothing else. How often a record is called may differ from run to run, by timing. One that is refused is always refused.
//!
//! A call with several records is refused if any of them is. The other rates are shares of the calls: only a call's first
//! record counts there. Of the faults of its records, the call has the most severe.
//!
//! Whether a call is slow is drawn for itself, by its first record: one that fails may be slow as well.
//!
//! # By marker
//!
//! The built-in model's records may have a member `"$fault"`, such as `"throttle, error"`: what becomes of the first
//! calls for that record, one after the other; those that follow are answered. With `"always hang"` it is every call.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;

mod marker;
#[cfg(test)]
mod tests;

pub use marker::Marker;

/// Salt for whether a call is slow, so that this has nothing to do with the call's fault: no record comes to so many
/// calls. The number itself, of the golden ratio's digits, has no meaning.
const SLOW: u64 = 0x9E37_79B9_7F4A_7C15;

/// A fault of the endpoint, or of the container behind it; the most severe comes last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Injected {
    /// The container refuses the record with status 400.
    Refuse,
    /// The container answers with status 500.
    Error,
    /// The service answers at once that there are too many calls.
    Throttle,
    /// No answer comes.
    Hang,
}

/// How often calls fail, each as a share from 0 to 1.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Rates {
    /// Calls that are throttled.
    pub throttle: f64,
    /// Calls that the container answers with status 500.
    pub error: f64,
    /// Calls that are never answered.
    pub hang: f64,
    /// Records that are refused, whenever they are called.
    pub refuse: f64,
    /// Where the faults come from.
    pub seed: u64,
}

/// Calls that take longer than others.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Slow {
    /// How many of the calls, as a share from 0 to 1.
    pub share: f64,
    /// How much longer they take.
    pub by: Duration,
}

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fate {
    /// The fault that it has, if any.
    pub injected: Option<Injected>,
    /// How much longer than others it takes, unless it is throttled or hangs.
    pub delay: Duration,
}

/// How many calls ended with which fault, and how many were slow, whatever their answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Counts {
    pub throttled: u64,
    pub errors: u64,
    pub refused: u64,
    pub hung: u64,
    pub slow: u64,
}

/// Decides about every call, and counts.
#[derive(Debug)]
pub struct Faults {
    rates: Rates,
    slow: Option<Slow>,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    /// Calls for each record so far, by the hash of its name.
    calls: HashMap<u64, usize>,
    counts: Counts,
}

impl Faults {
    /// Faults at these rates, none to begin with; no call is slow.
    pub fn new(rates: Rates) -> Self {
        Self {
            rates,
            slow: None,
            seen: Mutex::default(),
        }
    }

    /// The same faults, with some calls slow.
    #[must_use]
    pub fn with_slow(self, slow: Option<Slow>) -> Self {
        Self { slow, ..self }
    }

    /// What becomes of the next call, which is for `records`: each what it is known by, and its marker. The built-in
    /// model's records are known by their bytes, a model server's by their inference identifiers. It is not among the
    /// counts until [`count`](Self::count).
    pub fn draw(&self, records: &[(&[u8], Option<Marker>)]) -> Fate {
        let mut seen = self.seen();
        let delay = records.first().map(|(record, _)| {
            let hash = hash(record);
            self.delay(hash, seen.earlier(hash))
        });
        let faults = records.iter().enumerate().map(|(place, (record, marker))| {
            let hash = hash(record);
            let earlier = seen.call(hash);
            match marker {
                Some(marker) => marker.at(earlier),
                None if self.rates.refuses(hash) => Some(Injected::Refuse),
                None if place == 0 => self.rates.draw(hash, earlier),
                None => None,
            }
        });
        Fate {
            injected: faults.max().flatten(),
            delay: delay.unwrap_or_default(),
        }
    }

    /// Counts a call whose fate this is.
    pub fn count(&self, fate: Fate) {
        self.seen().counts.add(fate);
    }

    /// [Draws](Self::draw) the next call's fault, and counts it.
    pub fn next(&self, records: &[(&[u8], Option<Marker>)]) -> Option<Injected> {
        let fate = self.draw(records);
        self.count(fate);
        fate.injected
    }

    /// The faults so far.
    pub fn counts(&self) -> Counts {
        self.seen().counts
    }

    fn delay(&self, record: u64, earlier: usize) -> Duration {
        let is_slow = |slow: &Slow| self.rates.share(record, SLOW ^ earlier as u64) < slow.share;
        self.slow.filter(is_slow).map(|slow| slow.by).unwrap_or_default()
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn hash(record: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    record.hash(&mut hasher);
    hasher.finish()
}

impl Seen {
    /// How many calls for a record there were so far.
    fn earlier(&self, record: u64) -> usize {
        self.calls.get(&record).copied().unwrap_or_default()
    }

    /// Counts a call for a record; returns how many there were before.
    fn call(&mut self, record: u64) -> usize {
        let calls = self.calls.entry(record).or_default();
        *calls += 1;
        *calls - 1
    }
}

impl Rates {
    fn refuses(&self, record: u64) -> bool {
        // No call has this salt.
        self.share(record, u64::MAX) < self.refuse
    }

    /// What becomes of a call for a record that is not refused.
    fn draw(&self, record: u64, earlier: usize) -> Option<Injected> {
        let share = self.share(record, earlier as u64);
        let kinds = [
            (self.throttle, Injected::Throttle),
            (self.error, Injected::Error),
            (self.hang, Injected::Hang),
        ];
        let mut up_to = kinds.iter().scan(0.0, |sum, (rate, kind)| {
            *sum += rate;
            Some((*sum, *kind))
        });
        up_to.find(|(sum, _)| share < *sum).map(|(_, kind)| kind)
    }

    fn share(&self, record: u64, salt: u64) -> f64 {
        fastrand::Rng::with_seed(self.seed ^ record.rotate_left(17) ^ salt).f64()
    }
}

impl Counts {
    fn add(&mut self, Fate { injected, delay }: Fate) {
        match injected {
            Some(Injected::Throttle) => self.throttled += 1,
            Some(Injected::Error) => self.errors += 1,
            Some(Injected::Hang) => self.hung += 1,
            Some(Injected::Refuse) => self.refused += 1,
            None => {}
        }
        let is_answered_late = !matches!(injected, Some(Injected::Throttle | Injected::Hang));
        self.slow += u64::from(is_answered_late && !delay.is_zero());
    }
}
