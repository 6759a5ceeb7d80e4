//! What every request of one endpoint is like: all but the body and what differs from call to call, and how it comes by
//! these.

use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::http::HttpError;
use aws_smithy_types::body::SdkBody;
use bytes::Bytes;

use super::signature::PerCallHeader;
use super::{Call, SetUpError};

/// What the function calls itself.
const USER_AGENT: &str = concat!("instream/", env!("CARGO_PKG_VERSION"));

/// What differs between calls, in the order of the names.
pub(super) const INFERENCE_ID: &str = "x-amzn-sagemaker-inference-id";
const TARGET_MODEL: &str = "x-amzn-sagemaker-target-model";

/// The parameters of `InvokeEndpoint` that are the same for every call, each a header:
/// <https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_runtime_InvokeEndpoint.html>. An endpoint behind another
/// URL gets the same ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvokeParameters {
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

/// A request to `uri` with all that is the same for every call, unsigned and without a body.
///
/// # Errors
///
/// [`SetUpError::InvalidRequest`] if there is no such URL, or a value cannot stand in a header.
pub(super) fn request(
    uri: &str,
    parameters: &InvokeParameters,
    extra_headers: &[(String, String)],
) -> Result<HttpRequest, SetUpError> {
    let mut request = HttpRequest::new(SdkBody::empty());
    // A query may be a secret.
    let shown = uri.split('?').next().unwrap_or_default();
    let invalid = |error: &dyn std::error::Error| SetUpError::InvalidRequest(format!("{shown:?}: {error}"));
    request.set_uri(uri.to_owned()).map_err(|error| invalid(&error))?;
    request.set_method("POST").map_err(|error| invalid(&error))?;
    if !["https://", "http://"].iter().any(|scheme| uri.starts_with(scheme)) {
        return Err(SetUpError::InvalidRequest(format!("{shown:?} is no URL of http or https")));
    }
    let extra_headers = extra_headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    for (name, value) in headers(parameters).chain(extra_headers) {
        let inserted = request.headers_mut().try_insert(name.to_owned(), value.to_owned());
        inserted.map_err(|error| invalid(&error))?;
    }
    Ok(request)
}

fn headers(parameters: &InvokeParameters) -> impl Iterator<Item = (&str, &str)> {
    let InvokeParameters {
        content_type,
        accept,
        custom_attributes,
        target_model,
        target_variant,
        target_container_hostname,
        inference_component_name,
    } = parameters;
    let always = [
        ("accept", accept.as_str()),
        ("content-type", content_type),
        ("user-agent", USER_AGENT),
    ];
    let optional = [
        ("x-amzn-sagemaker-custom-attributes", custom_attributes),
        ("x-amzn-sagemaker-inference-component", inference_component_name),
        ("x-amzn-sagemaker-target-container-hostname", target_container_hostname),
        (TARGET_MODEL, target_model),
        ("x-amzn-sagemaker-target-variant", target_variant),
    ];
    let optional = optional
        .into_iter()
        .filter_map(|(name, value)| Some((name, value.as_deref()?)));
    always.into_iter().chain(optional)
}

/// The headers that are a request's own.
pub(super) fn per_call_headers<'a>(call: &Call<'a>) -> Vec<PerCallHeader<'a>> {
    let mut headers = vec![(INFERENCE_ID, call.inference_id)];
    headers.extend(call.target_model.map(|model| (TARGET_MODEL, model)));
    headers
}

/// The same once more, of a request without a body.
pub(super) fn copy(request: &HttpRequest) -> HttpRequest {
    request.try_clone().expect("its body is empty")
}

/// The request with this `body` and these headers.
///
/// # Errors
///
/// [`HttpError`] if a value cannot stand in a header.
pub(super) fn with_body(
    mut request: HttpRequest,
    per_call: &[PerCallHeader<'_>],
    body: Bytes,
) -> Result<HttpRequest, HttpError> {
    let headers = request.headers_mut();
    for (name, value) in per_call {
        headers.try_insert(*name, (*value).to_owned())?;
    }
    // The HTTP client leaves it out where the body is empty, and a service may insist on it.
    headers.try_insert("content-length", body.len().to_string())?;
    *request.body_mut() = SdkBody::from(body);
    Ok(request)
}
