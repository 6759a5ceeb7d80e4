//! A `SageMaker` real-time endpoint, called with `InvokeEndpoint`.
//!
//! A call through the AWS SDK's client takes almost four times the instructions of one that is signed and sent here, over the
//! same HTTP client; where the service is, the SDK's rules still say. An attempt sees the permit, the timeout and what
//! comes after it. Only what says nothing of the endpoint is called once more at once, as part of the same attempt.

use std::time::{Duration, SystemTime};

use aws_smithy_runtime_api::client::http::{HttpConnector as _, SharedHttpConnector};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_types::byte_stream::{AggregatedBytes, ByteStream};
use bytes::Bytes;
use futures_util::future::join_all;
use tokio::time::timeout;

use super::credentials::KeptCredentials;
use super::signature::{Place, Signer, Varying};
use super::{Endpoint, Fault, Response, trace};
use crate::request::InferenceRequest;

mod blank;
mod fault;

use fault::{CallError, Refusal};

/// What differs between calls, in the order of the names.
const INFERENCE_ID: &str = "x-amzn-sagemaker-inference-id";
const TARGET_MODEL: &str = "x-amzn-sagemaker-target-model";

/// Connections that are opened before the first event, at most.
const CONNECTED: usize = 64;
/// And how long that may take.
const CONNECT_MAX: Duration = Duration::from_secs(1);

/// The parameters of `InvokeEndpoint` that are the same for every call:
/// <https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_runtime_InvokeEndpoint.html>.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvokeParameters {
    /// The endpoint's name, 1 to 63 characters.
    pub endpoint_name: String,
    /// Media type of the request bodies.
    pub content_type: String,
    /// Media type that the answer should have.
    pub accept: String,
    /// Passed on to the container as it is, at most 1,024 characters.
    pub custom_attributes: Option<String>,
    /// The model of a multi-model endpoint.
    pub target_model: Option<String>,
    /// The production variant to call, instead of one chosen by weight.
    pub target_variant: Option<String>,
    /// The container of a multi-container endpoint.
    pub target_container_hostname: Option<String>,
    /// The inference component to call.
    pub inference_component_name: Option<String>,
}

/// The endpoint.
#[derive(Debug)]
pub struct SageMaker {
    http: SharedHttpConnector,
    credentials: KeptCredentials,
    signer: Signer,
    parameters: InvokeParameters,
}

/// The endpoint cannot be called at all.
#[derive(Debug, thiserror::Error)]
pub enum SetUpError {
    /// The environment names no AWS region.
    #[error("no AWS region: set AWS_REGION, as Lambda does, to the endpoint's region")]
    NoRegion,
    /// There is no URL, or no request.
    #[error("no request can be made of the AWS settings: {0}")]
    NoRequest(String),
}

impl SageMaker {
    /// Sets calls over `http` up from what the SDK found in the environment: region, credentials, an endpoint override.
    ///
    /// # Errors
    ///
    /// [`SetUpError`] where every call would fail.
    pub async fn new(
        http: SharedHttpConnector,
        environment: &aws_config::SdkConfig,
        parameters: InvokeParameters,
    ) -> Result<Self, SetUpError> {
        let region = environment.region().ok_or(SetUpError::NoRegion)?.to_string();
        let blank = blank::request(environment, &parameters).await?;
        let service = "sagemaker";
        Ok(Self {
            http,
            credentials: KeptCredentials::of(environment.credentials_provider()),
            signer: Signer::new(blank, Place { region, service }, INFERENCE_ID),
            parameters,
        })
    }

    /// Opens connections before the first event comes, if the service is behind TLS: up to a number that the calls of the
    /// first batch then need not wait for, and pay for, on the little time on processors that an invocation has. Lambda
    /// gives a start more of it. That it failed is told by the first call.
    pub async fn connect(&self, calls: usize) {
        let greetings = (0..calls.min(CONNECTED)).map(|_| self.greet());
        // Whatever is late is a call's to wait for.
        _ = timeout(CONNECT_MAX, join_all(greetings)).await;
    }

    /// Asks the service for a path that calls no endpoint, over a connection that stays, unless the service closes it.
    async fn greet(&self) {
        if let Some(greeting) = greeting_of(self.signer.blank())
            && let Ok(answer) = self.http.call(greeting).await
        {
            // The connection is free for another call when the answer has been read.
            _ = body(answer).await;
        }
    }

    async fn call(&self, request: HttpRequest) -> Result<Response, CallError> {
        let answer = self.http.call(request).await.map_err(CallError::Connection)?;
        let header = |name: &str| answer.headers().get(name).map(ToOwned::to_owned);
        if !answer.status().is_success() {
            let (status, code) = (answer.status().as_u16(), header("x-amzn-errortype"));
            return Err(CallError::Refused(Refusal::read(status, code, &body(answer).await?)));
        }
        Ok(Response {
            content_type: header("content-type"),
            variant: header("x-amzn-invoked-production-variant"),
            body: body(answer).await?,
        })
    }
}

async fn body(answer: HttpResponse) -> Result<Bytes, CallError> {
    let body = ByteStream::new(answer.into_body()).collect().await;
    body.map(AggregatedBytes::into_bytes).map_err(|_| CallError::Unreadable)
}

/// A harmless request of one that calls the endpoint. None where there is no TLS: then a connection costs nothing to speak
/// of.
fn greeting_of(mut request: HttpRequest) -> Option<HttpRequest> {
    let host = request.uri().strip_prefix("https://")?;
    let host = host.split('/').next().unwrap_or_default();
    let uri = format!("https://{host}/ping");
    request.set_uri(uri).ok()?;
    request.set_method("GET").ok()?;
    Some(request)
}

impl Endpoint for SageMaker {
    async fn invoke(&self, request: &InferenceRequest) -> Result<Response, Fault> {
        let target_model = request.target_model();
        let mut varying: Vec<Varying<'_>> = vec![(INFERENCE_ID, request.inference_id())];
        varying.extend(target_model.map(|model| (TARGET_MODEL, &**model)));
        let body = request.body();
        let to_fault = |error: CallError| error.fault(target_model.is_some());
        let (mut has_refreshed, mut has_reconnected) = (false, false);
        loop {
            let credentials = self.credentials.get().await;
            let credentials = credentials.map_err(|error| to_fault(CallError::Credentials(error)))?;
            let now = SystemTime::now();
            let signed = self.signer.sign(&credentials, now, &varying, body.clone());
            let mut signed = signed.map_err(|_| to_fault(CallError::Unbuildable))?;
            trace::mark(&mut signed);
            match self.call(signed).await {
                Err(error) if !has_refreshed && error.is_of_expired_credentials() => {
                    has_refreshed = true;
                    self.credentials.forget(&credentials);
                }
                Err(error) if !has_reconnected && error.is_of_a_lost_connection() => has_reconnected = true,
                answer => break answer.map_err(to_fault),
            }
        }
    }

    fn name(&self) -> &str {
        &self.parameters.endpoint_name
    }
}
