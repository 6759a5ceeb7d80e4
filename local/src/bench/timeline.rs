//! The course of a round over time, in few enough bins to draw. Times are in seconds since the first event.

use std::time::Duration;

use tokio::time::Instant;

use super::round::Batch;
use super::statistics::{ms, number};
use crate::sagemaker::{Call, CallOutcome};

/// The number of bins for the calls in flight.
const LEVEL_BINS: u32 = 300;
/// The number of bins for the outcomes of calls.
const OUTCOME_BINS: u32 = 60;

/// A round over time.
#[derive(Debug)]
pub struct Timeline {
    /// The time from the first event to the last response.
    pub seconds: f64,
    /// The time of each invocation's response, and its latency in milliseconds.
    pub batches: Vec<(f64, f64)>,
    /// The duration of each call at the endpoint, in milliseconds. Throttled calls take no time and are left out.
    pub call_ms: Vec<f64>,
    /// The calls in flight at the endpoint in bins of equal length, without throttled calls.
    pub in_flight: Vec<Level>,
    /// The limits of calls in flight that the function logged, each after its time.
    pub limits: Vec<(f64, f64)>,
    /// The calls that ended in each of the bins of equal length, by outcome in the order of [`CallOutcome::ALL`].
    pub outcomes: Vec<[u64; 5]>,
}

/// The calls in flight in a bin.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Level {
    /// The average number.
    pub mean: f64,
    /// The maximum number.
    pub most: u64,
}

impl Timeline {
    /// Returns the timeline of a round from its batches in order, the endpoint's calls, and the limits that the
    /// function logged.
    pub fn of(batches: &[Batch], calls: &[Call], limits: &[(Instant, f64)]) -> Self {
        let origin = batches
            .first()
            .map_or_else(Instant::now, |first| first.end - first.latency);
        let span = batches.last().map_or(origin, |last| last.end) - origin;
        let seconds = |at: Instant| (at - origin).as_secs_f64();
        let admitted = calls.iter().filter(|call| call.outcome != CallOutcome::Throttled);
        let interval = |call: &Call| [call.start - origin, call.end - origin];
        Self {
            seconds: span.as_secs_f64(),
            batches: batches
                .iter()
                .map(|batch| (seconds(batch.end), ms(batch.latency)))
                .collect(),
            call_ms: admitted.clone().map(|call| ms(call.end - call.start)).collect(),
            in_flight: levels(admitted.map(interval), span),
            limits: limits.iter().map(|(at, limit)| (seconds(*at), *limit)).collect(),
            outcomes: outcomes(calls.iter().map(|call| (call.end - origin, call.outcome)), span),
        }
    }
}

/// Returns the length of a bin if a span of time has `count` of them.
fn bin_length(span: Duration, count: u32) -> Duration {
    (span / count).max(Duration::from_nanos(1))
}

/// Returns the bin for a time. A time after the end belongs to the last bin.
fn bin_at<T>(bins: &mut [T], length: Duration, at: Duration) -> Option<&mut T> {
    let last = bins.len().checked_sub(1)?;
    bins.get_mut(usize::try_from(at.as_nanos() / length.as_nanos()).map_or(last, |bin| bin.min(last)))
}

fn levels(calls: impl Iterator<Item = [Duration; 2]>, span: Duration) -> Vec<Level> {
    let length = bin_length(span, LEVEL_BINS);
    // The starts and the ends of calls, and the ends of bins, so that no step crosses from one bin to the next. At the
    // same time, ends go first.
    let mut steps: Vec<_> = calls.flat_map(|[start, end]| [(start, 1), (end, -1)]).collect();
    steps.extend((1..=LEVEL_BINS).map(|bin| (length * bin, 0)));
    steps.sort_unstable();
    let mut bins = vec![Level { mean: 0.0, most: 0 }; LEVEL_BINS as usize];
    let (mut level, mut since) = (0_i64, Duration::ZERO);
    for (at, step) in steps.into_iter().take_while(|(at, _)| *at <= length * LEVEL_BINS) {
        let (now, time) = (level.unsigned_abs(), at.saturating_sub(since));
        if !time.is_zero()
            && let Some(bin) = bin_at(&mut bins, length, since)
        {
            bin.mean += number(now) * time.div_duration_f64(length);
            bin.most = bin.most.max(now);
        }
        (level, since) = (level + step, at);
    }
    bins
}

fn outcomes(ends: impl Iterator<Item = (Duration, CallOutcome)>, span: Duration) -> Vec<[u64; 5]> {
    let mut bins = vec![[0; 5]; OUTCOME_BINS as usize];
    for (at, outcome) in ends {
        if let Some(counts) = bin_at(&mut bins, bin_length(span, OUTCOME_BINS), at)
            && let Some(count) = counts.get_mut(outcome as usize)
        {
            *count += 1;
        }
    }
    bins
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(origin: Instant, span: [u64; 2], outcome: CallOutcome) -> Call {
        let [start, end] = span.map(|at| origin + Duration::from_millis(at));
        Call { start, end, outcome }
    }

    /// Returns a timeline of three seconds. A bin of the calls in flight is 10 ms long, a bin of the outcomes 50 ms.
    fn timeline(calls: &[([u64; 2], CallOutcome)]) -> Timeline {
        let origin = Instant::now();
        let calls: Vec<_> = calls
            .iter()
            .map(|(span, outcome)| call(origin, *span, *outcome))
            .collect();
        let second = origin + Duration::from_secs(1);
        let batch = |end_ms, latency_ms| Batch {
            end: origin + Duration::from_millis(end_ms),
            latency: Duration::from_millis(latency_ms),
            records: 1,
            finished: 1,
        };
        let batches = [batch(900, 900), batch(3000, 2000)];
        Timeline::of(&batches, &calls, &[(second, 12.5)])
    }

    #[test]
    fn calls_in_flight_are_averaged_over_each_bin_without_throttled_calls() {
        let timeline = timeline(&[
            ([0, 20], CallOutcome::Answered),
            ([0, 5], CallOutcome::Error),
            ([12, 12], CallOutcome::Throttled),
            ([2990, 3005], CallOutcome::Cancelled),
        ]);
        let level = |mean, most| Level { mean, most };
        assert_eq!(timeline.in_flight[..3], [level(1.5, 2), level(1.0, 1), level(0.0, 0)]);
        assert_eq!(timeline.in_flight[299], level(1.0, 1));
        assert_eq!(timeline.call_ms, [20.0, 5.0, 15.0]);
    }

    #[test]
    fn outcomes_are_counted_when_calls_end_and_later_ones_in_the_last_bin() {
        let timeline = timeline(&[
            ([0, 49], CallOutcome::Answered),
            ([0, 50], CallOutcome::Answered),
            ([50, 50], CallOutcome::Throttled),
            ([50, 3005], CallOutcome::Refused),
        ]);
        assert_eq!(timeline.outcomes[..2], [[1, 0, 0, 0, 0], [1, 1, 0, 0, 0]]);
        assert_eq!(timeline.outcomes[59], [0, 0, 0, 0, 1]);
    }

    #[test]
    fn times_are_relative_to_the_first_event() {
        let timeline = timeline(&[]);
        assert!((timeline.seconds - 3.0).abs() < 1e-9);
        assert_eq!(timeline.batches, [(0.9, 900.0), (3.0, 2000.0)]);
        assert_eq!(timeline.limits, [(1.0, 12.5)]);
    }
}
