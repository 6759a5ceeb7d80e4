//! The results of all functions side by side.

use std::fmt;
use std::path::PathBuf;

use serde_json::{Map, Value, json};

use super::quantity::{QUANTITIES, Quantity, RECORDS_PER_SECOND};
use super::round::Round;
use super::statistics::Spread;
use super::table::{NOTE, Table};

/// One function and its rounds.
#[derive(Debug)]
pub struct Column {
    /// Its unique name in the bench.
    pub name: String,
    /// The command that started it.
    pub command: String,
    /// Its rounds, at least one.
    pub rounds: Vec<Round>,
}

impl Column {
    /// Returns the spread of a quantity over the rounds that measured it, or `None` if no round did.
    pub fn spread(&self, quantity: &Quantity) -> Option<Spread> {
        Spread::of(self.rounds.iter().filter_map(|round| quantity.of(round)))
    }

    /// Returns the round with the median records per second. Of two middle rounds, it returns the one with the lower
    /// rate.
    pub fn median_round(&self) -> Option<&Round> {
        let mut rounds: Vec<_> = self.rounds.iter().collect();
        let rate = |round: &Round| RECORDS_PER_SECOND.of(round).unwrap_or_default();
        rounds.sort_by(|one, other| rate(one).total_cmp(&rate(other)));
        rounds.get(rounds.len().saturating_sub(1) / 2).copied()
    }

    fn json(&self) -> Value {
        let round = |round: &Round| members(|quantity| quantity.of(round));
        json!({
            "name": self.name,
            "command": self.command,
            "rounds": self.rounds.iter().map(round).collect::<Vec<_>>(),
            "medians": members(|quantity| self.spread(quantity).map(|spread| spread.median)),
        })
    }
}

/// The results of a bench.
#[derive(Debug)]
pub struct Comparison {
    /// The command line.
    pub command: String,
    /// The function's settings, as `NAME=VALUE`.
    pub settings: Vec<String>,
    /// The number of records in a round.
    pub records: usize,
    /// The maximum number of records in a batch.
    pub batch_size: usize,
    /// The function, followed by the functions that it is compared with.
    pub columns: Vec<Column>,
    /// The path of the report.
    pub report: PathBuf,
}

impl Comparison {
    /// Returns the functions that the first one is compared with.
    pub fn others(&self) -> &[Column] {
        self.columns.get(1..).unwrap_or_default()
    }

    /// Returns a description of the load.
    pub fn load(&self) -> String {
        let rounds = self.columns.first().map_or(0, |column| column.rounds.len());
        let (records, batch_size) = (self.records, self.batch_size);
        format!("{records} records in batches of {batch_size}, rounds: {rounds}")
    }

    /// Returns the first function's median divided by that of `other`, or `None` if one of them was not measured or the
    /// divisor is 0.
    pub fn ratio(&self, other: &Column, quantity: &Quantity) -> Option<f64> {
        let ours = self.columns.first()?.spread(quantity)?.median;
        let theirs = other.spread(quantity)?.median;
        (theirs > 0.0).then(|| ours / theirs)
    }

    /// Returns all values of all rounds, their medians, and the ratios of the medians. A value that was not measured is
    /// null.
    pub fn json(&self) -> Value {
        let ratios = |other: &Column| {
            json!({
                "to": other.name,
                "ratios": members(|quantity| self.ratio(other, quantity)),
            })
        };
        json!({
            "command": self.command,
            "settings": self.settings,
            "records": self.records,
            "batchSize": self.batch_size,
            "functions": self.columns.iter().map(Column::json).collect::<Vec<_>>(),
            "ratiosOfMedians": self.others().iter().map(ratios).collect::<Vec<_>>(),
            "report": self.report,
        })
    }
}

/// Shows the table and the path of the report.
impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (load, table, report) = (self.load(), Table::of(self), self.report.display());
        writeln!(f, "{load}\n\n{table}\n{NOTE}\n{report}")
    }
}

