//! What a run came to, as a table for a person or JSON for a program.

use std::fmt;

use serde::Serialize;

use crate::deliveries::{Files, Highest};
use crate::faults::Counts;
use crate::{gateway, processes};

mod tally;
#[cfg(test)]
mod tests;

pub use tally::Tally;

/// The outcome of a run. Records are user records: those that a producer put together into one count each.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// Records that were put in.
    pub records: usize,
    /// Records with a prediction; unknown where OUTPUT is not `stdout:`, or the function does not run here.
    pub predicted: Option<u64>,
    /// Records with a dead letter; unknown where `DEAD_LETTER` is not `stdout:`, or the function does not run here.
    pub rejected: Option<u64>,
    /// Records that were delivered to the function again, each time counted.
    pub redelivered: usize,
    /// Records that the mapping gave up, because retries were exhausted or they were too old, and that were neither
    /// predicted nor rejected before, as far as that is known.
    pub discarded: usize,
    /// Predictions and dead letters beyond the first of a record.
    pub repeated: u64,
    /// Invocations of the function.
    pub batches: usize,
    /// Why invocations failed as a whole, the last one.
    pub last_failure: Option<String>,
    /// The function's processes; unknown where it runs under `cargo lambda watch`.
    pub processes: Option<processes::Counts>,
    /// Calls to the endpoint; unknown for one that is not part of the run, as those in AWS.
    pub calls: Option<u64>,
    /// The most calls in flight at once; unknown for an endpoint of the user's.
    pub most_in_flight: Option<u64>,
    /// Connections that the endpoint accepted; unknown for one of the user's.
    pub connections: Option<u64>,
    /// Faults that the endpoint had on purpose, and its slow calls; none for one of the user's.
    pub faults: Counts,
    /// What the gateway before the endpoint refused, and what its services were asked for; none where there is none.
    pub gateway: Option<gateway::Counts>,
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

/// Of 100, so many are no higher than these.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Percentiles {
    pub p50: f64,
    pub p90: f64,
    pub p95: f64,
    pub p99: f64,
}

impl Summary {
    /// Whether the mapping got through the whole stream, and every record was predicted or rejected, as far as that is
    /// known.
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
        self.records(f)?;
        self.endpoint(f)?;
        self.time(f)?;
        for (place, highest) in self.highest_scores.iter().enumerate() {
            let name = if place == 0 { "highest scores" } else { "" };
            let Highest {
                score,
                partition_key,
                record,
            } = highest;
            row(f, name, format_args!("{score:<8}{partition_key:<10}{record}"))?;
        }
        self.places(f)
    }
}

fn row(f: &mut fmt::Formatter<'_>, name: &str, value: impl fmt::Display) -> fmt::Result {
    writeln!(f, "{name:<16}{value}")
}

impl Summary {
    /// What became of the records.
    fn records(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
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
        row(f, "redelivered", self.redelivered)?;
        let unaccounted = self.unaccounted();
        if unaccounted > 0 {
            row(
                f,
                "unaccounted",
                format_args!("{unaccounted}, neither predicted nor rejected"),
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

    /// What was asked of the endpoint.
    fn endpoint(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
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

    fn time(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
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

    /// Where everything was written.
    fn places(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.processes.is_some() {
            row(f, "predictions", self.files.predictions.display())?;
            row(f, "dead letters", self.files.dead_letters.display())?;
            let says_why = if self.redelivered > 0 {
                ", which says why records came again"
            } else {
                ""
            };
            row(f, "log", format_args!("{}{says_why}", self.files.log.display()))?;
        }
        if self.interrupted {
            row(f, "interrupted", "what was under way is not in this table")?;
        }
        Ok(())
    }
}
