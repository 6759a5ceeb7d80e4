//! The summary of a run, as a table for people or as JSON for programs.

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

use super::counts::Counts;
use super::delivered::Files;
use super::printing::printable;
use super::survey::{Survey, time};

/// The outcome of a run.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// True for a dry run, which sends nothing.
    pub is_dry: bool,
    /// The description of the target.
    pub target: String,
    /// The overview of the selected records.
    pub survey: Survey,
    /// The counts of the run.
    pub counts: Counts,
    /// The number of predicted user records. Unknown if predictions do not go to standard output on this machine.
    pub predicted: Option<u64>,
    /// The number of user records that were rejected again. Unknown if dead letters do not go to standard output on
    /// this machine.
    pub rejected_again: Option<u64>,
    /// The number of invocations, or of requests to the stream.
    pub batches: usize,
    /// The latest reason why records were unfinished.
    pub last_failure: Option<String>,
    /// The errors of queue messages that could not be deleted or made visible again.
    pub queue_failures: Vec<String>,
    /// True if Ctrl-C or `kill` ended the run.
    pub interrupted: bool,
    /// True if the run ended because too many consecutive records were given up.
    pub given_up: bool,
    /// The time from the first event to the last response, in seconds.
    pub seconds: f64,
    /// The path of the journal.
    pub journal: PathBuf,
    /// The files with the lines from the function's standard output on this machine.
    pub files: Option<Files>,
}

impl Summary {
    /// Returns `true` if every record has succeeded, or would be sent by a dry run, as far as that is known.
    pub fn is_complete(&self) -> bool {
        let has_ended = !self.interrupted && !self.given_up && self.queue_failures.is_empty();
        let rejected = self.rejected_again.unwrap_or_default();
        has_ended && self.counts.is_complete() && rejected == 0 && self.unaccounted() == 0
    }

    /// Returns the number of records that the function finished although they were neither predicted nor rejected.
    fn unaccounted(&self) -> u64 {
        let (Some(predicted), Some(rejected)) = (self.predicted, self.rejected_again) else {
            return 0;
        };
        (self.counts.finished as u64).saturating_sub(predicted + rejected)
    }
}

fn row(f: &mut fmt::Formatter<'_>, name: &str, value: impl fmt::Display) -> fmt::Result {
    writeln!(f, "{name:<16}{}", printable(value))
}

/// Writes a row unless the count is 0.
fn row_if_any(f: &mut fmt::Formatter<'_>, name: &str, count: usize, words: &str) -> fmt::Result {
    if count == 0 {
        return Ok(());
    }
    row(f, name, format_args!("{count}{words}"))
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fmt_read(f)?;
        if self.is_dry {
            return self.fmt_plan(f);
        }
        self.fmt_outcome(f)?;
        self.fmt_locations(f)
    }
}

impl Summary {
    /// Writes the counts of the dead letters that were read.
    fn fmt_read(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts {
            read,
            unreadable,
            predictions,
            gone,
            left_out,
            repeated,
            done_before,
            in_doubt_again,
            in_doubt_left_out,
            ..
        } = self.counts;
        row(f, "read", read)?;
        row_if_any(f, "not readable", unreadable, ", named above")?;
        row_if_any(f, "predictions", predictions, " lines, messages or objects, skipped")?;
        row_if_any(f, "gone", gone, " from their stream, named above")?;
        row_if_any(f, "left out", left_out, ", of other reasons")?;
        row_if_any(f, "repeated", repeated, ", also in another dead letter")?;
        row_if_any(f, "done before", done_before, ", skipped; --again sends them")?;
        row_if_any(f, "in doubt", in_doubt_again, ", named above, sent again")?;
        row_if_any(f, "in doubt", in_doubt_left_out, ", named above, skipped")
    }

    /// Writes what a run with `--yes` would do.
    fn fmt_plan(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Survey {
            records,
            bytes,
            without_payload,
            reasons,
            sources,
            oldest_ms,
            newest_ms,
        } = &self.survey;
        row(f, "to send", format_args!("{records}, {bytes} bytes in events"))?;
        row_if_any(
            f,
            "without payload",
            *without_payload,
            ", to be read from their streams",
        )?;
        for (index, (kind, count)) in reasons.iter().enumerate() {
            row(
                f,
                if index == 0 { "reasons" } else { "" },
                format_args!("{count:<8}{kind}"),
            )?;
        }
        for (index, (source, count)) in sources.iter().enumerate() {
            row(
                f,
                if index == 0 { "from" } else { "" },
                format_args!("{count:<8}{source}"),
            )?;
        }
        if *records > 0 {
            row(
                f,
                "arrived",
                format_args!("{} to {}", time(*oldest_ms), time(*newest_ms)),
            )?;
        }
        row(f, "to", &self.target)?;
        row(f, "journal", self.journal.display())?;
        if self.interrupted {
            return row(f, "interrupted", "there may be more");
        }
        row(f, "done", "nothing yet; --yes does it")
    }

    /// Writes the outcome of the run.
    fn fmt_outcome(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts {
            sent,
            finished,
            unfinished,
            not_tried,
            ..
        } = self.counts;
        row(f, "sent", sent)?;
        row(f, "finished", finished)?;
        let count = |count: Option<u64>| count.map_or_else(|| "unknown here".to_owned(), |count| count.to_string());
        if self.predicted.is_some() || self.rejected_again.is_some() {
            row(f, "predicted", count(self.predicted))?;
            row(f, "rejected again", count(self.rejected_again))?;
        }
        let unaccounted = usize::try_from(self.unaccounted()).unwrap_or(usize::MAX);
        row_if_any(f, "unaccounted", unaccounted, ", neither predicted nor rejected")?;
        row(f, "unfinished", unfinished)?;
        row_if_any(f, "not tried", not_tried, ", or not to the end; the next run continues")?;
        if let Some(failure) = &self.last_failure {
            row(f, "last failure", failure)?;
        }
        for failure in &self.queue_failures {
            row(f, "queue", failure)?;
        }
        row(f, "batches", self.batches)?;
        row(f, "time", format_args!("{:.1} s", self.seconds))
    }

    /// Writes the target and the paths of all files.
    fn fmt_locations(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        row(f, "to", &self.target)?;
        row(f, "journal", self.journal.display())?;
        if let Some(files) = &self.files {
            row(f, "predictions", files.predictions.display())?;
            row(f, "dead letters", files.dead_letters.display())?;
            row(f, "log", files.log.display())?;
        }
        if self.given_up {
            row(f, "given up", "too many consecutive records failed (--stop-after)")?;
        }
        if self.interrupted {
            row(f, "interrupted", "the same command continues from here")?;
        }
        Ok(())
    }
}
