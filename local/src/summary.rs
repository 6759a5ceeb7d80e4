//! The summary of a run, as a table or as JSON.

use std::fmt;

use serde::Serialize;

use crate::deliveries::{DeliveryCounts, Files, HighScore};
use crate::faults::Counts;
use crate::{gateway, processes};

mod tally;
#[cfg(test)]
mod tests;

pub use tally::Tally;

/// The summary of a run. Its records are user records: each record of an aggregate counts.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// Why no record was predicted. `None` if one was, if that is not known, or if there were no records.
    pub nothing_predicted: Option<String>,
    /// The number of records that were read from the source.
    pub records: usize,
    /// The number of records with a prediction. `None` if OUTPUT is not `stdout:`, or the function does not run here.
    pub predicted: Option<u64>,
    /// The number of records with a dead letter. `None` if `DEAD_LETTER` is not `stdout:`, or the function does not run
    /// here.
    pub rejected: Option<u64>,
    /// The number of redelivered records. A record counts once for each redelivery.
    pub redelivered: usize,
    /// The number of records that the mapping discarded because retries were exhausted or they were too old. Records
    /// that are known to have been predicted or rejected before do not count.
    pub discarded: usize,
    /// The number of predictions and dead letters after the first of each record.
    pub repeated: u64,
    /// The number of alerts on standard output.
    pub alerted: u64,
    /// The number of records that the function skipped: they are empty or do not match `RECORD_PATTERN`.
    pub skipped: u64,
    /// The number of invocations.
    pub batches: usize,
    /// The error of the last invocation that failed as a whole.
    pub last_failure: Option<String>,
    /// The number of the function's processes. `None` if it runs under `cargo lambda watch`.
    pub processes: Option<processes::Counts>,
    /// The number of calls to the endpoint. `None` if the endpoint is not part of the run, for example in AWS.
    pub calls: Option<u64>,
    /// The maximum number of calls in flight. `None` for the user's endpoint.
    pub most_in_flight: Option<u64>,
    /// The number of connections that the endpoint accepted. `None` for the user's endpoint.
    pub connections: Option<u64>,
    /// The injected faults and the slow calls of the endpoint. All are 0 for the user's endpoint.
    pub faults: Counts,
    /// The gateway's refusals by reason, and the requests to its services. `None` if there is no gateway.
    pub gateway: Option<gateway::Counts>,
    /// The time from the event to the response.
    pub batch_latency_ms: Percentiles,
    /// The time from the first event to the last response.
    pub seconds: f64,
    /// Whether Ctrl-C or `kill` ended the run.
    pub interrupted: bool,
    /// The highest scores, if the predictions have scores.
    pub highest_scores: Vec<HighScore>,
    /// The files with the predictions, the dead letters and the log.
    pub files: Files,
}

/// Percentiles of the batch latency.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Percentiles {
    pub p50: f64,
    pub p90: f64,
    pub p95: f64,
    pub p99: f64,
}

impl Summary {
    /// Returns whether the mapping processed the whole stream, and every record was predicted or rejected, as far as
    /// that is known.
    pub fn is_complete(&self) -> bool {
        !self.interrupted && self.discarded == 0 && self.unaccounted() == 0 && self.nothing_predicted.is_none()
    }

    /// Returns the number of records that the function reported as finished, but did not predict, reject or skip.
    fn unaccounted(&self) -> u64 {
        let (Some(predicted), Some(rejected)) = (self.predicted, self.rejected) else {
            return 0;
        };
        let excused = if self.interrupted { self.records } else { self.discarded };
        (self.records as u64).saturating_sub(predicted + rejected + self.skipped + excused as u64)
    }
}

/// Returns why none of `records` was predicted, with the most frequent reason, or `None` if one was. `predicted` is
/// `None` if that is not known: then none was only if every record was rejected. `last_failure` is the error of the
/// last invocation that failed as a whole.
pub fn why_nothing_was_predicted(
    records: usize,
    predicted: Option<u64>,
    counts: &DeliveryCounts,
    last_failure: Option<&str>,
) -> Option<String> {
    let unfinished = (records as u64).saturating_sub(counts.rejected);
    if records == 0 || !(predicted == Some(0) || predicted.is_none() && unfinished == 0) {
        return None;
    }
    let (number, end, reason) = if counts.rejected >= unfinished {
        (counts.rejected, "rejected", counts.rejections.most_frequent())
    } else {
        (
            unfinished,
            "not finished",
            counts.failures.most_frequent().or(last_failure),
        )
    };
    let reason = reason.map_or_else(String::new, |reason| format!(": {reason}"));
    Some(format!("{number} of {records} records were {end}{reason}"))
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(why) = &self.nothing_predicted {
            writeln!(f, "nothing was predicted: {why}")?;
        }
        self.write_records(f)?;
        self.write_endpoint(f)?;
        self.write_time(f)?;
        for (index, high_score) in self.highest_scores.iter().enumerate() {
            let name = if index == 0 { "highest scores" } else { "" };
            let HighScore {
                score,
                partition_key,
                record,
            } = high_score;
            row(f, name, format_args!("{score:<7} {partition_key:<9} {record}"))?;
        }
        self.write_files(f)
    }
}

