//! The simulated endpoint that all instances call. It has a limit, and can have outages.

use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use instream::endpoint::{Call, Endpoint, Response};
use instream::outcome::{Fault, FaultKind, LoadSignal};
use tokio::time::{Instant, sleep};

use crate::ledger::{EventKind, Ledger};

/// The duration of a call that the endpoint throttles or that fails in an outage: one network round trip.
const ROUND_TRIP: Duration = Duration::from_millis(1);

/// The endpoint's limit. Calls beyond it are throttled.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Limit {
    /// The maximum number of calls in flight.
    Concurrency(u32),
    /// A token bucket, as in an API Gateway usage plan. Each accepted call takes a token.
    Plan { per_second: u32, burst: u32 },
    /// A token bucket that throttles like an endpoint with a limit of calls in flight.
    UnnamedPlan { per_second: u32, burst: u32 },
    /// This percentage of calls, chosen at random, whatever is in flight. With 50, half of the endpoint is broken.
    Random { throttled_percent: u32 },
}

/// A period in which every call fails with the same fault kind.
#[derive(Debug, Clone)]
pub(crate) struct Outage {
    pub(crate) window: Range<Duration>,
    pub(crate) kind: FaultKind,
}

/// The properties of the simulated endpoint.
#[derive(Debug, Clone)]
pub(crate) struct EndpointSpec {
    pub(crate) limit: Limit,
    /// The average latency of a call. Each call takes up to 10 % more or less, in whole milliseconds, since Tokio's
    /// timers would round fractions up.
    pub(crate) latency_ms: u64,
    pub(crate) outages: Vec<Outage>,
}

impl EndpointSpec {
    pub(crate) fn of(limit: Limit, latency_ms: u64) -> Self {
        let outages = Vec::new();
        Self {
            limit,
            latency_ms,
            outages,
        }
    }

    /// Returns a fault of this kind. An overload of a usage plan concerns the rate of calls.
    fn fault(&self, kind: FaultKind, why: &str) -> Fault {
        let load = match self.limit {
            Limit::Plan { .. } if kind == FaultKind::Overload => LoadSignal::RateLimit,
            Limit::Plan { .. } | Limit::UnnamedPlan { .. } | Limit::Concurrency(_) | Limit::Random { .. } => {
                LoadSignal::FromKind
            }
        };
        Fault {
            load,
            ..Fault::new(kind, why)
        }
    }
}

/// The endpoint of a run.
#[derive(Debug)]
pub(crate) struct Service {
    spec: EndpointSpec,
    started: Instant,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    random: fastrand::Rng,
    in_flight: u32,
    tokens: f64,
    tokens_at: Duration,
    ledger: Ledger,
}

impl Service {
    pub(crate) fn new(spec: &EndpointSpec, seed: u64) -> Self {
        let state = State {
            random: fastrand::Rng::with_seed(seed ^ 0x0E0D),
            in_flight: 0,
            tokens: match spec.limit {
                Limit::Plan { burst, .. } | Limit::UnnamedPlan { burst, .. } => f64::from(burst),
                Limit::Concurrency(_) | Limit::Random { .. } => 0.0,
            },
            tokens_at: Duration::ZERO,
            ledger: Ledger::default(),
        };
        Self {
            spec: spec.clone(),
            started: Instant::now(),
            state: Mutex::new(state),
        }
    }

    /// Returns the time since the start of the run.
    pub(crate) fn now(&self) -> Duration {
        self.started.elapsed()
    }

    pub(crate) fn in_flight(&self) -> u32 {
        self.state.lock().unwrap().in_flight
    }

    pub(crate) fn record(&self, instance: usize, kind: EventKind) {
        self.state.lock().unwrap().ledger.add(self.now(), instance, kind);
    }

    pub(crate) fn read_ledger<T>(&self, at: impl FnOnce(&Ledger) -> T) -> T {
        at(&self.state.lock().unwrap().ledger)
    }

    /// Accepts a call and returns its latency, or returns the fault that it ends with.
    fn admit(&self, instance: usize) -> Result<Duration, Fault> {
        let now = self.now();
        if let Some(outage) = self.spec.outages.iter().find(|it| it.window.contains(&now)) {
            self.record(instance, EventKind::Failed);
            return Err(self.spec.fault(outage.kind, "outage"));
        }
        let mut state = self.state.lock().unwrap();
        if !state.try_admit(now, self.spec.limit) {
            state.ledger.add(now, instance, EventKind::Throttled);
            return Err(self.spec.fault(FaultKind::Overload, "limit reached"));
        }
        state.in_flight += 1;
        state.ledger.add(now, instance, EventKind::Accepted);
        let latency = self.spec.latency_ms;
        let latency = state.random.u64(latency - latency / 10..=latency + latency / 10);
        Ok(Duration::from_millis(latency))
    }
}

impl State {
    fn try_admit(&mut self, now: Duration, limit: Limit) -> bool {
        match limit {
            Limit::Concurrency(calls) => self.in_flight < calls,
            Limit::Plan { per_second, burst } | Limit::UnnamedPlan { per_second, burst } => {
                let new = now.saturating_sub(self.tokens_at).as_secs_f64() * f64::from(per_second);
                self.tokens = (self.tokens + new).min(f64::from(burst));
                self.tokens_at = now;
                let has_one = self.tokens >= 1.0;
                self.tokens -= f64::from(u32::from(has_one));
                has_one
            }
            Limit::Random { throttled_percent } => self.random.u32(0..100) >= throttled_percent,
        }
    }
}

/// The endpoint as one instance calls it. Events are recorded under the instance's number.
#[derive(Debug, Clone)]
pub(crate) struct InstanceEndpoint {
    pub(crate) service: Arc<Service>,
    pub(crate) instance: usize,
}

/// The slot of an accepted call. It is freed when the call is answered or cancelled.
struct Slot<'s> {
    endpoint: &'s InstanceEndpoint,
    ends_as: EventKind,
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        let InstanceEndpoint { service, instance } = self.endpoint;
        service.state.lock().unwrap().in_flight -= 1;
        service.record(*instance, self.ends_as);
    }
}

impl Endpoint for InstanceEndpoint {
    async fn invoke(&self, _: Call<'_>) -> Result<Response, Fault> {
        let latency = match self.service.admit(self.instance) {
            Ok(latency) => latency,
            Err(fault) => {
                sleep(ROUND_TRIP).await;
                return Err(fault);
            }
        };
        let mut slot = Slot {
            endpoint: self,
            ends_as: EventKind::Cancelled,
        };
        sleep(latency).await;
        slot.ends_as = EventKind::Answered;
        Ok(Response {
            body: Bytes::from_static(b"1"),
            content_type: None,
            variant: None,
            custom_attributes: None,
        })
    }

    fn name(&self) -> &'static str {
        "simulated"
    }
}
