//! The endpoint that the settings name.

use aws_config::SdkConfig;
use aws_smithy_runtime_api::client::http::SharedHttpConnector;

use super::http::{Http, Located};
use super::request_template::InvokeParameters;
use super::sagemaker::{Named, SageMaker};
use super::{Call, Endpoint, Response, SetUpError};
use crate::outcome::Fault;

/// Which endpoint is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A `SageMaker` endpoint, by its name.
    SageMaker(Named),
    /// Any endpoint, by its URL.
    Http(Located),
}

/// An endpoint of either kind.
#[derive(Debug)]
pub enum Remote {
    /// A `SageMaker` endpoint.
    SageMaker(SageMaker),
    /// Any endpoint behind a URL.
    Http(Http),
}

impl Remote {
    /// Sets calls over `http` up from what the SDK found in the environment.
    ///
    /// # Errors
    ///
    /// [`SetUpError`] where every call would fail.
    pub async fn new(
        http: SharedHttpConnector,
        environment: &SdkConfig,
        target: Target,
        parameters: &InvokeParameters,
    ) -> Result<Self, SetUpError> {
        Ok(match target {
            Target::SageMaker(named) => Self::SageMaker(SageMaker::new(http, environment, named, parameters).await?),
            Target::Http(located) => Self::Http(Http::new(http, environment, located, parameters).await?),
        })
    }

    /// Gets ready before the first event comes, whose batch may make so many `calls` at once.
    pub async fn warm_up(&self, calls: usize) {
        match self {
            Self::SageMaker(endpoint) => endpoint.warm_up(calls).await,
            Self::Http(endpoint) => endpoint.warm_up().await,
        }
    }
}

impl Endpoint for Remote {
    async fn ready(&self) -> Result<(), Fault> {
        match self {
            Self::SageMaker(endpoint) => endpoint.ready().await,
            Self::Http(endpoint) => endpoint.ready().await,
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
