//! Endpoints, as the function is told of them.

use std::str::FromStr;

use crate::gateway;

/// An endpoint of the user's, instead of one on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OwnEndpoint {
    /// A `SageMaker` endpoint, by its name.
    Name(String),
    /// Any, by its URL.
    Url(String),
}

impl FromStr for OwnEndpoint {
    type Err = &'static str;

    /// It is a URL if it begins with https:// or http://, else it must look like a name.
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

/// The variables that tell a function where all is that it calls for its predictions, of an endpoint on this machine at
/// `url`.
pub fn places(url: &str, is_gateway: bool) -> Vec<(&'static str, String)> {
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

/// What holds for an endpoint on this machine unless it is set.
pub fn defaults(is_gateway: bool) -> &'static [(&'static str, &'static str)] {
    if is_gateway {
        &[
            ("ENDPOINT_AUTH", "sigv4"),
            ("ENDPOINT_REGION", gateway::REGION),
            ("ENDPOINT_SERVICE", gateway::SERVICE),
            ("ENDPOINT_API_KEY", "secretsmanager:gateway-key"),
        ]
    } else {
        // Any name would do.
        &[("ENDPOINT_NAME", "fraud-detector")]
    }
}
