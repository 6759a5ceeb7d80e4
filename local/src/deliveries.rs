//! The predictions, alerts and dead letters that the function delivers to `stdout:`. They are counted and written to
//! files.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;

use crate::function::Line;
use crate::private_file;

mod counts;
mod log_line;
mod output_line;
mod reasons;
mod score;

pub use counts::{DeliveryCounts, HighScore};
use log_line::skipped;
pub(crate) use log_line::why_unfinished;
use output_line::{Envelope, alert, is_metrics};
pub use reasons::Reasons;
use score::{Score, score_of};

/// The number of highest scores that are kept.
const HIGH_SCORES_MAX: usize = 5;

/// The files of one run, which overwrites them or adds to them.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Files {
    /// Predictions, one envelope per line.
    pub predictions: PathBuf,
    /// Alerts, one prediction per line.
    pub alerts: PathBuf,
    /// Dead letters, one envelope per line.
    pub dead_letters: PathBuf,
    /// Discarded batches: one line per object of the mapping's on-failure destination.
    pub on_failure: PathBuf,
    /// The function's log, and all its other output.
    pub log: PathBuf,
}

/// Writes the function's lines to files and counts them.
#[derive(Debug)]
pub struct Deliveries {
    files: Files,
    format: OutputFormat,
    has_alerts: bool,
    predictions: BufWriter<File>,
    alerts: BufWriter<File>,
    dead_letters: BufWriter<File>,
    log: BufWriter<File>,
    counts: DeliveryCounts,
    /// Whether a prediction was a bare number that cannot be a probability.
    has_other_numbers: bool,
    /// Held while this run writes to the folder.
    _lock: File,
}

/// The format of the predictions, the function's `OUTPUT_FORMAT`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputFormat {
    /// Each prediction is in an envelope that names its record.
    Envelope,
    /// Each prediction is the model's output alone. So it is not known whether a record has several.
    Raw,
}

impl Deliveries {
    /// Creates the files in `folder`, and the folder if it does not exist. `has_alerts` is whether ALERT is `stdout:`.
    ///
    /// # Errors
    ///
    /// If a file cannot be created, or another run is writing to the folder.
    pub fn create(folder: &Path, format: OutputFormat, has_alerts: bool) -> io::Result<Self> {
        Self::open(folder, format, has_alerts, private_file::create)
    }

    /// Like [`create`](Self::create), but adds to the files that exist.
    ///
    /// # Errors
    ///
    /// Those of [`create`](Self::create).
    pub fn append(folder: &Path, format: OutputFormat, has_alerts: bool) -> io::Result<Self> {
        Self::open(folder, format, has_alerts, private_file::append)
    }

