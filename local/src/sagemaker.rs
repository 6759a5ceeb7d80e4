//! An emulation of `SageMaker` Runtime: `InvokeEndpoint` for any endpoint name, over HTTP on loopback.
//!
//! The container behind it is the built-in model or the user's own model server. If the container refuses a request or
//! fails, the response is a `ModelError` with status 424, the container's own status and its message, as `SageMaker`
//! does: <https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_runtime_InvokeEndpoint.html>.
//!
//! With a [gateway] in front of it, requests and responses have the format of API Gateway. All else is the same.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::post;

use crate::certificate::{Certificate, CertificateFile};
use crate::faults::{Faults, Rates, Slow};
use crate::gateway::{self, Gateway, GatewayOptions};
use crate::server::Server;

mod answer;
mod call;
mod container;
mod exchange;
mod invoke_endpoint;
mod recorder;

pub(crate) use call::{CallResult, Shared};
use container::Container;
pub(crate) use container::ContainerAnswer;
pub use exchange::Exchange;
use invoke_endpoint::invoke_endpoint;
use recorder::Recorder;
pub use recorder::{Call, CallOutcome, RecordedCalls};

/// The maximum size of a body for `InvokeEndpoint`, 25 MB.
const BODY_BYTES_MAX: usize = 25 * 1024 * 1024;

/// The options of an endpoint on this machine.
#[derive(Debug, Clone, Default)]
pub struct EndpointOptions {
    /// The URL of a model server on this machine. `None`: the built-in model.
    pub model_server: Option<String>,
    /// The time added to each call, beyond the model's own time.
    pub latency: Duration,
    /// The share of calls that take longer than that.
    pub slow: Option<Slow>,
    /// The maximum number of calls in flight. Further calls are throttled and do not count as in flight. `None`: no
    /// limit.
    pub max_in_flight: Option<usize>,
    /// The rates of injected faults.
    pub rates: Rates,
    /// Whether it listens with TLS, with its own self-signed certificate.
    pub tls: bool,
    /// The maximum number of calls to record. 0, the default: nothing is recorded.
    pub recorded_max: usize,
    /// Whether the bodies of requests and answers are kept, for [`SageMakerRuntime::take_exchanges`].
    pub keeps_exchanges: bool,
    /// An API Gateway in front of it, which takes all calls instead of `InvokeEndpoint`. `None`, the default: no
    /// gateway.
    pub gateway: Option<GatewayOptions>,
}

/// The emulated service. Dropping it closes its port.
#[derive(Debug)]
pub struct SageMakerRuntime {
    /// Declared before `server`, so that the file is deleted before the port is free: the file is named after the port.
    certificate: Option<CertificateFile>,
    gateway: Option<Arc<Gateway>>,
    server: Server,
    shared: Arc<Shared>,
}

impl SageMakerRuntime {
    /// Starts the service on `port`, or on a free port if it is 0. A call takes up to 2 ms more than its latency and
    /// the container's own time: Tokio's timer fires at the next whole millisecond, and the thread wakes up later.
    ///
    /// # Errors
    ///
    /// If the model server is not up, the port is not available, or the certificate's file cannot be written.
    pub async fn start(port: u16, options: &EndpointOptions) -> Result<Self> {
        let container = Container::connect(options.model_server.as_deref()).await?;
        let shared = Arc::new(Shared::new(container, options));
        let gateway = options.gateway.as_ref().map(Gateway::new).map(Arc::new);
        let router = match &gateway {
            Some(gateway) => gateway::router(Arc::clone(gateway), Arc::clone(&shared)),
            None => Router::new()
                .route("/endpoints/{name}/invocations", post(invoke_endpoint))
                .with_state(Arc::clone(&shared)),
        };
        let router = router.layer(DefaultBodyLimit::max(BODY_BYTES_MAX));
        let certificate = options.tls.then(Certificate::new).transpose()?;
        let acceptor = certificate.as_ref().map(Certificate::acceptor);
        let server = Server::start_with(port, router, acceptor)
            .await
            .with_context(|| format!("cannot listen on 127.0.0.1:{port}"))?;
        let certificate = certificate.map(|certificate| certificate.write(server.address.port()));
        Ok(Self {
            certificate: certificate.transpose()?,
            gateway,
            server,
            shared,
        })
    }

    /// The URL of the service, such as `http://127.0.0.1:9001`. It is the function's
    /// `AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME` or, with a gateway, the URL to which [`gateway::PATH`] is added.
    pub fn url(&self) -> String {
        let scheme = if self.certificate.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.server.address)
    }

    /// The file of its certificate in PEM format, the function's `SSL_CERT_FILE`. `None` without TLS. The file is
    /// deleted when the service is dropped.
    pub fn certificate(&self) -> Option<&Path> {
        self.certificate.as_ref().map(CertificateFile::path)
    }

    /// The address on which it listens.
    pub fn address(&self) -> SocketAddr {
        self.server.address
    }

    /// The gateway in front of it, if there is one.
    pub fn gateway(&self) -> Option<&Gateway> {
        self.gateway.as_deref()
    }

    /// The number of calls so far, including calls that a gateway refused.
    pub fn calls(&self) -> u64 {
        self.shared.calls.load(Ordering::Relaxed)
    }

    /// The largest number of calls that were in flight at once.
    pub fn most_in_flight(&self) -> u64 {
        self.shared.most_in_flight.load(Ordering::Relaxed)
    }

    /// The number of connections accepted so far, including those whose TLS handshake has failed or is still in
    /// progress.
    pub fn connections(&self) -> u64 {
        self.server.connections()
    }

    /// The injected faults, including calls that were throttled because too many were in flight.
    pub fn faults(&self) -> &Faults {
        &self.shared.faults
    }

    /// Takes the recorded calls that have ended so far.
    pub fn take_recorded(&self) -> RecordedCalls {
        self.shared.recorder.as_ref().map(Recorder::take).unwrap_or_default()
    }

    /// Takes the requests that the container has got so far, with its answers, if they are kept.
    pub fn take_exchanges(&self) -> Vec<Exchange> {
        let kept = self.shared.exchanges.as_ref();
        kept.map(|kept| std::mem::take(&mut *kept.lock().unwrap_or_else(PoisonError::into_inner)))
            .unwrap_or_default()
    }

    /// Holds all calls from now on, until [`release`](Self::release).
    pub fn hold(&self) {
        self.shared.held.send_replace(true);
    }

    /// Releases the calls that [`hold`](Self::hold) holds.
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
