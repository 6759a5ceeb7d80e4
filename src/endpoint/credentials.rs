//! AWS credentials, cached until they expire: those of the function, or those of a role that it assumes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use aws_config::SdkConfig;
use aws_config::sts::AssumeRoleProvider;
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials as _, SharedCredentialsProvider};
use futures_util::{FutureExt as _, TryFutureExt as _};

use super::single_flight::{Cached, Fetch, Interrupted, SingleFlight};

/// The time before their expiry from which on credentials are refreshed while calls still use them, or a tenth of their
/// lifetime if that is shorter.
const REFRESH_BEFORE_EXPIRY: Duration = Duration::from_mins(5);
/// The time before their expiry from which on credentials are not used. The AWS SDK uses the same value.
const EXPIRY_MARGIN: Duration = Duration::from_secs(10);
/// The lifetime of credentials without an expiry. The AWS SDK uses the same value.
const DEFAULT_LIFETIME: Duration = Duration::from_mins(15);

/// An IAM role that the function assumes for its calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Role {
    /// The role's ARN.
    pub arn: String,
    /// The session name, which the role's account sees: the function's name, 2 to 64 characters.
    pub session_name: String,
}

/// Returns the provider of the credentials for calls to an endpoint: the provider of `environment`, or one that assumes
/// `role`. STS is called in the function's own region.
pub async fn provider(environment: &SdkConfig, role: Option<&Role>) -> Option<SharedCredentialsProvider> {
    let own = environment.credentials_provider()?;
    let Some(role) = role else { return Some(own) };
    let assumed = AssumeRoleProvider::builder(&role.arn)
        .configure(environment)
        .session_name(&role.session_name);
    Some(SharedCredentialsProvider::new(assumed.build().await))
}

/// Credentials that a provider has issued.
#[derive(Debug)]
pub struct IssuedCredentials {
    pub(super) credentials: Arc<Credentials>,
    /// Whether new credentials may help if the service refuses these as expired: the service has accepted these, or no
    /// credentials have been refused before.
    is_trusted: AtomicBool,
}

impl IssuedCredentials {
    /// Records that the service did not refuse these credentials.
    pub(super) fn accept(&self) {
        self.is_trusted.store(true, Ordering::Relaxed);
    }
}

/// Cached credentials of a provider. Only one request to the provider runs at a time.
#[derive(Debug)]
pub struct CachedCredentials {
    provider: Option<SharedCredentialsProvider>,
    cached: SingleFlight<IssuedCredentials, Arc<CredentialsError>>,
    has_refused: AtomicBool,
}

impl CachedCredentials {
    /// Creates an empty cache. Without a `provider`, every [`get`](Self::get) fails.
    pub fn new(provider: Option<SharedCredentialsProvider>) -> Self {
        Self {
            provider,
            cached: SingleFlight::default(),
            has_refused: AtomicBool::new(false),
        }
    }

    /// Returns the cached credentials, or fetches new ones.
    ///
    /// # Errors
    ///
    /// The provider's error, or a timeout after 5 s.
    pub async fn get(&self) -> Result<Arc<IssuedCredentials>, Arc<CredentialsError>> {
        self.cached.get(|| self.fetch()).await
    }

    /// Returns the cached credentials, unless they were refused since the last [`get`](Self::get).
    pub(super) fn cached(&self) -> Option<Arc<IssuedCredentials>> {
        self.cached.cached()
    }

    /// Completes `work`. Refreshes credentials that expire soon meanwhile. If that fails, they stay cached.
    pub(super) async fn refresh_beside<W>(&self, work: impl Future<Output = W> + Unpin) -> W {
        self.cached.refresh_beside(work, || self.fetch()).await
    }

    /// Removes credentials that the service refused as expired, unless newer ones are already cached. Returns whether
    /// new credentials may help. Without this limit, a service that refuses all credentials would be called forever.
    pub(super) fn refuse(&self, stale: &Arc<IssuedCredentials>) -> bool {
        self.has_refused.store(true, Ordering::Relaxed);
        self.cached.invalidate(stale);
        stale.is_trusted.load(Ordering::Relaxed)
    }

    fn fetch(&self) -> Fetch<IssuedCredentials, Arc<CredentialsError>> {
        let is_trusted = !self.has_refused.load(Ordering::Relaxed);
        fetch(self.provider.clone(), is_trusted).map_err(Arc::new).boxed()
    }
}

impl From<Interrupted> for Arc<CredentialsError> {
    fn from(interrupted: Interrupted) -> Self {
        Arc::new(CredentialsError::provider_error(interrupted))
    }
}