    fn open(
        folder: &Path,
        format: OutputFormat,
        has_alerts: bool,
        open: impl Fn(&Path) -> io::Result<File>,
    ) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let lock = private_file::create(&folder.join("lock"))?;
        lock.try_lock()
            .map_err(|_| io::Error::other(format!("another run is writing to {}", folder.display())))?;
        let files = Files {
            predictions: folder.join("predictions.jsonl"),
            alerts: folder.join("alerts.jsonl"),
            dead_letters: folder.join("dead-letters.jsonl"),
            on_failure: folder.join("on-failure.jsonl"),
            log: folder.join("function.log"),
        };
        let open = |path: &Path| open(path).map(BufWriter::new);
        let (predictions, dead_letters) = (open(&files.predictions)?, open(&files.dead_letters)?);
        let (alerts, log) = (open(&files.alerts)?, open(&files.log)?);
        Ok(Self {
            files,
            format,
            has_alerts,
            predictions,
            alerts,
            dead_letters,
            log,
            counts: DeliveryCounts::default(),
            has_other_numbers: false,
            _lock: lock,
        })
    }

    /// Returns the paths of the files.
    pub fn files(&self) -> &Files {
        &self.files
    }

    /// Writes one line to its file and counts it.
    ///
    /// # Errors
    ///
    /// If the file cannot be written.
    pub fn add(&mut self, line: &Line) -> io::Result<()> {
        if let Some(alert) = alert(line).filter(|_| self.has_alerts) {
            self.counts.alerted += 1;
            return writeln!(self.alerts, "{}", alert.get());
        }
        let (Line::Output(text) | Line::Log(text)) = line;
        let envelope = match line {
            Line::Output(text) => serde_json::from_str::<Envelope<'_>>(text).ok(),
            Line::Log(_) => None,
        };
        match envelope {
            Some(Envelope {
                event_id,
                sub_sequence_number,
                reason: Some(reason),
                ..
            }) => {
                let first = self.count_delivery(event_id, sub_sequence_number);
                if first {
                    self.counts.rejected += 1;
                    self.counts.rejections.add(&rejection(&reason));
                }
                writeln!(self.dead_letters, "{text}")
            }
            Some(Envelope {
                event_id,
                sub_sequence_number,
                partition_key,
                output: Some(output),
                ..
            }) => {
                let first = self.count_delivery(event_id, sub_sequence_number);
                self.counts.predicted += u64::from(first);
                if first {
                    self.add_score(score_of(output), partition_key);
                }
                writeln!(self.predictions, "{text}")
            }
            Some(_) | None if self.is_raw_prediction(line) => {
                self.counts.predicted += 1;
                writeln!(self.predictions, "{text}")
            }
            Some(_) | None => {
                if let Some(why) = why_unfinished(text) {
                    self.counts.failures.add(&why);
                }
                self.counts.skipped += skipped(text).unwrap_or_default();
                writeln!(self.log, "{text}")
            }
        }
    }

    fn is_raw_prediction(&self, line: &Line) -> bool {
        match line {
            Line::Output(text) => self.format == OutputFormat::Raw && !is_metrics(text),
            Line::Log(_) => false,
        }
    }

    /// Writes all lines so far to disk.
    ///
    /// # Errors
    ///
    /// If a file cannot be written.
    pub fn sync(&mut self) -> io::Result<()> {
        for file in [
            &mut self.predictions,
            &mut self.alerts,
            &mut self.dead_letters,
            &mut self.log,
        ] {
            file.flush()?;
            file.get_ref().sync_data()?;
        }
        Ok(())
    }

    /// Flushes the files. Returns their paths and the counts.
    ///
    /// # Errors
    ///
    /// If a file cannot be written.
    pub fn finish(mut self) -> io::Result<(Files, DeliveryCounts)> {
        self.predictions.flush()?;
        self.alerts.flush()?;
        self.dead_letters.flush()?;
        self.log.flush()?;
        if self.has_other_numbers {
            // Then the model's numbers are not scores.
            self.counts.highest.clear();
        }
        Ok((self.files, self.counts))
    }

    /// Counts the delivery as repeated if the record already has one. Returns whether it is the record's first.
    fn count_delivery(&mut self, event_id: Option<String>, sub_sequence_number: u64) -> bool {
        let record = (event_id.unwrap_or_default(), sub_sequence_number);
        let first = self.counts.delivered.insert(record);
        self.counts.repeated += u64::from(!first);
        first
    }

    fn add_score(&mut self, score: Option<Score>, partition_key: Option<String>) {
        let score = match score {
            Some(Score::Named(score)) => score,
            Some(Score::Bare(score)) if (0.0..=1.0).contains(&score) => score,
            Some(Score::Bare(_)) => {
                self.has_other_numbers = true;
                return;
            }
            None => return,
        };
        let candidate = HighScore {
            score,
            partition_key: partition_key.unwrap_or_default(),
            record: String::new(),
        };
        let highest = &mut self.counts.highest;
        let index = highest.partition_point(|kept| kept.score >= candidate.score);
        highest.insert(index, candidate);
        highest.truncate(HIGH_SCORES_MAX);
    }
}

