//! The AWS credentials of this machine, including SSO profiles. They are resolved here, so that the function does not
//! need the configuration that they come from.

use anyhow::{Context as _, Result};
use aws_config::{BehaviorVersion, Region};
use aws_credential_types::Credentials;
use aws_credential_types::provider::ProvideCredentials as _;

use super::Settings;

/// The region and the credentials of the user's AWS login.
#[derive(Debug)]
pub(super) struct AwsLogin {
    pub(super) region: Region,
    pub(super) credentials: Credentials,
}

impl AwsLogin {
    /// Finds the login with the default provider chain of the AWS SDK.
    ///
    /// # Errors
    ///
    /// If there is no region or there are no credentials.
    pub(super) async fn find() -> Result<Self> {
        let config = aws_config::load_defaults(BehaviorVersion::latest()).await;
        let region = config
            .region()
            .context("no AWS region: set AWS_REGION or a profile that has one")?;
        let provider = config
            .credentials_provider()
            .context("no AWS credentials: set AWS_PROFILE or log in")?;
        let credentials = provider
            .provide_credentials()
            .await
            .context("no AWS credentials: set AWS_PROFILE, or log in with `aws sso login`")?;
        Ok(Self {
            region: region.clone(),
            credentials,
        })
    }

    /// Writes the region and the credentials to the environment. Removes the profile that they may come from.
    pub(super) fn write_to(&self, environment: &mut Settings) {
        environment.remove("AWS_PROFILE");
        environment.remove("AWS_SESSION_TOKEN");
        let token = self.credentials.session_token();
        let settings = [
            ("AWS_REGION", Some(self.region.as_ref())),
            ("AWS_ACCESS_KEY_ID", Some(self.credentials.access_key_id())),
            ("AWS_SECRET_ACCESS_KEY", Some(self.credentials.secret_access_key())),
            ("AWS_SESSION_TOKEN", token),
        ];
        let known = settings.into_iter().filter_map(|(name, value)| Some((name, value?)));
        environment.extend(known.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }
}
