//! Runs a number of instances on one endpoint for a given time.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use instream::config::Config;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::endpoint::{EndpointSpec, Service};
use crate::instance::Instance;
use crate::ledger::Ledger;
use crate::run_result::RunResult;
use crate::{setting, trace};

/// Instances start at random times within this period, since no two processes start at the same moment.
const START_SPREAD: Duration = Duration::from_secs(1);

/// Returns a window of a run, given in seconds since its start.
pub(crate) fn seconds(window: Range<u64>) -> Range<Duration> {
    Duration::from_secs(window.start)..Duration::from_secs(window.end)
}

/// The kind of capacity limit: fixed at CAPACITY, or adaptive up to CAPACITY.
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

/// The settings of a run.
#[derive(Debug, Clone)]
pub(crate) struct Fleet {
    /// The scenario's name in the table.
    pub(crate) name: String,
    pub(crate) instances: usize,
    /// The setting CAPACITY of each instance.
    pub(crate) capacity: u32,
    /// The number of records in a batch.
    pub(crate) batch: usize,
    /// The number of records in each instance's shard.
    pub(crate) records: usize,
    /// The window that the table describes. The run ends with this window, or earlier if all records are finished.
    pub(crate) measured: Range<Duration>,
    /// A shorter window for the fixed capacity, which makes many times as many calls per second.
    pub(crate) measured_static: Option<Range<Duration>>,
    pub(crate) endpoint: EndpointSpec,
}

impl Fleet {
    /// Returns the settings for one instance and an endless stream.
    pub(crate) fn on(endpoint: EndpointSpec) -> Self {
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

    /// Runs the fleet with the fixed capacity, then with the adaptive one.
    pub(crate) fn run_both(&self) -> [RunResult; 2] {
        Capacity::BOTH.map(|capacity| self.run(capacity))
    }

    /// Runs the fleet on a paused clock and one thread. The seed is `SEED`, or 0.
    pub(crate) fn run(&self, capacity: Capacity) -> RunResult {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build();
        let seed = setting("SEED").unwrap_or_default();
        fastrand::seed(seed);
        runtime.unwrap().block_on(self.simulate(capacity, seed))
    }

    async fn simulate(&self, capacity: Capacity, seed: u64) -> RunResult {
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
            let start = START_SPREAD.mul_f64(if self.instances > 1 { random.f64() } else { 0.0 });
            lanes.spawn(async move {
                sleep(start).await;
                instance.process(0..records, batch).await;
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
        RunResult {
            fleet: self.clone(),
            measured: self.measured(capacity).clone(),
            capacity,
            ledger: service.read_ledger(Ledger::clone),
            limits,
            elapsed,
            is_done,
        }
    }
}
