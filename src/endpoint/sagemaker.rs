//! A `SageMaker` real-time endpoint, called with `InvokeEndpoint`.
//!
//! This module signs and sends requests itself. A call through the AWS SDK's client, over the same HTTP client, takes
//! almost four times as many instructions. The service's URL still follows the SDK's rules. Permits, the timeout and
//! retries are up to the caller. After the loss of a pooled connection, the call is repeated immediately within the
//! same attempt.

use aws_config::SdkConfig;
use aws_smithy_runtime_api::client::http::SharedHttpConnector;
use http::Method;

use super::credentials::{self, CachedCredentials, Role};
use super::request_template::{self, INFERENCE_ID, InvokeParameters};
use super::signature::{Signer, SigningScope};
use super::transport::{Auth, Transport};
use super::{Call, Endpoint, Response, SetUpError};
use crate::outcome::Fault;

pub(super) mod fault;
#[cfg(feature = "sdk-client")]
pub mod sdk;
mod service_url;

use fault::ErrorResponse;

/// The maximum number of connections that are opened before the first event.
const PRECONNECT_MAX: usize = 64;

/// The status of a prediction:
/// <https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_runtime_InvokeEndpoint.html>.
const PREDICTION_STATUSES: &[u16] = &[200];

/// The `SageMaker` endpoint to call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SageMakerTarget {
    /// The endpoint's name, 1 to 63 characters.
    pub name: String,
    /// The endpoint's region. If unset, the function's region.
    pub region: Option<String>,
    /// The role whose credentials sign the calls. If unset, the function's own role.
    pub role: Option<Role>,
    /// Whether calls may leave this machine unencrypted. This needs an endpoint override.
    pub allow_http: bool,
}

/// A client for one `SageMaker` endpoint.
#[derive(Debug)]
pub struct SageMaker {
    transport: Transport,
    name: String,
    #[cfg(feature = "sdk-client")]
    region: String,
    #[cfg(feature = "sdk-client")]
    url: String,
}

impl SageMaker {
    /// Creates a client that makes its calls over `http`. Region, credentials and endpoint override come from
    /// `environment`.
    ///
    /// # Errors
    ///
    /// [`SetUpError`] if every call would fail.
    pub async fn new(
        http: SharedHttpConnector,
        environment: &SdkConfig,
        target: SageMakerTarget,
        parameters: &InvokeParameters,
    ) -> Result<Self, SetUpError> {
        let SageMakerTarget {
            name,
            region,
            role,
            allow_http,
        } = target;
        let own = environment.region().map(ToString::to_string);
        let region = region.or(own).ok_or(SetUpError::NoRegion)?;
        let url = service_url::url(environment, &region).await?;
        let uri = format!("{url}/endpoints/{name}/invocations");
        let template = request_template::request(&Method::POST, &uri, parameters, &[])?;
        let scope = SigningScope {
            region: region.clone(),
            service: "sagemaker".to_owned(),
        };
        let auth = Auth::SigV4 {
            credentials: CachedCredentials::new(credentials::provider(environment, role.as_ref()).await),
            signer: Box::new(Signer::new(template, scope, INFERENCE_ID.as_str())),
        };
        let transport = Transport::new(http, PREDICTION_STATUSES, auth, None);
        if transport.is_unencrypted() && !allow_http {
            return Err(SetUpError::Unencrypted);
        }
        Ok(Self {
            transport,
            name,
            #[cfg(feature = "sdk-client")]
            region,
            #[cfg(feature = "sdk-client")]
            url,
        })
    }

    /// Returns whether calls leave this machine unencrypted.
    pub fn is_unencrypted(&self) -> bool {
        self.transport.is_unencrypted()
    }

    /// Prepares for the first event: fetches credentials and, if the service uses TLS, opens a connection for each of
    /// the `calls` of the first batch, up to 64. Lambda gives start-up more CPU time than an invocation. Errors are
    /// ignored here, since the first call reports them.
    pub async fn warm_up(&self, calls: usize) {
        self.transport.warm_up(calls.min(PRECONNECT_MAX)).await;
    }
}

impl Endpoint for SageMaker {
    async fn prepare(&self) -> Result<(), Fault> {
        self.transport.prepare().await.map_err(|error| error.fault())
    }

    async fn invoke(&self, call: Call<'_>) -> Result<Response, Fault> {
        let answer = self.transport.call(&call).await.map_err(|error| error.fault())?;
        if answer.is_prediction {
            return Ok(answer.into_response());
        }
        Err(ErrorResponse::read(&answer).fault(call.target_model.is_some()))
    }

    fn name(&self) -> &str {
        &self.name
    }
}
