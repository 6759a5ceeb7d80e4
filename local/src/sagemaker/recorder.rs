//! The calls of an endpoint, each with its time and its outcome: for a bench.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// With a prediction.
    Answered,
    /// At once, because there were too many.
    Throttled,
    /// The container failed.
    Error,
    /// The caller went away before there was an answer, as from a call that hangs.
    Cut,
    /// What was asked for was refused, by the container or by the service.
    Refused,
}

impl Outcome {
    /// All of them; the place of each here is its number.
    pub const ALL: [Self; 5] = [Self::Answered, Self::Throttled, Self::Error, Self::Cut, Self::Refused];
}

/// A call that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call {
    /// When its request was there.
    pub start: Instant,
    /// When it was answered, or its caller gone.
    pub end: Instant,
    /// How it ended.
    pub outcome: Outcome,
}

/// What was recorded.
#[derive(Debug, Default)]
pub struct Recorded {
    /// The calls, in the order of their ends.
    pub calls: Vec<Call>,
    /// How many calls ended with each outcome, by its place in [`Outcome::ALL`]: those included for which there was no
    /// room among the calls.
    pub counts: [u64; 5],
}

/// Records calls, so many at most. It takes no memory while it runs: all is there from the start.
#[derive(Debug)]
pub(super) struct Recorder {
    recorded: Mutex<Recorded>,
}

/// A call that is recorded when this is dropped.
#[derive(Debug)]
pub(super) struct Recording<'r> {
    recorder: &'r Recorder,
    start: Instant,
    /// Cut, unless the call lives to say otherwise.
    pub(super) outcome: Outcome,
}

impl Recorder {
    pub(super) fn new(calls_max: usize) -> Self {
        let recorded = Recorded {
            calls: Vec::with_capacity(calls_max),
            ..Recorded::default()
        };
        Self {
            recorded: Mutex::new(recorded),
        }
    }

    pub(super) fn start(&self) -> Recording<'_> {
        Recording {
            recorder: self,
            start: Instant::now(),
            outcome: Outcome::Cut,
        }
    }

    /// What has been recorded. Whatever ends later is not kept.
    pub(super) fn take(&self) -> Recorded {
        std::mem::take(&mut *self.recorded())
    }

    fn recorded(&self) -> MutexGuard<'_, Recorded> {
        self.recorded.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Recording<'_> {
    fn drop(&mut self) {
        let Self {
            recorder,
            start,
            outcome,
        } = *self;
        let mut recorded = recorder.recorded();
        if let Some(count) = recorded.counts.get_mut(outcome as usize) {
            *count += 1;
        }
        if recorded.calls.len() < recorded.calls.capacity() {
            let end = Instant::now();
            recorded.calls.push(Call { start, end, outcome });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn calls_are_recorded_as_they_end_and_counted_beyond_the_room_for_them() {
        let recorder = Recorder::new(2);
        let mut first = recorder.start();
        let began = Instant::now();
        advance(Duration::from_millis(5)).await;
        let mut second = recorder.start();
        second.outcome = Outcome::Throttled;
        drop(second);
        advance(Duration::from_millis(5)).await;
        first.outcome = Outcome::Answered;
        drop(first);
        drop(recorder.start());
        let Recorded { calls, counts } = recorder.take();
        let after = |ms| began + Duration::from_millis(ms);
        let call = |start, end, outcome| Call {
            start: after(start),
            end: after(end),
            outcome,
        };
        assert_eq!(calls, [call(5, 5, Outcome::Throttled), call(0, 10, Outcome::Answered)]);
        assert_eq!(counts, [1, 1, 0, 1, 0], "a call that says nothing was cut");
        assert_eq!(recorder.take().calls, []);
    }

    #[test]
    fn an_outcomes_number_is_its_place() {
        for (place, outcome) in Outcome::ALL.into_iter().enumerate() {
            assert_eq!(outcome as usize, place);
        }
    }
}
