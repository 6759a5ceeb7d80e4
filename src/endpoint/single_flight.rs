//! A cache for one value, which concurrent callers fetch only once. The value is cached until it expires or a caller
//! invalidates it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};

/// The maximum duration of a fetch. The AWS SDK uses the same value for credentials.
pub(super) const FETCH_TIMEOUT: Duration = Duration::from_secs(5);

/// A cached value that many calls share. Only one fetch runs at a time.
#[derive(Debug)]
pub(super) struct SingleFlight<T, E> {
    state: Mutex<State<T, E>>,
}

#[derive(Debug)]
struct State<T, E> {
    cached: Option<Cached<T>>,
    fetching: Option<Fetching<T, E>>,
}

/// A shared fetch. Each waiting call polls it, and it survives the cancellation of a waiting call.
type Fetching<T, E> = Shared<BoxFuture<'static, Result<Cached<T>, E>>>;

/// A value and its expiry. Without an expiry, it stays fresh until it is invalidated.
#[derive(Debug)]
pub(super) struct Cached<T> {
    pub(super) value: Arc<T>,
    pub(super) expires_at: Option<SystemTime>,
}

impl<T> Clone for Cached<T> {
    fn clone(&self) -> Self {
        Self {
            value: Arc::clone(&self.value),
            expires_at: self.expires_at,
        }
    }
}

impl<T> Cached<T> {
    fn is_fresh(&self) -> bool {
        self.expires_at.is_none_or(|expiry| SystemTime::now() < expiry)
    }
}

impl<T, E> Default for SingleFlight<T, E> {
    fn default() -> Self {
        let state = State {
            cached: None,
            fetching: None,
        };
        Self {
            state: Mutex::new(state),
        }
    }
}

impl<T: Send + Sync, E: Clone + Send + Sync> SingleFlight<T, E> {
    /// Returns the cached value if it is fresh, or fetches a new one. Concurrent calls share one fetch, including its
    /// error.
    pub(super) async fn get(
        &self,
        fetch: impl FnOnce() -> BoxFuture<'static, Result<Cached<T>, E>>,
    ) -> Result<Arc<T>, E> {
        if let Some(cached) = self.state().cached.as_ref().filter(|cached| cached.is_fresh()) {
            return Ok(Arc::clone(&cached.value));
        }
        self.fetch_shared(fetch).await
    }

    /// Replaces the `stale` value with a fetched one, or returns the cached value if it is already a newer one. If the
    /// fetch fails, the stale value stays cached.
    pub(super) async fn refresh(
        &self,
        stale: &Arc<T>,
        fetch: impl FnOnce() -> BoxFuture<'static, Result<Cached<T>, E>>,
    ) -> Result<Arc<T>, E> {
        let newer = self.state().cached.as_ref().map(|cached| Arc::clone(&cached.value));
        match newer.filter(|newer| !Arc::ptr_eq(newer, stale)) {
            Some(newer) => Ok(newer),
            None => self.fetch_shared(fetch).await,
        }
    }

    /// Removes the `stale` value, unless a newer one is already cached.
    pub(super) fn invalidate(&self, stale: &Arc<T>) {
        self.state().cached.take_if(|cached| Arc::ptr_eq(&cached.value, stale));
    }

    async fn fetch_shared(
        &self,
        fetch: impl FnOnce() -> BoxFuture<'static, Result<Cached<T>, E>>,
    ) -> Result<Arc<T>, E> {
        let fetching = {
            let mut state = self.state();
            // A fetch that completed while no call waited may be old. Its result is discarded.
            let running = state.fetching.take_if(|fetching| fetching.peek().is_none());
            let fetching = running.unwrap_or_else(|| fetch().shared());
            state.fetching = Some(fetching.clone());
            fetching
        };
        let fetched = fetching.clone().await;
        let mut state = self.state();
        if state.fetching.as_ref().is_some_and(|latest| latest.ptr_eq(&fetching)) {
            state.fetching = None;
            if let Ok(cached) = &fetched {
                state.cached = Some(cached.clone());
            }
        }
        fetched.map(|cached| cached.value)
    }

    fn state(&self) -> MutexGuard<'_, State<T, E>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio::time::{sleep, timeout};

    use super::*;

