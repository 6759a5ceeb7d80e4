//! The totals of the mapping's reports.

use std::time::Duration;

use hdrhistogram::Histogram;

use super::Percentiles;
use crate::esm::{Discarded, Invoked, Report};

/// Adds up the mapping's reports.
#[derive(Debug)]
pub struct Tally {
    /// As in [`Summary`](super::Summary).
    pub redelivered: usize,
    /// The number of all user records that the mapping discarded.
    pub discarded: usize,
    /// The event identifier of each discarded Kinesis record, with its number of user records.
    pub discarded_kinesis_records: Vec<(String, usize)>,
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
            discarded_kinesis_records: Vec::new(),
            batches: 0,
            last_failure: None,
            latency_us,
        }
    }
}

impl Tally {
    /// Adds a report of the mapping.
    pub fn add(&mut self, report: Report) {
        match report {
            Report::Invoked(invoked) => self.add_invoked(invoked),
            Report::Discarded(discarded) => self.add_discarded(&discarded),
        }
    }

    fn add_invoked(&mut self, invoked: Invoked) {
        self.batches += 1;
        self.redelivered += invoked.user_records - invoked.finished_user_records;
        // The histogram grows with its values. Only a latency of centuries would not fit, so the error is ignored.
        _ = self
            .latency_us
            .record(u64::try_from(invoked.latency.as_micros()).unwrap_or(u64::MAX));
        self.last_failure = invoked.failure.or(self.last_failure.take());
    }

    fn add_discarded(&mut self, discarded: &Discarded) {
        let count = discarded.user_records();
        // The records that its last invocation left unfinished are not redelivered after all.
        if discarded.invocations > 0 {
            self.redelivered -= count;
        }
        self.discarded += count;
        let records = discarded.records.iter();
        let kinesis_records = records.map(|record| (record.event_id(), record.user_records));
        self.discarded_kinesis_records.extend(kinesis_records);
    }

    /// Returns the percentiles of the batch latency.
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
    fn redelivered_and_discarded_records_count_user_records_not_kinesis_records() {
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
        let discarded = StreamRecord {
            user_records: 15,
            ..StreamRecord::from_line(1, b"", 0)
        };
        let event_id = discarded.event_id();
        tally.add(Report::Discarded(Discarded {
            records: vec![discarded],
            condition: Condition::RetryAttemptsExhausted,
            invocations: 1,
        }));
        assert_eq!((tally.redelivered, tally.discarded), (5, 15));
        assert_eq!(tally.discarded_kinesis_records, [(event_id, 15)]);
    }
}
