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
    first_calls: Queue,
    hedged_calls: Queue,
}

/// The tasks that wait for a permit.
#[derive(Debug, Default)]
struct Queue {
    /// Held by the longest-waiting task. Only this task checks whether a call may start.
    turn: sync::Mutex<()>,
    /// Notified when a permit is returned, because a call may then start.
    freed: Notify,
}

/// The wait for a permit for a hedged call. While it exists, the limiter leaves room for that call.
struct HedgeWait<'a>(&'a Shared);

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
                first_calls: Queue::default(),
                hedged_calls: Queue::default(),
            }),
        }
    }

    /// Waits for a permit. Permits are granted in the order of the requests, so that concurrent invocations take turns,
    /// each waiting for one permit at a time. Dropping the future leaves the queue and loses no permit.
    pub async fn acquire(&self) -> Permit {
        self.wait_in(&self.shared.first_calls, Limiter::try_start).await
    }

    /// Waits for a permit for a hedged call, which goes before all first calls: the slow call decides when its batch
    /// ends. Under back-pressure it takes no permit from them, because it may turn out to be unnecessary. Dropping the
    /// future leaves the queue and loses no permit.
    pub async fn acquire_for_hedge(&self) -> Permit {
        let _wait = HedgeWait::begin(&self.shared);
        self.wait_in(&self.shared.hedged_calls, Limiter::try_start_hedge).await
    }

    async fn wait_in(&self, queue: &Queue, try_start: impl Fn(&mut Limiter, Instant) -> Start) -> Permit {
        let _turn = queue.turn.lock().await;
        loop {
            let freed = queue.freed.notified();
            let start = try_start(&mut self.shared.limiter(), Instant::now());
            match start {
                Start::Now(call) => return Permit::new(&self.shared, call),
                Start::After(moment) => _ = timeout_at(moment, freed).await,
                Start::WhenFreed => freed.await,
            }
        }
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

impl<'a> HedgeWait<'a> {
    fn begin(shared: &'a Shared) -> Self {
        shared.limiter().begin_hedge_wait();
        Self(shared)
    }
}

impl Drop for HedgeWait<'_> {
    fn drop(&mut self) {
        self.0.limiter().end_hedge_wait();
        // A first call may take the room that was left for the hedged call.
        self.0.first_calls.freed.notify_one();
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
        let mut limiter = self.shared.limiter();
        limiter.return_permit(self.has_reported);
        let has_waiting_hedges = limiter.has_waiting_hedges();
        drop(limiter);
        if has_waiting_hedges {
            self.shared.hedged_calls.freed.notify_one();
        }
        self.shared.first_calls.freed.notify_one();
    }
}

#[cfg(test)]
mod tests;
