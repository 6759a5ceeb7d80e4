//! The summary of a run, as text for people or as JSON for programs.

use std::collections::BTreeMap;
use std::fmt::{self, Display};
use std::path::PathBuf;

use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;
use instream_local::deliveries::Files;
use serde::Serialize;

use super::letter::Letter;

/// The outcome of a run.
#[derive(Debug, Clone, Default, Serialize)]
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

/// The selected records.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Survey {
    /// The number of records.
    pub records: usize,
    /// The number of records whose payload must be read from their stream.
    pub without_payload: usize,
    /// The number of records by kind of reason.
    pub reasons: BTreeMap<String, usize>,
    /// The number of records by source, as named on the command line.
    pub sources: BTreeMap<String, usize>,
    /// The earliest arrival of a record in its stream, in milliseconds since 1970.
    pub oldest_ms: Option<i64>,
    /// The latest arrival, likewise.
    pub newest_ms: Option<i64>,
}

/// The counts of a run. All of them count records, except `unreadable` and `predictions`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Counts {
    /// Records that could be read.
    pub read: usize,
    /// Lines, objects, messages and entries that are not readable as dead letters.
    pub unreadable: usize,
    /// Lines and messages that are predictions.
    pub predictions: usize,
    /// Records that were discarded or rejected without their payload and that are no longer in the stream.
    pub gone: usize,
    /// Dead letters whose reason is not selected.
    pub left_out: usize,
    /// Further dead letters of a record that this run has selected.
    pub repeated: usize,
    /// Dead letters that succeeded in an earlier run.
    pub done_before: usize,
    /// Records that were sent to the target at least once.
    pub sent: usize,
    /// Records that the target has finished.
    pub finished: usize,
    /// Records that were given up after all retries.
    pub unfinished: usize,
    /// Records that were not sent, or not to the end, because the run ended.
    pub not_tried: usize,
}

/// Returns the text with its control characters and other invisible characters escaped as in Rust, so that it can
/// neither start another line nor control the terminal. Names and reasons come from dead letters and services, and are
/// not trusted.
fn printable(text: impl Display) -> String {
    let escape = |character: char| match character {
        '"' | '\'' => character.to_string(),
        _ => character.escape_debug().to_string(),
    };
    text.to_string().chars().map(escape).collect()
}

/// Prints one line to standard error.
pub(super) fn report(line: impl Display) {
    eprintln!("{}", printable(line));
}

impl Survey {
    pub(super) fn add(&mut self, letter: &Letter, source: &str) {
        self.records += 1;
        self.without_payload += usize::from(letter.payload.is_some());
        *self.reasons.entry(letter.kind.clone()).or_default() += 1;
        *self.sources.entry(source.to_owned()).or_default() += 1;
        let arrival = letter.record.arrival_s.map(DateTime::from_secs_f64);
        let arrival_ms = arrival.and_then(|arrival| arrival.to_millis().ok());
        self.oldest_ms = self.oldest_ms.into_iter().chain(arrival_ms).min();
        self.newest_ms = self.newest_ms.into_iter().chain(arrival_ms).max();
    }
}

impl Counts {
    /// Counts an unreadable item and prints its location, without its content.
    pub(super) fn report_unreadable(&mut self, location: &str, why: &str) {
        self.unreadable += 1;
        report(format_args!("not readable: {location}: {why}"));
    }

    /// Counts and prints records that are no longer in their stream.
    pub(super) fn report_gone(&mut self, count: usize, what: &str, location: &str) {
        self.gone += count;
        if count > 0 {
            report(format_args!("gone from the stream: {count} {what} ({location})"));
        }
    }
}

impl Summary {
    /// Returns `true` if every record has succeeded, or would be sent by a dry run, as far as that is known.
    pub fn is_complete(&self) -> bool {
        let has_ended = !self.interrupted && !self.given_up && self.queue_failures.is_empty();
        let counts = &self.counts;
        let left = counts.unreadable + counts.gone + counts.unfinished + counts.not_tried;
        has_ended && left == 0 && self.rejected_again.unwrap_or_default() == 0
    }
}

impl Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in self.rows().iter().filter(|(_, value)| !value.is_empty()) {
            writeln!(f, "{name:<16}{}", printable(value))?;
        }
        Ok(())
    }
}

impl Summary {
    /// Returns the rows of the text. A row with an empty value is left out.
    fn rows(&self) -> Vec<(&'static str, String)> {
        let (counts, survey) = (&self.counts, &self.survey);
        let any = |count: usize, words: &str| only_if(count > 0, &format!("{count}{words}"));
        let known = |count: Option<u64>| count.map(|count| count.to_string()).unwrap_or_default();
        let folder = self.files.as_ref().and_then(|files| files.predictions.parent());
        let mut rows = vec![
            ("read", counts.read.to_string()),
            ("not readable", any(counts.unreadable, ", named above")),
            ("predictions", any(counts.predictions, ", skipped")),
            ("gone", any(counts.gone, " from their stream, named above")),
            ("left out", any(counts.left_out, ", of other reasons")),
            ("repeated", any(counts.repeated, ", also in another letter")),
            ("done before", any(counts.done_before, "; --again sends them")),
            ("to send", survey.records.to_string()),
            ("without payload", any(survey.without_payload, ", in their streams")),
        ];
        for (title, counts) in [("reasons", &survey.reasons), ("from", &survey.sources)] {
            let titles = std::iter::once(title).chain(std::iter::repeat(""));
            rows.extend(titles.zip(counts.iter().map(|(name, count)| format!("{count:<8}{name}"))));
        }
        let arrived = format!("{} to {}", time(survey.oldest_ms), time(survey.newest_ms));
        rows.extend([
            ("arrived", only_if(survey.records > 0, &arrived)),
            ("to", self.target.clone()),
            ("journal", self.journal.display().to_string()),
            ("done", only_if(self.is_dry, "nothing yet; --yes does it")),
            ("finished", only_if(!self.is_dry, &counts.finished.to_string())),
            ("predicted", known(self.predicted)),
            ("rejected again", known(self.rejected_again)),
            ("unfinished", any(counts.unfinished, ", named above")),
            ("not tried", any(counts.not_tried, "; the next run continues")),
            ("last failure", self.last_failure.clone().unwrap_or_default()),
            ("queue", self.queue_failures.join("; ")),
            ("batches", any(self.batches, "")),
            ("time", format!("{:.1} s", self.seconds)),
            ("files", folder.map(|it| it.display().to_string()).unwrap_or_default()),
            ("given up", only_if(self.given_up, "by --stop-after")),
            ("interrupted", only_if(self.interrupted, "there is more to do")),
        ]);
        rows
    }
}

fn only_if(condition: bool, words: &str) -> String {
    if condition { words.to_owned() } else { String::new() }
}

/// Formats a time such as `2026-03-14T02:11:09.5Z`, or `unknown`.
fn time(milliseconds: Option<i64>) -> String {
    let time = milliseconds.and_then(|milliseconds| DateTime::from_millis(milliseconds).fmt(Format::DateTime).ok());
    time.unwrap_or_else(|| "unknown".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_starts_a_line_or_controls_the_terminal() {
        assert_eq!(printable(r#"Größe "a/b" isn't 7"#), r#"Größe "a/b" isn't 7"#);
        assert_eq!(
            printable("a\x1b[2J\x1b]0;title\x07\nfinished 999\r\u{9b}m\u{202e}\x7f\\"),
            r"a\u{1b}[2J\u{1b}]0;title\u{7}\nfinished 999\r\u{9b}m\u{202e}\u{7f}\\"
        );
    }
}
