//! The simulated endpoint of a run. The clock decides whether it is up, and the record's kind how a call ends.

use std::collections::{HashMap, HashSet};
use std::future::pending;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use instream::endpoint::{Call, Endpoint, Response};
use instream::outcome::{Fault, FaultKind};
use tokio::time::{Instant, sleep};

use crate::cloud::Gate;
use crate::oracle::Counts;
use crate::world::{CallFailure, RecordKind, World};

/// The message of a planned panic.
pub(crate) const PLANNED_PANIC: &str = "planned by the seed";

/// The endpoint itself, shared by all environments.
#[derive(Debug)]
pub(crate) struct Service {
    world: Arc<World>,
    started: Instant,
    random: Mutex<fastrand::Rng>,
    /// The number of calls for each record so far.
    calls: Mutex<HashMap<String, u32>>,
    pub(crate) counts: Mutex<Counts>,
    /// The number of answers for each record, in all environments.
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

    /// Decides how the next call for these `records` ends. `Ok` means that the call is answered or refused.
    fn decide(&self, records: &[&str]) -> Result<(), CallFailure> {
        let mut calls = self.calls.lock().unwrap();
        let mut count = |record: &str| {
            let calls = calls.entry(record.to_owned()).or_default();
            *calls += 1;
            *calls
        };
        let so_far: Vec<_> = records.iter().map(|record| (record, count(record))).collect();
        let now = self.started.elapsed();
        if let Some((_, failure)) = self.world.outages.iter().find(|(outage, _)| outage.contains(&now)) {
            return Err(*failure);
        }
        let mut random = self.random.lock().unwrap();
        if random.f64() < self.world.transient {
            let kinds = [FaultKind::Suspect, FaultKind::Overload, FaultKind::Unreachable];
            return Err(CallFailure::Fault(kinds[random.usize(..3)]));
        }
        let failure = |(record, calls): (&&str, u32)| match self.world.record_kind(record) {
            RecordKind::Poison(failure) => Some(failure),
            RecordKind::Flaky(failures, failure) => (calls <= failures).then_some(failure),
            RecordKind::Good | RecordKind::Refused => None,
        };
        so_far.into_iter().find_map(failure).map_or(Ok(()), Err)
    }

    fn latency(&self) -> Duration {
        Duration::from_millis(self.random.lock().unwrap().u64(self.world.latency_ms.clone()))
    }
}

/// The endpoint as one environment calls it.
#[derive(Debug, Clone)]
pub(crate) struct EnvironmentEndpoint {
    pub(crate) service: Arc<Service>,
    pub(crate) gate: Arc<Gate>,
    pub(crate) calls: Arc<Mutex<EnvironmentCalls>>,
}

/// The calls of one environment.
#[derive(Debug, Default)]
pub(crate) struct EnvironmentCalls {
    pub(crate) answered: HashSet<String>,
    pub(crate) in_flight: usize,
    pub(crate) most_in_flight: usize,
    /// The number of calls for each record in the current invocation.
    pub(crate) attempts: HashMap<String, u32>,
}

struct InFlight<'s>(&'s EnvironmentEndpoint);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.calls.lock().unwrap().in_flight -= 1;
    }
}

impl EnvironmentEndpoint {
    fn begin(&self, records: &[&str]) -> InFlight<'_> {
        let mut calls = self.calls.lock().unwrap();
        calls.in_flight += 1;
        calls.most_in_flight = calls.most_in_flight.max(calls.in_flight);
        for record in records {
            *calls.attempts.entry((*record).to_owned()).or_default() += 1;
        }
        let mut counts = self.service.counts.lock().unwrap();
        counts.calls += 1;
        counts.calls_while_frozen += u64::from(!self.gate.is_running.load(Ordering::Relaxed));
        let repeated = records.iter().filter(|record| calls.answered.contains(**record));
        counts.repeated_calls += repeated.count() as u64;
        InFlight(self)
    }

    fn record_answer(&self, record: &str) {
        self.calls.lock().unwrap().answered.insert(record.to_owned());
        *self
            .service
            .answered
            .lock()
            .unwrap()
            .entry(record.to_owned())
            .or_default() += 1;
    }
}

impl Endpoint for EnvironmentEndpoint {
    async fn invoke(&self, call: Call<'_>) -> Result<Response, Fault> {
        let body = String::from_utf8(call.body.to_vec()).unwrap();
        let records: Vec<_> = body.lines().collect();
        let _in_flight = self.begin(&records);
        let result = self.service.decide(&records);
        let latency = self.service.latency();
        self.service.counts.lock().unwrap().endpoint_faults += u64::from(result.is_err());
        match result {
            Err(CallFailure::Hang) => pending().await,
            Err(CallFailure::Panic) => panic!("{PLANNED_PANIC}"),
            Err(CallFailure::Fault(kind)) => {
                sleep(latency / 2).await;
                Err(Fault::new(kind, "planned by the seed"))
            }
            Ok(()) => {
                sleep(latency).await;
                let is_refused = |record: &&str| self.service.world.record_kind(record) == RecordKind::Refused;
                let refused = records.iter().any(is_refused);
                if !refused || records.len() == 1 {
                    for record in &records {
                        self.record_answer(record);
                    }
                }
                if refused {
                    return Err(Fault::new(FaultKind::Refused, "planned by the seed"));
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
