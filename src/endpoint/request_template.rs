//! The request template of an endpoint: its URI and constant headers. Also adds the body and the per-call headers.

use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::http::HttpError;
use aws_smithy_types::body::SdkBody;
use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{HeaderName, Method};

use super::{Call, SetUpError};

/// The function's name and version.
const USER_AGENT: &str = concat!("instream/", env!("CARGO_PKG_VERSION"));

/// The per-call headers, sorted by name.
pub(super) static INFERENCE_ID: HeaderName = HeaderName::from_static("x-amzn-sagemaker-inference-id");
static TARGET_MODEL: HeaderName = HeaderName::from_static("x-amzn-sagemaker-target-model");

/// The name and value of a header that differs between requests.
pub(super) type PerCallHeader<'a> = (&'static HeaderName, &'a str);

/// The parameters of `InvokeEndpoint` that are the same for every call. Each is sent as a header:
/// <https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_runtime_InvokeEndpoint.html>. An endpoint behind a
/// URL receives the same headers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvokeParameters {
    /// The media type of the request bodies.
    pub content_type: String,
    /// The media type that the response should have.
    pub accept: String,
    /// A value that is passed to the container unchanged, at most 1,024 characters.
    pub custom_attributes: Option<String>,
    /// The model of a multi-model endpoint.
    pub target_model: Option<String>,
    /// The production variant to call. If unset, the service selects one by weight.
    pub target_variant: Option<String>,
    /// The container of a multi-container endpoint.
    pub target_container_hostname: Option<String>,
    /// The inference component to call.
    pub inference_component_name: Option<String>,
}

/// Creates the request template for `method` and `uri`: unsigned, without a body and without per-call headers.
///
/// # Errors
///
/// [`SetUpError::InvalidRequest`] if the URL or a header value is invalid.
pub(super) fn request(
    method: &Method,
    uri: &str,
    parameters: &InvokeParameters,
    extra_headers: &[(String, String)],
) -> Result<HttpRequest, SetUpError> {
    let mut request = HttpRequest::new(SdkBody::empty());
    // The query may contain a secret.
    let shown = uri.split('?').next().unwrap_or_default();
    let invalid = |error: &dyn std::error::Error| SetUpError::InvalidRequest(format!("{shown:?}: {error}"));
    request.set_uri(uri.to_owned()).map_err(|error| invalid(&error))?;
    request.set_method(method.as_str()).map_err(|error| invalid(&error))?;
    if !["https://", "http://"].iter().any(|scheme| uri.starts_with(scheme)) {
        return Err(SetUpError::InvalidRequest(format!(
            "{shown:?} is not an http or https URL"
        )));
    }
    let extra_headers = extra_headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()));
    let is_about_body = |name: &str| name == "content-type";
    let headers = headers(parameters).filter(|(name, _)| *method != Method::GET || !is_about_body(name));
    for (name, value) in headers.chain(extra_headers) {
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
        (TARGET_MODEL.as_str(), target_model),
        ("x-amzn-sagemaker-target-variant", target_variant),
    ];
    let optional = optional
        .into_iter()
        .filter_map(|(name, value)| Some((name, value.as_deref()?)));
    always.into_iter().chain(optional)
}

/// Returns the headers that differ between calls, sorted by name.
pub(super) fn per_call_headers<'a>(call: &Call<'a>) -> Vec<PerCallHeader<'a>> {
    let mut headers = vec![(&INFERENCE_ID, call.inference_id)];
    headers.extend(call.target_model.map(|model| (&TARGET_MODEL, model)));
    headers
}

/// Copies a request that has no body.
pub(super) fn copy(request: &HttpRequest) -> HttpRequest {
    request.try_clone().expect("its body is empty")
}

/// Replaces the path and query of a request's URI.
///
/// # Errors
///
/// [`HttpError`] if they are invalid.
pub(super) fn set_path_and_query(request: &mut HttpRequest, path_and_query: &str) -> Result<(), HttpError> {
    let uri = request.uri();
    let host = uri.find("://").map_or(0, |index| index + 3);
    let origin = uri[host..].find(['/', '?']).map_or(uri, |length| &uri[..host + length]);
    request.set_uri(format!("{origin}{path_and_query}"))
}

/// Adds this `body` and the headers `per_call` to a request.
///
/// # Errors
///
/// [`HttpError`] if a header value is invalid.
pub(super) fn with_body(
    mut request: HttpRequest,
    per_call: &[PerCallHeader<'_>],
    body: Bytes,
) -> Result<HttpRequest, HttpError> {
    let is_get = request.method() == Method::GET.as_str();
    let headers = request.headers_mut();
    for (name, value) in per_call {
        headers.try_insert((*name).clone(), (*value).to_owned())?;
    }
    if !is_get {
        // The HTTP client omits this header if the body is empty, but a service may require it.
        headers.try_insert(CONTENT_LENGTH, body.len().to_string())?;
    }
    *request.body_mut() = SdkBody::from(body);
    Ok(request)
}
