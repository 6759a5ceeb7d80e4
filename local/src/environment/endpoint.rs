//! The environment variables that describe the endpoint to the function.

use std::str::FromStr;

use super::Settings;
use crate::gateway;

/// An endpoint of the user, in place of one on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UserEndpoint {
    /// The name of a `SageMaker` endpoint.
    Name(String),
    /// The URL of any endpoint.
    Url(String),
}

impl FromStr for UserEndpoint {
    type Err = &'static str;

    /// Parses a URL if the text starts with https:// or http://, otherwise a name.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_name = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if text.starts_with("https://") || text.starts_with("http://") {
            Ok(Self::Url(text.to_owned()))
        } else if is_name {
            Ok(Self::Name(text.to_owned()))
        } else {
            Err("an endpoint is a name of letters, digits and hyphens, or a URL that begins with https:// or http://")
        }
    }
}

/// Returns the variables with the URLs of an endpoint on this machine at `url`, and of the services that a call to it
/// needs.
pub fn endpoint_variables(url: &str, is_gateway: bool) -> Vec<(&'static str, String)> {
    if is_gateway {
        vec![
            ("ENDPOINT_URL", format!("{url}{}", gateway::PATH)),
            ("AWS_ENDPOINT_URL_STS", url.to_owned()),
            ("AWS_ENDPOINT_URL_SECRETS_MANAGER", url.to_owned()),
        ]
    } else {
        vec![("AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME", url.to_owned())]
    }
}

/// Returns the path and query of `ENDPOINT_URL`, if it has them.
pub(super) fn path_and_query(settings: &Settings) -> Option<String> {
    let (_, rest) = settings.get("ENDPOINT_URL")?.trim().split_once("://")?;
    Some(rest[rest.find(['/', '?'])?..].to_owned())
}

/// Returns the default settings for an endpoint on this machine.
pub fn default_settings(is_gateway: bool) -> &'static [(&'static str, &'static str)] {
    if is_gateway {
        &[
            ("ENDPOINT_AUTH", "sigv4"),
            ("ENDPOINT_REGION", gateway::REGION),
            ("ENDPOINT_SERVICE", gateway::SERVICE),
            ("ENDPOINT_API_KEY", "secretsmanager:gateway-key"),
        ]
    } else {
        // The endpoint accepts any name.
        &[("ENDPOINT_NAME", "fraud-detector")]
    }
}
