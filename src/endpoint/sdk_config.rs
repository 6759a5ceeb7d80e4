//! What the AWS SDK finds around the function: region, credentials, overrides.

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

/// Loads it from the environment's variables and, where there are any, the profile files that they name. The region comes
/// from nowhere else: no metadata service is asked for it. AWS clients are to use this `http_client`.
pub async fn load(http_client: SharedHttpClient) -> SdkConfig {
    let region = RegionProviderChain::first_try(EnvironmentVariableRegionProvider::new());
    let loader = aws_config::from_env()
        .region(region.or_else(ProfileFileRegionProvider::new()))
        .http_client(http_client.clone())
        .credentials_provider(Credentials {
            http_client,
            chain: OnceCell::new(),
        });
    loader.load().await
}

/// Credentials from where the SDK's default chain has them. Lambda's are in the environment's variables, which stand first
/// in the chain: what is behind them, a client of STS among it, is only made where they are missing.
#[derive(Debug)]
struct Credentials {
    http_client: SharedHttpClient,
    chain: OnceCell<DefaultCredentialsChain>,
}

impl Credentials {
    async fn chain(&self) -> DefaultCredentialsChain {
        let config = ProviderConfig::default().with_http_client(self.http_client.clone());
        DefaultCredentialsChain::builder().configure(config).build().await
    }
}

impl ProvideCredentials for Credentials {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(async {
            let variables = EnvironmentVariableCredentialsProvider::new();
            match variables.provide_credentials().await {
                Err(CredentialsError::CredentialsNotLoaded(_)) => {
                    let chain = self.chain.get_or_init(|| self.chain()).await;
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
