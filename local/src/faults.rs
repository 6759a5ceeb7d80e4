//! Faults that the local endpoint has on purpose: at given rates, or as a record itself asks for.
//!
//! # At rates
//!
//! What becomes of a call depends on the seed, the record and how many calls there were for that record before, and on
//! nothing else. How often a record is called may differ from run to run, by timing. One that is refused is always refused.
//!
//! # By marker
//!
//! The built-in model's records may have a member `"$fault"`, such as `"throttle, error"`: what becomes of the first
//! calls for that record, one after the other; those that follow are answered. With `"always hang"` it is every call.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

/// A fault of the endpoint, or of the container behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Injected {
    /// The service answers at once that there are too many calls.
    Throttle,
    /// The container answers with status 500.
    Error,
    /// The container refuses the record with status 400.
    Refuse,
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

    /// What becomes of the next call for `record`, which is known by its inference identifier.
    pub fn next(&self, record: &str, marker: Option<&Marker>) -> Option<Injected> {
        let mut hasher = DefaultHasher::new();
        record.hash(&mut hasher);
        let hash = hasher.finish();
        let mut seen = self.seen();
        let calls = seen.calls.entry(hash).or_default();
        let earlier = *calls;
        *calls += 1;
        let injected = marker.map_or_else(|| self.rates.draw(hash, earlier), |marker| marker.at(earlier));
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

impl Rates {
    fn draw(&self, record: u64, earlier: usize) -> Option<Injected> {
        let share = |salt: u64| fastrand::Rng::with_seed(self.seed ^ record.rotate_left(17) ^ salt).f64();
        // One salt is the record's own, the others one for each of its calls.
        if share(u64::MAX) < self.refuse {
            return Some(Injected::Refuse);
        }
        let share = share(earlier as u64);
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

/// What a record asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marker {
    calls: Vec<Injected>,
    always: bool,
}

impl Marker {
    /// The marker in a record, `None` if it has none.
    ///
    /// # Errors
    ///
    /// What is wrong with the marker, and what is allowed.
    pub fn find(record: &[u8]) -> Result<Option<Self>, String> {
        const MEMBER: &[u8] = b"\"$fault\"";
        #[derive(Deserialize)]
        struct Marked {
            #[serde(rename = "$fault")]
            fault: Option<String>,
        }
        // Records without one, which is nearly all, are not parsed for it.
        if !record.windows(MEMBER.len()).any(|window| window == MEMBER) {
            return Ok(None);
        }
        let marked = serde_json::from_slice::<Marked>(record).ok();
        marked
            .and_then(|marked| marked.fault)
            .map(|text| Self::read(&text))
            .transpose()
    }

    fn read(text: &str) -> Result<Self, String> {
        let (list, always) = match text.strip_prefix("always ") {
            Some(list) => (list, true),
            None => (text, false),
        };
        let calls = list.split(',').map(|word| match word.trim() {
            "throttle" => Ok(Injected::Throttle),
            "error" => Ok(Injected::Error),
            "refuse" => Ok(Injected::Refuse),
            "hang" => Ok(Injected::Hang),
            other => Err(format!(
                "$fault: {other:?}; allowed: throttle, error, refuse, hang, several with commas, \"always \" before one"
            )),
        });
        let calls = calls.collect::<Result<_, _>>()?;
        Ok(Self { calls, always })
    }

    fn at(&self, earlier: usize) -> Option<Injected> {
        let place = if self.always {
            earlier % self.calls.len()
        } else {
            earlier
        };
        self.calls.get(place).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(rates: Rates) -> (Vec<Option<Injected>>, Counts) {
        let faults = Faults::new(rates);
        let names = (0..10_000).map(|number| format!("49590{number}-0"));
        let drawn = names.flat_map(|name| [faults.next(&name, None), faults.next(&name, None)]);
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

    #[test]
    fn a_marker_scripts_its_records_calls() {
        let find = |marker: &str| Marker::find(format!(r#"{{"$fault":"{marker}","amount":1}}"#).as_bytes());
        let faults = Faults::new(Rates::default());
        let next = |name: &str, marker: &Marker| [(); 4].map(|()| faults.next(name, Some(marker)));
        let twice = find("throttle, error").unwrap().unwrap();
        assert_eq!(
            next("a", &twice),
            [Some(Injected::Throttle), Some(Injected::Error), None, None]
        );
        let always = find("always hang").unwrap().unwrap();
        assert_eq!(next("b", &always), [Some(Injected::Hang); 4]);
        assert_eq!(Marker::find(b"{\"amount\":1}"), Ok(None));
        let wrong = find("explode").unwrap_err();
        assert!(
            wrong.contains("explode") && wrong.contains("throttle, error, refuse, hang"),
            "{wrong}"
        );
    }
}
