//! What a run came to, as a table for a person or JSON for a program.

use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::deliveries::{Files, Highest};
use crate::esm::BatchReport;

/// The outcome of a run.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// Records that were put in.
    pub records: usize,
    /// Records with a prediction; unknown where OUTPUT is not `stdout:`.
    pub predicted: Option<u64>,
    /// Records with a dead letter; unknown where `DEAD_LETTER` is not `stdout:`.
    pub rejected: Option<u64>,
    /// Records that were delivered to the function again, each time counted.
    pub redelivered: usize,
    /// Records that the mapping gave up, because retries were exhausted.
    pub discarded: usize,
    /// Predictions and dead letters beyond the first of a record.
    pub repeated: u64,
    /// Invocations of the function.
    pub batches: usize,
    /// Why invocations failed as a whole, the last one.
    pub last_failure: Option<String>,
    /// Calls to the endpoint; unknown for one in AWS.
    pub calls: Option<u64>,
    /// The most calls in flight at once; unknown for an endpoint in AWS.
    pub most_in_flight: Option<u64>,
    /// From the event to the answer.
    pub batch_latency_ms: Percentiles,
    /// From the first event to the last answer.
    pub seconds: f64,
    /// Whether the run was ended by Ctrl-C or `kill`.
    pub interrupted: bool,
    /// The highest scores, where the predictions have any.
    pub highest_scores: Vec<Highest>,
    /// Where predictions, dead letters and the log were written.
    pub files: Files,
}

/// Half, nine tenths and 99 of 100 are no higher than these.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Percentiles {
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
}

/// Adds up what the mapping reports.
#[derive(Debug)]
pub struct Tally {
    /// As in [`Summary`].
    pub redelivered: usize,
    /// As in [`Summary`].
    pub discarded: usize,
    /// As in [`Summary`].
    pub batches: usize,
    /// As in [`Summary`].
    pub last_failure: Option<String>,
    latency_us: Histogram<u64>,
}

impl Default for Tally {
    fn default() -> Self {
        let latency_us = Histogram::new(3).expect("three digits are in range");
        Self {
            redelivered: 0,
            discarded: 0,
            batches: 0,
            last_failure: None,
            latency_us,
        }
    }
}

impl Tally {
    /// Takes one invocation's report.
    pub fn add(&mut self, report: BatchReport) {
        self.batches += 1;
        self.discarded += report.discarded;
        self.redelivered += report.records - report.finished - report.discarded;
        // The histogram grows with its values; one of centuries would not fit, and is none.
        _ = self
            .latency_us
            .record(u64::try_from(report.latency.as_micros()).unwrap_or(u64::MAX));
        self.last_failure = report.failure.or(self.last_failure.take());
    }

    /// The batch latency.
    pub fn percentiles(&self) -> Percentiles {
        let at = |quantile| Duration::from_micros(self.latency_us.value_at_quantile(quantile)).as_secs_f64() * 1000.0;
        Percentiles {
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
        }
    }
}

impl Summary {
    /// Whether the mapping got through the whole stream without giving anything up, and every record is accounted for.
    pub fn is_complete(&self) -> bool {
        !self.interrupted && self.discarded == 0 && self.unaccounted() == 0
    }

    /// Records that the function called finished and that were nevertheless neither predicted nor rejected.
    fn unaccounted(&self) -> u64 {
        let (Some(predicted), Some(rejected)) = (self.predicted, self.rejected) else {
            return 0;
        };
        let given_up = if self.interrupted { self.records } else { self.discarded };
        (self.records as u64).saturating_sub(predicted + rejected + given_up as u64)
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut row = |name: &str, value: &dyn fmt::Display| writeln!(f, "{name:<16}{value}");
        row("records", &self.records)?;
        let elsewhere = |name: &str| format!("not counted, since {name} is not stdout:");
        row(
            "predicted",
            &self
                .predicted
                .map_or_else(|| elsewhere("OUTPUT"), |count| count.to_string()),
        )?;
        row(
            "rejected",
            &self
                .rejected
                .map_or_else(|| elsewhere("DEAD_LETTER"), |count| count.to_string()),
        )?;
        row("redelivered", &self.redelivered)?;
        if self.unaccounted() > 0 {
            row(
                "unaccounted",
                &format_args!("{}, neither predicted nor rejected", self.unaccounted()),
            )?;
        }
        if self.repeated > 0 {
            row("repeated", &self.repeated)?;
        }
        if self.discarded > 0 {
            row("discarded", &format_args!("{}, after all retries", self.discarded))?;
        }
        if let Some(failure) = &self.last_failure {
            row("last failure", failure)?;
        }
        let unknown = || "unknown for an endpoint in AWS".to_owned();
        row("calls", &self.calls.map_or_else(unknown, |calls| calls.to_string()))?;
        row(
            "most in flight",
            &self.most_in_flight.map_or_else(unknown, |calls| calls.to_string()),
        )?;
        let Percentiles { p50, p90, p99 } = self.batch_latency_ms;
        match self.batches {
            0 => row("batch latency", &"no batch was finished")?,
            batches => {
                let percentiles = format!("p50 {p50:.1} ms, p90 {p90:.1} ms, p99 {p99:.1} ms");
                row("batch latency", &format_args!("{percentiles} (batches: {batches})"))?;
            }
        }
        row("time", &format_args!("{:.1} s", self.seconds))?;
        for (place, highest) in self.highest_scores.iter().enumerate() {
            let name = if place == 0 { "highest scores" } else { "" };
            row(
                name,
                &format_args!("{:<8}{:<10}{}", highest.score, highest.partition_key, highest.record),
            )?;
        }
        row("predictions", &self.files.predictions.display())?;
        row("dead letters", &self.files.dead_letters.display())?;
        let says_why = if self.redelivered > 0 {
            ", which says why records came again"
        } else {
            ""
        };
        row("log", &format_args!("{}{says_why}", self.files.log.display()))?;
        if self.interrupted {
            row("interrupted", &"what was under way is not in this table")?;
        }
        Ok(())
    }
}
