//! Calls to the inference endpoint: a [`Call`] enters, and a [`Response`] or a [`Fault`] leaves.
//!
//! A service adds error types without notice. Each implementation of [`Endpoint`] therefore maps them once into a
//! [`FaultKind`](crate::outcome::FaultKind), which is named by the caller's next action. All other code matches
//! exhaustively. Never limits concurrency, never waits for a backoff and never interprets a prediction.

use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;

use crate::outcome::{AnswerReservation, Fault};

mod api_key;
mod aws_code;
pub mod aws_error;
mod call_error;
mod container;
pub mod credentials;
pub mod host_lookup;
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

/// An inference endpoint: a `SageMaker` endpoint, an endpoint behind a URL, or a scripted endpoint in a test.
pub trait Endpoint: Send + Sync + 'static {
    /// Obtains what a call needs from other services: credentials, the API key, and the address of the host if its last
    /// lookup failed. Precedes the permit and the call timeout.
    /// After a transient fault, the caller tries again until its deadline.
    fn prepare(&self) -> impl Future<Output = Result<(), Fault>> + Send {
        std::future::ready(Ok(()))
    }

    /// Makes one call and waits for the response without a timeout. The caller cancels the call by dropping the future.
    /// After the loss of a pooled connection, the call is repeated immediately. If the credentials or the API key are
    /// refused, or the lookup of the host fails, the fault is
    /// [`Unprepared`](crate::outcome::LoadSignal::Unprepared), and the next preparation repeats the fetch or the
    /// lookup.
    fn invoke(&self, call: Call<'_>) -> impl Future<Output = Result<Response, Fault>> + Send;

    /// Returns the endpoint's name, as the envelope shows it.
    fn name(&self) -> &str;
}

/// The endpoint cannot be called at all.
#[derive(Debug, thiserror::Error)]
pub enum SetUpError {
    /// The environment names no AWS region.
    #[error("no AWS region: set AWS_REGION, as Lambda does, or ENDPOINT_REGION to the endpoint's region")]
    NoRegion,
    /// Calls would leave this machine unencrypted, and the settings do not allow it.
    #[error(
        "AWS_ENDPOINT_URL, or the profile's endpoint_url, would send every record unencrypted; allowed: https, http to \
         this machine, or ENDPOINT_ALLOW_HTTP=1 if the network is trusted"
    )]
    Unencrypted,
    /// No request can be built from the settings: there is no valid URL, or a header value is invalid.
    #[error("no request can be built from the AWS settings: {0}")]
    InvalidRequest(String),
}

/// The parts of a call that differ from call to call.
#[derive(Debug, Clone)]
pub struct Call<'a> {
    /// The request body.
    pub body: Bytes,
    /// The `InferenceId`, 1 to 64 printable ASCII characters. It is the same in every delivery of a record.
    pub inference_id: &'a str,
    /// The model of a multi-model endpoint, if the record names it.
    pub target_model: Option<&'a str>,
    /// The path and query of the URL, percent-encoded, if they hold values of the record.
    pub path_and_query: Option<&'a str>,
    /// The memory for the answer. An endpoint that reads a body in pieces notes their sizes here before it keeps them.
    /// If there is no room, it gives the call up, and the fault is [`NoRoom`](crate::outcome::LoadSignal::NoRoom).
    pub memory: Option<&'a AnswerReservation>,
}

/// A successful response of an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The body, as the model wrote it.
    pub body: Bytes,
    /// The body's media type, if the endpoint sent one.
    pub content_type: Option<String>,
    /// The production variant that answered, if the endpoint sent its name.
    pub variant: Option<Arc<str>>,
    /// The value of `X-Amzn-SageMaker-Custom-Attributes`, if the model sent one: 1 to 1,024 characters.
    pub custom_attributes: Option<String>,
}
