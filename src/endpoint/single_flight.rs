//! A cache for one value, which concurrent callers fetch only once. The value is cached until it expires or a caller
//! invalidates it. Shortly before it expires, it is replaced while callers still use it.
//!
//! A fetch is not a task: it runs only while callers poll it, so nothing of it runs after an invocation's response. A
//! caller without a valid value waits for the fetch. A caller with a value that is due for a refresh polls the fetch
//! beside its own work. The next caller continues a fetch that these callers left, unless it has become too old.

use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Either, Shared, select};
use tokio::time::{Instant, timeout};

use crate::outcome::catch_panic_async;

/// The maximum duration of a fetch. The AWS SDK uses the same value for credentials.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
/// The interval between refreshes of a value that is still valid, if they fail.
const REFRESH_RETRY_INTERVAL: Duration = Duration::from_secs(10);

/// A fetch that ended without a result of the source.
#[derive(Debug, thiserror::Error)]
pub(super) enum Interrupted {
    /// The fetch took longer than [`FETCH_TIMEOUT`].
    #[error("the fetch timed out after {:?}", FETCH_TIMEOUT)]
    TimedOut,
    /// The fetch panicked.
    #[error("the fetch panicked")]
    Panicked,
}

/// A fetch of a new value.
pub(super) type Fetch<T, E> = BoxFuture<'static, Result<Cached<T>, E>>;

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

/// A fetch that several callers poll, and its start. It survives the cancellation of a caller.
#[derive(Debug)]
struct Fetching<T, E> {
    started: Instant,
    fetch: Shared<Fetch<T, E>>,
}

/// A value and the times that end its use. Without these times, it is used until it is invalidated.
#[derive(Debug)]
pub(super) struct Cached<T> {
    pub(super) value: Arc<T>,
    /// The time from which on a new value is fetched while this one is still used.
    pub(super) refresh_at: Option<SystemTime>,
    /// The time from which on this value is not used.
    pub(super) expires_at: Option<SystemTime>,
}

impl<T> Clone for Cached<T> {
    fn clone(&self) -> Self {
        Self {
            value: Arc::clone(&self.value),
            ..*self
        }
    }
}

impl<T> Cached<T> {
    fn is_valid(&self) -> bool {
        self.expires_at.is_none_or(|expiry| SystemTime::now() < expiry)
    }

