//! What is fetched once and kept: until it is out of date, or somebody finds it stale.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};

/// How long a fetch may take: as the AWS SDK has it for credentials.
pub(super) const FETCH_MAX: Duration = Duration::from_secs(5);

/// A value that many calls use, and one fetch at a time brings.
#[derive(Debug)]
pub(super) struct Kept<T, E> {
    state: Mutex<State<T, E>>,
}

#[derive(Debug)]
struct State<T, E> {
    kept: Option<Dated<T>>,
    fetching: Option<Fetching<T, E>>,
}

/// Whoever waits for it drives it on; it outlives those that go.
type Fetching<T, E> = Shared<BoxFuture<'static, Result<Dated<T>, E>>>;

/// A value, and until when it is good: for ever where nothing is said.
#[derive(Debug)]
pub(super) struct Dated<T> {
    pub(super) value: Arc<T>,
    pub(super) until: Option<SystemTime>,
}

impl<T> Clone for Dated<T> {
    fn clone(&self) -> Self {
        Self {
            value: Arc::clone(&self.value),
            until: self.until,
        }
    }
}

impl<T> Dated<T> {
    fn is_good(&self) -> bool {
        self.until.is_none_or(|until| SystemTime::now() < until)
    }
}

impl<T, E> Default for Kept<T, E> {
    fn default() -> Self {
        let state = State {
            kept: None,
            fetching: None,
        };
        Self {
            state: Mutex::new(state),
        }
    }
}

impl<T: Send + Sync, E: Clone + Send + Sync> Kept<T, E> {
    /// The one that is kept, or else a new one by `fetch`. Calls that need a new one at the same time wait for the same, and
    /// have its error, if that is what comes.
    pub(super) async fn get(
        &self,
        fetch: impl FnOnce() -> BoxFuture<'static, Result<Dated<T>, E>>,
    ) -> Result<Arc<T>, E> {
        if let Some(kept) = self.state().kept.as_ref().filter(|kept| kept.is_good()) {
            return Ok(Arc::clone(&kept.value));
        }
        self.fetched(fetch).await
    }

    /// A new one in place of the one that is `stale`, unless there is one already. Where none is to be had, that stays.
    pub(super) async fn renew(
        &self,
        stale: &Arc<T>,
        fetch: impl FnOnce() -> BoxFuture<'static, Result<Dated<T>, E>>,
    ) -> Result<Arc<T>, E> {
        let newer = self.state().kept.as_ref().map(|kept| Arc::clone(&kept.value));
        match newer.filter(|newer| !Arc::ptr_eq(newer, stale)) {
            Some(newer) => Ok(newer),
            None => self.fetched(fetch).await,
        }
    }

    /// Drops the one that is no longer taken, unless a newer one is there already.
    pub(super) fn forget(&self, stale: &Arc<T>) {
        self.state().kept.take_if(|kept| Arc::ptr_eq(&kept.value, stale));
    }

    async fn fetched(&self, fetch: impl FnOnce() -> BoxFuture<'static, Result<Dated<T>, E>>) -> Result<Arc<T>, E> {
        let fetching = {
            let mut state = self.state();
            // One that has ended while nobody waited is as old as it may be.
            let under_way = state.fetching.take_if(|fetching| fetching.peek().is_none());
            let fetching = under_way.unwrap_or_else(|| fetch().shared());
            state.fetching = Some(fetching.clone());
            fetching
        };
        let fetched = fetching.clone().await;
        let mut state = self.state();
        if state.fetching.as_ref().is_some_and(|latest| latest.ptr_eq(&fetching)) {
            state.fetching = None;
            if let Ok(dated) = &fetched {
                state.kept = Some(dated.clone());
            }
        }
        fetched.map(|dated| dated.value)
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

    type Fetch = BoxFuture<'static, Result<Dated<u32>, &'static str>>;

    /// Takes a second, and counts.
    #[derive(Debug, Default, Clone)]
    struct Source(Arc<AtomicU32>);

    impl Source {
        fn next(&self, lasting: Option<Duration>) -> Fetch {
            let count = Arc::clone(&self.0);
            async move {
                sleep(Duration::from_secs(1)).await;
                let value = Arc::new(count.fetch_add(1, Ordering::Relaxed) + 1);
                let until = lasting.map(|time| SystemTime::now() + time);
                Ok(Dated { value, until })
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

    async fn asked_three_times(lasting: Option<Duration>) -> u32 {
        let (kept, source) = (Kept::default(), Source::default());
        for _ in 0..3 {
            kept.get(|| source.next(lasting)).await.unwrap();
        }
        source.count()
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_kept_as_long_as_it_is_good() {
        assert_eq!(asked_three_times(None).await, 1);
        assert_eq!(asked_three_times(Some(Duration::from_hours(1))).await, 1);
        assert_eq!(asked_three_times(Some(Duration::ZERO)).await, 3);
    }

    #[tokio::test(start_paused = true)]
    async fn calls_that_need_a_new_one_at_once_wait_for_the_same() {
        let (kept, source) = (Kept::default(), Source::default());
        let get = || kept.get(|| source.next(None));
        let (first, second) = tokio::join!(get(), get());
        assert!(Arc::ptr_eq(&first.unwrap(), &second.unwrap()));
        assert_eq!(source.count(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn they_have_the_same_error_and_the_next_call_fetches_anew() {
        let (kept, source) = (Kept::default(), Source::default());
        let get = || kept.get(|| source.fails());
        assert_eq!(tokio::join!(get(), get()), (Err("no answer"), Err("no answer")));
        assert_eq!(source.count(), 1);
        assert_eq!(*kept.get(|| source.next(None)).await.unwrap(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_fetch_goes_on_where_those_that_waited_for_it_have_gone() {
        let (kept, source) = (Kept::default(), Source::default());
        for _ in 0..3 {
            // Each would have to begin anew, and none would ever have one.
            let waited = timeout(Duration::from_millis(400), kept.get(|| source.next(None))).await;
            if let Ok(Ok(value)) = waited {
                assert_eq!(*value, 1);
                return;
            }
        }
        panic!("it takes a second");
    }

    #[tokio::test(start_paused = true)]
    async fn only_the_one_that_is_stale_is_forgotten() {
        let (kept, source) = (Kept::default(), Source::default());
        let first = kept.get(|| source.next(None)).await.unwrap();
        kept.forget(&first);
        let second = kept.get(|| source.next(None)).await.unwrap();
        assert_eq!(*second, 2);
        kept.forget(&first);
        assert!(Arc::ptr_eq(&second, &kept.get(|| source.next(None)).await.unwrap()));
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_cannot_be_renewed_is_kept() {
        let (kept, source) = (Kept::default(), Source::default());
        let first = kept.get(|| source.next(None)).await.unwrap();
        assert_eq!(kept.renew(&first, || source.fails()).await, Err("no answer"));
        assert!(Arc::ptr_eq(&first, &kept.get(|| source.next(None)).await.unwrap()));
        let renew = || kept.renew(&first, || source.next(None));
        let (one, other) = tokio::join!(renew(), renew());
        assert!(Arc::ptr_eq(&one.unwrap(), &other.unwrap()));
        assert_eq!(source.count(), 3);
        assert_eq!(*renew().await.unwrap(), 3, "another call has renewed it");
    }
}
