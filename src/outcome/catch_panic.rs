//! Keeps a panic in one record's work from the other records.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;

use super::{Fault, FaultKind, Outcome};

/// Does one record's part of a stage, and keeps a panic in it from the other records.
///
/// # Errors
///
/// In place of a result, what a panic is to the record on whose account it came: a failure that may well be its own.
pub fn catch_panic<T>(work: impl FnOnce() -> T) -> Result<T, Outcome> {
    // Whatever the work was building is dropped with it; what it only read cannot have changed.
    catch_unwind(AssertUnwindSafe(work))
        .map_err(|_| Fault::new(FaultKind::Suspect, "handling the record panicked").into())
}

/// As [`catch_panic`], for work that waits.
///
/// # Errors
///
/// As [`catch_panic`].
pub async fn catch_panic_async<T>(work: impl Future<Output = T>) -> Result<T, Outcome> {
    let mut work = pin!(work);
    poll_fn(|context| match catch_panic(|| work.as_mut().poll(context)) {
        Ok(poll) => poll.map(Ok),
        Err(panicked) => Poll::Ready(Err(panicked)),
    })
    .await
}
