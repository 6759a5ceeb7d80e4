//! A record of the endpoint's calls with their times and outcomes, for benchmarks.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

/// The outcome of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallOutcome {
    /// The endpoint answered with a prediction.
    Answered,
    /// The call was refused immediately because there were too many calls.
    Throttled,
    /// The container failed.
    Error,
    /// The caller disconnected before it got a response, for example because the call hung.
    Cancelled,
    /// The container or the service refused the request.
    Refused,
}

impl CallOutcome {
    /// All outcomes. The index of an outcome is its discriminant.
    pub const ALL: [Self; 5] = [
        Self::Answered,
        Self::Throttled,
        Self::Error,
        Self::Cancelled,
        Self::Refused,
    ];
}

/// A call that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call {
    /// The time at which the request arrived.
    pub start: Instant,
    /// The time at which it was answered or its caller disconnected.
    pub end: Instant,
    /// Its outcome.
    pub outcome: CallOutcome,
}

/// The recorded calls.
#[derive(Debug, Default)]
pub struct RecordedCalls {
    /// The calls, in the order in which they ended.
    pub calls: Vec<Call>,
    /// The number of calls with each outcome, in the order of [`CallOutcome::ALL`]. It includes calls beyond the
    /// capacity of `calls`.
    pub counts: [u64; 5],
}

/// Records up to a maximum number of calls. All its memory is allocated at the start, none while it records.
#[derive(Debug)]
pub(super) struct Recorder {
    recorded: Mutex<RecordedCalls>,
}

/// A call that is recorded when this is dropped.
#[derive(Debug)]
pub(super) struct Recording<'r> {
    recorder: &'r Recorder,
    start: Instant,
    /// `Cancelled`, until the call sets another outcome.
    pub(super) outcome: CallOutcome,
}

impl Recorder {
    pub(super) fn new(calls_max: usize) -> Self {
        let recorded = RecordedCalls {
            calls: Vec::with_capacity(calls_max),
            ..RecordedCalls::default()
        };
        Self {
            recorded: Mutex::new(recorded),
        }
    }

    pub(super) fn start(&self) -> Recording<'_> {
        Recording {
            recorder: self,
            start: Instant::now(),
            outcome: CallOutcome::Cancelled,
        }
    }

    /// Takes the recorded calls. Calls that end later are counted, but not recorded.
    pub(super) fn take(&self) -> RecordedCalls {
        std::mem::take(&mut *self.recorded())
    }

    fn recorded(&self) -> MutexGuard<'_, RecordedCalls> {
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
    async fn calls_are_recorded_when_they_end_and_counted_beyond_the_maximum() {
        let recorder = Recorder::new(2);
        let mut first = recorder.start();
        let began = Instant::now();
        advance(Duration::from_millis(5)).await;
        let mut second = recorder.start();
        second.outcome = CallOutcome::Throttled;
        drop(second);
        advance(Duration::from_millis(5)).await;
        first.outcome = CallOutcome::Answered;
        drop(first);
        drop(recorder.start());
        let RecordedCalls { calls, counts } = recorder.take();
        let after = |ms| began + Duration::from_millis(ms);
        let call = |start, end, outcome| Call {
            start: after(start),
            end: after(end),
            outcome,
        };
        assert_eq!(
            calls,
            [call(5, 5, CallOutcome::Throttled), call(0, 10, CallOutcome::Answered)]
        );
        assert_eq!(counts, [1, 1, 0, 1, 0], "a call without an outcome was cancelled");
        assert_eq!(recorder.take().calls, []);
    }

    #[test]
    fn an_outcomes_discriminant_is_its_index() {
        for (index, outcome) in CallOutcome::ALL.into_iter().enumerate() {
            assert_eq!(outcome as usize, index);
        }
    }
}
