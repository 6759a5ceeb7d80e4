//! One call, from its request to how it ended: what is the same whoever stands in front of the container.

use std::future::pending;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Response};
use bytes::Bytes;
use tokio::sync::{Semaphore, SemaphorePermit, watch};
use tokio::time::sleep;

use super::EndpointOptions;
use super::container::{Container, ContainerAnswer, content_type};
use super::recorder::{Outcome, Recorder, Recording};
use crate::bodies::Bodies;
use crate::faults::{Fate, Faults, Injected, Marker};

#[cfg(test)]
mod tests;

/// What all calls share.
#[derive(Debug)]
pub(crate) struct Shared {
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

/// How a call ended, before anybody puts it on the wire.
#[derive(Debug)]
pub(crate) enum Ended {
    /// There were too many, or it was drawn so.
    Throttled,
    /// With the container's answer, whatever that is.
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
        }
    }

    /// The built-in model, without a server.
    #[cfg(test)]
    pub(crate) fn of_the_model(options: &EndpointOptions) -> Self {
        Self::new(Container::FraudModel, options)
    }

    /// Counts a call from now on until it is answered or its client has gone, and records it.
    pub(crate) async fn counted(&self, answer: impl Future<Output = (Outcome, Response<Body>)>) -> Response<Body> {
        let mut in_flight = InFlight::new(self);
        let (outcome, response) = answer.await;
        in_flight.ends(outcome);
        response
    }

    /// Makes one call. One that hangs, as drawn, never ends.
    pub(crate) async fn call(&self, headers: &HeaderMap, body: Bytes) -> Ended {
        let drawn = match self.draw(headers, &body) {
            Ok(drawn) => drawn,
            Err(message) => return Ended::Answered(ContainerAnswer::text(400, message)),
        };
        let (Fate { injected, delay }, _permit) = self.admit(drawn);
        match injected {
            Some(Injected::Hang) => pending().await,
            Some(Injected::Throttle) => return Ended::Throttled,
            Some(Injected::Error | Injected::Refuse) | None => {}
        }
        let takes = self.latency.saturating_add(delay);
        if !takes.is_zero() {
            sleep(takes).await;
        }
        // The sender lives in `self`, so the wait cannot fail.
        _ = self.held.subscribe().wait_for(|held| !held).await;
        Ended::Answered(match injected {
            Some(Injected::Error) => ContainerAnswer::text(500, "an error, as asked for"),
            Some(_) => ContainerAnswer::text(400, "refused, as asked for"),
            None => self.container.invoke(headers, body).await,
        })
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