    fn is_refresh_due(&self) -> bool {
        self.refresh_at.is_some_and(|moment| moment <= SystemTime::now())
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

impl<T, E> SingleFlight<T, E>
where
    T: Send + Sync + 'static,
    E: Clone + From<Interrupted> + Send + Sync + 'static,
{
    /// Returns the cached value if it is valid, or fetches a new one. Concurrent calls share one fetch, including its
    /// error.
    pub(super) async fn get(&self, fetch: impl FnOnce() -> Fetch<T, E>) -> Result<Arc<T>, E> {
        if let Some(cached) = self.state().cached.as_ref().filter(|cached| cached.is_valid()) {
            return Ok(Arc::clone(&cached.value));
        }
        self.fetch_shared(fetch).await
    }

    /// Returns the cached value, if there is one, even if it has expired since the last [`get`](Self::get).
    pub(super) fn cached(&self) -> Option<Arc<T>> {
        self.state().cached.as_ref().map(|cached| Arc::clone(&cached.value))
    }

    /// Completes `work`. If the cached value is due for a refresh, replaces it meanwhile. If the refresh fails or takes
    /// longer than `work`, the value stays cached.
    pub(super) async fn refresh_beside<W>(
        &self,
        work: impl Future<Output = W> + Unpin,
        fetch: impl FnOnce() -> Fetch<T, E>,
    ) -> W {
        if !self.state().cached.as_ref().is_some_and(Cached::is_refresh_due) {
            return work.await;
        }
        match select(work, pin!(self.fetch_shared(fetch))).await {
            Either::Left((done, _)) => done,
            Either::Right((_, work)) => work.await,
        }
    }

    /// Replaces the `stale` value with a fetched one, or returns the cached value if it is already a newer one. If the
    /// fetch fails, the stale value stays cached.
    pub(super) async fn refresh(&self, stale: &Arc<T>, fetch: impl FnOnce() -> Fetch<T, E>) -> Result<Arc<T>, E> {
        match self.cached().filter(|newer| !Arc::ptr_eq(newer, stale)) {
            Some(newer) => Ok(newer),
            None => self.fetch_shared(fetch).await,
        }
    }

    /// Removes the `stale` value, unless a newer one is already cached.
    pub(super) fn invalidate(&self, stale: &Arc<T>) {
        self.state().cached.take_if(|cached| Arc::ptr_eq(&cached.value, stale));
    }

    async fn fetch_shared(&self, fetch: impl FnOnce() -> Fetch<T, E>) -> Result<Arc<T>, E> {
        let fetch = {
            let mut state = self.state();
            // Lambda may have frozen the process while no caller polled an older fetch. Its time would be over at once.
            let recent = state.fetching.take_if(|it| it.started.elapsed() <= FETCH_TIMEOUT);
            let fetching = recent.unwrap_or_else(|| Fetching {
                started: Instant::now(),
                fetch: bounded(fetch()).boxed().shared(),
            });
            state.fetching.insert(fetching).fetch.clone()
        };
        let fetched = fetch.clone().await;
        let mut state = self.state();
        if state.fetching.take_if(|latest| latest.fetch.ptr_eq(&fetch)).is_some() {
            if let Ok(cached) = &fetched {
                state.cached = Some(cached.clone());
            } else if let Some(refresh_at) = state.cached.as_mut().and_then(|cached| cached.refresh_at.as_mut()) {
                *refresh_at = SystemTime::now() + REFRESH_RETRY_INTERVAL;
            }
        }
        fetched.map(|cached| cached.value)
    }

    fn state(&self) -> MutexGuard<'_, State<T, E>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends a fetch after [`FETCH_TIMEOUT`], and contains its panic: a [`Shared`] future that panicked panics in each
/// caller.
async fn bounded<T, E: From<Interrupted>>(fetch: Fetch<T, E>) -> Result<Cached<T>, E> {
    match catch_panic_async(timeout(FETCH_TIMEOUT, fetch)).await {
        Ok(fetched) => fetched.unwrap_or_else(|_elapsed| Err(Interrupted::TimedOut.into())),
        Err(_panicked) => Err(Interrupted::Panicked.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio::time::{advance, sleep};

    use super::*;

    type Fetch = super::Fetch<u32, &'static str>;

    impl From<Interrupted> for &'static str {
        fn from(interrupted: Interrupted) -> Self {
            match interrupted {
                Interrupted::TimedOut => "timed out",
                Interrupted::Panicked => "panicked",
            }
        }
    }

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
                Ok(Cached {
                    value,
                    refresh_at: None,
                    expires_at,
                })
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

    fn hangs() -> Fetch {
        pending().boxed()
    }

    fn panics() -> Fetch {
        async { panic!("as the test wants") }.boxed()
    }

    #[tokio::test(start_paused = true)]
    async fn a_fetch_that_hangs_times_out() {
        let (cell, started) = (SingleFlight::default(), Instant::now());
        assert_eq!(cell.get(hangs).await, Err("timed out"));
        assert_eq!(started.elapsed(), FETCH_TIMEOUT);
    }

    #[tokio::test(start_paused = true)]
    async fn a_fetch_from_before_a_freeze_is_replaced() {
        let (cell, source) = (SingleFlight::default(), Source::default());
        _ = timeout(Duration::from_secs(1), cell.get(hangs)).await;
        advance(Duration::from_mins(2)).await;
        let get = || cell.get(|| source.next(None));
        assert!(matches!(tokio::join!(get(), get()), (Ok(_), Ok(_))));
        assert_eq!(source.count(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_fetch_that_panics_is_an_error_and_the_next_call_fetches_again() {
        let (cell, source) = (SingleFlight::default(), Source::default());
        let panicked = tokio::join!(cell.get(panics), cell.get(panics));
        assert_eq!(panicked, (Err("panicked"), Err("panicked")));
        assert_eq!(*cell.get(|| source.next(None)).await.unwrap(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_waiting_call_gets_the_value_if_the_call_that_started_the_fetch_is_cancelled() {
        let (cell, source) = (SingleFlight::default(), Source::default());
        let get = || cell.get(|| source.next(None));
        let started = Instant::now();
        let (first, second) = tokio::join!(timeout(Duration::from_millis(400), get()), get());
        assert!(first.is_err());
        assert_eq!((*second.unwrap(), started.elapsed()), (1, Duration::from_secs(1)));
    }

    /// Returns a cache whose value, 0, expires in a minute and is due for a refresh.
    fn due_for_refresh() -> SingleFlight<u32, &'static str> {
        let cell = SingleFlight::default();
        let now = SystemTime::now();
        cell.state().cached = Some(Cached {
            value: Arc::new(0),
            refresh_at: Some(now),
            expires_at: Some(now + Duration::from_mins(1)),
        });
        cell
    }

    /// Returns the cached value, which must be valid.
    async fn cached(cell: &SingleFlight<u32, &'static str>) -> u32 {
        *cell.get(|| panic!("there is a valid value")).await.unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_value_is_refreshed_beside_the_work_of_its_callers() {
        let (cell, source) = (due_for_refresh(), Source::default());
        let started = Instant::now();
        let work = |ms| {
            let work = Box::pin(sleep(Duration::from_millis(ms)));
            cell.refresh_beside(work, || source.next(None))
        };
        work(600).await;
        assert_eq!(cached(&cell).await, 0, "the refresh is not complete");
        tokio::join!(work(300), work(600));
        assert_eq!(started.elapsed(), Duration::from_millis(1200), "no work waits");
        assert_eq!((cached(&cell).await, source.count()), (1, 1));
        work(5000).await;
        assert_eq!(source.count(), 1, "a new value is not due");
    }

    #[tokio::test(start_paused = true)]
    async fn a_refresh_that_hangs_fails_or_panics_costs_nothing() {
        let source = Source::default();
        let fetches: [&dyn Fn() -> Fetch; 3] = [&hangs, &|| source.fails(), &panics];
        for fetch in fetches {
            let (cell, started) = (due_for_refresh(), Instant::now());
            let sleeping = || Box::pin(async { sleep(Duration::from_secs(6)).await });
            cell.refresh_beside(sleeping(), fetch).await;
            assert_eq!(cached(&cell).await, 0);
            cell.refresh_beside(sleeping(), || panic!("it was refreshed just now"))
                .await;
            assert_eq!(started.elapsed(), Duration::from_secs(12));
        }
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
