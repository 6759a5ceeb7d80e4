//! What a run came to, as a table for a person or JSON for a program.

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

use super::counts::Counts;
use super::delivered::Files;
use super::survey::{Survey, time};

/// The outcome of a run.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// Whether nothing was put, since nobody has said yes.
    pub is_dry: bool,
    /// Where the records go, in words.
    pub target: String,
    /// What was taken to be put.
    pub survey: Survey,
    /// What was read and what became of it.
    pub counts: Counts,
    /// User records with a prediction; unknown where they are not on this machine's standard output.
    pub predicted: Option<u64>,
    /// User records that were rejected again; unknown as above.
    pub rejected_again: Option<u64>,
    /// Invocations, or requests to the stream.
    pub batches: usize,
    /// Why records were unfinished, the last time.
    pub last_failure: Option<String>,
    /// Messages of queues that could not be deleted or shown again: why.
    pub queue_failures: Vec<String>,
    /// Whether the run was ended by Ctrl-C or `kill`.
    pub interrupted: bool,
    /// Whether it ended since too many letters in a row came to nothing.
    pub given_up: bool,
    /// From the first event to the last answer.
    pub seconds: f64,
    /// What was done.
    pub journal: PathBuf,
    /// Where predictions and dead letters of this machine's standard output were kept.
    pub files: Option<Files>,
}

impl Summary {
    /// Whether everything went through, or would be put, and nothing was rejected again, as far as that is known.
    pub fn is_complete(&self) -> bool {
        let has_ended = !self.interrupted && !self.given_up && self.queue_failures.is_empty();
        let rejected = self.rejected_again.unwrap_or_default();
        has_ended && self.counts.are_complete() && rejected == 0 && self.untold() == 0
    }

    /// Records that the function called finished and that were nevertheless neither predicted nor rejected.
    fn untold(&self) -> u64 {
        let (Some(predicted), Some(rejected)) = (self.predicted, self.rejected_again) else {
            return 0;
        };
        (self.counts.finished as u64).saturating_sub(predicted + rejected)
    }
}

fn row(f: &mut fmt::Formatter<'_>, name: &str, value: impl fmt::Display) -> fmt::Result {
    writeln!(f, "{name:<16}{value}")
}

/// A row only where there is something to count.
fn some(f: &mut fmt::Formatter<'_>, name: &str, count: usize, words: &str) -> fmt::Result {
    if count == 0 {
        return Ok(());
    }
    row(f, name, format_args!("{count}{words}"))
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.read(f)?;
        if self.is_dry {
            return self.plan(f);
        }
        self.outcome(f)?;
        self.places(f)
    }
}

impl Summary {
    /// What there was.
    fn read(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts {
            read,
            unreadable,
            gone,
            left_out,
            repeated,
            done_before,
            in_doubt_again,
            in_doubt_left_out,
            ..
        } = self.counts;
        row(f, "read", read)?;
        some(f, "not readable", unreadable, ", named above")?;
        some(f, "gone", gone, " from their stream, named above")?;
        some(f, "left out", left_out, ", of other reasons")?;
        some(f, "repeated", repeated, ", in another letter as well")?;
        some(f, "done before", done_before, ", skipped; --again puts them")?;
        some(f, "in doubt", in_doubt_again, ", named above, put again")?;
        some(f, "in doubt", in_doubt_left_out, ", named above, left out")
    }

    /// What would be put.
    fn plan(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Survey {
            records,
            bytes,
            reasons,
            sources,
            oldest_ms,
            newest_ms,
        } = &self.survey;
        row(f, "to put", format_args!("{records}, {bytes} bytes in events"))?;
        for (place, (kind, count)) in reasons.iter().enumerate() {
            row(
                f,
                if place == 0 { "reasons" } else { "" },
                format_args!("{count:<8}{kind}"),
            )?;
        }
        for (place, (source, count)) in sources.iter().enumerate() {
            row(
                f,
                if place == 0 { "from" } else { "" },
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

    /// What became of it.
    fn outcome(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts {
            sent,
            finished,
            unfinished,
            not_tried,
            ..
        } = self.counts;
        row(f, "sent", sent)?;
        row(f, "finished", finished)?;
        let count = |count: Option<u64>| count.map_or_else(|| "not told here".to_owned(), |count| count.to_string());
        if self.predicted.is_some() || self.rejected_again.is_some() {
            row(f, "predicted", count(self.predicted))?;
            row(f, "rejected again", count(self.rejected_again))?;
        }
        let untold = usize::try_from(self.untold()).unwrap_or(usize::MAX);
        some(f, "unaccounted", untold, ", neither predicted nor rejected")?;
        row(f, "unfinished", unfinished)?;
        some(f, "not tried", not_tried, ", or not to the end; the next run does")?;
        if let Some(failure) = &self.last_failure {
            row(f, "last failure", failure)?;
        }
        for failure in &self.queue_failures {
            row(f, "queue", failure)?;
        }
        row(f, "batches", self.batches)?;
        row(f, "time", format_args!("{:.1} s", self.seconds))
    }

    fn places(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        row(f, "to", &self.target)?;
        row(f, "journal", self.journal.display())?;
        if let Some(files) = &self.files {
            row(f, "predictions", files.predictions.display())?;
            row(f, "dead letters", files.dead_letters.display())?;
            row(f, "log", files.log.display())?;
        }
        if self.given_up {
            row(f, "given up", "too many in a row came to nothing (--stop-after)")?;
        }
        if self.interrupted {
            row(f, "interrupted", "the same command goes on from here")?;
        }
        Ok(())
    }
}