/// Returns the reason of a dead letter in one line.
pub(crate) fn rejection(reason: &Value) -> String {
    match (reason["kind"].as_str(), reason["message"].as_str()) {
        (Some(kind), Some(message)) => format!("{kind}: {message}").replace(['\n', '\r'], " "),
        _ => reason.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn predictions_dead_letters_log_lines_and_repeats_are_counted_separately() {
        let folder = std::env::temp_dir().join(format!("instream-deliveries-{}", std::process::id()));
        let mut deliveries = Deliveries::create(&folder, OutputFormat::Envelope, true).unwrap();
        let lines = [
            r#"{"eventId":"a","subSequenceNumber":0,"partitionKey":"k","output":{"score":0.5}}"#,
            r#"{"eventId":"a","subSequenceNumber":1,"partitionKey":"k","output":null}"#,
            r#"{"eventId":"a","subSequenceNumber":0,"partitionKey":"k","output":{"score":0.5}}"#,
            r#"{"eventId":"b","subSequenceNumber":0,"partitionKey":"k","reason":{"kind":"Refused"}}"#,
            r#"{"eventId":"c","subSequenceNumber":0,"partitionKey":"k","output":{"score":1e400}}"#,
            r#"{"alert":{"eventId":"a","subSequenceNumber":0,"partitionKey":"k","output":{"score":0.5}}}"#,
            r#"{"_aws":{"a metric":1}}"#,
        ];
        for line in lines {
            deliveries.add(&Line::Output(line.to_owned())).unwrap();
        }
        for line in [
            "a log line",
            "INFO batch finished records=5 rejected=0 skipped=2 delivered=0",
            r#"{"level":"INFO","message":"batch finished","skipped":3,"delivered":0}"#,
            "INFO batch finished skipped=x",
        ] {
            deliveries.add(&Line::Log(line.to_owned())).unwrap();
        }
        let (files, counts) = deliveries.finish().unwrap();
        assert_eq!((counts.predicted, counts.rejected, counts.repeated), (3, 1, 1));
        assert_eq!(counts.alerted, 1);
        let alerts = fs::read_to_string(&files.alerts).unwrap();
        assert_eq!(alerts.trim_end(), lines[0]);
        assert_eq!((counts.skipped, counts.highest.len()), (5, 1));
        let discarded = [("a", 3), ("b", 1), ("d", 4)].map(|(id, user_records)| (id.to_owned(), user_records));
        assert_eq!(
            counts.count_undelivered(&discarded),
            5,
            "one of a, none of b, four of d"
        );
        let count = |path: &Path| fs::read_to_string(path).unwrap().lines().count();
        assert_eq!(
            (count(&files.predictions), count(&files.dead_letters), count(&files.log)),
            (4, 1, 5)
        );
        fs::remove_dir_all(folder).unwrap();
    }

    /// Returns the files and the counts of a run that writes these lines to standard output.
    fn deliver(name: &str, format: OutputFormat, lines: &[String]) -> (Files, DeliveryCounts) {
        let folder = std::env::temp_dir().join(format!("instream-deliveries-{name}-{}", std::process::id()));
        let mut deliveries = Deliveries::create(&folder, format, false).unwrap();
        for line in lines {
            deliveries.add(&Line::Output(line.clone())).unwrap();
        }
        let finished = deliveries.finish().unwrap();
        fs::remove_dir_all(folder).unwrap();
        finished
    }

    #[test]
    fn bare_numbers_are_scores_only_if_all_of_them_are_between_0_and_1() {
        let envelope = |id: usize, output: &str| {
            format!(r#"{{"eventId":"{id}","subSequenceNumber":0,"partitionKey":"k","output":{output}}}"#)
        };
        let highest = |outputs: &[&str]| {
            let lines: Vec<_> = outputs
                .iter()
                .enumerate()
                .map(|(id, output)| envelope(id, output))
                .collect();
            let (_, counts) = deliver("scores", OutputFormat::Envelope, &lines);
            counts.highest.iter().map(|high| high.score).collect::<Vec<_>>()
        };
        assert_eq!(highest(&["0.1", "\"1\"", "[0]"]), [1.0, 0.1, 0.0]);
        assert_eq!(highest(&["0.1", "27.5", "0.3"]), [0.0; 0]);
        assert_eq!(highest(&[r#"{"score":35.1}"#, r#"{"score":0.2}"#]), [35.1, 0.2]);
    }

    #[test]
    fn every_line_but_metrics_and_dead_letters_is_a_raw_prediction() {
        let lines = [
            "0.5",
            "0.5",
            "not JSON",
            r#"{"alert":0.5}"#,
            r#"{"_aws":{"a metric":1}}"#,
            r#"{"eventId":"b","subSequenceNumber":0,"reason":{"kind":"Refused","message":"no"}}"#,
        ]
        .map(str::to_owned);
        let (_, counts) = deliver("raw", OutputFormat::Raw, &lines);
        assert_eq!((counts.predicted, counts.rejected, counts.repeated), (4, 1, 0));
        let (_, counts) = deliver("no-raw", OutputFormat::Envelope, &lines);
        assert_eq!((counts.predicted, counts.rejected), (0, 1));
    }

    #[test]
    fn the_reasons_of_dead_letters_and_of_unfinished_batches_are_counted() {
        let dead_letter = |id: usize, message| {
            let reason = json!({"kind": "Refused", "message": message});
            json!({"eventId": id.to_string(), "subSequenceNumber": 0, "reason": reason}).to_string()
        };
        let messages = ["status 400: a\nb", "status 400: c", "status 400: a\nb"];
        let lines: Vec<_> = messages
            .iter()
            .enumerate()
            .map(|(id, it)| dead_letter(id, it))
            .collect();
        let (_, counts) = deliver("reasons", OutputFormat::Envelope, &lines);
        assert_eq!(counts.rejections.most_frequent(), Some("Refused: status 400: a b"));
        for line in [
            r#" WARN invocation: batch is redelivered from here records=5 why="Suspect: status \"500\"""#,
            r#"{"level":"WARN","message":"batch is redelivered from here","why":"Suspect: status \"500\""}"#,
        ] {
            assert_eq!(
                why_unfinished(line).as_deref(),
                Some("Suspect: status \"500\""),
                "{line}"
            );
        }
        assert_eq!(why_unfinished("INFO batch finished records=5"), None);
    }
}
