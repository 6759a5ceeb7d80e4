//! Decides how calls end.

use std::collections::HashMap;
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;

use crate::oracle::Counts;
use crate::setting::setting;
use crate::world::{Failure, MISSING_MODEL, RecordKind, World, model_number};

/// The endpoint itself, shared by all environments.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) world: Arc<World>,
    started: Instant,
    random: Mutex<fastrand::Rng>,
    trails: Mutex<HashMap<String, Trail>>,
    pub(crate) counts: Mutex<Counts>,
    /// The number of jumps of the clock, which all environments share.
    pub(crate) jumps: AtomicU32,
    is_traced: bool,
}

/// The calls for one record, in all environments.
#[derive(Debug, Default, Clone, PartialEq)]
pub(crate) struct Trail {
    pub(crate) calls: u32,
    pub(crate) answered: u32,
    /// The calls for the record alone since its last answer that failed at random.
    unlucky_alone: u32,
    /// The most calls for the record alone between two answers that failed at random.
    pub(crate) unlucky_alone_most: u32,
}

/// The way in which a fetch of the credentials ends.
#[derive(Debug, PartialEq)]
pub(super) enum Fetch {
    Done,
    Fails,
    HangsFor(Duration),
    /// The fetch succeeds, but the environment is frozen meanwhile.
    Jumps,
}

impl Service {
    pub(crate) fn new(world: &Arc<World>) -> Self {
        Self {
            world: Arc::clone(world),
            started: Instant::now(),
            random: Mutex::new(fastrand::Rng::with_seed(world.seed ^ 0x0E0D)),
            trails: Mutex::default(),
            counts: Mutex::default(),
            jumps: AtomicU32::default(),
            is_traced: setting("SEED").is_some(),
        }
    }

    /// Returns the calls for each record, sorted by record.
    pub(crate) fn trails(&self) -> Vec<(String, Trail)> {
        let mut trails: Vec<_> = self.trails.lock().unwrap().clone().into_iter().collect();
        trails.sort_by(|one, other| one.0.cmp(&other.0));
        trails
    }

    /// Prints an event of a run that is repeated alone.
    #[expect(clippy::print_stdout, reason = "a developer reads it")]
    pub(crate) fn trace(&self, event: impl FnOnce() -> String) {
        if self.is_traced {
            println!("{:>9.3} {}", self.started.elapsed().as_secs_f64(), event());
        }
    }

    /// Decides how the next call for these `records` fails. Returns `None` if it is answered.
    pub(super) fn next_failure(&self, records: &[&str], model: Option<&str>) -> Option<Failure> {
        let so_far: Vec<_> = records
            .iter()
            .map(|record| (*record, self.count_call(record)))
            .collect();
        let down = self.weather_failure(model);
        let unlucky = self.world.weather.random.failure(&mut self.random.lock().unwrap());
        let failure = down
            .or(unlucky)
            .or_else(|| self.lone_row_failure(records))
            .or_else(|| (model == Some(MISSING_MODEL)).then_some(Failure::NoSuchModel))
            .or_else(|| {
                so_far
                    .into_iter()
                    .find_map(|(record, calls)| self.record_failure(record, calls))
            });
        if let Some(failure) = failure {
            self.counts.lock().unwrap().doubtful_faults += u64::from(failure.may_be_poison());
            let is_unlucky = down.is_none() && unlucky.is_some();
            // In its last attempts, a record can be in its request twice.
            let is_alone = records.iter().all(|record| *record == records[0]);
            let mut trails = self.trails.lock().unwrap();
            for record in records {
                let trail = trails.get_mut(*record).unwrap();
                if is_unlucky && is_alone {
                    trail.unlucky_alone += 1;
                    trail.unlucky_alone_most = trail.unlucky_alone_most.max(trail.unlucky_alone);
                }
            }
        }
        failure
    }

    fn count_call(&self, record: &str) -> u32 {
        let mut trails = self.trails.lock().unwrap();
        let trail = trails.entry(record.to_owned()).or_default();
        trail.calls += 1;
        trail.calls
    }

    pub(super) fn count_answer(&self, records: &[&str]) {
        let mut trails = self.trails.lock().unwrap();
        for record in records {
            let trail = trails.get_mut(*record).unwrap();
            trail.answered += 1;
            trail.unlucky_alone = 0;
        }
    }

    /// Returns the failure of all calls at this moment, or of all calls for the model.
    fn weather_failure(&self, model: Option<&str>) -> Option<Failure> {
        let now = self.started.elapsed();
        let weather = &self.world.weather;
        let outage = weather.outages.iter().find(|(outage, _)| outage.contains(&now));
        if let Some((_, failure)) = outage {
            return Some(*failure);
        }
        let (down, outage, failure) = weather.model_outage.as_ref()?;
        let is_down = model.and_then(model_number) == Some(*down) && outage.contains(&now);
        is_down.then_some(*failure)
    }

    fn lone_row_failure(&self, records: &[&str]) -> Option<Failure> {
        self.world.weather.lone_row.filter(|_| records.len() == 1)
    }

    fn record_failure(&self, record: &str, calls: u32) -> Option<Failure> {
        match self.world.record(record).kind {
            RecordKind::Poison(failure) => Some(failure),
            RecordKind::Flaky(failures, failure) => (calls <= failures).then_some(failure),
            RecordKind::Good | RecordKind::NamesMissingModel => None,
        }
    }

    pub(super) fn latency(&self) -> Duration {
        Duration::from_millis(self.random.lock().unwrap().u64(self.world.latency_ms.clone()))
    }

    pub(super) fn fetch_credentials(&self) -> Fetch {
        let now = self.started.elapsed();
        let credentials = &self.world.weather.credentials;
        let outage = credentials.outages.iter().find(|(outage, _)| outage.contains(&now));
        match outage {
            Some((outage, true)) => return Fetch::HangsFor(outage.end.saturating_sub(now)),
            Some((_, false)) => return Fetch::Fails,
            None => {}
        }
        let drawn = self.random.lock().unwrap().f64();
        if drawn < credentials.failing {
            Fetch::Fails
        } else if drawn < credentials.failing + credentials.jumps {
            Fetch::Jumps
        } else {
            Fetch::Done
        }
    }
}
