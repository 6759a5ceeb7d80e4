//! The number of calls that may be in flight in the whole process.
//!
//! *Capacity* is Flink's term. One permit stands for one call. A task acquires it before the call starts and returns it
//! when the call has ended, with any result. The result adjusts the limit, CAPACITY at most, unless `ADAPTIVE_CAPACITY`
//! is off.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{self, Notify};
use tokio::time::{Instant, timeout_at};

mod congestion;
mod limiter;

use limiter::{Call, Limiter, Start};

/// Cap on `Retry-After`: Lambda time spent waiting is billed.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(10);

/// The process-wide count of permits. Clones share it.
#[derive(Debug, Clone)]
pub struct Capacity {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    limiter: Mutex<Limiter>,
    /// Held by the longest-waiting task. Only this task checks whether a call may start.
    turn: sync::Mutex<()>,
    /// Notified when a permit is returned, because a call may then start.
    freed: Notify,
}

/// The right to have one call in flight. Dropping the permit returns it.
#[derive(Debug)]
pub struct Permit {
    shared: Arc<Shared>,
    call: Call,
    has_reported: bool,
}

/// The result of a call, as a signal of the endpoint's capacity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Feedback {
    /// The endpoint answered, so it can take the calls that were in flight.
    Answered,
    /// The endpoint is overloaded.
    Overload,
    /// The endpoint receives too many calls a second, even if few are in flight.
    RateLimit,
    /// The endpoint could not be reached, or the service failed. This has the same effect as an overload, except that
    /// hedged calls go on.
    Unreachable,
    /// A fault of the record, of the container with this record, or of the configuration.
    OtherFault,
    /// No answer arrived in time. The cause is one record or, if a large share of the calls times out, overload.
    TimedOut,
}

impl Capacity {
    /// Allows at most `calls` calls in flight. If `is_adaptive` is set, the limit moves between zero and `calls`
    /// according to the endpoint's responses. Otherwise it is always `calls`.
    pub fn new(calls: NonZeroUsize, is_adaptive: bool) -> Self {
        Self {
            shared: Arc::new(Shared {
                limiter: Mutex::new(Limiter::new(calls, is_adaptive)),
                turn: sync::Mutex::default(),
                freed: Notify::new(),
            }),
        }
    }

    /// Waits for a permit. Permits are granted in the order of the requests, so that concurrent invocations take turns,
    /// each waiting for one permit at a time. Dropping the future leaves the queue and loses no permit.
    pub async fn acquire(&self) -> Permit {
        let _turn = self.shared.turn.lock().await;
        loop {
            let freed = self.shared.freed.notified();
            let start = self.shared.limiter().try_start(Instant::now());
            match start {
                Start::Now(call) => return Permit::new(&self.shared, call),
                Start::After(moment) => _ = timeout_at(moment, freed).await,
                Start::WhenFreed => freed.await,
            }
        }
    }

    /// Returns a permit that no other task is waiting for, to be used for a hedged call. Returns `None` under
    /// back-pressure, because a hedged call may turn out to be unnecessary.
    pub fn try_acquire_for_hedge(&self) -> Option<Permit> {
        let _turn = self.shared.turn.try_lock().ok()?;
        let call = self.shared.limiter().try_start_hedge(Instant::now())?;
        Some(Permit::new(&self.shared, call))
    }

    /// Returns the number of calls that may be in flight now, CAPACITY at most. A limit below one is the share of the
    /// time in which one call may be in flight. If calls are paced, returns the number of calls in flight that results
    /// from their rate, if that is lower.
    pub fn limit(&self) -> f64 {
        self.shared.limiter().effective_limit()
    }
}

impl Shared {
    fn limiter(&self) -> MutexGuard<'_, Limiter> {
        self.limiter.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Permit {
    fn new(shared: &Arc<Shared>, call: Call) -> Self {
        Self {
            shared: Arc::clone(shared),
            call,
            has_reported: false,
        }
    }

    /// Starts no other call for `time`, ten seconds at most, or until an answer arrives. The `time` is the
    /// `Retry-After` of a throttled call, and has an effect only after that call has been reported.
    pub fn hold_other_calls(&mut self, time: Duration) {
        self.shared
            .limiter()
            .hold_off_until(Instant::now() + time.min(RETRY_AFTER_MAX));
    }

    /// Reports the result of the call. Only the first report counts. A cancelled call reports nothing.
    pub fn report(&mut self, feedback: Feedback) {
        if !std::mem::replace(&mut self.has_reported, true) {
            self.shared.limiter().on_feedback(self.call, feedback, Instant::now());
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.shared.limiter().return_permit(self.has_reported);
        self.shared.freed.notify_one();
    }
}

#[cfg(test)]
mod tests;
