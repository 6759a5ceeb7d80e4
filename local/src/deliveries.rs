//! The predictions and dead letters that the function delivers to `stdout:`. They are counted and written to files.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::function::Line;
use crate::private_file;

/// The number of highest scores that are kept.
const HIGH_SCORES_MAX: usize = 5;

/// The files of one run. Each run overwrites them.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Files {
    /// Predictions, one envelope per line.
    pub predictions: PathBuf,
    /// Dead letters, one envelope per line.
    pub dead_letters: PathBuf,
    /// Discarded batches: one line per object of the mapping's on-failure destination.
    pub on_failure: PathBuf,
    /// The function's log, and all its other output.
    pub log: PathBuf,
}

/// One of the highest scores.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HighScore {
    /// The score.
    pub score: f64,
    /// The record's partition key: `line-412` for line 412 of the input.
    pub partition_key: String,
    /// The beginning of the record.
    pub record: String,
}

/// Writes the function's lines to files and counts them.
#[derive(Debug)]
pub struct Deliveries {
    files: Files,
    predictions: BufWriter<File>,
    dead_letters: BufWriter<File>,
    log: BufWriter<File>,
    counts: DeliveryCounts,
    /// Held while this run writes to the folder.
    _lock: File,
}

/// The number of predictions and dead letters.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DeliveryCounts {
    /// The number of records with a prediction.
    pub predicted: u64,
    /// The number of records with a dead letter.
    pub rejected: u64,
    /// The number of predictions and dead letters after the first of each record.
    pub repeated: u64,
    /// The highest scores in descending order, if the predictions have scores.
    pub highest: Vec<HighScore>,
    /// The event identifier and the subsequence number of each record with a prediction or a dead letter.
    delivered: HashSet<(String, u64)>,
}

impl DeliveryCounts {
    /// Returns how many user records of the given Kinesis records have neither a prediction nor a dead letter. Each
    /// Kinesis record is given by its event identifier and its number of user records.
    pub fn count_undelivered(&self, kinesis_records: &[(String, usize)]) -> usize {
        let undelivered = |(event_id, user_records): &(String, usize)| {
            let numbers = 0..*user_records as u64;
            numbers
                .filter(|number| !self.delivered.contains(&(event_id.clone(), *number)))
                .count()
        };
        kinesis_records.iter().map(undelivered).sum()
    }
}

/// The fields of an envelope that are needed here. The model's output is not parsed: it can be something other than a
/// number, or a number that fits no type.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope<'l> {
    event_id: Option<String>,
    sub_sequence_number: u64,
    partition_key: Option<String>,
    /// The model's output. `null` counts as an output, too.
    #[serde(borrow, default, deserialize_with = "some_even_if_null")]
    output: Option<&'l RawValue>,
    #[serde(borrow)]
    reason: Option<&'l RawValue>,
}

fn some_even_if_null<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

