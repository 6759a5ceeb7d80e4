//! The simulated endpoint of a run, behind the function's own client for endpoints. The clock decides whether it is up,
//! and the record's kind how a call ends.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_smithy_runtime_api::client::http::SharedHttpConnector;
use instream::endpoint::target::AnyEndpoint;
use instream::endpoint::{Call, Endpoint, Response};
use instream::outcome::{Fault, FaultKind, LoadSignal};
use tokio::time::{advance, sleep};

use crate::cloud::Gate;

mod connector;
mod reply;
mod service;

use connector::Connector;
use service::Fetch;
pub(crate) use service::{Service, Trail};

/// The message of a planned panic.
pub(crate) const PLANNED_PANIC: &str = "planned by the seed";

/// The time by which the clock jumps when an environment is frozen.
pub(crate) const FREEZE: Duration = Duration::from_mins(2);

/// The endpoint as one environment calls it.
#[derive(Debug)]
pub(crate) struct EnvironmentEndpoint {
    endpoint: AnyEndpoint,
    service: Arc<Service>,
    gate: Arc<Gate>,
    calls: Arc<Mutex<EnvironmentCalls>>,
}

/// The calls of one environment.
#[derive(Debug, Default)]
pub(crate) struct EnvironmentCalls {
    pub(crate) answered: HashSet<String>,
    pub(crate) in_flight: usize,
    pub(crate) most_in_flight: usize,
    /// The number of attempts for each record in the current invocation.
    pub(crate) attempts: HashMap<String, u32>,
}

struct InFlight<'s>(&'s EnvironmentEndpoint);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.calls.lock().unwrap().in_flight -= 1;
    }
}

impl EnvironmentEndpoint {
    pub(crate) async fn new(service: &Arc<Service>, gate: &Arc<Gate>, calls: &Arc<Mutex<EnvironmentCalls>>) -> Self {
        let connector = SharedHttpConnector::new(Connector {
            service: Arc::clone(service),
            calls: Arc::clone(calls),
        });
        let environment = SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("eu-central-1"))
            .build();
        let config = service.world.config();
        let target = config.endpoint.clone();
        let endpoint = AnyEndpoint::new(connector, &environment, target, &config.parameters).await;
        Self {
            endpoint: endpoint.unwrap(),
            service: Arc::clone(service),
            gate: Arc::clone(gate),
            calls: Arc::clone(calls),
        }
    }

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
}

fn no_credentials() -> Fault {
    Fault {
        load: LoadSignal::Unprepared,
        ..Fault::new(FaultKind::Unreachable, "there are no credentials, planned by the seed")
    }
}

impl Endpoint for EnvironmentEndpoint {
    async fn prepare(&self) -> Result<(), Fault> {
        match self.service.fetch_credentials() {
            Fetch::Done => Ok(()),
            Fetch::Fails => {
                sleep(self.service.latency()).await;
                Err(no_credentials())
            }
            Fetch::HangsFor(time) => {
                sleep(time).await;
                Ok(())
            }
            Fetch::Jumps => {
                self.service.jumps.fetch_add(1, Ordering::Relaxed);
                advance(FREEZE).await;
                Ok(())
            }
        }
    }

    async fn invoke(&self, call: Call<'_>) -> Result<Response, Fault> {
        // Credentials can also expire between the preparation and the call.
        if self.service.fetch_credentials() == Fetch::Fails {
            return Err(no_credentials());
        }
        let body = call.body.clone();
        let records: Vec<_> = std::str::from_utf8(&body).unwrap().lines().collect();
        let _in_flight = self.begin(&records);
        let answer = self.endpoint.invoke(call).await;
        self.service.counts.lock().unwrap().endpoint_faults += u64::from(answer.is_err());
        answer
    }

    fn name(&self) -> &str {
        self.endpoint.name()
    }
}
