//! What is fetched once and kept: until it is out of date, or somebody finds it stale.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::SystemTime;

use tokio::sync::Mutex;

/// A value that many calls use and one at a time fetches.
#[derive(Debug)]
pub(super) struct Kept<T> {
    kept: RwLock<Option<Dated<T>>>,
    fetching: Mutex<()>,
}

/// A value, and until when it is good: for ever where nothing is said.
#[derive(Debug)]
pub(super) struct Dated<T> {
    pub(super) value: Arc<T>,
    pub(super) until: Option<SystemTime>,
}

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self {
            kept: RwLock::default(),
            fetching: Mutex::default(),
        }
    }
}

impl<T> Kept<T> {
    /// The one that is kept, or else a new one by `fetch`. Calls that need a new one at the same time wait for the same, and
    /// fetch one after another where there is none.
    pub(super) async fn get<E>(&self, fetch: impl Future<Output = Result<Dated<T>, E>>) -> Result<Arc<T>, E> {
        if let Some(kept) = self.kept() {
            return Ok(kept);
        }
        let _one_at_a_time = self.fetching.lock().await;
        if let Some(kept) = self.kept() {
            return Ok(kept);
        }
        let fetched = fetch.await?;
        let value = Arc::clone(&fetched.value);
        *self.kept.write().unwrap_or_else(PoisonError::into_inner) = Some(fetched);
        Ok(value)
    }

    /// Drops the one that is no longer taken, unless a newer one is there already.
    pub(super) fn forget(&self, stale: &Arc<T>) {
        let mut kept = self.kept.write().unwrap_or_else(PoisonError::into_inner);
        kept.take_if(|kept| Arc::ptr_eq(&kept.value, stale));
    }

    fn kept(&self) -> Option<Arc<T>> {
        let kept = self.kept.read().unwrap_or_else(PoisonError::into_inner);
        let is_good = |kept: &&Dated<T>| kept.until.is_none_or(|until| SystemTime::now() < until);
        Some(Arc::clone(&kept.as_ref().filter(is_good)?.value))
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::convert::Infallible;
    use std::time::Duration;

    use super::*;

    async fn next(count: &Cell<u32>, lasting: Option<Duration>) -> Result<Dated<u32>, Infallible> {
        tokio::task::yield_now().await;
        count.set(count.get() + 1);
        let value = Arc::new(count.get());
        let until = lasting.map(|time| SystemTime::now() + time);
        Ok(Dated { value, until })
    }

    async fn asked_three_times(lasting: Option<Duration>) -> u32 {
        let (kept, count) = (Kept::default(), Cell::new(0));
        for _ in 0..3 {
            kept.get(next(&count, lasting)).await.unwrap();
        }
        count.get()
    }

    #[tokio::test]
    async fn it_is_kept_as_long_as_it_is_good() {
        assert_eq!(asked_three_times(None).await, 1);
        assert_eq!(asked_three_times(Some(Duration::from_hours(1))).await, 1);
        assert_eq!(asked_three_times(Some(Duration::ZERO)).await, 3);
    }

    #[tokio::test]
    async fn calls_that_need_a_new_one_at_once_wait_for_the_same() {
        let (kept, count) = (Kept::default(), Cell::new(0));
        let (first, second) = tokio::join!(kept.get(next(&count, None)), kept.get(next(&count, None)));
        assert!(Arc::ptr_eq(&first.unwrap(), &second.unwrap()));
        assert_eq!(count.get(), 1);
    }

    #[tokio::test]
    async fn only_the_one_that_is_stale_is_forgotten() {
        let (kept, count) = (Kept::default(), Cell::new(0));
        let first = kept.get(next(&count, None)).await.unwrap();
        kept.forget(&first);
        let second = kept.get(next(&count, None)).await.unwrap();
        assert_eq!(*second, 2);
        kept.forget(&first);
        assert!(Arc::ptr_eq(&second, &kept.get(next(&count, None)).await.unwrap()));
    }

    #[tokio::test]
    async fn where_fetching_fails_the_next_call_fetches() {
        let (kept, count) = (Kept::default(), Cell::new(0));
        let error = kept.get(async { Err::<Dated<u32>, _>("no answer") }).await;
        assert_eq!(error.unwrap_err(), "no answer");
        assert_eq!(*kept.get(next(&count, None)).await.unwrap(), 1);
    }
}
