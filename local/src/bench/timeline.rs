//! What happened when in a round, in few enough pieces to be drawn. Times are in seconds from the first event.

use std::time::Duration;

use tokio::time::Instant;

use super::round::Batch;
use super::statistics::{ms, number};
use crate::sagemaker::{Call, Outcome};

/// Into how many pieces of the time the calls in flight are gathered.
const LEVEL_BINS: u64 = 300;
/// Into how many the outcomes of calls are.
const OUTCOME_BINS: u64 = 60;

/// A round over time.
#[derive(Debug)]
pub struct Timeline {
    /// From the first event to the last answer.
    pub seconds: f64,
    /// Each invocation: when it was answered, and its latency in milliseconds.
    pub batches: Vec<(f64, f64)>,
    /// What each call took at the endpoint, in milliseconds, but for those that were throttled, which take no time.
    pub call_ms: Vec<f64>,
    /// Calls in flight at the endpoint, but for those that were throttled; pieces of the same length.
    pub in_flight: Vec<Level>,
    /// How many calls the function said that it may have in flight, and when.
    pub limits: Vec<(f64, f64)>,
    /// Calls that ended in each piece, pieces of the same length, by outcome in the order of [`Outcome::ALL`].
    pub outcomes: Vec<[u64; 5]>,
}

/// Calls in flight in a piece of the time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Level {
    /// On average.
    pub mean: f64,
    /// At most.
    pub most: u64,
}

impl Timeline {
    /// Of a round's batches in their order, the endpoint's calls, and the limits that the function told of.
    pub fn of(batches: &[Batch], calls: &[Call], limits: &[(Instant, f64)]) -> Self {
        let origin = batches
            .first()
            .map_or_else(Instant::now, |first| first.end - first.latency);
        let whole = batches.last().map_or(origin, |last| last.end) - origin;
        let seconds = |at: Instant| (at - origin).as_secs_f64();
        let admitted = calls.iter().filter(|call| call.outcome != Outcome::Throttled);
        let span = |call: &Call| [call.start - origin, call.end - origin];
        Self {
            seconds: whole.as_secs_f64(),
            batches: batches
                .iter()
                .map(|batch| (seconds(batch.end), ms(batch.latency)))
                .collect(),
            call_ms: admitted.clone().map(|call| ms(call.end - call.start)).collect(),
            in_flight: levels(admitted.map(span), whole),
            limits: limits.iter().map(|(at, limit)| (seconds(*at), *limit)).collect(),
            outcomes: outcomes(calls.iter().map(|call| (call.end - origin, call.outcome)), whole),
        }
    }
}

/// Time cut into pieces of the same length, in microseconds: whole numbers, so that no time falls between two pieces.
#[derive(Clone, Copy)]
struct Bins {
    whole: u64,
    count: u64,
}

impl Bins {
    fn new(whole: Duration, count: u64) -> Self {
        let whole = micros(whole).max(count);
        Self { whole, count }
    }

    /// The piece that a time falls into; what comes after the end belongs to the last.
    fn place(self, at: u64) -> u64 {
        (at.min(self.whole - 1)) * self.count / self.whole
    }

    /// Where a piece begins.
    fn begin(self, bin: u64) -> u64 {
        (bin * self.whole).div_ceil(self.count)
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn levels(spans: impl Iterator<Item = [Duration; 2]>, whole: Duration) -> Vec<Level> {
    let bins = Bins::new(whole, LEVEL_BINS);
    // Where calls begin and end, ends first where both come together.
    let mut steps: Vec<_> = spans
        .flat_map(|[start, end]| [(micros(start), 1), (micros(end), -1)])
        .filter(|(at, _)| *at < bins.whole)
        .collect();
    steps.sort_unstable();
    steps.push((bins.whole, 0));
    // Of each piece, calls × microseconds, and the most at once.
    let mut sums = vec![(0, 0); usize::try_from(bins.count).unwrap_or_default()];
    let (mut level, mut since) = (0_i64, 0);
    for (at, step) in steps {
        let now = level.unsigned_abs();
        for bin in bins.place(since)..=bins.place(at) {
            let within = at.min(bins.begin(bin + 1)).saturating_sub(since.max(bins.begin(bin)));
            if let Some((area, most)) = sums.get_mut(usize::try_from(bin).unwrap_or(usize::MAX))
                && within > 0
            {
                *area += now * within;
                *most = now.max(*most);
            }
        }
        (level, since) = (level + step, at);
    }
    let length = number(bins.whole) / number(bins.count);
    let level = |(area, most)| Level {
        mean: number(area) / length,
        most,
    };
    sums.into_iter().map(level).collect()
}

fn outcomes(ends: impl Iterator<Item = (Duration, Outcome)>, whole: Duration) -> Vec<[u64; 5]> {
    let bins = Bins::new(whole, OUTCOME_BINS);
    let mut counts = vec![[0; 5]; usize::try_from(bins.count).unwrap_or_default()];
    for (at, outcome) in ends {
        let bin = usize::try_from(bins.place(micros(at))).unwrap_or(usize::MAX);
        if let Some(count) = counts.get_mut(bin).and_then(|counts| counts.get_mut(outcome as usize)) {
            *count += 1;
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(origin: Instant, span: [u64; 2], outcome: Outcome) -> Call {
        let [start, end] = span.map(|at| origin + Duration::from_millis(at));
        Call { start, end, outcome }
    }

    /// Three seconds, so that a piece of the calls in flight is 10 ms long, and one of the outcomes 50 ms.
    fn timeline(calls: &[([u64; 2], Outcome)]) -> Timeline {
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
    fn calls_in_flight_are_averaged_over_their_piece_and_none_that_was_throttled_is_in_flight() {
        let timeline = timeline(&[
            ([5, 20], Outcome::Answered),
            ([5, 10], Outcome::Error),
            ([12, 12], Outcome::Throttled),
            ([2990, 3005], Outcome::Cut),
        ]);
        let level = |mean, most| Level { mean, most };
        assert_eq!(timeline.in_flight[..3], [level(1.0, 2), level(1.0, 1), level(0.0, 0)]);
        assert_eq!(timeline.in_flight[299], level(1.0, 1));
        assert_eq!(timeline.call_ms, [15.0, 5.0, 15.0]);
    }

    #[test]
    fn outcomes_are_counted_where_calls_end_and_the_last_piece_has_what_comes_later() {
        let timeline = timeline(&[
            ([0, 49], Outcome::Answered),
            ([0, 50], Outcome::Answered),
            ([50, 50], Outcome::Throttled),
            ([50, 3005], Outcome::Refused),
        ]);
        assert_eq!(timeline.outcomes[..2], [[1, 0, 0, 0, 0], [1, 1, 0, 0, 0]]);
        assert_eq!(timeline.outcomes[59], [0, 0, 0, 0, 1]);
    }

    #[test]
    fn times_are_counted_from_the_first_event() {
        let timeline = timeline(&[]);
        assert!((timeline.seconds - 3.0).abs() < 1e-9);
        assert_eq!(timeline.batches, [(0.9, 900.0), (3.0, 2000.0)]);
        assert_eq!(timeline.limits, [(1.0, 12.5)]);
    }
}
