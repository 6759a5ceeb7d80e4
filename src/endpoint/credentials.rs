//! AWS credentials, kept until they expire.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials as _, SharedCredentialsProvider};
use tokio::sync::Mutex;
use tokio::time::timeout;

/// How long before they expire credentials are fetched anew, how long they last where they do not say, and how long it may
/// take to fetch them: as the AWS SDK has it.
const EARLY: Duration = Duration::from_secs(10);
const LASTING: Duration = Duration::from_mins(15);
const FETCH_MAX: Duration = Duration::from_secs(5);

/// Credentials from a provider, which is asked by one call at a time.
#[derive(Debug)]
pub struct KeptCredentials {
    provider: Option<SharedCredentialsProvider>,
    kept: RwLock<Option<Kept>>,
    fetching: Mutex<()>,
}

#[derive(Debug)]
struct Kept {
    credentials: Arc<Credentials>,
    until: SystemTime,
}

impl KeptCredentials {
    /// Credentials of this `provider`, if there is one.
    pub fn of(provider: Option<SharedCredentialsProvider>) -> Self {
        Self {
            provider,
            kept: RwLock::default(),
            fetching: Mutex::default(),
        }
    }

    /// Those that are kept, or else new ones. Calls that need new ones at the same time wait for the same, and ask one after
    /// another where there are none.
    ///
    /// # Errors
    ///
    /// The provider's, or that it took longer than 5 s.
    pub async fn get(&self) -> Result<Arc<Credentials>, CredentialsError> {
        if let Some(kept) = self.kept() {
            return Ok(kept);
        }
        let _one_at_a_time = self.fetching.lock().await;
        if let Some(kept) = self.kept() {
            return Ok(kept);
        }
        let provider = self.provider.as_ref();
        let provider = provider.ok_or_else(|| CredentialsError::not_loaded("there is no provider of credentials"))?;
        let fetched = timeout(FETCH_MAX, provider.provide_credentials()).await;
        let late = || {
            provider
                .fallback_on_interrupt()
                .ok_or(CredentialsError::provider_timed_out(FETCH_MAX))
        };
        let credentials = Arc::new(fetched.unwrap_or_else(|_elapsed| late())?);
        let until = credentials.expiry().map(|end| end - EARLY);
        let kept = Kept {
            credentials: Arc::clone(&credentials),
            until: until.unwrap_or_else(|| SystemTime::now() + LASTING),
        };
        *self.kept.write().unwrap_or_else(PoisonError::into_inner) = Some(kept);
        Ok(credentials)
    }

    /// Drops those that the service no longer takes, unless newer ones are there already.
    pub fn forget(&self, stale: &Arc<Credentials>) {
        let mut kept = self.kept.write().unwrap_or_else(PoisonError::into_inner);
        kept.take_if(|kept| Arc::ptr_eq(&kept.credentials, stale));
    }

    fn kept(&self) -> Option<Arc<Credentials>> {
        let kept = self.kept.read().unwrap_or_else(PoisonError::into_inner);
        let kept = kept.as_ref().filter(|kept| SystemTime::now() < kept.until)?;
        Some(Arc::clone(&kept.credentials))
    }
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

    /// Lets others go first.
    #[derive(Debug)]
    struct Slow(Lasting);

    impl aws_credential_types::provider::ProvideCredentials for Slow {
        fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
        where
            Self: 'a,
        {
            future::ProvideCredentials::new(async {
                tokio::task::yield_now().await;
                self.0.provide_credentials().await
            })
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
    async fn calls_that_need_new_ones_at_once_wait_for_the_same() {
        let count = Arc::default();
        let slow = Slow(Lasting(Duration::from_hours(1), Arc::clone(&count)));
        let credentials = KeptCredentials::of(Some(SharedCredentialsProvider::new(slow)));
        let (first, second) = tokio::join!(credentials.get(), credentials.get());
        assert!(Arc::ptr_eq(&first.unwrap(), &second.unwrap()));
        assert_eq!(count.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn credentials_that_do_not_say_how_long_they_last_are_not_kept_for_ever() {
        let static_ones = Credentials::new("key", "secret", None, None, "test");
        let credentials = KeptCredentials::of(Some(SharedCredentialsProvider::new(static_ones)));
        let first = credentials.get().await.unwrap();
        assert!(Arc::ptr_eq(&first, &credentials.get().await.unwrap()));
        let mut kept = credentials.kept.write().unwrap();
        let kept = kept.as_mut().unwrap();
        let left = kept.until.duration_since(SystemTime::now()).unwrap();
        assert!(left <= LASTING, "{left:?}");
    }

    #[tokio::test]
    async fn only_those_that_are_stale_are_forgotten() {
        let provider = SharedCredentialsProvider::new(Lasting(Duration::from_hours(1), Arc::default()));
        let credentials = KeptCredentials::of(Some(provider));
        let first = credentials.get().await.unwrap();
        credentials.forget(&first);
        let second = credentials.get().await.unwrap();
        assert_eq!(second.access_key_id(), "1");
        credentials.forget(&first);
        assert!(Arc::ptr_eq(&second, &credentials.get().await.unwrap()));
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
        assert!(matches!(error, CredentialsError::ProviderTimedOut(_)), "{error:?}");
        let error = KeptCredentials::of(None).get().await.unwrap_err();
        assert!(matches!(error, CredentialsError::CredentialsNotLoaded(_)), "{error:?}");
    }
}
