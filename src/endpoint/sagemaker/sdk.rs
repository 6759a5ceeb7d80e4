//! The same endpoint, called with the client of the AWS SDK: the cargo feature `sdk-client`.
//!
//! The SDK serializes and signs the requests and parses the responses. Connections, credentials and the rule for whole
//! answers are those of the direct client, and so is the fault of each error. The memory for an answer is reserved
//! after the answer has been read.

use std::sync::Arc;

use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, future};
use aws_sdk_sagemakerruntime::Client;
use aws_sdk_sagemakerruntime::config::retry::RetryConfig;
use aws_sdk_sagemakerruntime::config::timeout::TimeoutConfig;
use aws_sdk_sagemakerruntime::config::{BehaviorVersion, Builder, IdentityCache, Region};
use aws_sdk_sagemakerruntime::config::{SharedCredentialsProvider, StalledStreamProtectionConfig};
use aws_sdk_sagemakerruntime::error::SdkError;
use aws_sdk_sagemakerruntime::operation::invoke_endpoint::{InvokeEndpointError, InvokeEndpointOutput};
use aws_sdk_sagemakerruntime::primitives::Blob;
use aws_smithy_runtime_api::client::http::{HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;

use super::SageMaker;
use super::fault::ErrorResponse;
use crate::endpoint::aws_error::chain;
use crate::endpoint::call_error::CallError;
use crate::endpoint::request_template::InvokeParameters;
use crate::endpoint::trace;
use crate::endpoint::transport::{HttpAnswer, Transport, shorten_attributes};
use crate::endpoint::{Call, Endpoint, Response};
use crate::outcome::{Fault, NoRoom};

/// A client for one `SageMaker` endpoint that uses the AWS SDK.
#[derive(Debug)]
pub struct SdkSageMaker {
    client: Client,
    transport: Arc<Transport>,
    name: String,
    parameters: InvokeParameters,
}

impl SdkSageMaker {
    /// Creates a client for the endpoint of `direct`, in the region and at the URL that `direct` calls.
    pub fn new(direct: SageMaker, parameters: &InvokeParameters) -> Self {
        let SageMaker {
            transport,
            name,
            region,
            url,
        } = direct;
        let transport = Arc::new(transport);
        let connector = SharedHttpConnector::new(Connector(Arc::clone(&transport)));
        let config = Builder::default()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(region))
            .endpoint_url(url)
            .credentials_provider(SharedCredentialsProvider::new(Prepared(Arc::clone(&transport))))
            .identity_cache(IdentityCache::no_cache())
            .http_client(http_client_fn(move |_, _| connector.clone()))
            // Timeouts and retries are up to the caller.
            .retry_config(RetryConfig::disabled())
            .timeout_config(TimeoutConfig::disabled())
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
        Self {
            client: Client::from_conf(config.build()),
            transport,
            name,
            parameters: parameters.clone(),
        }
    }

    /// Returns whether calls leave this machine unencrypted.
    pub fn is_unencrypted(&self) -> bool {
        self.transport.is_unencrypted()
    }

    /// Does the same as [`SageMaker::warm_up`].
    pub async fn warm_up(&self, calls: usize) {
        self.transport.warm_up(calls.min(super::PRECONNECT_MAX)).await;
    }

    async fn send(&self, call: &Call<'_>) -> Result<InvokeEndpointOutput, SdkError<InvokeEndpointError, HttpResponse>> {
        let InvokeParameters {
            content_type,
            accept,
            custom_attributes,
            target_model,
            target_variant,
            target_container_hostname,
            inference_component_name,
        } = self.parameters.clone();
        let request = self.client.invoke_endpoint();
        let request = request
            .endpoint_name(&self.name)
            .content_type(content_type)
            .accept(accept)
            .set_custom_attributes(custom_attributes)
            .set_target_model(call.target_model.map(ToOwned::to_owned).or(target_model))
            .set_target_variant(target_variant)
            .set_target_container_hostname(target_container_hostname)
            .set_inference_component_name(inference_component_name)
            .inference_id(call.inference_id)
            .body(Blob::from_maybe_shared(call.body.clone()));
        request.send().await
    }
}

impl Endpoint for SdkSageMaker {
    async fn prepare(&self) -> Result<(), Fault> {
        self.transport.prepare().await.map_err(|error| error.fault())
    }

    async fn invoke(&self, call: Call<'_>) -> Result<Response, Fault> {
        let mut has_lost_connection = false;
        loop {
            let credentials = self.transport.cached_credentials();
            let credentials = credentials.ok_or_else(|| CallError::Unprepared.fault())?;
            let error = match Box::pin(self.send(&call)).await {
                Ok(output) => {
                    credentials.accept();
                    return response(output, &call);
                }
                Err(error) => error,
            };
            let ended = chain(Some(&error)).find_map(|error| error.downcast_ref::<Ended>());
            let answer = match ended {
                Some(Ended::Without(error)) if !has_lost_connection && error.is_lost_connection() => {
                    has_lost_connection = true;
                    continue;
                }
                Some(Ended::Without(error)) => return Err(error.fault()),
                Some(Ended::WithAnswer(answer)) => answer,
                None => match error.raw_response() {
                    Some(answer) => &HttpAnswer::of_error(answer),
                    None => return Err(CallError::Unbuildable.fault()),
                },
            };
            if self.transport.refuses_identity(answer, Some(&credentials), None) {
                return Err(CallError::Unprepared.fault());
            }
            return Err(ErrorResponse::read(answer).fault(call.target_model.is_some()));
        }
    }

    fn name(&self) -> &str {
        &self.name
    }
}

fn response(output: InvokeEndpointOutput, call: &Call<'_>) -> Result<Response, Fault> {
    let body = output.body.map(Blob::into_bytes).unwrap_or_default();
    let has_room = call.memory.map_or(Ok(()), |memory| memory.expect(body.len()));
    has_room.map_err(|NoRoom| CallError::NoRoom.fault())?;
    Ok(Response {
        body,
        content_type: output.content_type,
        variant: output.invoked_production_variant.map(Arc::from),
        custom_attributes: output.custom_attributes.as_deref().and_then(shorten_attributes),
    })
}

/// The credentials that a call has found in the cache.
#[derive(Debug)]
struct Prepared(Arc<Transport>);

impl ProvideCredentials for Prepared {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        let cached = self.0.cached_credentials();
        let cached = cached.ok_or_else(|| CredentialsError::not_loaded("they must be fetched first"));
        future::ProvideCredentials::ready(cached.map(|cached| (*cached.credentials).clone()))
    }
}

/// Sends the requests of the SDK as those of the direct client.
#[derive(Debug)]
struct Connector(Arc<Transport>);

impl HttpConnector for Connector {
    fn call(&self, mut request: HttpRequest) -> HttpConnectorFuture {
        let transport = Arc::clone(&self.0);
        HttpConnectorFuture::new(async move {
            trace::add_header(&mut request);
            match transport.send(request, None).await {
                // The SDK takes any 2xx for a prediction.
                Ok(answer) if answer.is_prediction || answer.status >= 300 => Ok(answer.into_http()),
                Ok(answer) => Err(ConnectorError::other(Ended::WithAnswer(answer).into(), None)),
                Err(error) => Err(ConnectorError::other(Ended::Without(error).into(), None)),
            }
        })
    }
}

/// The end of a call whose answer the SDK does not get.
#[derive(Debug, thiserror::Error)]
#[error("the call ended without a prediction")]
enum Ended {
    WithAnswer(HttpAnswer),
    Without(CallError),
}
