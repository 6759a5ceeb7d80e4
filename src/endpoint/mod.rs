//! The seam to whatever answers an inference request, and the faults that any such thing can have.
//!
//! A fault is named by what to do next. The service's own error types grow without notice, so each implementation of
//! [`Endpoint`] maps them once into [`FaultKind`], and everything behind it is exhaustive.

use std::future::Future;

use bytes::Bytes;

use crate::outcome::Fault;

mod api_key;
pub mod aws_error;
mod call_error;
pub mod credentials;
pub mod http;
pub mod http_client;
mod request_template;
pub mod sagemaker;
pub mod sdk_config;
pub mod signature;
mod single_flight;
pub mod target;
pub mod trace;
mod transport;
pub mod url;

pub use api_key::KeySettings;
pub use request_template::InvokeParameters;

/// Something that answers inference requests: a `SageMaker` endpoint, one behind a URL, or a script in a test.
pub trait Endpoint: Send + Sync + 'static {
    /// Waits for what a call needs and is not the endpoint's, such as credentials: the time for a call begins after it.
    fn ready(&self) -> impl Future<Output = Result<(), Fault>> + Send {
        std::future::ready(Ok(()))
    }

    /// Makes one call and waits for its answer, for as long as that takes: the caller holds the timeout, and cancels
    /// the call by dropping the future. What says nothing of the endpoint, a connection that died in the pool or
    /// credentials that have just expired, is settled in here with one more call at once.
    fn invoke(&self, call: Call<'_>) -> impl Future<Output = Result<Response, Fault>> + Send;

    /// The endpoint's name, as it stands in the envelope.
    fn name(&self) -> &str;
}

/// The endpoint cannot be called at all.
#[derive(Debug, thiserror::Error)]
pub enum SetUpError {
    /// The environment names no AWS region.
    #[error("no AWS region: set AWS_REGION, as Lambda does, or ENDPOINT_REGION to the endpoint's")]
    NoRegion,
    /// There is no URL, or no request.
    #[error("no request can be made of the AWS settings: {0}")]
    NoRequest(String),
}

/// The parts of a call that differ from call to call.
#[derive(Debug, Clone)]
pub struct Call<'a> {
    /// The request body.
    pub body: Bytes,
    /// `InferenceId`, 1–64 printable ASCII characters. It is the same in every delivery of a record.
    pub inference_id: &'a str,
    /// The model of a multi-model endpoint, if the record names it.
    pub target_model: Option<&'a str>,
}

/// What an endpoint answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The body, as the model wrote it.
    pub body: Bytes,
    /// The body's media type, where the endpoint told one.
    pub content_type: Option<String>,
    /// The production variant that answered, where the endpoint told one.
    pub variant: Option<String>,
}
