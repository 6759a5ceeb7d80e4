//! The quantities that a bench tells, each with its name and its unit.

use super::round::{Batch, Round};
use super::statistics::{ms, number, percentile, sorted};

/// A quantity that is measured in each round.
#[derive(Debug, Clone, Copy)]
pub struct Quantity {
    /// What JSON calls it.
    pub key: &'static str,
    /// What people call it.
    pub name: &'static str,
    /// Its unit, empty for a plain count.
    pub unit: &'static str,
    /// Digits behind the point.
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

    /// Its value in a round; none where it was not measured.
    pub fn of(&self, round: &Round) -> Option<f64> {
        (self.value)(round)
    }
}

/// The rate that a round is judged by.
pub const RECORDS_PER_SECOND: Quantity = Quantity::new("recordsPerSecond", "records", "1/s", 0, |round| {
    let time = round.batches.last()?.end - round.batches.first()?.end;
    some_of(finished_later(round), time.as_secs_f64())
});

/// All of them, in the order of the table.
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
        some_of(time.as_secs_f64() * 1e6, finished_later(round))
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
        let again = |batch: &Batch| batch.records - batch.finished;
        Some(number(round.batches.iter().map(again).sum::<usize>() as u64))
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

/// Latencies after the first invocation, in milliseconds.
pub fn later_ms(round: &Round) -> impl Iterator<Item = f64> {
    round.batches.iter().skip(1).map(|batch| ms(batch.latency))
}

fn batch(round: &Round, percent: f64) -> Option<f64> {
    percentile(&sorted(later_ms(round)), percent)
}

/// Records that were finished after the first invocation.
fn finished_later(round: &Round) -> f64 {
    let finished = round.batches.iter().skip(1).map(|batch| batch.finished);
    number(finished.sum::<usize>() as u64)
}

fn calls(round: &Round, outcome: usize) -> Option<f64> {
    round.calls.get(outcome).map(|count| number(*count))
}

/// None where there is nothing to divide by.
fn some_of(value: f64, by: f64) -> Option<f64> {
    (by > 0.0).then(|| value / by)
}
