//! How the services are reached: with this machine's credentials, or without any where a service is on this machine.

use std::error::Error;
use std::fmt;

use anyhow::{Context as _, Result};
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::ProvideCredentials as _;
use axum::http::Uri;

use super::letter::hash;
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

    /// What tells the service from that of another stage: its URL, region and account.
    ///
    /// # Errors
    ///
    /// If there are no credentials: then nothing can be put, and nobody knows where it would be.
    pub(super) async fn place(&self, service: &str) -> Result<Place> {
        Place::of(&self.config(service).await).await
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

/// Where a service is. A name in it means something else in another.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Place {
    url: String,
    region: String,
    account: String,
}

impl Place {
    async fn of(config: &SdkConfig) -> Result<Self> {
        let region = config.region();
        let region = region.context("no AWS region: set AWS_REGION or a profile that has one")?;
        let missing = "no AWS credentials: set AWS_PROFILE or log in";
        let provider = config.credentials_provider().context(missing)?;
        let credentials = provider.provide_credentials().await.context(missing)?;
        let account = match credentials.account_id() {
            Some(account) => account.as_str().to_owned(),
            None => hash(credentials.access_key_id().as_bytes()),
        };
        Ok(Self {
            url: config.endpoint_url().unwrap_or_default().to_owned(),
            region: region.to_string(),
            account,
        })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.url, self.region, self.account)
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

#[cfg(test)]
mod tests {
    use aws_credential_types::provider::SharedCredentialsProvider;

    use super::*;

    async fn place(region: &'static str, key: &str, account: Option<&str>) -> Place {
        let mut credentials = Credentials::builder().access_key_id(key).secret_access_key("secret");
        credentials.set_account_id(account.map(Into::into));
        let provider = SharedCredentialsProvider::new(credentials.provider_name("test").build());
        let config = SdkConfig::builder().region(Region::from_static(region));
        Place::of(&config.credentials_provider(provider).build()).await.unwrap()
    }

    #[tokio::test]
    async fn a_place_is_another_in_another_region_or_account() {
        let staging = place("eu-west-1", "ASIA1", Some("111111111111")).await;
        // A session's key changes, its account does not.
        assert_eq!(staging, place("eu-west-1", "ASIA2", Some("111111111111")).await);
        assert_ne!(staging, place("eu-west-1", "ASIA1", Some("222222222222")).await);
        assert_ne!(staging, place("us-east-1", "ASIA1", Some("111111111111")).await);
        let by_key = place("eu-west-1", "AKIA1", None).await;
        assert_ne!(by_key, place("eu-west-1", "AKIA2", None).await);
        assert!(!by_key.to_string().contains("AKIA1"), "{by_key}");
    }
}
