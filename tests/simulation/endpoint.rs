//! The endpoint of a run: up or down by the clock, and with a word to say on each record.

use std::collections::{HashMap, HashSet};
use std::future::pending;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use instream::endpoint::{Endpoint, Fault, FaultKind, Response};
use instream::request::InferenceRequest;
use tokio::time::{Instant, sleep};

use crate::cloud::Gate;
use crate::oracle::Counts;
use crate::world::{Ends, Nature, World};

/// What a call panics with on purpose.
pub(crate) const PANIC: &str = "as the seed says";

/// What all environments see of the endpoint.
#[derive(Debug)]
pub(crate) struct Service {
    world: Arc<World>,
    started: Instant,
    random: Mutex<fastrand::Rng>,
    /// Calls for each record so far.
    calls: Mutex<HashMap<String, u32>>,
    pub(crate) counts: Mutex<Counts>,
    /// Records that were answered, in any environment.
    pub(crate) answered: Mutex<HashMap<String, u32>>,
}

impl Service {
    pub(crate) fn new(world: &Arc<World>) -> Self {
        Self {
            world: Arc::clone(world),
            started: Instant::now(),
            random: Mutex::new(fastrand::Rng::with_seed(world.seed ^ 0x0E0D)),
            calls: Mutex::default(),
            counts: Mutex::default(),
            answered: Mutex::default(),
        }
    }

    /// How the next call for these `records` ends; `Ok` if it is answered or refused.
    fn next(&self, records: &[&str]) -> Result<(), Ends> {
        let mut calls = self.calls.lock().unwrap();
        let mut count = |record: &str| {
            let calls = calls.entry(record.to_owned()).or_default();
            *calls += 1;
            *calls
        };
        let so_far: Vec<_> = records.iter().map(|record| (record, count(record))).collect();
        let now = self.started.elapsed();
        if let Some((_, ends)) = self.world.outages.iter().find(|(outage, _)| outage.contains(&now)) {
            return Err(*ends);
        }
        let mut random = self.random.lock().unwrap();
        if random.f64() < self.world.transient {
            let kinds = [FaultKind::Suspect, FaultKind::Overload, FaultKind::Unreachable];
            return Err(Ends::With(kinds[random.usize(..3)]));
        }
        let fails = |(record, calls): (&&str, u32)| match self.world.nature(record) {
            Nature::Hopeless(ends) => Some(ends),
            Nature::Flaky(times, ends) => (calls <= times).then_some(ends),
            Nature::Good | Nature::Refused => None,
        };
        so_far.into_iter().find_map(fails).map_or(Ok(()), Err)
    }

    fn latency(&self) -> Duration {
        Duration::from_millis(self.random.lock().unwrap().u64(self.world.latency_ms.clone()))
    }
}

/// The endpoint as one environment sees it.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) service: Arc<Service>,
    pub(crate) gate: Arc<Gate>,
    pub(crate) environment: Arc<Mutex<Environment>>,
}

/// What one environment has called.
#[derive(Debug, Default)]
pub(crate) struct Environment {
    pub(crate) answered: HashSet<String>,
    pub(crate) in_flight: usize,
    pub(crate) most_in_flight: usize,
    /// Calls for each record in the invocation that is under way.
    pub(crate) attempts: HashMap<String, u32>,
}

struct InFlight<'s>(&'s Seen);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.environment.lock().unwrap().in_flight -= 1;
    }
}

impl Seen {
    fn begin(&self, records: &[&str]) -> InFlight<'_> {
        let mut environment = self.environment.lock().unwrap();
        environment.in_flight += 1;
        environment.most_in_flight = environment.most_in_flight.max(environment.in_flight);
        for record in records {
            *environment.attempts.entry((*record).to_owned()).or_default() += 1;
        }
        let mut counts = self.service.counts.lock().unwrap();
        counts.calls += 1;
        counts.calls_while_frozen += u64::from(!self.gate.is_running.load(Ordering::Relaxed));
        let again = records.iter().filter(|record| environment.answered.contains(**record));
        counts.calls_again += again.count() as u64;
        InFlight(self)
    }

    fn answered(&self, record: &str) {
        self.environment.lock().unwrap().answered.insert(record.to_owned());
        *self
            .service
            .answered
            .lock()
            .unwrap()
            .entry(record.to_owned())
            .or_default() += 1;
    }
}

impl Endpoint for Seen {
    async fn invoke(&self, request: &InferenceRequest) -> Result<Response, Fault> {
        let body = String::from_utf8(request.body().to_vec()).unwrap();
        let records: Vec<_> = body.lines().collect();
        let _in_flight = self.begin(&records);
        let end = self.service.next(&records);
        let latency = self.service.latency();
        self.service.counts.lock().unwrap().endpoint_faults += u64::from(end.is_err());
        match end {
            Err(Ends::Hanging) => pending().await,
            Err(Ends::Panicking) => panic!("{PANIC}"),
            Err(Ends::With(kind)) => {
                sleep(latency / 2).await;
                Err(Fault::new(kind, "as the seed says"))
            }
            Ok(()) => {
                sleep(latency).await;
                let is_refused = |record: &&str| self.service.world.nature(record) == Nature::Refused;
                let refused = records.iter().any(is_refused);
                if !refused || records.len() == 1 {
                    for record in &records {
                        self.answered(record);
                    }
                }
                if refused {
                    return Err(Fault::new(FaultKind::Refused, "as the seed says"));
                }
                let answers: Vec<_> = records.iter().map(|record| format!("\"{record}\"")).collect();
                Ok(Response {
                    body: answers.join("\n").into(),
                    content_type: None,
                    variant: None,
                })
            }
        }
    }

    fn name(&self) -> &'static str {
        "simulated"
    }
}
