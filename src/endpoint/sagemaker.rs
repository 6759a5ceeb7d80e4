//! A `SageMaker` real-time endpoint, called with `InvokeEndpoint` through the AWS SDK.
//!
//! The SDK's own retries are off: an attempt of ours must see the permit, the timeout and what comes after it. Only what
//! says nothing of the endpoint is called once more at once, as part of the same attempt.

use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use aws_sdk_sagemakerruntime::Client;
use aws_sdk_sagemakerruntime::config::http::HttpRequest;
use aws_sdk_sagemakerruntime::config::retry::{ReconnectMode, RetryConfig};
use aws_sdk_sagemakerruntime::config::{self, IdentityCache, StalledStreamProtectionConfig};
use aws_sdk_sagemakerruntime::error::SdkError;
use aws_sdk_sagemakerruntime::operation::invoke_endpoint::{InvokeEndpointError, InvokeEndpointOutput};
use aws_sdk_sagemakerruntime::primitives::Blob;
use bytes::Bytes;
use futures_util::future::join_all;
use tokio::time::timeout;

use super::{Endpoint, Fault, Response};
use crate::request::InferenceRequest;

mod fault;

use fault::{credentials_expired, fault, lost_its_connection};

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

/// The endpoint behind the AWS SDK's client.
#[derive(Debug)]
pub struct SageMaker {
    client: RwLock<Fresh>,
    parameters: InvokeParameters,
}

/// A client, and how often its credentials have been fetched anew.
#[derive(Debug, Clone)]
struct Fresh {
    client: Client,
    refreshes: u64,
}

/// The environment names no AWS region.
#[derive(Debug, thiserror::Error)]
#[error("no AWS region: set AWS_REGION, as Lambda does, to the endpoint's region")]
pub struct NoRegion;

impl SageMaker {
    /// Sets the client up from what the SDK found in the environment: region, credentials, an endpoint override.
    ///
    /// # Errors
    ///
    /// [`NoRegion`] if the environment names no region: every call would fail.
    pub fn new(environment: &aws_config::SdkConfig, parameters: InvokeParameters) -> Result<Self, NoRegion> {
        if environment.region().is_none() {
            return Err(NoRegion);
        }
        let config = config::Builder::from(environment)
            // Nor does a connection end with an error that came over it: overload would become a storm of handshakes.
            .retry_config(RetryConfig::disabled().with_reconnect_mode(ReconnectMode::ReuseAllConnections))
            // The call timeout covers a stalled answer; the SDK's guess at stalls has fired falsely.
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .build();
        let client = RwLock::new(Fresh {
            client: Client::from_conf(config),
            refreshes: 0,
        });
        Ok(Self { client, parameters })
    }

    /// Opens connections before the first event comes, if the service is behind TLS: up to a number that the calls of the
    /// first batch then need not wait for, and pay for, on the little time on processors that an invocation has. Lambda
    /// gives a start more of it. That it failed is told by the first call.
    pub async fn connect(&self, calls: usize) {
        let connect = async {
            // Where the first fails, no others are tried; where it is answered, one of them has its connection.
            if self.greet().await {
                join_all((0..calls.min(CONNECTED)).map(|_| self.greet())).await;
            }
        };
        // Whatever is late is a call's to wait for.
        _ = timeout(CONNECT_MAX, connect).await;
    }

    /// Asks the service for a path that calls no endpoint, over a connection that stays, unless the service closes it. Tells
    /// whether there was any answer.
    async fn greet(&self) -> bool {
        let client = self.client().client;
        let greeting = client.invoke_endpoint().endpoint_name(&self.parameters.endpoint_name);
        let answer = greeting.customize().map_request(greeting_of).send().await;
        answer.map_or_else(|error| error.raw_response().is_some(), |_| true)
    }

    async fn call(&self, client: &Client, request: &InferenceRequest) -> Result<InvokeEndpointOutput, CallError> {
        let parameters = &self.parameters;
        let target_model = request.target_model().map(ToString::to_string);
        client
            .invoke_endpoint()
            .endpoint_name(&parameters.endpoint_name)
            .content_type(&parameters.content_type)
            .accept(&parameters.accept)
            .set_custom_attributes(parameters.custom_attributes.clone())
            .set_target_model(target_model.or(parameters.target_model.clone()))
            .set_target_variant(parameters.target_variant.clone())
            .set_target_container_hostname(parameters.target_container_hostname.clone())
            .set_inference_component_name(parameters.inference_component_name.clone())
            .inference_id(request.inference_id())
            .body(Blob::new(request.body()))
            .send()
            .await
    }

    fn client(&self) -> Fresh {
        self.client.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A client that fetches its credentials anew, once for all the calls that found those of `stale` expired.
    fn refreshed(&self, stale: &Fresh) -> Fresh {
        let mut current = self.client.write().unwrap_or_else(PoisonError::into_inner);
        if current.refreshes == stale.refreshes {
            // The SDK keeps credentials in this cache, and has no other way to drop them.
            let config = stale.client.config().to_builder();
            let config = config.identity_cache(IdentityCache::lazy().build()).build();
            *current = Fresh {
                client: Client::from_conf(config),
                refreshes: stale.refreshes + 1,
            };
        }
        current.clone()
    }
}

/// Makes a harmless request of one that calls the endpoint.
fn greeting_of(mut request: HttpRequest) -> Result<HttpRequest, WithoutTls> {
    let host = request.uri().strip_prefix("https://").ok_or(WithoutTls)?;
    let host = host.split('/').next().unwrap_or_default();
    let uri = format!("https://{host}/ping");
    request.set_uri(uri).expect("the host was in a URI");
    request.set_method("GET").expect("a method of HTTP");
    Ok(request)
}

/// Then a connection costs nothing to speak of.
#[derive(Debug, thiserror::Error)]
#[error("the service is not behind TLS")]
struct WithoutTls;

type CallError = SdkError<InvokeEndpointError>;

impl Endpoint for SageMaker {
    async fn invoke(&self, request: &InferenceRequest) -> Result<Response, Fault> {
        let mut fresh = self.client();
        let (mut has_refreshed, mut has_reconnected) = (false, false);
        let answer = loop {
            match self.call(&fresh.client, request).await {
                Err(error) if !has_refreshed && credentials_expired(&error) => {
                    has_refreshed = true;
                    fresh = self.refreshed(&fresh);
                }
                Err(error) if !has_reconnected && lost_its_connection(&error) => has_reconnected = true,
                answer => break answer.map_err(|error| fault(&error, request.target_model().is_some()))?,
            }
        };
        Ok(Response {
            body: answer
                .body
                .map(|body| Bytes::from(body.into_inner()))
                .unwrap_or_default(),
            content_type: answer.content_type,
            variant: answer.invoked_production_variant,
        })
    }

    fn name(&self) -> &str {
        &self.parameters.endpoint_name
    }
}
