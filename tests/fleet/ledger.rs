//! Records the events of a run and counts them for any window of time.

use std::ops::{AddAssign, Range};
use std::time::Duration;

/// The kind of an event. An event belongs to one instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EventKind {
    /// The instance received a batch.
    Delivered,
    /// A call was accepted and took a slot.
    Accepted,
    /// A call was throttled.
    Throttled,
    /// A call failed because of an outage.
    Failed,
    /// An accepted call was answered.
    Answered,
    /// An accepted call was cancelled before its answer.
    Cancelled,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Event {
    at: Duration,
    instance: usize,
    kind: EventKind,
}

/// All events of a run in order of time. Times are relative to the start of the run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Ledger {
    events: Vec<Event>,
}

/// The number of events of each kind. `u32` converts to `f64` without loss.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) deliveries: u32,
    pub(crate) calls: u32,
    pub(crate) throttled: u32,
    pub(crate) failed: u32,
    pub(crate) answered: u32,
    pub(crate) cancelled: u32,
}

impl AddAssign<EventKind> for Counts {
    fn add_assign(&mut self, kind: EventKind) {
        match kind {
            EventKind::Delivered => self.deliveries += 1,
            EventKind::Accepted => {}
            EventKind::Throttled => self.throttled += 1,
            EventKind::Failed => self.failed += 1,
            EventKind::Answered => self.answered += 1,
            EventKind::Cancelled => self.cancelled += 1,
        }
        self.calls += u32::from(kind.is_call());
    }
}

impl EventKind {
    fn is_call(self) -> bool {
        matches!(self, Self::Accepted | Self::Throttled | Self::Failed)
    }
}

impl Ledger {
    pub(crate) fn add(&mut self, at: Duration, instance: usize, kind: EventKind) {
        self.events.push(Event { at, instance, kind });
    }

    fn within(&self, window: &Range<Duration>) -> &[Event] {
        let first_from = |time: Duration| self.events.partition_point(|event| event.at < time);
        &self.events[first_from(window.start)..first_from(window.end)]
    }

    pub(crate) fn counts(&self, window: &Range<Duration>) -> Counts {
        let mut counts = Counts::default();
        self.within(window).iter().for_each(|event| counts += event.kind);
        counts
    }

    /// Returns the counts of each instance.
    pub(crate) fn counts_by_instance(&self, instances: usize, window: &Range<Duration>) -> Vec<Counts> {
        let mut each = vec![Counts::default(); instances];
        for event in self.within(window) {
            each[event.instance] += event.kind;
        }
        each
    }

    /// Returns the time at which the given number of calls had been made, or of the last event if there were fewer.
    pub(crate) fn time_after_calls(&self, calls: usize) -> Duration {
        let mut made = self.events.iter().filter(|event| event.kind.is_call());
        let last = made.nth(calls).or(self.events.last());
        last.map(|event| event.at).unwrap_or_default()
    }

    /// Returns the time for which slots were taken, summed over all slots.
    pub(crate) fn slot_time(&self, window: &Range<Duration>) -> Duration {
        let within = |time: Duration| time.clamp(window.start, window.end);
        let (mut busy, mut since, mut taken) = (0_u32, window.start, Duration::ZERO);
        for event in &self.events {
            let at = within(event.at);
            taken += at.saturating_sub(since) * busy;
            since = at;
            match event.kind {
                EventKind::Accepted => busy += 1,
                EventKind::Answered | EventKind::Cancelled => busy -= 1,
                EventKind::Delivered | EventKind::Throttled | EventKind::Failed => {}
            }
        }
        taken + window.end.saturating_sub(since) * busy
    }
}
