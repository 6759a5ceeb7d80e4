//! Contains a panic in the work for one record, so that the other records go on.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;

use super::{Failure, Fault, FaultKind, Outcome};

/// Runs the `work` of a stage for one record and catches a panic in it.
///
/// # Errors
///
/// On panic, returns a Suspect failure for this record.
pub fn catch_panic<T>(work: impl FnOnce() -> T) -> Result<T, Outcome> {
    // A panic drops the value under construction, and data that `work` only reads cannot have changed.
    catch_unwind(AssertUnwindSafe(work)).map_err(|_| {
        Outcome::Failed(Failure::Fault {
            fault: Fault::new(FaultKind::Suspect, "handling the record panicked"),
            request_records: 1,
        })
    })
}

/// Does the same as [`catch_panic`] for a future.
///
/// # Errors
///
/// Fails like [`catch_panic`].
pub async fn catch_panic_async<T>(work: impl Future<Output = T>) -> Result<T, Outcome> {
    let mut work = pin!(work);
    poll_fn(|context| match catch_panic(|| work.as_mut().poll(context)) {
        Ok(poll) => poll.map(Ok),
        Err(panicked) => Poll::Ready(Err(panicked)),
    })
    .await
}
