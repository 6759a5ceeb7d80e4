//! The configuration of AWS clients: with this machine's credentials, or with placeholders for services on loopback.

use std::error::Error;
use std::fmt;

use anyhow::{Context as _, Result};
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::ProvideCredentials as _;
use http::Uri;
use instream_local::environment::Settings;
use instream_local::kinesis::is_loopback;

use super::dead_letter::sha256_hex;

/// The AWS services that the run calls.
#[derive(Debug, Clone, Default)]
pub(super) struct Services {
    settings: Settings,
}

impl Services {
    pub(super) fn new(settings: Settings) -> Self {
        Self { settings }
    }

    /// Returns the location of a service, which differs between accounts, regions and local services.
    ///
    /// # Errors
    ///
    /// If there are no credentials or no region: without them, nothing can be sent and the account is unknown.
    pub(super) async fn location(&self, service: &str) -> Result<ServiceLocation> {
        ServiceLocation::of(&self.config(service).await).await
    }

    /// Returns the client configuration of a service. `AWS_ENDPOINT_URL_…` may name its URL.
    pub(super) async fn config(&self, service: &str) -> SdkConfig {
        let own = self.settings.get(&format!("AWS_ENDPOINT_URL_{service}"));
        let url = own.or_else(|| self.settings.get("AWS_ENDPOINT_URL"));
        let config = aws_config::defaults(BehaviorVersion::latest());
        let config = match url.filter(|url| is_on_loopback(url)) {
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

/// The location of a service. The same name, such as that of a stream, means another resource at another location.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct ServiceLocation {
    url: String,
    region: String,
    account: String,
}

impl ServiceLocation {
    async fn of(config: &SdkConfig) -> Result<Self> {
        let region = config.region();
        let region = region.context("no AWS region: set AWS_REGION or a profile that has one")?;
        let missing = "no AWS credentials: set AWS_PROFILE or log in";
        let provider = config.credentials_provider().context(missing)?;
        let credentials = provider.provide_credentials().await.context(missing)?;
        let account = match credentials.account_id() {
            Some(account) => account.as_str().to_owned(),
            None => sha256_hex(credentials.access_key_id().as_bytes()),
        };
        Ok(Self {
            url: config.endpoint_url().unwrap_or_default().to_owned(),
            region: region.to_string(),
            account,
        })
    }
}

impl fmt::Display for ServiceLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.url, self.region, self.account)
    }
}

fn is_on_loopback(url: &str) -> bool {
    let uri = url.parse::<Uri>().ok();
    uri.and_then(|uri| uri.host().map(is_loopback)).unwrap_or_default()
}

/// Returns the error with its causes, without the bytes of the response. The SDK's error alone is only "service error".
pub(super) fn error_with_causes(error: &(dyn Error + 'static)) -> anyhow::Error {
    let causes = std::iter::successors(error.source(), |error| (*error).source());
    let mut messages = vec![error.to_string()];
    messages.extend(causes.map(ToString::to_string));
    messages.dedup();
    anyhow::anyhow!("{}", messages.join(": "))
}

#[cfg(test)]
mod tests {
    use aws_credential_types::provider::SharedCredentialsProvider;

    use super::*;

    async fn location(region: &'static str, key: &str, account: Option<&str>) -> ServiceLocation {
        let mut credentials = Credentials::builder().access_key_id(key).secret_access_key("secret");
        credentials.set_account_id(account.map(Into::into));
        let provider = SharedCredentialsProvider::new(credentials.provider_name("test").build());
        let config = SdkConfig::builder().region(Region::from_static(region));
        ServiceLocation::of(&config.credentials_provider(provider).build())
            .await
            .unwrap()
    }

    #[tokio::test]
    async fn locations_in_different_regions_or_accounts_differ() {
        let staging = location("eu-west-1", "ASIA1", Some("111111111111")).await;
        // A session's key changes, its account does not.
        assert_eq!(staging, location("eu-west-1", "ASIA2", Some("111111111111")).await);
        assert_ne!(staging, location("eu-west-1", "ASIA1", Some("222222222222")).await);
        assert_ne!(staging, location("us-east-1", "ASIA1", Some("111111111111")).await);
        let by_key = location("eu-west-1", "AKIA1", None).await;
        assert_ne!(by_key, location("eu-west-1", "AKIA2", None).await);
        assert!(!by_key.to_string().contains("AKIA1"), "{by_key}");
    }
}
