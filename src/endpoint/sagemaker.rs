//! A `SageMaker` real-time endpoint, called with `InvokeEndpoint` through the AWS SDK.
//!
//! The SDK's own retries are off: an attempt of ours must see the permit, the timeout and what comes after it.

use aws_sdk_sagemakerruntime::Client;
use aws_sdk_sagemakerruntime::config::retry::RetryConfig;
use aws_sdk_sagemakerruntime::config::{self, StalledStreamProtectionConfig};
use aws_sdk_sagemakerruntime::error::{ProvideErrorMetadata as _, SdkError};
use aws_sdk_sagemakerruntime::operation::invoke_endpoint::InvokeEndpointError;
use aws_sdk_sagemakerruntime::primitives::Blob;
use bytes::Bytes;

use super::{Endpoint, Fault, FaultKind, Response};
use crate::request::InferenceRequest;

/// How much of a message a fault quotes, in characters.
const MESSAGE_MAX: usize = 300;

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
    client: Client,
    parameters: InvokeParameters,
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
            .retry_config(RetryConfig::disabled())
            // The call timeout covers a stalled answer; the SDK's guess at stalls has fired falsely.
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .build();
        Ok(Self {
            client: Client::from_conf(config),
            parameters,
        })
    }
}

impl Endpoint for SageMaker {
    async fn invoke(&self, request: &InferenceRequest) -> Result<Response, Fault> {
        let parameters = &self.parameters;
        let answer = self
            .client
            .invoke_endpoint()
            .endpoint_name(&parameters.endpoint_name)
            .content_type(&parameters.content_type)
            .accept(&parameters.accept)
            .set_custom_attributes(parameters.custom_attributes.clone())
            .set_target_model(parameters.target_model.clone())
            .set_target_variant(parameters.target_variant.clone())
            .set_target_container_hostname(parameters.target_container_hostname.clone())
            .set_inference_component_name(parameters.inference_component_name.clone())
            .inference_id(&request.inference_id)
            .body(Blob::new(request.body.as_ref()))
            .send()
            .await
            .map_err(|error| fault(&error))?;
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

/// The one place where the SDK's non-exhaustive errors become a [`Fault`].
fn fault(error: &SdkError<InvokeEndpointError>) -> Fault {
    match error {
        SdkError::ServiceError(answer) => service_fault(answer.err()),
        SdkError::ConstructionFailure(_) => Fault::new(
            FaultKind::Misconfigured,
            "the SDK could not build the request: check the AWS settings",
        ),
        SdkError::TimeoutError(_) => Fault::new(FaultKind::Unreachable, "connecting took too long"),
        // Finding credentials and signing belong to this phase, and are no connection's fault.
        SdkError::DispatchFailure(failure) if failure.is_other() && failure.as_other().is_none() => Fault::new(
            FaultKind::Misconfigured,
            format!("the call could not be signed and sent: {}", causes(error)),
        ),
        SdkError::DispatchFailure(_) => Fault::new(
            FaultKind::Unreachable,
            format!("the connection failed: {}", causes(error)),
        ),
        SdkError::ResponseError(_) | _ => Fault::new(FaultKind::Unreachable, "the answer could not be read"),
    }
}

/// The error's causes, from the outermost on, in one line.
fn causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    shorten(&causes.map(ToString::to_string).collect::<Vec<_>>().join(": "))
}

fn shorten(message: &str) -> String {
    message.chars().take(MESSAGE_MAX).collect()
}

fn service_fault(error: &InvokeEndpointError) -> Fault {
    if let InvokeEndpointError::ModelError(model) = error {
        let status = model
            .original_status_code()
            .and_then(|status| u16::try_from(status).ok());
        return Fault::from_container(status.unwrap_or_default(), model.original_message());
    }
    let code = error.code().unwrap_or("an error without a code");
    let message = error.message().unwrap_or_default();
    Fault::new(
        service_fault_kind(code, message),
        format!("SageMaker answered {code}: {}", shorten(message)),
    )
}

/// By error code, since throttling and denied access are in no service model. A validation error is never taken for
/// the record's fault here: most are about the endpoint, and a record must not be given up on a guess.
fn service_fault_kind(code: &str, message: &str) -> FaultKind {
    match code {
        "ThrottlingException"
        | "Throttling"
        | "ThrottledException"
        | "TooManyRequestsException"
        | "ModelNotReadyException"
        | "ServiceUnavailable" => FaultKind::Overload,
        "InternalFailure" | "InternalServerError" | "InternalDependencyException" => FaultKind::Unreachable,
        "ValidationError" | "ValidationException" if message.contains("no capacity") => FaultKind::Overload,
        _ => FaultKind::Misconfigured,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn service_errors_are_told_apart_by_what_to_do_next() {
        for (code, message, kind) in [
            ("ThrottlingException", "", FaultKind::Overload),
            ("ModelNotReadyException", "", FaultKind::Overload),
            ("ServiceUnavailable", "", FaultKind::Overload),
            (
                "ValidationError",
                "Inference Component has no capacity to process this request",
                FaultKind::Overload,
            ),
            ("InternalFailure", "", FaultKind::Unreachable),
            ("InternalDependencyException", "", FaultKind::Unreachable),
            (
                "ValidationError",
                "Endpoint fraud of account 123 not found.",
                FaultKind::Misconfigured,
            ),
            ("AccessDeniedException", "", FaultKind::Misconfigured),
            ("ExpiredTokenException", "", FaultKind::Misconfigured),
        ] {
            assert_eq!(service_fault_kind(code, message), kind, "{code} {message}");
        }
    }
}
