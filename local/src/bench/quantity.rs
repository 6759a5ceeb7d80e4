//! The quantities that a bench reports, each with its name and its unit.

use super::round::{Batch, Round};
use super::statistics::{ms, number, percentile, sorted};

/// A quantity that is measured in each round.
#[derive(Debug, Clone, Copy)]
pub struct Quantity {
    /// Its key in JSON.
    pub key: &'static str,
    /// Its name in the table.
    pub name: &'static str,
    /// Its unit, empty for a plain count.
    pub unit: &'static str,
    /// The number of decimals in the table.
    pub decimals: usize,
    value: fn(&Round) -> Option<f64>,
}

impl Quantity {
    const fn new(
        key: &'static str,
        name: &'static str,
        unit: &'static str,
        decimals: usize,
        value: fn(&Round) -> Option<f64>,
    ) -> Self {
        Self {
            key,
            name,
            unit,
            decimals,
            value,
        }
    }

    /// Returns its value in a round, or `None` if it was not measured.
    pub fn of(&self, round: &Round) -> Option<f64> {
        (self.value)(round)
    }
}

/// The rate by which rounds are ordered.
pub const RECORDS_PER_SECOND: Quantity = Quantity::new("recordsPerSecond", "records", "1/s", 0, |round| {
    let time = round.batches.last()?.end - round.batches.first()?.end;
    ratio(finished_later(round), time.as_secs_f64())
});

/// All quantities, in the order of the table.
pub const QUANTITIES: [Quantity; 22] = [
    Quantity::new("startMs", "start", "ms", 2, |round| Some(ms(round.start_up))),
    Quantity::new("firstBatchMs", "first batch", "ms", 2, |round| {
        round.batches.first().map(|first| ms(first.latency))
    }),
    Quantity::new("startAndFirstBatchMs", "start + first batch", "ms", 2, |round| {
        round.batches.first().map(|first| ms(round.start_up + first.latency))
    }),
    Quantity::new(
        "startAndFirstBatchCpuMs",
        "start + first batch, CPU",
        "ms",
        2,
        |round| round.cpu.map(|[first, _]| ms(first)),
    ),
    Quantity::new("batchP50Ms", "batch, p50", "ms", 2, |round| batch(round, 50.0)),
    Quantity::new("batchP90Ms", "batch, p90", "ms", 2, |round| batch(round, 90.0)),
    Quantity::new("batchP99Ms", "batch, p99", "ms", 2, |round| batch(round, 99.0)),
    Quantity::new("batchMaxMs", "batch, max", "ms", 2, |round| batch(round, 100.0)),
    RECORDS_PER_SECOND,
    Quantity::new("cpuPerRecordUs", "CPU per record", "µs", 2, |round| {
        let [first, last] = round.cpu?;
        let time = last.saturating_sub(first);
        ratio(time.as_secs_f64() * 1e6, finished_later(round))
    }),
    Quantity::new("idleMemoryMib", "memory, idle", "MiB", 2, |round| {
        round.memory.map(|[idle, _]| number(idle.resident_kib) / 1024.0)
    }),
    Quantity::new("peakOverIdleMib", "memory, peak over idle", "MiB", 2, |round| {
        let over = |[idle, last]: [super::process::Memory; 2]| last.peak_kib.saturating_sub(idle.resident_kib);
        round.memory.map(|memory| number(over(memory)) / 1024.0)
    }),
    Quantity::new("invocations", "invocations", "", 0, |round| {
        Some(number(round.batches.len() as u64))
    }),
    Quantity::new("redelivered", "records delivered again", "", 0, |round| {
        let unfinished = |batch: &Batch| batch.records - batch.finished;
        Some(number(round.batches.iter().map(unfinished).sum::<usize>() as u64))
    }),
    Quantity::new("callsAnswered", "calls, answered", "", 0, |round| calls(round, 0)),
    Quantity::new("callsThrottled", "calls, throttled", "", 0, |round| calls(round, 1)),
    Quantity::new("callsError", "calls, container error", "", 0, |round| calls(round, 2)),
    Quantity::new("callsCut", "calls, cut or hung", "", 0, |round| calls(round, 3)),
    Quantity::new("callsRefused", "calls, refused", "", 0, |round| calls(round, 4)),
    Quantity::new("mostInFlight", "most in flight", "", 0, |round| {
        Some(number(round.most_in_flight))
    }),
    Quantity::new("connections", "connections", "", 0, |round| {
        Some(number(round.connections))
    }),
    Quantity::new("limit", "limit at the end", "", 1, |round| round.limit),
];

/// Returns the latencies of all invocations after the first, in milliseconds.
pub fn later_latencies_ms(round: &Round) -> impl Iterator<Item = f64> {
    round.batches.iter().skip(1).map(|batch| ms(batch.latency))
}

fn batch(round: &Round, percent: f64) -> Option<f64> {
    percentile(&sorted(later_latencies_ms(round)), percent)
}

/// Returns the number of records that were finished after the first invocation.
fn finished_later(round: &Round) -> f64 {
    let finished = round.batches.iter().skip(1).map(|batch| batch.finished);
    number(finished.sum::<usize>() as u64)
}

fn calls(round: &Round, outcome: usize) -> Option<f64> {
    round.calls.get(outcome).map(|count| number(*count))
}

/// Returns `value` divided by `divisor`, or `None` if the divisor is 0.
fn ratio(value: f64, divisor: f64) -> Option<f64> {
    (divisor > 0.0).then(|| value / divisor)
}
