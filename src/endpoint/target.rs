//! The endpoint that the settings select.

use aws_config::SdkConfig;
use aws_smithy_runtime_api::client::http::SharedHttpConnector;

use super::http::{Http, HttpTarget};
use super::request_template::InvokeParameters;
#[cfg(feature = "sdk-client")]
use super::sagemaker::sdk::SdkSageMaker;
use super::sagemaker::{SageMaker, SageMakerTarget};
use super::{Call, Endpoint, Response, SetUpError};
use crate::outcome::Fault;

/// The endpoint to call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A `SageMaker` endpoint, identified by its name.
    SageMaker(SageMakerTarget),
    /// Any other endpoint, identified by its URL.
    Http(Box<HttpTarget>),
}

/// An endpoint of either kind.
#[derive(Debug)]
#[cfg_attr(
    feature = "sdk-client",
    expect(clippy::large_enum_variant, reason = "a process has one endpoint")
)]
pub enum AnyEndpoint {
    /// A `SageMaker` endpoint.
    #[cfg(not(feature = "sdk-client"))]
    SageMaker(SageMaker),
    /// A `SageMaker` endpoint, called with the AWS SDK.
    #[cfg(feature = "sdk-client")]
    SageMaker(SdkSageMaker),
    /// An endpoint behind a URL.
    Http(Http),
}

impl AnyEndpoint {
    /// Creates an endpoint that makes its calls over `http`, with the region and credentials of `environment`.
    ///
    /// # Errors
    ///
    /// [`SetUpError`] if every call would fail.
    pub async fn new(
        http: SharedHttpConnector,
        environment: &SdkConfig,
        target: Target,
        parameters: &InvokeParameters,
    ) -> Result<Self, SetUpError> {
        Ok(match target {
            Target::SageMaker(target) => {
                let direct = SageMaker::new(http, environment, target, parameters).await?;
                #[cfg(feature = "sdk-client")]
                let direct = SdkSageMaker::new(direct, parameters);
                Self::SageMaker(direct)
            }
            Target::Http(target) => Self::Http(Http::new(http, environment, *target, parameters).await?),
        })
    }

    /// Returns whether calls leave this machine unencrypted.
    pub fn is_unencrypted(&self) -> bool {
        match self {
            Self::SageMaker(endpoint) => endpoint.is_unencrypted(),
            Self::Http(endpoint) => endpoint.is_unencrypted(),
        }
    }

    /// Prepares for the first event, whose batch makes up to `calls` concurrent calls.
    pub async fn warm_up(&self, calls: usize) {
        match self {
            Self::SageMaker(endpoint) => endpoint.warm_up(calls).await,
            Self::Http(endpoint) => endpoint.warm_up().await,
        }
    }
}

impl Endpoint for AnyEndpoint {
    async fn prepare(&self) -> Result<(), Fault> {
        match self {
            Self::SageMaker(endpoint) => endpoint.prepare().await,
            Self::Http(endpoint) => endpoint.prepare().await,
        }
    }

    async fn invoke(&self, call: Call<'_>) -> Result<Response, Fault> {
        match self {
            Self::SageMaker(endpoint) => endpoint.invoke(call).await,
            Self::Http(endpoint) => endpoint.invoke(call).await,
        }
    }

    fn name(&self) -> &str {
        match self {
            Self::SageMaker(endpoint) => endpoint.name(),
            Self::Http(endpoint) => endpoint.name(),
        }
    }
}