fn members(value: impl Fn(&Quantity) -> Option<f64>) -> Map<String, Value> {
    let member = |quantity: &Quantity| (quantity.key.to_owned(), value(quantity).into());
    QUANTITIES.iter().map(member).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::*;
    use crate::bench::process::Memory;
    use crate::bench::round::Batch;
    use crate::bench::timeline::Timeline;
    use crate::sagemaker::{Call, CallOutcome};

    const SECOND: Duration = Duration::from_secs(1);

    /// Returns a round of four batches, with ten records and one call each. The first batch takes 1 s, the others take
    /// `later_ms` each.
    pub(in crate::bench) fn round(later_ms: u64) -> Round {
        let origin = Instant::now();
        let later = Duration::from_millis(later_ms);
        let batch = |number: u32| Batch {
            end: origin + SECOND + later * number,
            latency: if number == 0 { SECOND } else { later },
            records: 10,
            finished: 10,
        };
        let batches: Vec<_> = (0..4).map(batch).collect();
        let call = |batch: &Batch| Call {
            start: batch.end - batch.latency,
            end: batch.end,
            outcome: CallOutcome::Answered,
        };
        let calls: Vec<_> = batches.iter().map(call).collect();
        let memory = |resident_kib| Memory {
            resident_kib,
            peak_kib: resident_kib,
        };
        Round {
            start_up: Duration::from_millis(12),
            cpu: Some([Duration::from_millis(10), Duration::from_millis(16)]),
            memory: Some([memory(2048), memory(3072)]),
            calls: [4, 0, 0, 0, 0],
            most_in_flight: 1,
            connections: 1,
            limit: None,
            timeline: Timeline::of(&batches, &calls, &[(origin + SECOND, 20.0)]),
            batches,
        }
    }

    /// Compares two functions, of which the first is twice as fast.
    pub(in crate::bench) fn comparison() -> Comparison {
        let column = |name: &str, rounds: [u64; 3]| Column {
            name: name.to_owned(),
            command: format!("target/{name}"),
            rounds: rounds.map(round).into(),
        };
        Comparison {
            command: "cargo local bench --against 'a<b'".to_owned(),
            settings: vec!["CAPACITY=64".to_owned()],
            records: 40,
            batch_size: 10,
            columns: vec![column("instream", [100, 50, 60]), column("a<b", [120, 110, 300])],
            report: PathBuf::from("target/bench.html"),
        }
    }

    fn median(column: &Column, key: &str) -> Option<f64> {
        let quantity = QUANTITIES.iter().find(|quantity| quantity.key == key).unwrap();
        column.spread(quantity).map(|spread| spread.median)
    }

    #[test]
    fn the_first_batch_is_measured_separately_and_left_out_of_percentiles_and_rates() {
        let comparison = comparison();
        let ours = &comparison.columns[0];
        for (key, expected) in [
            ("startMs", 12.0),
            ("firstBatchMs", 1000.0),
            ("startAndFirstBatchMs", 1012.0),
            ("startAndFirstBatchCpuMs", 10.0),
            ("batchP50Ms", 60.0),
            ("batchMaxMs", 60.0),
            ("recordsPerSecond", 30.0 / 0.18),
            ("cpuPerRecordUs", 200.0),
            ("idleMemoryMib", 2.0),
            ("peakOverIdleMib", 1.0),
            ("invocations", 4.0),
            ("callsAnswered", 4.0),
        ] {
            let median = median(ours, key).unwrap();
            assert!((median - expected).abs() < 1e-9, "{key}: {median}");
        }
        assert_eq!(median(ours, "limit"), None);
    }

    #[test]
    fn the_plots_show_the_round_with_the_median_rate() {
        let median = |column: &Column| column.median_round().unwrap().batches[1].latency.as_millis();
        let comparison = comparison();
        assert_eq!(comparison.columns.iter().map(median).collect::<Vec<_>>(), [60, 120]);
    }

    #[test]
    fn json_has_every_value_and_null_where_nothing_was_measured() {
        let json = comparison().json();
        let ours = &json["functions"][0];
        assert_eq!(ours["rounds"].as_array().unwrap().len(), 3);
        assert_eq!(ours["rounds"][1]["batchP50Ms"], 50.0);
        assert_eq!(ours["medians"].as_object().unwrap().len(), QUANTITIES.len());
        assert_eq!(ours["medians"]["limit"], Value::Null);
        let ratios = &json["ratiosOfMedians"][0];
        assert_eq!(
            (&ratios["to"], &ratios["ratios"]["batchP50Ms"]),
            (&json!("a<b"), &json!(0.5))
        );
        assert_eq!(ratios["ratios"]["callsThrottled"], Value::Null, "nothing to divide by");
    }
}
