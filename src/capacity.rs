//! How many calls may be in flight now, in the whole process.
//!
//! Capacity is Flink's word for it. One permit stands for one attempt: it is taken before the call starts and given
//! back when the call has ended, however it ended.

use std::num::NonZeroUsize;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The process-wide count of permits. Clones share it.
#[derive(Debug, Clone)]
pub struct Capacity {
    permits: Arc<Semaphore>,
}

/// The right to have one call in flight. Dropping it gives it back.
#[derive(Debug)]
pub struct Permit {
    _permit: OwnedSemaphorePermit,
}

impl Capacity {
    /// At most `calls` calls in flight.
    pub fn new(calls: NonZeroUsize) -> Self {
        Self {
            permits: Arc::new(Semaphore::new(calls.get())),
        }
    }

    /// Waits for a permit. Who waits longest goes first, so that concurrent invocations, each waiting for one permit
    /// at a time, take turns. Dropping the future gives up the place in the queue and loses no permit.
    pub async fn acquire(&self) -> Permit {
        let permit = Arc::clone(&self.permits).acquire_owned().await;
        Permit {
            _permit: permit.expect("the semaphore is never closed"),
        }
    }
}
