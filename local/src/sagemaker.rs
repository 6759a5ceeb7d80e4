//! `SageMaker` Runtime, as a client sees it: `InvokeEndpoint` for any endpoint name, over HTTP on loopback.
//!
//! The container behind it is the built-in model or a model server of the user's. What the container refuses comes
//! back as a `ModelError` with status 424, the container's own status and its words, as `SageMaker` does:
//! <https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_runtime_InvokeEndpoint.html>.
//!
//! With a [gateway] before it, calls come and are answered as API Gateway has them, and all else is as
//! without.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
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
mod invoke_endpoint;
mod recorder;

pub(crate) use call::{Ended, Shared};
use container::Container;
pub(crate) use container::ContainerAnswer;
use invoke_endpoint::invoke_endpoint;
use recorder::Recorder;
pub use recorder::{Call, Outcome, Recorded};

/// `InvokeEndpoint` takes bodies of up to 25 MB.
const BODY_BYTES_MAX: usize = 25 * 1024 * 1024;

/// An endpoint on this machine.
#[derive(Debug, Clone, Default)]
pub struct EndpointOptions {
    /// URL of a model server on this machine, instead of the built-in model.
    pub model_server: Option<String>,
    /// What each call takes beyond the model's own time.
    pub latency: Duration,
    /// Calls that take longer than that.
    pub slow: Option<Slow>,
    /// Calls in flight at most: those beyond are throttled, and do not count here. No limit if `None`.
    pub max_in_flight: Option<usize>,
    /// How often calls fail on purpose.
    pub rates: Rates,
    /// Whether it listens with TLS, by a certificate of its own.
    pub tls: bool,
    /// How many calls it records at most; with 0, the usual, nothing is recorded.
    pub recorded_max: usize,
    /// An API Gateway before it, which takes all calls instead of `InvokeEndpoint`. None if `None`, the usual.
    pub gateway: Option<GatewayOptions>,
}

/// The emulated service. Dropping it closes its port.
#[derive(Debug)]
pub struct SageMakerRuntime {
    /// Deleted before the port is free: the file is named after it.
    certificate: Option<CertificateFile>,
    gateway: Option<Arc<Gateway>>,
    server: Server,
    shared: Arc<Shared>,
}

impl SageMakerRuntime {
    /// Starts the service on `port`, or a free one if it is 0. A call takes up to 2 ms more than its latency and the
    /// container's own time: Tokio's timer fires at the next whole millisecond, the thread wakes later.
    ///
    /// # Errors
    ///
    /// If the model server is not up, the port cannot be had, or the certificate's file cannot be written.
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

    /// Its URL, such as `http://127.0.0.1:9001`: what `AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME` is for the function, or, with
    /// a gateway, where [`gateway::PATH`] is.
    pub fn url(&self) -> String {
        let scheme = if self.certificate.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.server.address)
    }

    /// The file of its certificate in PEM format, where it listens with TLS: what `SSL_CERT_FILE` is for the function.
    /// It is deleted when the service is dropped.
    pub fn certificate(&self) -> Option<&Path> {
        self.certificate.as_ref().map(CertificateFile::path)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.server.address
    }

    /// The gateway before it, if there is one.
    pub fn gateway(&self) -> Option<&Gateway> {
        self.gateway.as_deref()
    }

    /// Calls so far, those included that a gateway refused.
    pub fn calls(&self) -> u64 {
        self.shared.calls.load(Ordering::Relaxed)
    }

    /// The most calls that were in flight at once.
    pub fn most_in_flight(&self) -> u64 {
        self.shared.most_in_flight.load(Ordering::Relaxed)
    }

    /// Connections that it has accepted so far, those included whose TLS handshake is not over or has failed.
    pub fn connections(&self) -> u64 {
        self.server.connections()
    }

    /// The faults it had on purpose, and the calls that it throttled because too many were in flight.
    pub fn faults(&self) -> &Faults {
        &self.shared.faults
    }

    /// The calls that have ended so far, and leaves none behind.
    pub fn take_recorded(&self) -> Recorded {
        self.shared.recorder.as_ref().map(Recorder::take).unwrap_or_default()
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
