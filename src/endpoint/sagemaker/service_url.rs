//! Determines the URL of `SageMaker` Runtime by the AWS SDK's rules.

use aws_config::SdkConfig;
use aws_sdk_sagemakerruntime::config::endpoint::{DefaultResolver, Params, ResolveEndpoint as _};
use aws_types::service_config::ServiceConfigKey;

use super::SetUpError;

/// The SDK rejects this combination as well.
const ENDPOINT_URL_CONFLICT: &str = "AWS_ENDPOINT_URL cannot be combined with FIPS or dual stack: unset one of them";

/// Returns the URL of the service, without a trailing slash.
///
/// # Errors
///
/// [`SetUpError::InvalidRequest`] if there is no URL for the region and settings.
pub(super) async fn url(environment: &SdkConfig, region: &str) -> Result<String, SetUpError> {
    let has_fips_or_dual_stack = environment.use_fips() == Some(true) || environment.use_dual_stack() == Some(true);
    let url = match url_override(environment) {
        Some(_) if has_fips_or_dual_stack => return Err(SetUpError::InvalidRequest(ENDPOINT_URL_CONFLICT.to_owned())),
        Some(url) => url,
        None => regional_url(environment, region).await?,
    };
    Ok(url.trim_end_matches('/').to_owned())
}

/// Returns the URL that the environment sets for this service or for all services.
fn url_override(environment: &SdkConfig) -> Option<String> {
    let key = ServiceConfigKey::builder().service_id("SageMaker Runtime");
    let key = key.env("AWS_ENDPOINT_URL").profile("endpoint_url").build().ok()?;
    let own = environment.service_config().and_then(|config| config.load_config(key));
    own.or_else(|| environment.endpoint_url().map(ToOwned::to_owned))
}

/// Returns the service's own URL for the region, its partition, FIPS and dual stack.
async fn regional_url(environment: &SdkConfig, region: &str) -> Result<String, SetUpError> {
    let no_url = |error: &dyn std::error::Error| SetUpError::InvalidRequest(error.to_string());
    let params = Params::builder()
        .region(region)
        .set_use_fips(environment.use_fips())
        .set_use_dual_stack(environment.use_dual_stack())
        .build()
        .map_err(|error| no_url(&error))?;
    let endpoint = DefaultResolver::new().resolve_endpoint(&params).await;
    Ok(endpoint.map_err(|error| no_url(&*error))?.url().to_owned())
}
