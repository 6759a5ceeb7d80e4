//! `SageMaker` Runtime, as a client sees it: `InvokeEndpoint` for any endpoint name, over HTTP on loopback.
//!
//! The container behind it is the built-in model or a model server of the user's. What the container refuses comes
//! back as a `ModelError` with status 424, the container's own status and its words, as `SageMaker` does:
//! <https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_runtime_InvokeEndpoint.html>.

use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{HeaderMap, HeaderValue, Response};
use axum::routing::post;
use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::sleep;

use crate::bodies::Bodies;
use crate::faults::{Faults, Injected, Marker, Rates};
use crate::model_server::ModelServer;
use crate::server::Server;

/// `InvokeEndpoint` takes bodies of up to 25 MB.
const BODY_BYTES_MAX: usize = 25 * 1024 * 1024;
/// An endpoint of this name is the only one that there is not.
const NO_SUCH_ENDPOINT: &str = "no-such-endpoint";
/// The only production variant.
const VARIANT: &str = "AllTraffic";

/// What answers behind the endpoint.
#[derive(Debug)]
pub enum Container {
    /// The built-in fraud model.
    FraudModel,
    /// A model server on this machine.
    ModelServer(Box<ModelServer>),
}

/// A container's answer.
#[derive(Debug)]
pub struct ContainerAnswer {
    /// The HTTP status; 0 if the container died or did not answer.
    pub status: u16,
    /// The media type, where the container told one.
    pub content_type: Option<String>,
    /// The body.
    pub body: Bytes,
}

/// The emulated service. Dropping it closes its port.
#[derive(Debug)]
pub struct SageMakerRuntime {
    server: Server,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    container: Container,
    latency: Duration,
    faults: Faults,
    calls: AtomicU64,
    in_flight: watch::Sender<u64>,
    most_in_flight: AtomicU64,
    held: watch::Sender<bool>,
}

impl SageMakerRuntime {
    /// Starts the service on `port`, or a free one if it is 0. Each call takes `latency` more than the container
    /// needs, and up to 2 ms on top of that: Tokio's timer fires at the next whole millisecond, the thread wakes later.
    /// Some fail, at these `rates`.
    ///
    /// # Errors
    ///
    /// The operating system's own, if the port cannot be had.
    pub async fn start(port: u16, container: Container, latency: Duration, rates: Rates) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            container,
            latency,
            faults: Faults::new(rates),
            calls: AtomicU64::new(0),
            in_flight: watch::Sender::new(0),
            most_in_flight: AtomicU64::new(0),
            held: watch::Sender::new(false),
        });
        let router = Router::new()
            .route("/endpoints/{name}/invocations", post(invoke_endpoint))
            .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
            .with_state(Arc::clone(&shared));
        let server = Server::start(port, router).await?;
        Ok(Self { server, shared })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.server.address
    }

    /// Calls so far.
    pub fn calls(&self) -> u64 {
        self.shared.calls.load(Ordering::Relaxed)
    }

    /// The most calls that were in flight at once.
    pub fn most_in_flight(&self) -> u64 {
        self.shared.most_in_flight.load(Ordering::Relaxed)
    }

    /// The faults it had on purpose.
    pub fn faults(&self) -> &Faults {
        &self.shared.faults
    }

    /// From now on, calls hang until [`release`](Self::release).
    pub fn hold(&self) {
        self.shared.held.send_replace(true);
    }

    /// Lets calls that hang go on.
    pub fn release(&self) {
        self.shared.held.send_replace(false);
    }

    /// Waits until `calls` calls are in flight at once.
    pub async fn in_flight_reaches(&self, calls: u64) {
        // The sender lives in `self`, so the wait cannot fail.
        _ = self.shared.in_flight.subscribe().wait_for(|now| *now >= calls).await;
    }

    /// Waits until no call is in flight.
    pub async fn in_flight_ends(&self) {
        // The sender lives in `self`, so the wait cannot fail.
        _ = self.shared.in_flight.subscribe().wait_for(|now| *now == 0).await;
    }
}

/// One call in flight, counted until it is answered or its client has gone.
struct InFlight<'s>(&'s Shared);

impl<'s> InFlight<'s> {
    fn new(shared: &'s Shared) -> Self {
        shared.calls.fetch_add(1, Ordering::Relaxed);
        shared.in_flight.send_modify(|now| {
            *now += 1;
            shared.most_in_flight.fetch_max(*now, Ordering::Relaxed);
        });
        Self(shared)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.in_flight.send_modify(|now| *now -= 1);
    }
}

