//! What the mapping reports, added up.

use std::time::Duration;

use hdrhistogram::Histogram;

use super::Percentiles;
use crate::esm::{Discarded, Invoked, Report};

/// Adds up what the mapping reports.
#[derive(Debug)]
pub struct Tally {
    /// As in [`Summary`](super::Summary).
    pub redelivered: usize,
    /// Records that the mapping gave up.
    pub discarded: usize,
    /// The Kinesis records that hold them: the event identifier of each, and how many it holds.
    pub given_up: Vec<(String, usize)>,
    /// As in [`Summary`](super::Summary).
    pub batches: usize,
    /// As in [`Summary`](super::Summary).
    pub last_failure: Option<String>,
    latency_us: Histogram<u64>,
}

impl Default for Tally {
    fn default() -> Self {
        let latency_us = Histogram::new(3).expect("three digits are in range");
        Self {
            redelivered: 0,
            discarded: 0,
            given_up: Vec::new(),
            batches: 0,
            last_failure: None,
            latency_us,
        }
    }
}

impl Tally {
    /// Takes what the mapping tells.
    pub fn add(&mut self, report: Report) {
        match report {
            Report::Invoked(invoked) => self.add_invoked(invoked),
            Report::Discarded(discarded) => self.add_discarded(&discarded),
        }
    }

    fn add_invoked(&mut self, invoked: Invoked) {
        self.batches += 1;
        self.redelivered += invoked.user_records - invoked.finished_user_records;
        // The histogram grows with its values; one of centuries would not fit, and is none.
        _ = self
            .latency_us
            .record(u64::try_from(invoked.latency.as_micros()).unwrap_or(u64::MAX));
        self.last_failure = invoked.failure.or(self.last_failure.take());
    }

    fn add_discarded(&mut self, discarded: &Discarded) {
        let count = discarded.user_records();
        // What was left of its last invocation does not come again after all.
        if discarded.invocations > 0 {
            self.redelivered -= count;
        }
        self.discarded += count;
        let records = discarded.records.iter();
        let given_up = records.map(|record| (record.event_id(), record.user_records));
        self.given_up.extend(given_up);
    }

    /// The batch latency.
    pub fn percentiles(&self) -> Percentiles {
        let at = |quantile| Duration::from_micros(self.latency_us.value_at_quantile(quantile)).as_secs_f64() * 1000.0;
        Percentiles {
            p50: at(0.5),
            p90: at(0.9),
            p95: at(0.95),
            p99: at(0.99),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::esm::Condition;
    use crate::stream::StreamRecord;

    #[test]
    fn user_records_are_counted_and_not_the_kinesis_records_that_hold_them() {
        let mut tally = Tally::default();
        tally.add(Report::Invoked(Invoked {
            shard: String::new(),
            lane: 0,
            records: 3,
            finished: 1,
            user_records: 30,
            finished_user_records: 10,
            latency: Duration::ZERO,
            failure: None,
        }));
        let given_up = StreamRecord {
            user_records: 15,
            ..StreamRecord::from_line(1, b"", 0)
        };
        let event_id = given_up.event_id();
        tally.add(Report::Discarded(Discarded {
            records: vec![given_up],
            condition: Condition::RetryAttemptsExhausted,
            invocations: 1,
        }));
        assert_eq!((tally.redelivered, tally.discarded), (5, 15));
        assert_eq!(tally.given_up, [(event_id, 15)]);
    }
}
