//! A `SageMaker` real-time endpoint, called with `InvokeEndpoint`.
//!
//! A call through the AWS SDK's client takes almost four times the instructions of one that is signed and sent here, over the
//! same HTTP client; where the service is, the SDK's rules still say. An attempt sees the permit, the timeout and what
//! comes after it. Only what says nothing of the endpoint is called once more at once, as part of the same attempt.

use aws_config::SdkConfig;
use aws_smithy_runtime_api::client::http::SharedHttpConnector;

use super::credentials::{self, CachedCredentials, Role};
use super::request_template::{self, INFERENCE_ID, InvokeParameters};
use super::signature::{SigningScope, Signer};
use super::transport::{Auth, Transport};
use super::{Call, Endpoint, Response, SetUpError};
use crate::outcome::Fault;

pub(super) mod fault;
mod service_url;

use fault::ErrorResponse;

/// Connections that are opened before the first event, at most.
const PRECONNECT_MAX: usize = 64;

/// Which endpoint is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SageMakerTarget {
    /// Its name, 1 to 63 characters.
    pub name: String,
    /// Its region, where that is not the function's.
    pub region: Option<String>,
    /// The role that calls are made as, instead of the function's own.
    pub role: Option<Role>,
}

/// The endpoint.
#[derive(Debug)]
pub struct SageMaker {
    transport: Transport,
    name: String,
}

impl SageMaker {
    /// Sets calls over `http` up from what the SDK found in the environment: region, credentials, an endpoint override.
    ///
    /// # Errors
    ///
    /// [`SetUpError`] where every call would fail.
    pub async fn new(
        http: SharedHttpConnector,
        environment: &SdkConfig,
        target: SageMakerTarget,
        parameters: &InvokeParameters,
    ) -> Result<Self, SetUpError> {
        let SageMakerTarget { name, region, role } = target;
        let own = environment.region().map(ToString::to_string);
        let region = region.or(own).ok_or(SetUpError::NoRegion)?;
        let url = service_url::url(environment, &region).await?;
        let template = request_template::request(&format!("{url}/endpoints/{name}/invocations"), parameters, &[])?;
        let service = "sagemaker".to_owned();
        let auth = Auth::SigV4 {
            credentials: CachedCredentials::new(credentials::provider(environment, role.as_ref()).await),
            signer: Box::new(Signer::new(template, SigningScope { region, service }, INFERENCE_ID)),
        };
        Ok(Self {
            transport: Transport::new(http, auth, None),
            name,
        })
    }

    /// Gets ready before the first event comes: fetches credentials and, if the service is behind TLS, opens connections,
    /// up to a number that the `calls` of the first batch then need not wait for, and pay for, on the little time on
    /// processors that an invocation has. Lambda gives a start more of it. What failed is told by the first call.
    pub async fn warm_up(&self, calls: usize) {
        self.transport.warm_up(calls.min(PRECONNECT_MAX)).await;
    }
}

impl Endpoint for SageMaker {
    async fn prepare(&self) -> Result<(), Fault> {
        self.transport.prepare().await.map_err(|error| error.fault())
    }

    async fn invoke(&self, call: Call<'_>) -> Result<Response, Fault> {
        let answer = self
            .transport
            .send_with_refresh(&request_template::per_call_headers(&call), &call.body)
            .await;
        let answer = answer.map_err(|error| error.fault())?;
        if answer.is_success() {
            return Ok(answer.into_response());
        }
        Err(ErrorResponse::read(&answer).fault(call.target_model.is_some()))
    }

    fn name(&self) -> &str {
        &self.name
    }
}
