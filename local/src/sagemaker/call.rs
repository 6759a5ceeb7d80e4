//! One call, from its request to its result. This part is the same for `InvokeEndpoint` and for the gateway.

use std::future::pending;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Response};
use bytes::Bytes;
use tokio::sync::{Semaphore, SemaphorePermit, watch};
use tokio::time::sleep;

use super::EndpointOptions;
use super::container::{Container, ContainerAnswer, content_type};
use super::exchange::Exchange;
use super::recorder::{CallOutcome, Recorder, Recording};
use crate::bodies::RequestBody;
use crate::faults::{Faults, InjectedFault, Injection, Marker};

#[cfg(test)]
mod tests;

/// The state that all calls share.
#[derive(Debug)]
pub(crate) struct Shared {
    container: Container,
    latency: Duration,
    pub(super) faults: Faults,
    /// One permit for each call that may be in flight.
    admission: Semaphore,
    pub(super) calls: AtomicU64,
    pub(super) in_flight: watch::Sender<u64>,
    pub(super) most_in_flight: AtomicU64,
    pub(super) held: watch::Sender<bool>,
    pub(super) recorder: Option<Recorder>,
    /// `None` if they are not kept.
    pub(super) exchanges: Option<Mutex<Vec<Exchange>>>,
}

/// The result of a call, before it becomes an HTTP response.
#[derive(Debug)]
pub(crate) enum CallResult {
    /// Too many calls were in flight, or throttling was the injected fault.
    Throttled,
    /// The container answered, with a prediction or an error.
    Answered(ContainerAnswer),
}

impl Shared {
    pub(super) fn new(container: Container, options: &EndpointOptions) -> Self {
        Self {
            container,
            latency: options.latency,
            faults: Faults::new(options.rates).with_slow(options.slow),
            admission: Semaphore::new(options.max_in_flight.unwrap_or(Semaphore::MAX_PERMITS)),
            calls: AtomicU64::new(0),
            in_flight: watch::Sender::new(0),
            most_in_flight: AtomicU64::new(0),
            held: watch::Sender::new(false),
            recorder: (options.recorded_max > 0).then(|| Recorder::new(options.recorded_max)),
            exchanges: options.keeps_exchanges.then(Mutex::default),
        }
    }

    /// An endpoint with the built-in model, without a server.
    #[cfg(test)]
    pub(crate) fn with_fraud_model(options: &EndpointOptions) -> Self {
        Self::new(Container::FraudModel, options)
    }

    /// Counts a call as in flight until it is answered or its client disconnects, and records it.
    pub(crate) async fn count_call(
        &self,
        answer: impl Future<Output = (CallOutcome, Response<Body>)>,
    ) -> Response<Body> {
        let mut in_flight = InFlight::new(self);
        let (outcome, response) = answer.await;
        in_flight.set_outcome(outcome);
        response
    }

    /// Makes one call. A call whose injected fault is a hang never ends.
    pub(crate) async fn call(&self, headers: &HeaderMap, body: Bytes) -> CallResult {
        let drawn = match self.draw(headers, &body) {
            Ok(drawn) => drawn,
            Err(message) => return CallResult::Answered(ContainerAnswer::text(400, message)),
        };
        let (Injection { fault, delay }, _permit) = self.admit(drawn);
        match fault {
            Some(InjectedFault::Hang) => pending().await,
            Some(InjectedFault::Throttle) => return CallResult::Throttled,
            Some(InjectedFault::Error | InjectedFault::Refuse) | None => {}
        }
        let latency = self.latency.saturating_add(delay);
        if !latency.is_zero() {
            sleep(latency).await;
        }
        // The sender lives in `self`, so the wait cannot fail.
        _ = self.held.subscribe().wait_for(|held| !held).await;
        CallResult::Answered(match fault {
            Some(InjectedFault::Error) => ContainerAnswer::text(500, "injected error"),
            Some(_) => ContainerAnswer::text(400, "injected refusal"),
            None => self.invoke_container(headers, body).await,
        })
    }

    async fn invoke_container(&self, headers: &HeaderMap, request: Bytes) -> ContainerAnswer {
        let answer = self.container.invoke(headers, request.clone()).await;
        if let Some(exchanges) = &self.exchanges {
            let exchange = Exchange {
                request,
                status: answer.status,
                answer: answer.body.clone(),
            };
            exchanges.lock().unwrap_or_else(PoisonError::into_inner).push(exchange);
        }
        answer
    }

    /// Draws the fault and the delay of this call, without counting them yet.
    fn draw(&self, headers: &HeaderMap, body: &Bytes) -> Result<Injection, String> {
        match self.container {
            Container::FraudModel => {
                let request = RequestBody::split(content_type(headers), body)?;
                let records = request.map_records(|record| Ok((record, Marker::find(record)?)))?;
                Ok(self.faults.draw(&records))
            }
            // Only the user knows the format of the model's requests, so the request counts as one record.
            Container::ModelServer(_) => {
                let id = headers.get("x-amzn-sagemaker-inference-id");
                // Without an inference ID, the body identifies the record.
                let record = id.map_or(&**body, HeaderValue::as_bytes);
                Ok(self.faults.draw(&[(record, None)]))
            }
        }
    }

    /// Takes a permit for a call and counts its fault and delay. The call is throttled if that is its injected fault,
    /// or if no permit is left. A call with this injected fault takes no permit: it must not keep another call from
    /// one, not even for a moment.
    fn admit(&self, drawn: Injection) -> (Injection, Option<SemaphorePermit<'_>>) {
        let permit = match drawn.fault {
            Some(InjectedFault::Throttle) => None,
            Some(InjectedFault::Hang | InjectedFault::Error | InjectedFault::Refuse) | None => {
                self.admission.try_acquire().ok()
            }
        };
        let fault = if permit.is_some() {
            drawn.fault
        } else {
            Some(InjectedFault::Throttle)
        };
        let injection = Injection { fault, ..drawn };
        self.faults.count(injection);
        (injection, permit)
    }
}

/// One call in flight. It counts until it is answered or its client disconnects, and is then recorded.
struct InFlight<'s> {
    shared: &'s Shared,
    /// `None` if calls are not recorded.
    recording: Option<Recording<'s>>,
}

impl<'s> InFlight<'s> {
    fn new(shared: &'s Shared) -> Self {
        shared.calls.fetch_add(1, Ordering::Relaxed);
        shared.in_flight.send_modify(|now| {
            *now += 1;
            shared.most_in_flight.fetch_max(*now, Ordering::Relaxed);
        });
        let recording = shared.recorder.as_ref().map(Recorder::start);
        Self { shared, recording }
    }

    fn set_outcome(&mut self, outcome: CallOutcome) {
        if let Some(recording) = &mut self.recording {
            recording.outcome = outcome;
        }
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.shared.in_flight.send_modify(|now| *now -= 1);
    }
}