    type Fetch = BoxFuture<'static, Result<Cached<u32>, &'static str>>;

    /// A source whose fetches take one second. It counts completed fetches.
    #[derive(Debug, Default, Clone)]
    struct Source(Arc<AtomicU32>);

    impl Source {
        fn next(&self, lifetime: Option<Duration>) -> Fetch {
            let count = Arc::clone(&self.0);
            async move {
                sleep(Duration::from_secs(1)).await;
                let value = Arc::new(count.fetch_add(1, Ordering::Relaxed) + 1);
                let expires_at = lifetime.map(|time| SystemTime::now() + time);
                Ok(Cached { value, expires_at })
            }
            .boxed()
        }

        fn fails(&self) -> Fetch {
            let count = Arc::clone(&self.0);
            async move {
                sleep(Duration::from_secs(1)).await;
                count.fetch_add(1, Ordering::Relaxed);
                Err("no answer")
            }
            .boxed()
        }

        fn count(&self) -> u32 {
            self.0.load(Ordering::Relaxed)
        }
    }

    async fn fetches_of_three_gets(lifetime: Option<Duration>) -> u32 {
        let (cell, source) = (SingleFlight::default(), Source::default());
        for _ in 0..3 {
            cell.get(|| source.next(lifetime)).await.unwrap();
        }
        source.count()
    }

    #[tokio::test(start_paused = true)]
    async fn a_value_is_cached_until_it_expires() {
        assert_eq!(fetches_of_three_gets(None).await, 1);
        assert_eq!(fetches_of_three_gets(Some(Duration::from_hours(1))).await, 1);
        assert_eq!(fetches_of_three_gets(Some(Duration::ZERO)).await, 3);
    }

    #[tokio::test(start_paused = true)]
    async fn concurrent_calls_share_one_fetch() {
        let (cell, source) = (SingleFlight::default(), Source::default());
        let get = || cell.get(|| source.next(None));
        let (first, second) = tokio::join!(get(), get());
        assert!(Arc::ptr_eq(&first.unwrap(), &second.unwrap()));
        assert_eq!(source.count(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn concurrent_calls_share_an_error_and_the_next_call_fetches_again() {
        let (cell, source) = (SingleFlight::default(), Source::default());
        let get = || cell.get(|| source.fails());
        assert_eq!(tokio::join!(get(), get()), (Err("no answer"), Err("no answer")));
        assert_eq!(source.count(), 1);
        assert_eq!(*cell.get(|| source.next(None)).await.unwrap(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_fetch_continues_after_the_waiting_calls_are_cancelled() {
        let (cell, source) = (SingleFlight::default(), Source::default());
        for _ in 0..3 {
            // Each call waits for less time than a fetch takes.
            let waited = timeout(Duration::from_millis(400), cell.get(|| source.next(None))).await;
            if let Ok(Ok(value)) = waited {
                assert_eq!(*value, 1);
                return;
            }
        }
        panic!("it takes a second");
    }

    #[tokio::test(start_paused = true)]
    async fn only_the_stale_value_is_invalidated() {
        let (cell, source) = (SingleFlight::default(), Source::default());
        let first = cell.get(|| source.next(None)).await.unwrap();
        cell.invalidate(&first);
        let second = cell.get(|| source.next(None)).await.unwrap();
        assert_eq!(*second, 2);
        cell.invalidate(&first);
        assert!(Arc::ptr_eq(&second, &cell.get(|| source.next(None)).await.unwrap()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_value_that_cannot_be_refreshed_stays_cached() {
        let (cell, source) = (SingleFlight::default(), Source::default());
        let first = cell.get(|| source.next(None)).await.unwrap();
        assert_eq!(cell.refresh(&first, || source.fails()).await, Err("no answer"));
        assert!(Arc::ptr_eq(&first, &cell.get(|| source.next(None)).await.unwrap()));
        let refresh = || cell.refresh(&first, || source.next(None));
        let (one, other) = tokio::join!(refresh(), refresh());
        assert!(Arc::ptr_eq(&one.unwrap(), &other.unwrap()));
        assert_eq!(source.count(), 3);
        assert_eq!(*refresh().await.unwrap(), 3, "another call has refreshed it");
    }
}