async fn fetch(
    provider: Option<SharedCredentialsProvider>,
    is_trusted: bool,
) -> Result<Cached<IssuedCredentials>, CredentialsError> {
    let provider = provider.ok_or_else(|| CredentialsError::not_loaded("there is no credentials provider"))?;
    let credentials = provider.provide_credentials().await?;
    let now = SystemTime::now();
    let expiry = credentials.expiry().unwrap_or(now + DEFAULT_LIFETIME);
    let lifetime = expiry.duration_since(now).unwrap_or_default();
    Ok(Cached {
        value: Arc::new(IssuedCredentials {
            credentials: Arc::new(credentials),
            is_trusted: AtomicBool::new(is_trusted),
        }),
        refresh_at: Some(expiry - REFRESH_BEFORE_EXPIRY.min(lifetime / 10)),
        expires_at: Some(expiry - EXPIRY_MARGIN),
    })
}

#[cfg(test)]
impl CachedCredentials {
    /// Creates a cache with credentials that are due for a refresh and valid for a minute.
    pub(super) async fn due_for_refresh(provider: SharedCredentialsProvider) -> Self {
        let cache = Self::new(Some(provider));
        let now = SystemTime::now();
        let due = Cached {
            value: Arc::new(IssuedCredentials {
                credentials: Arc::new(Credentials::new("old", "secret", None, None, "test")),
                is_trusted: AtomicBool::new(true),
            }),
            refresh_at: Some(now),
            expires_at: Some(now + Duration::from_mins(1)),
        };
        cache.cached.get(|| std::future::ready(Ok(due)).boxed()).await.unwrap();
        cache
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use aws_credential_types::provider::future;

    use super::*;

    /// A provider whose credentials expire after the given time. It counts the credentials that it returned.
    #[derive(Debug)]
    struct ExpiringProvider(Duration, Arc<AtomicUsize>);

    impl aws_credential_types::provider::ProvideCredentials for ExpiringProvider {
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

    async fn fetches_of_three_gets(lifetime: Duration) -> usize {
        let count = Arc::default();
        let provider = SharedCredentialsProvider::new(ExpiringProvider(lifetime, Arc::clone(&count)));
        let credentials = CachedCredentials::new(Some(provider));
        for _ in 0..3 {
            credentials.get().await.unwrap();
        }
        count.load(Ordering::Relaxed)
    }

    #[tokio::test]
    async fn credentials_are_cached_until_shortly_before_they_expire() {
        assert_eq!(fetches_of_three_gets(Duration::from_hours(1)).await, 1);
        assert_eq!(fetches_of_three_gets(Duration::from_secs(5)).await, 3);
    }

    #[tokio::test]
    async fn credentials_without_an_expiry_are_not_cached_forever() {
        let static_credentials = Credentials::new("key", "secret", None, None, "test");
        let credentials = CachedCredentials::new(Some(SharedCredentialsProvider::new(static_credentials)));
        let first = credentials.get().await.unwrap();
        assert!(Arc::ptr_eq(&first, &credentials.get().await.unwrap()));
        let expires_at = fetch(credentials.provider.clone(), true)
            .await
            .unwrap()
            .expires_at
            .unwrap();
        let left = expires_at.duration_since(SystemTime::now()).unwrap();
        assert!(left <= DEFAULT_LIFETIME, "{left:?}");
    }

    #[tokio::test]
    async fn credentials_are_refreshed_5_minutes_before_they_expire_or_after_nine_tenths_of_their_lifetime() {
        for (lifetime_s, refresh_s) in [(3600, 3300), (900, 810)] {
            let provider = ExpiringProvider(Duration::from_secs(lifetime_s), Arc::default());
            let fetched = fetch(Some(SharedCredentialsProvider::new(provider)), true)
                .await
                .unwrap();
            let (refresh_at, expires_at) = (fetched.refresh_at.unwrap(), fetched.expires_at.unwrap());
            for (moment, expected_s) in [(refresh_at, refresh_s), (expires_at, lifetime_s - 10)] {
                let left_s = moment.duration_since(SystemTime::now()).unwrap().as_secs();
                assert!(
                    (expected_s - 5..=expected_s).contains(&left_s),
                    "{left_s} of {expected_s}"
                );
            }
        }
    }

    /// A provider that never answers, or panics.
    #[derive(Debug)]
    struct BrokenProvider {
        panics: bool,
    }

    impl aws_credential_types::provider::ProvideCredentials for BrokenProvider {
        fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
        where
            Self: 'a,
        {
            assert!(!self.panics, "as the test wants");
            future::ProvideCredentials::new(std::future::pending())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_provider_that_hangs_panics_or_is_missing_is_an_error() {
        for panics in [false, true] {
            let provider = SharedCredentialsProvider::new(BrokenProvider { panics });
            let error = CachedCredentials::new(Some(provider)).get().await.unwrap_err();
            assert!(matches!(*error, CredentialsError::ProviderError(_)), "{error:?}");
        }
        let error = CachedCredentials::new(None).get().await.unwrap_err();
        assert!(matches!(*error, CredentialsError::CredentialsNotLoaded(_)), "{error:?}");
    }
}
