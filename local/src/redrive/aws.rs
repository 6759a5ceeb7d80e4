//! How the services are reached: with this machine's credentials, or without any where a service is on this machine.

use std::error::Error;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use axum::http::Uri;

use crate::environment::Settings;
use crate::kinesis::is_loopback;

/// Where the services are.
#[derive(Debug, Clone, Default)]
pub(super) struct Services {
    settings: Settings,
}

impl Services {
    pub(super) fn new(settings: Settings) -> Self {
        Self { settings }
    }

    /// The configuration for the service whose URL `AWS_ENDPOINT_URL_…` may name.
    pub(super) async fn config(&self, service: &str) -> SdkConfig {
        let own = self.settings.get(&format!("AWS_ENDPOINT_URL_{service}"));
        let url = own.or_else(|| self.settings.get("AWS_ENDPOINT_URL"));
        let config = aws_config::defaults(BehaviorVersion::latest());
        let config = match url.filter(|url| is_here(url)) {
            Some(url) => config
                .endpoint_url(url)
                .region(Region::from_static("us-east-1"))
                .credentials_provider(Credentials::new("local", "local", None, None, "local")),
            // The SDK reads the environment itself.
            None => config,
        };
        config.load().await
    }
}

fn is_here(url: &str) -> bool {
    let uri = url.parse::<Uri>().ok();
    uri.and_then(|uri| uri.host().map(is_loopback)).unwrap_or_default()
}

/// The error with its causes, without the answer's bytes: the SDK's own words are "service error" alone.
pub(super) fn in_words(error: &(dyn Error + 'static)) -> anyhow::Error {
    let causes = std::iter::successors(error.source(), |error| (*error).source());
    let mut words = vec![error.to_string()];
    words.extend(causes.map(ToString::to_string));
    words.dedup();
    anyhow::anyhow!("{}", words.join(": "))
}
