//! AWS credentials, kept until they expire: the function's own, or those of a role that it assumes.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_config::SdkConfig;
use aws_config::sts::AssumeRoleProvider;
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials as _, SharedCredentialsProvider};
use futures_util::FutureExt as _;
use tokio::time::timeout;

use super::single_flight::{Dated, FETCH_MAX, Kept};

/// How long before they expire credentials are fetched anew, and how long they last where they do not say: as the AWS SDK
/// has it.
const EARLY: Duration = Duration::from_secs(10);
const LASTING: Duration = Duration::from_mins(15);

/// A role to make the calls as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Role {
    /// Its ARN.
    pub arn: String,
    /// What its account sees of who has assumed it: the function's name, 2 to 64 characters.
    pub session_name: String,
}

/// Where calls to an endpoint have their credentials from: what the SDK found in the `environment`, or a `role` that is
/// assumed with it, by STS in the function's own region.
pub async fn provider(environment: &SdkConfig, role: Option<&Role>) -> Option<SharedCredentialsProvider> {
    let own = environment.credentials_provider()?;
    let Some(role) = role else { return Some(own) };
    let assumed = AssumeRoleProvider::builder(&role.arn)
        .configure(environment)
        .session_name(&role.session_name);
    Some(SharedCredentialsProvider::new(assumed.build().await))
}

/// Credentials from a provider, which is asked by one call at a time.
#[derive(Debug)]
pub struct KeptCredentials {
    provider: Option<SharedCredentialsProvider>,
    kept: Kept<Credentials, Arc<CredentialsError>>,
}

impl KeptCredentials {
    /// Credentials of this `provider`, if there is one.
    pub fn of(provider: Option<SharedCredentialsProvider>) -> Self {
        Self {
            provider,
            kept: Kept::default(),
        }
    }

    /// Those that are kept, or else new ones.
    ///
    /// # Errors
    ///
    /// The provider's, or that it took longer than 5 s.
    pub async fn get(&self) -> Result<Arc<Credentials>, Arc<CredentialsError>> {
        let fetch = || fetch(self.provider.clone()).map(|fetched| fetched.map_err(Arc::new));
        self.kept.get(|| fetch().boxed()).await
    }

    /// Drops those that the service no longer takes, unless newer ones are there already.
    pub fn forget(&self, stale: &Arc<Credentials>) {
        self.kept.forget(stale);
    }
}

async fn fetch(provider: Option<SharedCredentialsProvider>) -> Result<Dated<Credentials>, CredentialsError> {
    let provider = provider.ok_or_else(|| CredentialsError::not_loaded("there is no provider of credentials"))?;
    let fetched = timeout(FETCH_MAX, provider.provide_credentials()).await;
    let late = || {
        provider
            .fallback_on_interrupt()
            .ok_or(CredentialsError::provider_timed_out(FETCH_MAX))
    };
    let credentials = fetched.unwrap_or_else(|_elapsed| late())?;
    let until = credentials.expiry().map(|end| end - EARLY);
    Ok(Dated {
        value: Arc::new(credentials),
        until: Some(until.unwrap_or_else(|| SystemTime::now() + LASTING)),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use aws_credential_types::provider::future;

    use super::*;

    /// Hands out credentials that expire after so long, and counts them.
    #[derive(Debug)]
    struct Lasting(Duration, Arc<AtomicUsize>);

    impl aws_credential_types::provider::ProvideCredentials for Lasting {
        fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
        where
            Self: 'a,
        {
            let number = self.1.fetch_add(1, Ordering::Relaxed);
            let end = SystemTime::now() + self.0;
            let credentials = Credentials::new(number.to_string(), "secret", None, Some(end), "test");
            future::ProvideCredentials::ready(Ok(credentials))
        }
    }

    async fn asked_three_times(lasting: Duration) -> usize {
        let count = Arc::default();
        let provider = SharedCredentialsProvider::new(Lasting(lasting, Arc::clone(&count)));
        let credentials = KeptCredentials::of(Some(provider));
        for _ in 0..3 {
            credentials.get().await.unwrap();
        }
        count.load(Ordering::Relaxed)
    }

    #[tokio::test]
    async fn credentials_are_kept_until_shortly_before_they_expire() {
        assert_eq!(asked_three_times(Duration::from_hours(1)).await, 1);
        assert_eq!(asked_three_times(Duration::from_secs(5)).await, 3);
    }

    #[tokio::test]
    async fn credentials_that_do_not_say_how_long_they_last_are_not_kept_for_ever() {
        let static_ones = Credentials::new("key", "secret", None, None, "test");
        let credentials = KeptCredentials::of(Some(SharedCredentialsProvider::new(static_ones)));
        let first = credentials.get().await.unwrap();
        assert!(Arc::ptr_eq(&first, &credentials.get().await.unwrap()));
        let until = fetch(credentials.provider.clone()).await.unwrap().until.unwrap();
        let left = until.duration_since(SystemTime::now()).unwrap();
        assert!(left <= LASTING, "{left:?}");
    }

    /// Never answers.
    #[derive(Debug)]
    struct Hanging;

    impl aws_credential_types::provider::ProvideCredentials for Hanging {
        fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
        where
            Self: 'a,
        {
            future::ProvideCredentials::new(std::future::pending())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_provider_that_hangs_or_is_missing_is_an_error() {
        let hanging = KeptCredentials::of(Some(SharedCredentialsProvider::new(Hanging)));
        let error = hanging.get().await.unwrap_err();
        assert!(matches!(*error, CredentialsError::ProviderTimedOut(_)), "{error:?}");
        let error = KeptCredentials::of(None).get().await.unwrap_err();
        assert!(matches!(*error, CredentialsError::CredentialsNotLoaded(_)), "{error:?}");
    }
}
