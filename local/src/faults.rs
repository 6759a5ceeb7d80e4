//! Faults injected into the calls of the local endpoint, at given rates or by a marker in a record.
//!
//! # At rates
//!
//! The fault of a call depends only on the seed, the record and the number of earlier calls for that record. The number
//! of calls for a record can vary between runs, because it depends on timing. A refused record is refused in every
//! call.
//!
//! A call with several records is refused if any of its records is. The other rates are shares of the calls, so only a
//! call's first record counts for them. The call gets the most severe fault of its records.
//!
//! Slowness is drawn independently of the faults, for the call's first record. So a call that fails can be slow as
//! well.
//!
//! # By marker
//!
//! A record of the built-in model may have a member `"$fault"`, such as `"throttle, error"`. It lists the faults of the
//! first calls for that record, in order; later calls are answered. `"always hang"` applies to every call.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;

mod marker;
#[cfg(test)]
mod tests;

pub use marker::Marker;

/// The salt for drawing slow calls, which makes slowness independent of the call's fault. Faults use the number of
/// earlier calls as their salt, and no record gets this many calls. The number itself, from the golden ratio's digits,
/// has no meaning.
const SLOW_SALT: u64 = 0x9E37_79B9_7F4A_7C15;

/// An injected fault of the endpoint or of its container. The variants are ordered by severity, the most severe last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum InjectedFault {
    /// The container refuses the record with status 400.
    Refuse,
    /// The container answers with status 500.
    Error,
    /// The service immediately answers that there are too many calls.
    Throttle,
    /// The call is never answered.
    Hang,
}

/// The rates of injected faults, each a share from 0 to 1.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Rates {
    /// The share of calls that are throttled.
    pub throttle: f64,
    /// The share of calls that the container answers with status 500.
    pub error: f64,
    /// The share of calls that are never answered.
    pub hang: f64,
    /// The share of records that are refused in every call.
    pub refuse: f64,
    /// The seed of the random faults.
    pub seed: u64,
}

/// The share of slow calls, and their delay.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Slow {
    /// The share of calls that are slow, from 0 to 1.
    pub share: f64,
    /// The additional time of a slow call.
    pub by: Duration,
}

/// The fault and the delay that are injected into a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Injection {
    /// The injected fault, if any.
    pub fault: Option<InjectedFault>,
    /// The additional time that the call takes, unless it is throttled or hangs.
    pub delay: Duration,
}

/// The number of calls with each fault, and the number of slow calls, with or without a fault.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "the names are descriptive")]
pub struct Counts {
    pub throttled: u64,
    pub errors: u64,
    pub refused: u64,
    pub hung: u64,
    pub slow: u64,
}

/// Draws the fault and delay of each call, and counts them.
#[derive(Debug)]
pub struct Faults {
    rates: Rates,
    slow: Option<Slow>,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    /// The number of calls for each record so far, by the hash of the record's identifier.
    calls: HashMap<u64, usize>,
    counts: Counts,
}

impl Faults {
    /// Injects faults at these rates. No call is slow.
    pub fn new(rates: Rates) -> Self {
        Self {
            rates,
            slow: None,
            seen: Mutex::default(),
        }
    }

    /// Adds slow calls to the same faults.
    #[must_use]
    pub fn with_slow(self, slow: Option<Slow>) -> Self {
        Self { slow, ..self }
    }

    /// Draws the fault and delay of the next call, which is for `records`. Each record has an identifier and its
    /// marker. The built-in model's records are identified by their bytes, a model server's by their inference
    /// identifiers. The call is not counted until [`count`](Self::count).
    pub fn draw(&self, records: &[(&[u8], Option<Marker>)]) -> Injection {
        let mut seen = self.seen();
        let delay = records.first().map(|(record, _)| {
            let hash = hash(record);
            self.delay(hash, seen.earlier_calls(hash))
        });
        let faults = records.iter().enumerate().map(|(index, (record, marker))| {
            let hash = hash(record);
            let earlier = seen.count_call(hash);
            match marker {
                Some(marker) => marker.fault_after(earlier),
                None if self.rates.is_refused(hash) => Some(InjectedFault::Refuse),
                None if index == 0 => self.rates.draw(hash, earlier),
                None => None,
            }
        });
        Injection {
            fault: faults.max().flatten(),
            delay: delay.unwrap_or_default(),
        }
    }

    /// Counts a call with this fault and delay.
    pub fn count(&self, injection: Injection) {
        self.seen().counts.add(injection);
    }

    /// [Draws](Self::draw) the next call's fault and counts the call.
    pub fn next(&self, records: &[(&[u8], Option<Marker>)]) -> Option<InjectedFault> {
        let injection = self.draw(records);
        self.count(injection);
        injection.fault
    }

    /// The counts so far.
    pub fn counts(&self) -> Counts {
        self.seen().counts
    }

    fn delay(&self, record: u64, earlier: usize) -> Duration {
        let is_slow = |slow: &Slow| self.rates.random_share(record, SLOW_SALT ^ earlier as u64) < slow.share;
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
    /// The number of calls for a record so far.
    fn earlier_calls(&self, record: u64) -> usize {
        self.calls.get(&record).copied().unwrap_or_default()
    }

    /// Counts a call for a record. Returns the number of earlier calls for it.
    fn count_call(&mut self, record: u64) -> usize {
        let calls = self.calls.entry(record).or_default();
        *calls += 1;
        *calls - 1
    }
}

impl Rates {
    fn is_refused(&self, record: u64) -> bool {
        // No call is drawn with this salt.
        self.random_share(record, u64::MAX) < self.refuse
    }

    /// Draws the fault of a call for a record that is not refused.
    fn draw(&self, record: u64, earlier: usize) -> Option<InjectedFault> {
        let random = self.random_share(record, earlier as u64);
        let kinds = [
            (self.throttle, InjectedFault::Throttle),
            (self.error, InjectedFault::Error),
            (self.hang, InjectedFault::Hang),
        ];
        let mut up_to = kinds.iter().scan(0.0, |sum, (rate, kind)| {
            *sum += rate;
            Some((*sum, *kind))
        });
        up_to.find(|(sum, _)| random < *sum).map(|(_, kind)| kind)
    }

    /// A random number from 0 to 1 that depends only on the seed, the record and the salt.
    fn random_share(&self, record: u64, salt: u64) -> f64 {
        fastrand::Rng::with_seed(self.seed ^ record.rotate_left(17) ^ salt).f64()
    }
}

impl Counts {
    fn add(&mut self, Injection { fault, delay }: Injection) {
        match fault {
            Some(InjectedFault::Throttle) => self.throttled += 1,
            Some(InjectedFault::Error) => self.errors += 1,
            Some(InjectedFault::Hang) => self.hung += 1,
            Some(InjectedFault::Refuse) => self.refused += 1,
            None => {}
        }
        let is_answered_late = !matches!(fault, Some(InjectedFault::Throttle | InjectedFault::Hang));
        self.slow += u64::from(is_answered_late && !delay.is_zero());
    }
}
