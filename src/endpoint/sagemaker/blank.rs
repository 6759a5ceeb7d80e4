//! What a request looks like that the AWS SDK would send, and over which connections.

use std::sync::{Arc, Mutex, PoisonError};

use aws_sdk_sagemakerruntime::Client;
use aws_sdk_sagemakerruntime::config::retry::RetryConfig;
use aws_sdk_sagemakerruntime::config::{self, StalledStreamProtectionConfig};
use aws_sdk_sagemakerruntime::primitives::Blob;
use aws_smithy_runtime_api::client::auth::AuthSchemeId;
use aws_smithy_runtime_api::client::http::{
    HttpClient as _, HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::body::SdkBody;

use super::{InvokeParameters, SetUpError};
use crate::aws_error::causes;

/// What a request of our own is made without: what the SDK tells of itself, and what belongs to one request alone.
const LEFT_OUT: [&str; 8] = [
    "amz-sdk-invocation-id",
    "amz-sdk-request",
    "authorization",
    "content-length",
    "x-amz-date",
    "x-amz-security-token",
    "x-amz-user-agent",
    "x-amzn-trace-id",
];

/// A request with all that is the same for every call, unsigned and without a body; and the HTTP client's connector.
///
/// # Errors
///
/// [`SetUpError::NoRequest`] in the SDK's words.
pub(super) async fn request(
    environment: &aws_config::SdkConfig,
    parameters: &InvokeParameters,
) -> Result<(HttpRequest, SharedHttpConnector), SetUpError> {
    let caught = Caught::default();
    let client = Client::from_conf(catching(environment, &caught));
    let sent = client
        .invoke_endpoint()
        .endpoint_name(&parameters.endpoint_name)
        .content_type(&parameters.content_type)
        .accept(&parameters.accept)
        .set_custom_attributes(parameters.custom_attributes.clone())
        .set_target_model(parameters.target_model.clone())
        .set_target_variant(parameters.target_variant.clone())
        .set_target_container_hostname(parameters.target_container_hostname.clone())
        .set_inference_component_name(parameters.inference_component_name.clone())
        .body(Blob::new([]))
        .send()
        .await;
    let request = caught.request.lock().unwrap_or_else(PoisonError::into_inner).take();
    let http = caught.http.lock().unwrap_or_else(PoisonError::into_inner).take();
    let why = || SetUpError::NoRequest(sent.err().map(|error| causes(&error)).unwrap_or_default());
    let (mut request, http) = request.zip(http).ok_or_else(why)?;
    for name in LEFT_OUT {
        request.headers_mut().remove(name);
    }
    *request.body_mut() = SdkBody::empty();
    Ok((request, http))
}

/// What was about to be sent, and by what.
#[derive(Debug, Default, Clone)]
struct Caught {
    request: Arc<Mutex<Option<HttpRequest>>>,
    http: Arc<Mutex<Option<SharedHttpConnector>>>,
}

impl HttpConnector for Caught {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        *self.request.lock().unwrap_or_else(PoisonError::into_inner) = Some(request);
        HttpConnectorFuture::ready(Err(ConnectorError::user("a request that is only looked at".into())))
    }
}

/// A client's configuration that sends nothing.
fn catching(environment: &aws_config::SdkConfig, caught: &Caught) -> config::Config {
    let (caught, http) = (caught.clone(), environment.http_client());
    let client = http_client_fn(move |settings, components| {
        let connector = http.as_ref().map(|http| http.http_connector(settings, components));
        *caught.http.lock().unwrap_or_else(PoisonError::into_inner) = connector;
        SharedHttpConnector::new(caught.clone())
    });
    config::Builder::from(environment)
        .http_client(client)
        .retry_config(RetryConfig::disabled())
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        // Nothing is sent, so nothing need be signed, and nobody asked for credentials.
        .allow_no_auth()
        .auth_scheme_preference([AuthSchemeId::new("noAuth")])
        .build()
}
