//! Builds the input of the benches before the count starts. Borrowed input is leaked, so that freeing it is not
//! counted.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

pub(crate) mod answers;
pub(crate) mod batch;
pub(crate) mod handling;
pub(crate) mod settings;
pub(crate) mod signing;

/// The number of user records in each bench.
pub(crate) const RECORDS: usize = 500;
/// The number of user records in one packed request or one aggregated Kinesis record.
pub(crate) const GROUP_SIZE: usize = 100;

/// Runs a future that waits for nothing, but may yield. A runtime would be counted too.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    let (mut future, mut context) = (pin!(future), Context::from_waker(Waker::noop()));
    loop {
        if let Poll::Ready(done) = future.as_mut().poll(&mut context) {
            return done;
        }
    }
}

/// Leaks a value and returns a reference to it.
pub(crate) fn leak<T>(value: T) -> &'static T {
    Box::leak(Box::new(value))
}
