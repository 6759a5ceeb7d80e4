//! What every request is like: where it goes, by the AWS SDK's rules, and what does not differ between calls.

use aws_config::SdkConfig;
use aws_sdk_sagemakerruntime::config::endpoint::{DefaultResolver, Params, ResolveEndpoint as _};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_types::body::SdkBody;
use aws_types::service_config::ServiceConfigKey;

use super::{InvokeParameters, SetUpError, TARGET_MODEL};

/// What the function calls itself.
const USER_AGENT: &str = concat!("instream/", env!("CARGO_PKG_VERSION"));

/// The SDK's rule, too.
const NOT_BOTH: &str = "AWS_ENDPOINT_URL names an endpoint that FIPS or dual stack are not for: unset it, or them";

/// A request with all that is the same for every call, unsigned and without a body:
/// <https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_runtime_InvokeEndpoint.html>.
///
/// # Errors
///
/// [`SetUpError::NoRequest`] if there is no such URL, or a value cannot stand in a header.
pub(super) async fn request(environment: &SdkConfig, parameters: &InvokeParameters) -> Result<HttpRequest, SetUpError> {
    let is_special = environment.use_fips() == Some(true) || environment.use_dual_stack() == Some(true);
    let url = match overridden(environment) {
        Some(_) if is_special => return Err(SetUpError::NoRequest(NOT_BOTH.to_owned())),
        Some(url) => url,
        None => by_region(environment).await?,
    };
    let name = &parameters.endpoint_name;
    let uri = format!("{}/endpoints/{name}/invocations", url.trim_end_matches('/'));
    let mut request = HttpRequest::new(SdkBody::empty());
    let no_request = |error: &dyn std::error::Error| SetUpError::NoRequest(format!("{uri:?}: {error}"));
    request.set_uri(uri.clone()).map_err(|error| no_request(&error))?;
    request.set_method("POST").map_err(|error| no_request(&error))?;
    if !["https://", "http://"].iter().any(|scheme| uri.starts_with(scheme)) {
        return Err(SetUpError::NoRequest(format!("{uri:?} is no URL of http or https")));
    }
    for (name, value) in headers(parameters) {
        let inserted = request.headers_mut().try_insert(name, value.to_owned());
        inserted.map_err(|error| no_request(&error))?;
    }
    Ok(request)
}

fn headers(parameters: &InvokeParameters) -> impl Iterator<Item = (&'static str, &str)> {
    let InvokeParameters {
        endpoint_name: _,
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
    let where_set = [
        ("x-amzn-sagemaker-custom-attributes", custom_attributes),
        ("x-amzn-sagemaker-inference-component", inference_component_name),
        ("x-amzn-sagemaker-target-container-hostname", target_container_hostname),
        (TARGET_MODEL, target_model),
        ("x-amzn-sagemaker-target-variant", target_variant),
    ];
    let where_set = where_set
        .into_iter()
        .filter_map(|(name, value)| Some((name, value.as_deref()?)));
    always.into_iter().chain(where_set)
}

/// The URL that the environment names for the service, or for all of them.
fn overridden(environment: &SdkConfig) -> Option<String> {
    let key = ServiceConfigKey::builder().service_id("SageMaker Runtime");
    let key = key.env("AWS_ENDPOINT_URL").profile("endpoint_url").build().ok()?;
    let own = environment.service_config().and_then(|config| config.load_config(key));
    own.or_else(|| environment.endpoint_url().map(ToOwned::to_owned))
}

/// The service's own URL, by region, partition, FIPS and dual stack.
async fn by_region(environment: &SdkConfig) -> Result<String, SetUpError> {
    let no_url = |error: &dyn std::error::Error| SetUpError::NoRequest(error.to_string());
    let params = Params::builder()
        .set_region(environment.region().map(ToString::to_string))
        .set_use_fips(environment.use_fips())
        .set_use_dual_stack(environment.use_dual_stack())
        .build()
        .map_err(|error| no_url(&error))?;
    let endpoint = DefaultResolver::new().resolve_endpoint(&params).await;
    Ok(endpoint.map_err(|error| no_url(&*error))?.url().to_owned())
}