impl Deliveries {
    /// Creates the files in `folder`, and the folder if it does not exist.
    ///
    /// # Errors
    ///
    /// If a file cannot be created, or another run is writing to the folder.
    pub fn create(folder: &Path) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let lock = private_file::create(&folder.join("lock"))?;
        lock.try_lock()
            .map_err(|_| io::Error::other(format!("another run is writing to {}", folder.display())))?;
        let files = Files {
            predictions: folder.join("predictions.jsonl"),
            dead_letters: folder.join("dead-letters.jsonl"),
            on_failure: folder.join("on-failure.jsonl"),
            log: folder.join("function.log"),
        };
        let create = |path: &Path| private_file::create(path).map(BufWriter::new);
        let (predictions, dead_letters) = (create(&files.predictions)?, create(&files.dead_letters)?);
        let log = create(&files.log)?;
        Ok(Self {
            files,
            predictions,
            dead_letters,
            log,
            counts: DeliveryCounts::default(),
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
        let (Line::Output(text) | Line::Log(text)) = line;
        let envelope = match line {
            Line::Output(text) => serde_json::from_str::<Envelope<'_>>(text).ok(),
            Line::Log(_) => None,
        };
        match envelope {
            Some(Envelope {
                event_id,
                sub_sequence_number,
                reason: Some(_),
                ..
            }) => {
                let first = self.count_delivery(event_id, sub_sequence_number);
                self.counts.rejected += u64::from(first);
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
                if first && let Some(score) = score_of(output) {
                    let partition_key = partition_key.unwrap_or_default();
                    self.keep_if_high(HighScore {
                        score,
                        partition_key,
                        record: String::new(),
                    });
                }
                writeln!(self.predictions, "{text}")
            }
            Some(_) | None => writeln!(self.log, "{text}"),
        }
    }

    /// Flushes the files. Returns their paths and the counts.
    ///
    /// # Errors
    ///
    /// If a file cannot be written.
    pub fn finish(mut self) -> io::Result<(Files, DeliveryCounts)> {
        self.predictions.flush()?;
        self.dead_letters.flush()?;
        self.log.flush()?;
        Ok((self.files, self.counts))
    }

    /// Counts the delivery as repeated if the record already has one. Returns whether it is the record's first.
    fn count_delivery(&mut self, event_id: Option<String>, sub_sequence_number: u64) -> bool {
        let record = (event_id.unwrap_or_default(), sub_sequence_number);
        let first = self.counts.delivered.insert(record);
        self.counts.repeated += u64::from(!first);
        first
    }

    fn keep_if_high(&mut self, candidate: HighScore) {
        let highest = &mut self.counts.highest;
        let index = highest.partition_point(|kept| kept.score >= candidate.score);
        highest.insert(index, candidate);
        highest.truncate(HIGH_SCORES_MAX);
    }
}

fn score_of(output: &RawValue) -> Option<f64> {
    // An output with a number that fits no type has no score.
    serde_json::from_str(output.get())
        .ok()
        .and_then(|output| score(&output))
}

/// Returns the score of a prediction: the number itself, the first element of a list, or the value of `score`,
/// `probability` or `predictions`.
fn score(output: &Value) -> Option<f64> {
    match output {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok().filter(|score: &f64| score.is_finite()),
        Value::Array(list) => score(list.first()?),
        Value::Object(members) => ["score", "probability", "predictions"]
            .iter()
            .find_map(|name| score(members.get(*name)?)),
        Value::Null | Value::Bool(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn predictions_dead_letters_log_lines_and_repeats_are_counted_separately() {
        let folder = std::env::temp_dir().join(format!("instream-deliveries-{}", std::process::id()));
        let mut deliveries = Deliveries::create(&folder).unwrap();
        let lines = [
            r#"{"eventId":"a","subSequenceNumber":0,"partitionKey":"k","output":{"score":0.5}}"#,
            r#"{"eventId":"a","subSequenceNumber":1,"partitionKey":"k","output":null}"#,
            r#"{"eventId":"a","subSequenceNumber":0,"partitionKey":"k","output":{"score":0.5}}"#,
            r#"{"eventId":"b","subSequenceNumber":0,"partitionKey":"k","reason":{"kind":"Refused"}}"#,
            r#"{"eventId":"c","subSequenceNumber":0,"partitionKey":"k","output":{"score":1e400}}"#,
            r#"{"_aws":{"a metric":1}}"#,
        ];
        for line in lines {
            deliveries.add(&Line::Output(line.to_owned())).unwrap();
        }
        deliveries.add(&Line::Log("a log line".to_owned())).unwrap();
        let (files, counts) = deliveries.finish().unwrap();
        assert_eq!((counts.predicted, counts.rejected, counts.repeated), (3, 1, 1));
        assert_eq!(counts.highest.len(), 1);
        let discarded = [("a", 3), ("b", 1), ("d", 4)].map(|(id, user_records)| (id.to_owned(), user_records));
        assert_eq!(
            counts.count_undelivered(&discarded),
            5,
            "one of a, none of b, four of d"
        );
        let count = |path: &Path| fs::read_to_string(path).unwrap().lines().count();
        assert_eq!(
            (count(&files.predictions), count(&files.dead_letters), count(&files.log)),
            (4, 1, 2)
        );
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_score_is_found_in_the_output_formats_of_common_models() {
        for (output, expected) in [
            (json!(0.5), Some(0.5)),
            (json!("0.5\n"), Some(0.5)),
            (json!([0.5, 0.1]), Some(0.5)),
            (json!({"version": 3, "score": 0.5}), Some(0.5)),
            (json!({"predictions": [{"score": 0.5}]}), Some(0.5)),
            (json!({"label": "fraud"}), None),
            (json!("fraud"), None),
            (json!("NaN"), None),
            (json!(null), None),
        ] {
            assert_eq!(score(&output), expected, "{output}");
        }
    }
}
