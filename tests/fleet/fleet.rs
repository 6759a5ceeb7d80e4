//! So many instances on one endpoint for so long.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use instream::config::Config;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::endpoint::{Nature, Service};
use crate::instance::Instance;
use crate::ledger::Ledger;
use crate::ran::Ran;
use crate::{setting, trace};

/// Within which instances start one after the other: no two processes start at the same moment.
const STARTS: Duration = Duration::from_secs(1);

/// A window of a run, in seconds since its start.
pub(crate) fn seconds(window: Range<u64>) -> Range<Duration> {
    Duration::from_secs(window.start)..Duration::from_secs(window.end)
}

/// Whether an instance's capacity is what it is, or adapts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Capacity {
    Static,
    Adaptive,
}

impl Capacity {
    pub(crate) const BOTH: [Self; 2] = [Self::Static, Self::Adaptive];
}

impl fmt::Display for Capacity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Static => "static",
            Self::Adaptive => "adaptive",
        })
    }
}

/// What a run depends on.
#[derive(Debug, Clone)]
pub(crate) struct Fleet {
    /// For the table.
    pub(crate) name: String,
    pub(crate) instances: usize,
    /// CAPACITY of each.
    pub(crate) capacity: u32,
    /// Records in a batch.
    pub(crate) batch: usize,
    /// Records of each instance's shard.
    pub(crate) records: usize,
    /// What the table tells of. A run ends with it, or before when all records are finished.
    pub(crate) measured: Range<Duration>,
    /// The same with a static capacity, where another is enough: with it, a second has many times the calls.
    pub(crate) measured_static: Option<Range<Duration>>,
    pub(crate) endpoint: Nature,
}

impl Fleet {
    /// One instance, and a stream without end.
    pub(crate) fn on(endpoint: Nature) -> Self {
        Self {
            name: String::new(),
            instances: 1,
            capacity: 20,
            batch: 500,
            records: usize::MAX,
            measured: seconds(2..10),
            measured_static: None,
            endpoint,
        }
    }

    fn measured(&self, capacity: Capacity) -> &Range<Duration> {
        match (&self.measured_static, capacity) {
            (Some(measured), Capacity::Static) => measured,
            (_, Capacity::Adaptive) | (None, Capacity::Static) => &self.measured,
        }
    }

    fn config(&self, capacity: Capacity) -> Config {
        let calls = self.capacity.to_string();
        let value = |name: &str| match name {
            "ENDPOINT_NAME" => Some("simulated"),
            "OUTPUT" | "DEAD_LETTER" => Some("none:"),
            "CAPACITY" => Some(calls.as_str()),
            "ADAPTIVE_CAPACITY" => Some(match capacity {
                Capacity::Static => "off",
                Capacity::Adaptive => "on",
            }),
            _ => None,
        };
        Config::from_lookup(|name| value(name).map(str::to_owned)).unwrap()
    }

    /// Runs it with the fixed capacity and with the one that adapts.
    pub(crate) fn run_both(&self) -> [Ran; 2] {
        Capacity::BOTH.map(|capacity| self.run(capacity))
    }

    /// Runs it on a paused clock and one thread, from the same seed each time.
    pub(crate) fn run(&self, capacity: Capacity) -> Ran {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build();
        let seed = setting("SEED").unwrap_or_default();
        fastrand::seed(seed);
        runtime.unwrap().block_on(self.run_here(capacity, seed))
    }

    async fn run_here(&self, capacity: Capacity, seed: u64) -> Ran {
        let config = self.config(capacity);
        let service = Arc::new(Service::new(&self.endpoint, seed));
        let numbers = 0..self.instances;
        let instances: Vec<_> = numbers
            .map(|number| Arc::new(Instance::new(number, &config, &service)))
            .collect();
        let mut random = fastrand::Rng::with_seed(seed ^ 0x57A7);
        let mut lanes = JoinSet::new();
        for instance in &instances {
            let (instance, records, batch) = (Arc::clone(instance), self.records, self.batch);
            let start = STARTS.mul_f64(if self.instances > 1 { random.f64() } else { 0.0 });
            lanes.spawn(async move {
                sleep(start).await;
                instance.work(0..records, batch).await;
            });
        }
        let work = async { while lanes.join_next().await.transpose().unwrap().is_some() {} };
        let traced = async {
            tokio::select! {
                biased;
                () = work => {}
                () = trace::trace(self, capacity, &service, &instances) => {}
            }
        };
        let is_done = timeout(self.measured(capacity).end, traced).await.is_ok();
        let (elapsed, limits) = (service.now(), instances.iter().map(|it| it.limit()).collect());
        Ran {
            fleet: self.clone(),
            measured: self.measured(capacity).clone(),
            capacity,
            ledger: service.look(Ledger::clone),
            limits,
            elapsed,
            is_done,
        }
    }
}
