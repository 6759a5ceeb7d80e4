//! One call of `InvokeEndpoint`, from its request to its answer.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, Response};
use bytes::Bytes;
use serde_json::json;
use tokio::sync::{Semaphore, SemaphorePermit, watch};
use tokio::time::sleep;

use super::EndpointOptions;
use super::answer::{model_error, predicted, service_error};
use super::container::{Container, ContainerAnswer, content_type};
use super::recorder::{Outcome, Recorder, Recording};
use crate::bodies::Bodies;
use crate::faults::{Fate, Faults, Injected, Marker};

#[cfg(test)]
mod tests;

/// An endpoint of this name is the only one that there is not.
const NO_SUCH_ENDPOINT: &str = "no-such-endpoint";

/// What all calls share.
#[derive(Debug)]
pub(super) struct Shared {
    container: Container,
    latency: Duration,
    pub(super) faults: Faults,
    /// A permit for each call that may be in flight.
    admission: Semaphore,
    pub(super) calls: AtomicU64,
    pub(super) in_flight: watch::Sender<u64>,
    pub(super) most_in_flight: AtomicU64,
    pub(super) held: watch::Sender<bool>,
    pub(super) recorder: Option<Recorder>,
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
        }
    }

    /// What is to become of this call, not counted yet.
    fn draw(&self, headers: &HeaderMap, body: &Bytes) -> Result<Fate, String> {
        match self.container {
            Container::FraudModel => {
                let bodies = Bodies::split(content_type(headers), body)?;
                let records = bodies.each(|record| Ok((record, Marker::find(record)?)))?;
                Ok(self.faults.draw(&records))
            }
            // Nobody but the user knows the model's shape of requests.
            Container::ModelServer(_) => {
                let id = headers.get("x-amzn-sagemaker-inference-id");
                // A function that tells none has its records known by their bytes.
                let record = id.map_or(&**body, HeaderValue::as_bytes);
                Ok(self.faults.draw(&[(record, None)]))
            }
        }
    }

    /// Takes a permit for a call, unless it is throttled: as drawn, or because there is none. Counts what becomes of it.
    /// A call that is throttled as drawn must not keep a permit from another, not even for a moment.
    fn admit(&self, drawn: Fate) -> (Fate, Option<SemaphorePermit<'_>>) {
        let permit = match drawn.injected {
            Some(Injected::Throttle) => None,
            Some(Injected::Hang | Injected::Error | Injected::Refuse) | None => self.admission.try_acquire().ok(),
        };
        let injected = if permit.is_some() {
            drawn.injected
        } else {
            Some(Injected::Throttle)
        };
        let fate = Fate { injected, ..drawn };
        self.faults.count(fate);
        (fate, permit)
    }
}

/// One call in flight, counted until it is answered or its client has gone, and then recorded.
struct InFlight<'s> {
    shared: &'s Shared,
    /// Nothing where calls are not recorded.
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

    fn ends(&mut self, outcome: Outcome) {
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

pub(super) async fn invoke_endpoint(
    State(shared): State<Arc<Shared>>,
    Path(endpoint): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    let mut in_flight = InFlight::new(&shared);
    let (outcome, response) = answer(&shared, &endpoint, &headers, body).await;
    in_flight.ends(outcome);
    response
}

async fn answer(shared: &Shared, endpoint: &str, headers: &HeaderMap, body: Bytes) -> (Outcome, Response<Body>) {
    if endpoint == NO_SUCH_ENDPOINT {
        let message = format!("Endpoint {endpoint} of account 000000000000 not found.");
        let response = service_error("ValidationError", &json!({ "Message": message }));
        return (Outcome::Refused, response);
    }
    let drawn = match shared.draw(headers, &body) {
        Ok(drawn) => drawn,
        Err(message) => return of_container(endpoint, ContainerAnswer::text(400, message)),
    };
    let (Fate { injected, delay }, _permit) = shared.admit(drawn);
    match injected {
        Some(Injected::Hang) => pending().await,
        Some(Injected::Throttle) => {
            let response = service_error("ThrottlingException", &json!({ "message": null }));
            return (Outcome::Throttled, response);
        }
        Some(Injected::Error | Injected::Refuse) | None => {}
    }
    let takes = shared.latency.saturating_add(delay);
    if !takes.is_zero() {
        sleep(takes).await;
    }
    // The sender lives in `shared`, so the wait cannot fail.
    _ = shared.held.subscribe().wait_for(|held| !held).await;
    let answer = match injected {
        Some(Injected::Error) => ContainerAnswer::text(500, "an error, as asked for"),
        Some(_) => ContainerAnswer::text(400, "refused, as asked for"),
        None => shared.container.invoke(headers, body).await,
    };
    of_container(endpoint, answer)
}

fn of_container(endpoint: &str, answer: ContainerAnswer) -> (Outcome, Response<Body>) {
    match answer.status {
        200..300 => (Outcome::Answered, predicted(answer)),
        400..500 => (Outcome::Refused, model_error(endpoint, &answer)),
        _ => (Outcome::Error, model_error(endpoint, &answer)),
    }
}
