//! The endpoint that all instances call: it has room for so much, and is away at times.

use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use instream::endpoint::{Endpoint, Fault, FaultKind, Load, Response};
use instream::request::InferenceRequest;
use tokio::time::{Instant, sleep};

use crate::ledger::{Ledger, What};

/// How long a call takes that gets no further than to the door: there and back again.
const ROUND_TRIP: Duration = Duration::from_millis(1);

/// What the endpoint has room for. It throttles all beyond.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Limit {
    /// So many calls in flight.
    Concurrency(u32),
    /// A bucket of tokens, as in a usage plan of API Gateway: a call takes one where there is one.
    Plan { per_second: u32, burst: u32 },
}

/// When every call fails, and how.
#[derive(Debug, Clone)]
pub(crate) struct Outage {
    pub(crate) window: Range<Duration>,
    pub(crate) kind: FaultKind,
}

#[derive(Debug, Clone)]
pub(crate) struct Nature {
    pub(crate) limit: Limit,
    /// What a call takes on average; each takes up to a tenth more or less. In whole milliseconds, to which Tokio's
    /// timers would round it up.
    pub(crate) latency_ms: u64,
    pub(crate) outages: Vec<Outage>,
}

impl Nature {
    pub(crate) fn of(limit: Limit, latency_ms: u64) -> Self {
        let outages = Vec::new();
        Self {
            limit,
            latency_ms,
            outages,
        }
    }

    /// A fault: where it counts calls a second, too many are too many of these.
    fn fault(&self, kind: FaultKind, why: &str) -> Fault {
        let load = match self.limit {
            Limit::Plan { .. } if kind == FaultKind::Overload => Load::Rate,
            Limit::Plan { .. } | Limit::Concurrency(_) => Load::AsItsKind,
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
    nature: Nature,
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
    pub(crate) fn new(nature: &Nature, seed: u64) -> Self {
        let state = State {
            random: fastrand::Rng::with_seed(seed ^ 0x0E0D),
            in_flight: 0,
            tokens: match nature.limit {
                Limit::Plan { burst, .. } => f64::from(burst),
                Limit::Concurrency(_) => 0.0,
            },
            tokens_at: Duration::ZERO,
            ledger: Ledger::default(),
        };
        Self {
            nature: nature.clone(),
            started: Instant::now(),
            state: Mutex::new(state),
        }
    }

    /// Since the start of the run.
    pub(crate) fn now(&self) -> Duration {
        self.started.elapsed()
    }

    pub(crate) fn in_flight(&self) -> u32 {
        self.state.lock().unwrap().in_flight
    }

    pub(crate) fn note(&self, instance: usize, what: What) {
        self.state.lock().unwrap().ledger.add(self.now(), instance, what);
    }

    pub(crate) fn look<T>(&self, at: impl FnOnce(&Ledger) -> T) -> T {
        at(&self.state.lock().unwrap().ledger)
    }

    /// Whether a call that comes now is let in, and how long it takes then.
    fn admit(&self, instance: usize) -> Result<Duration, Fault> {
        let now = self.now();
        if let Some(outage) = self.nature.outages.iter().find(|it| it.window.contains(&now)) {
            self.note(instance, What::Failed);
            return Err(self.nature.fault(outage.kind, "an outage"));
        }
        let mut state = self.state.lock().unwrap();
        if !state.takes_room(now, self.nature.limit) {
            state.ledger.add(now, instance, What::Throttled);
            return Err(self.nature.fault(FaultKind::Overload, "no room"));
        }
        state.in_flight += 1;
        state.ledger.add(now, instance, What::Accepted);
        let latency = self.nature.latency_ms;
        let latency = state.random.u64(latency - latency / 10..=latency + latency / 10);
        Ok(Duration::from_millis(latency))
    }
}

impl State {
    fn takes_room(&mut self, now: Duration, limit: Limit) -> bool {
        match limit {
            Limit::Concurrency(calls) => self.in_flight < calls,
            Limit::Plan { per_second, burst } => {
                let new = now.saturating_sub(self.tokens_at).as_secs_f64() * f64::from(per_second);
                self.tokens = (self.tokens + new).min(f64::from(burst));
                self.tokens_at = now;
                let has_one = self.tokens >= 1.0;
                self.tokens -= f64::from(u32::from(has_one));
                has_one
            }
        }
    }
}

/// The endpoint as one instance calls it.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) service: Arc<Service>,
    pub(crate) instance: usize,
}

/// A call that was let in. It keeps its slot until it ends, however it ends.
struct Slot<'s> {
    seen: &'s Seen,
    ends_as: What,
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        let Seen { service, instance } = self.seen;
        service.state.lock().unwrap().in_flight -= 1;
        service.note(*instance, self.ends_as);
    }
}

impl Endpoint for Seen {
    async fn invoke(&self, _: &InferenceRequest) -> Result<Response, Fault> {
        let latency = match self.service.admit(self.instance) {
            Ok(latency) => latency,
            Err(fault) => {
                sleep(ROUND_TRIP).await;
                return Err(fault);
            }
        };
        let mut slot = Slot {
            seen: self,
            ends_as: What::Cut,
        };
        sleep(latency).await;
        slot.ends_as = What::Answered;
        Ok(Response {
            body: Bytes::from_static(b"1"),
            content_type: None,
            variant: None,
        })
    }

    fn name(&self) -> &'static str {
        "simulated"
    }
}