fn row(f: &mut fmt::Formatter<'_>, name: &str, value: impl fmt::Display) -> fmt::Result {
    writeln!(f, "{name:<16}{value}")
}

impl Summary {
    /// Writes the rows about the records.
    fn write_records(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = |count: Option<u64>, name| {
            count.map_or_else(
                || match self.processes {
                    Some(_) => format!("not counted, since {name} is not stdout:"),
                    None => "not counted, since the function does not run here".to_owned(),
                },
                |count| count.to_string(),
            )
        };
        row(f, "records", self.records)?;
        row(f, "predicted", count(self.predicted, "OUTPUT"))?;
        row(f, "rejected", count(self.rejected, "DEAD_LETTER"))?;
        for (name, count) in [("alerted", self.alerted), ("skipped", self.skipped)] {
            if count > 0 {
                row(f, name, count)?;
            }
        }
        row(f, "redelivered", self.redelivered)?;
        let unaccounted = self.unaccounted();
        if unaccounted > 0 {
            row(
                f,
                "unaccounted",
                format_args!("{unaccounted}, not predicted, rejected or skipped"),
            )?;
        }
        if self.repeated > 0 {
            row(f, "repeated", self.repeated)?;
        }
        if self.discarded > 0 {
            let kept = self.files.on_failure.display();
            row(f, "discarded", format_args!("{}, kept in {kept}", self.discarded))?;
        }
        match &self.last_failure {
            Some(failure) => row(f, "last failure", failure),
            None => Ok(()),
        }
    }

    /// Writes the rows about the endpoint.
    fn write_endpoint(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unknown = match self.processes {
            Some(_) => "unknown for an endpoint of yours",
            None => "unknown for an endpoint that is not part of the run",
        };
        let known = |count: Option<u64>| count.map_or_else(|| unknown.to_owned(), |it| it.to_string());
        row(f, "calls", known(self.calls))?;
        row(f, "most in flight", known(self.most_in_flight))?;
        row(f, "connections", known(self.connections))?;
        if let Some(refused) = self.gateway.filter(|counts| counts.refused() > 0) {
            row(f, "gateway", format_args!("{refused}, of these calls"))?;
        }
        if self.faults == Counts::default() {
            return Ok(());
        }
        let Counts {
            throttled,
            errors,
            refused,
            hung,
            slow,
        } = self.faults;
        let counts = format!("{throttled} throttled, {errors} errors, {hung} hung, {refused} refused, {slow} slow");
        row(f, "faults", format_args!("{counts}, of these calls"))
    }

    fn write_time(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Percentiles { p50, p90, p95, p99 } = self.batch_latency_ms;
        let latency = match self.batches {
            0 => "no batch was finished".to_owned(),
            batches => {
                format!("p50 {p50:.1} ms, p90 {p90:.1} ms, p95 {p95:.1} ms, p99 {p99:.1} ms (batches: {batches})")
            }
        };
        row(f, "batch latency", latency)?;
        if let Some(processes::Counts { started, killed }) = self.processes
            && started > 1
        {
            row(
                f,
                "processes",
                format_args!("{started} started, {killed} killed on purpose"),
            )?;
        }
        row(f, "time", format_args!("{:.1} s", self.seconds))
    }

    /// Writes the rows about the files.
    fn write_files(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.processes.is_some() {
            row(f, "predictions", self.files.predictions.display())?;
            if self.alerted > 0 {
                row(f, "alerts", self.files.alerts.display())?;
            }
            row(f, "dead letters", self.files.dead_letters.display())?;
            let hint = if self.redelivered > 0 {
                ", which shows why records were redelivered"
            } else {
                ""
            };
            row(f, "log", format_args!("{}{hint}", self.files.log.display()))?;
        }
        if self.interrupted {
            row(f, "interrupted", "what was under way is not in this table")?;
        }
        Ok(())
    }
}
