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
//! # By marker
//!
//! The built-in model's records may have a member `"$fault"`, such as `"throttle, error"`: what becomes of the first
//! calls for that record, one after the other; those that follow are answered. With `"always hang"` it is every call.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;

mod marker;

pub use marker::Marker;

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

/// How many calls ended with which fault.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Counts {
    pub throttled: u64,
    pub errors: u64,
    pub refused: u64,
    pub hung: u64,
}

/// Decides about every call, and counts.
#[derive(Debug)]
pub struct Faults {
    rates: Rates,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    /// Calls for each record so far, by the hash of its name.
    calls: HashMap<u64, usize>,
    counts: Counts,
}

impl Faults {
    /// Faults at these rates, none to begin with.
    pub fn new(rates: Rates) -> Self {
        Self {
            rates,
            seen: Mutex::default(),
        }
    }

    /// What becomes of the next call, which is for `records`: each what it is known by, and its marker. The built-in
    /// model's records are known by their bytes, a model server's by their inference identifiers.
    pub fn next(&self, records: &[(&[u8], Option<Marker>)]) -> Option<Injected> {
        let mut seen = self.seen();
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
        let injected = faults.max().flatten();
        if let Some(injected) = injected {
            seen.counts.add(injected);
        }
        injected
    }

    /// The faults so far.
    pub fn counts(&self) -> Counts {
        self.seen().counts
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
    fn add(&mut self, injected: Injected) {
        match injected {
            Injected::Throttle => self.throttled += 1,
            Injected::Error => self.errors += 1,
            Injected::Hang => self.hung += 1,
            Injected::Refuse => self.refused += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(rates: Rates) -> (Vec<Option<Injected>>, Counts) {
        let faults = Faults::new(rates);
        let names = (0..10_000).map(|number| format!("49590{number}-0"));
        let drawn = names.flat_map(|name| [(); 2].map(|()| faults.next(&[(name.as_bytes(), None)])));
        (drawn.collect(), faults.counts())
    }

    #[test]
    fn faults_come_at_their_rates_and_the_same_seed_brings_the_same_ones() {
        let rates = Rates {
            throttle: 0.1,
            error: 0.05,
            hang: 0.01,
            refuse: 0.02,
            seed: 7,
        };
        let (drawn, counts) = run(rates);
        // Of 20,000 calls, 2 % less for the refused records; four standard deviations either way.
        assert!((1790..=2130).contains(&counts.throttled), "{counts:?}");
        assert!((858..=1102).contains(&counts.errors), "{counts:?}");
        assert!((140..=252).contains(&counts.hung), "{counts:?}");
        assert!((288..=512).contains(&counts.refused), "{counts:?}");
        assert_eq!(drawn, run(rates).0);
        assert_ne!(drawn, run(Rates { seed: 8, ..rates }).0);
        // A record is refused always or never.
        let refused = |call: &Option<Injected>| *call == Some(Injected::Refuse);
        assert!(drawn.chunks(2).all(|calls| refused(&calls[0]) == refused(&calls[1])));
    }

    #[test]
    fn a_rate_of_all_leaves_none_and_no_rate_leaves_all() {
        let all = Rates {
            throttle: 1.0,
            ..Rates::default()
        };
        assert_eq!(run(all).1.throttled, 20_000);
        assert_eq!(run(Rates::default()).1, Counts::default());
    }

    fn plain(record: &[u8]) -> (&[u8], Option<Marker>) {
        (record, None)
    }

    #[test]
    fn a_record_that_is_refused_alone_is_refused_in_any_company_and_no_other_is() {
        let rates = Rates {
            refuse: 0.02,
            ..Rates::default()
        };
        let names: Vec<_> = (0..1000).map(|number| format!("{number}").into_bytes()).collect();
        let alone = Faults::new(rates);
        let together = Faults::new(rates);
        let mut calls_refused = 0;
        for names in names.chunks(10) {
            let refused = names.iter().filter_map(|name| alone.next(&[plain(name)])).count();
            let records: Vec<_> = names.iter().map(|name| plain(name)).collect();
            assert_eq!(together.next(&records).is_some(), refused > 0);
            calls_refused += u64::from(refused > 0);
        }
        assert!(alone.counts().refused > calls_refused, "{:?}", alone.counts());
        assert_eq!(together.counts().refused, calls_refused, "one for each call");
    }

    #[test]
    fn calls_fail_at_their_rates_however_many_records_they_have() {
        let faults = Faults::new(Rates {
            throttle: 0.1,
            hang: 0.05,
            ..Rates::default()
        });
        for call in 0..2000 {
            let names: Vec<_> = (0..50).map(|number| format!("{call}-{number}").into_bytes()).collect();
            let records: Vec<_> = names.iter().map(|name| plain(name)).collect();
            faults.next(&records);
        }
        let counts = faults.counts();
        // Four standard deviations either way.
        assert!((147..=253).contains(&counts.throttled), "{counts:?}");
        assert!((62..=138).contains(&counts.hung), "{counts:?}");
    }

    #[test]
    fn the_most_severe_of_its_records_faults_becomes_of_a_call_and_each_record_has_had_a_call() {
        let faults = Faults::new(Rates::default());
        let marked = [
            "refuse",
            "error, refuse",
            "throttle",
            "hang",
            "refuse, refuse, refuse, refuse, error",
        ];
        let next = |count: usize| {
            let records = marked.iter().take(count);
            let records = records.map(|marker| (marker.as_bytes(), Some(Marker::read(marker).unwrap())));
            faults.next(&records.collect::<Vec<_>>())
        };
        assert_eq!(next(4), Some(Injected::Hang));
        assert_eq!(next(4), Some(Injected::Refuse), "the second record's second fault");
        assert_eq!(next(4), None);
        assert_eq!(
            [(); 5].map(|()| next(5))[3..],
            [Some(Injected::Refuse), Some(Injected::Error)]
        );
    }
}
