//! The AWS SDK's configuration from the environment: region, credentials and endpoint overrides.

use aws_config::SdkConfig;
use aws_config::default_provider::credentials::DefaultCredentialsChain;
use aws_config::environment::{EnvironmentVariableCredentialsProvider, EnvironmentVariableRegionProvider};
use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::ProfileFileRegionProvider;
use aws_config::provider_config::ProviderConfig;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, future};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use tokio::sync::OnceCell;

/// Loads the configuration from environment variables and profile files, if there are any. It never asks a metadata
/// service for the region. AWS clients use the `http_client`.
pub async fn load(http_client: SharedHttpClient) -> SdkConfig {
    let region = RegionProviderChain::first_try(EnvironmentVariableRegionProvider::new());
    let loader = aws_config::from_env()
        .region(region.or_else(ProfileFileRegionProvider::new()))
        .http_client(http_client.clone())
        .credentials_provider(LazyDefaultChain {
            http_client,
            chain: OnceCell::new(),
        });
    loader.load().await
}

/// The credentials of the SDK's default chain. The chain starts with environment variables, where Lambda puts the
/// credentials. The rest of the chain includes an STS client, and is created only if the variables are missing.
#[derive(Debug)]
struct LazyDefaultChain {
    http_client: SharedHttpClient,
    chain: OnceCell<DefaultCredentialsChain>,
}

impl LazyDefaultChain {
    async fn build_chain(&self) -> DefaultCredentialsChain {
        let config = ProviderConfig::default().with_http_client(self.http_client.clone());
        DefaultCredentialsChain::builder().configure(config).build().await
    }
}

impl ProvideCredentials for LazyDefaultChain {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(async {
            let variables = EnvironmentVariableCredentialsProvider::new();
            match variables.provide_credentials().await {
                Err(CredentialsError::CredentialsNotLoaded(_)) => {
                    let chain = self.chain.get_or_init(|| self.build_chain()).await;
                    chain.provide_credentials().await
                }
                found => found,
            }
        })
    }

    fn fallback_on_interrupt(&self) -> Option<aws_credential_types::Credentials> {
        self.chain.get()?.fallback_on_interrupt()
    }
}