async fn invoke_endpoint(
    State(shared): State<Arc<Shared>>,
    Path(endpoint): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    let _in_flight = InFlight::new(&shared);
    if endpoint == NO_SUCH_ENDPOINT {
        let message = format!("Endpoint {endpoint} of account 000000000000 not found.");
        return service_error("ValidationError", &json!({ "Message": message }));
    }
    let injected = match shared.injected(&headers, &body) {
        Ok(injected) => injected,
        Err(message) => return model_error(&endpoint, &ContainerAnswer::text(400, message)),
    };
    match injected {
        Some(Injected::Hang) => pending().await,
        Some(Injected::Throttle) => return service_error("ThrottlingException", &json!({ "message": null })),
        Some(Injected::Error | Injected::Refuse) | None => {}
    }
    if !shared.latency.is_zero() {
        sleep(shared.latency).await;
    }
    // The sender lives in `shared`, so the wait cannot fail.
    _ = shared.held.subscribe().wait_for(|held| !held).await;
    let answer = match (injected, &shared.container) {
        (Some(Injected::Error), _) => ContainerAnswer::text(500, "an error, as asked for"),
        (Some(_), _) => ContainerAnswer::text(400, "refused, as asked for"),
        (None, Container::FraudModel) => fraud_model(&headers, &body),
        (None, Container::ModelServer(server)) => server.invoke(&headers, body).await,
    };
    if (200..300).contains(&answer.status) {
        predicted(answer)
    } else {
        model_error(&endpoint, &answer)
    }
}

impl Shared {
    /// The fault that this call has on purpose.
    fn injected(&self, headers: &HeaderMap, body: &Bytes) -> Result<Option<Injected>, String> {
        match self.container {
            Container::FraudModel => {
                let bodies = Bodies::split(content_type(headers), body)?;
                let records = bodies.each(|record| Ok((record, Marker::find(record)?)))?;
                Ok(self.faults.next(&records))
            }
            // Nobody but the user knows the model's shape of requests.
            Container::ModelServer(_) => {
                let id = headers.get("x-amzn-sagemaker-inference-id");
                // A function that tells none has its records known by their bytes.
                let record = id.map_or(&**body, HeaderValue::as_bytes);
                Ok(self.faults.next(&[(record, None)]))
            }
        }
    }
}

fn content_type(headers: &HeaderMap) -> Option<&str> {
    headers.get("content-type").and_then(|value| value.to_str().ok())
}

impl ContainerAnswer {
    fn text(status: u16, text: impl Into<Bytes>) -> Self {
        Self {
            status,
            content_type: Some("text/plain".to_owned()),
            body: text.into(),
        }
    }
}

fn service_error(error_type: &str, body: &Value) -> Response<Body> {
    Response::builder()
        .status(400)
        .header("Content-Type", "application/json")
        .header("x-amzn-ErrorType", error_type)
        .body(Body::from(body.to_string()))
        .expect("the headers are ASCII")
}

fn fraud_model(headers: &HeaderMap, body: &[u8]) -> ContainerAnswer {
    let answer = Bodies::split(content_type(headers), body).and_then(|bodies| bodies.answer());
    match answer {
        Ok((content_type, body)) => ContainerAnswer {
            status: 200,
            content_type: Some(content_type.to_owned()),
            body: body.into(),
        },
        Err(message) => ContainerAnswer::text(400, message),
    }
}

fn predicted(answer: ContainerAnswer) -> Response<Body> {
    let content_type = answer
        .content_type
        .unwrap_or_else(|| "application/octet-stream".to_owned());
    let built = Response::builder()
        .header("Content-Type", content_type)
        .header("x-Amzn-Invoked-Production-Variant", VARIANT)
        .body(Body::from(answer.body));
    built.expect("the content type was a header before")
}

fn model_error(endpoint: &str, answer: &ContainerAnswer) -> Response<Body> {
    let status = answer.status;
    let said = String::from_utf8_lossy(&answer.body);
    let side = if (400..500).contains(&status) {
        "client"
    } else {
        "server"
    };
    let body = json!({
        "Message": format!("Received {side} error ({status}) from primary with message \"{said}\""),
        "OriginalStatusCode": status,
        "OriginalMessage": said,
        "LogStreamArn": format!("arn:aws:logs:us-east-1:000000000000:log-group:/aws/sagemaker/Endpoints/{endpoint}"),
    });
    Response::builder()
        .status(424)
        .header("Content-Type", "application/json")
        .header("x-amzn-ErrorType", "ModelError")
        .body(Body::from(body.to_string()))
        .expect("the headers are constants")
}
