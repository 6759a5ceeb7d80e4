//! What happened in a run, event by event, and what it comes to in any window of time.

use std::ops::{AddAssign, Range};
use std::time::Duration;

/// What may happen to an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    /// It was handed a batch.
    Delivered,
    /// A call of its took a slot.
    Accepted,
    /// A call found no room.
    Throttled,
    /// A call fell into an outage.
    Failed,
    /// An accepted call was answered.
    Answered,
    /// An accepted call was dropped before.
    Cut,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Event {
    at: Duration,
    instance: usize,
    what: What,
}

/// All that happened, in the order of time, which counts from the start of the run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Ledger {
    events: Vec<Event>,
}

/// How often each thing happened. As `u32`, of which `f64` holds every number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) deliveries: u32,
    pub(crate) calls: u32,
    pub(crate) throttled: u32,
    pub(crate) failed: u32,
    pub(crate) answered: u32,
    pub(crate) cut: u32,
}

impl AddAssign<What> for Counts {
    fn add_assign(&mut self, what: What) {
        match what {
            What::Delivered => self.deliveries += 1,
            What::Accepted => {}
            What::Throttled => self.throttled += 1,
            What::Failed => self.failed += 1,
            What::Answered => self.answered += 1,
            What::Cut => self.cut += 1,
        }
        self.calls += u32::from(what.is_call());
    }
}

impl What {
    fn is_call(self) -> bool {
        matches!(self, Self::Accepted | Self::Throttled | Self::Failed)
    }
}

impl Ledger {
    pub(crate) fn add(&mut self, at: Duration, instance: usize, what: What) {
        self.events.push(Event { at, instance, what });
    }

    fn within(&self, window: &Range<Duration>) -> &[Event] {
        let first_from = |time: Duration| self.events.partition_point(|event| event.at < time);
        &self.events[first_from(window.start)..first_from(window.end)]
    }

    pub(crate) fn counts(&self, window: &Range<Duration>) -> Counts {
        let mut counts = Counts::default();
        self.within(window).iter().for_each(|event| counts += event.what);
        counts
    }

    /// The counts of each of so many instances.
    pub(crate) fn of_each(&self, instances: usize, window: &Range<Duration>) -> Vec<Counts> {
        let mut each = vec![Counts::default(); instances];
        for event in self.within(window) {
            each[event.instance] += event.what;
        }
        each
    }

    /// When so many calls had been made; the end of the run if it has fewer.
    pub(crate) fn after_calls(&self, calls: usize) -> Duration {
        let mut made = self.events.iter().filter(|event| event.what.is_call());
        let last = made.nth(calls).or(self.events.last());
        last.map(|event| event.at).unwrap_or_default()
    }

    /// For how long slots were taken, all of them together.
    pub(crate) fn slot_time(&self, window: &Range<Duration>) -> Duration {
        let within = |time: Duration| time.clamp(window.start, window.end);
        let (mut busy, mut since, mut taken) = (0_u32, window.start, Duration::ZERO);
        for event in &self.events {
            let at = within(event.at);
            taken += at.saturating_sub(since) * busy;
            since = at;
            match event.what {
                What::Accepted => busy += 1,
                What::Answered | What::Cut => busy -= 1,
                What::Delivered | What::Throttled | What::Failed => {}
            }
        }
        taken + window.end.saturating_sub(since) * busy
    }
}
