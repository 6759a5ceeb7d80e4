//! How many calls may be in flight now, in the whole process.
//!
//! Capacity is Flink's word for it. One permit stands for one call: it is taken before the call starts and given back
//! when the call has ended, however it ended. How it ended moves the limit, CAPACITY at most, unless
//! `ADAPTIVE_CAPACITY` is off.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{self, Notify};
use tokio::time::{Instant, sleep_until};

mod concurrency;
mod limiter;
mod outage;
mod pacing;

use limiter::{Limit, Start};

/// Where an endpoint asks for more, a process that waits is paid for.
const LONGEST_REST: Duration = Duration::from_secs(10);

/// The process-wide count of permits. Clones share it.
#[derive(Debug, Clone)]
pub struct Capacity {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    limit: Mutex<Limit>,
    /// Held by who has waited longest: only that one looks whether a call may start.
    turn: sync::Mutex<()>,
    /// Told when that may have changed.
    freed: Notify,
}

/// The right to have one call in flight. Dropping it gives it back.
#[derive(Debug)]
pub struct Permit {
    shared: Arc<Shared>,
    started: Instant,
    has_ended: bool,
}

/// What the end of a call says of how much the endpoint can take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The endpoint answered: it can take this much.
    Answered,
    /// It has too much to do.
    Overload,
    /// It gets too many calls a second, however few are in flight.
    OverRate,
    /// It could not be reached, or broke: that says nothing unless nothing else is heard.
    Unreachable,
    /// The record's own fault, or the container's with that record, or the configuration's.
    Otherwise,
    /// No answer came in time: one record's fault, or, where it is a good share of the calls, too much to do.
    TimedOut,
}

impl Capacity {
    /// At most `calls` calls in flight: always so many where it is not adaptive, else as many of them as the endpoint
    /// turns out to take.
    pub fn new(calls: NonZeroUsize, is_adaptive: bool) -> Self {
        Self {
            shared: Arc::new(Shared {
                limit: Mutex::new(Limit::new(calls, is_adaptive)),
                turn: sync::Mutex::default(),
                freed: Notify::new(),
            }),
        }
    }

    /// Waits for a permit. Who waits longest goes first, so that concurrent invocations, each waiting for one permit
    /// at a time, take turns. Dropping the future gives up the place in the queue and loses no permit.
    pub async fn acquire(&self) -> Permit {
        self.acquire_by(Limit::start).await
    }

    /// As [`acquire`](Self::acquire), but without a wait for anything but a permit: for calls that are few, and that a
    /// record's fate depends on.
    pub async fn acquire_at_once(&self) -> Permit {
        self.acquire_by(Limit::start_at_once).await
    }

    async fn acquire_by(&self, start: impl Fn(&mut Limit, Instant) -> Start) -> Permit {
        let _turn = self.shared.turn.lock().await;
        loop {
            let freed = self.shared.freed.notified();
            let start = start(&mut self.shared.limit(), Instant::now());
            match start {
                Start::Now => return Permit::new(&self.shared),
                Start::After(moment) => tokio::select! {
                    biased;
                    () = freed => {}
                    () = sleep_until(moment) => {}
                },
                Start::WhenFreed => freed.await,
            }
        }
    }

    /// A permit that nobody else wants now, for a second call that may be in vain. None under back-pressure.
    pub fn spare(&self) -> Option<Permit> {
        let _turn = self.shared.turn.try_lock().ok()?;
        let is_spare = self.shared.limit().start_spare(Instant::now());
        is_spare.then(|| Permit::new(&self.shared))
    }

    /// How many calls may be in flight now, up to CAPACITY. Below one, the share of the time in which there may be one.
    /// Where calls are paced, as many as that comes to.
    pub fn limit(&self) -> f64 {
        self.shared.limit().reported(Instant::now())
    }

    /// Whether the latest calls, ten at least, have all ended by Overload or Unreachable, and nothing else is in flight.
    pub fn is_hopeless(&self) -> bool {
        self.shared.limit().is_hopeless()
    }
}

impl Shared {
    fn limit(&self) -> MutexGuard<'_, Limit> {
        self.limit.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Permit {
    fn new(shared: &Arc<Shared>) -> Self {
        Self {
            shared: Arc::clone(shared),
            started: Instant::now(),
            has_ended: false,
        }
    }

    /// The call, which was the endpoint's one too many, is followed by a rest of this `time`, ten seconds at most: no other
    /// starts before, unless an answer comes.
    pub fn is_followed_by_rest(&mut self, time: Duration) {
        self.shared.limit().rest(Instant::now() + time.min(LONGEST_REST));
    }

    /// Tells how the call ended. One that was cut says nothing.
    pub fn ended(&mut self, how: Ended) {
        if !std::mem::replace(&mut self.has_ended, true) {
            self.shared.limit().ended(self.started, how, Instant::now());
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.shared.limit().give_back(self.has_ended);
        self.shared.freed.notify_one();
    }
}

#[cfg(test)]
mod tests;
