//! What the function delivers under `stdout:`: predictions and dead letters, told apart, counted and kept in files.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::function::Line;

/// How many of the highest scores are kept.
const HIGHEST: usize = 5;

/// The files of one run. Each run starts them anew.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Files {
    /// Predictions, an envelope a line.
    pub predictions: PathBuf,
    /// Dead letters, an envelope a line.
    pub dead_letters: PathBuf,
    /// What the mapping gave up, an object of its destination for failures a line.
    pub on_failure: PathBuf,
    /// The function's log, and whatever else it wrote.
    pub log: PathBuf,
}

/// A prediction worth showing.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Highest {
    /// The score.
    pub score: f64,
    /// The record's partition key: `line-412` for line 412 of the input.
    pub partition_key: String,
    /// The beginning of the record.
    pub record: String,
}

/// Takes the function's lines and keeps count.
#[derive(Debug)]
pub struct Deliveries {
    files: Files,
    predictions: BufWriter<File>,
    dead_letters: BufWriter<File>,
    log: BufWriter<File>,
    counted: Counted,
    /// Held as long as this run writes.
    _lock: File,
}

/// The counts.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Counted {
    /// Records with a prediction.
    pub predicted: u64,
    /// Records with a dead letter.
    pub rejected: u64,
    /// Predictions and dead letters beyond the first of a record.
    pub repeated: u64,
    /// The highest scores, the highest first, where the predictions have any.
    pub highest: Vec<Highest>,
    /// The event identifier and the subsequence number of each record with a prediction or a dead letter.
    told: HashSet<(String, u64)>,
}

impl Counted {
    /// How many user records were told nothing of, of those that Kinesis records hold: the event identifier of each,
    /// and how many it holds.
    pub fn not_told_of(&self, kinesis_records: &[(String, usize)]) -> usize {
        let not_told_of = |(event_id, user_records): &(String, usize)| {
            let numbers = 0..*user_records as u64;
            numbers
                .filter(|number| !self.told.contains(&(event_id.clone(), *number)))
                .count()
        };
        kinesis_records.iter().map(not_told_of).sum()
    }
}

/// As much of an envelope as is needed here. What the model said is not looked into: it may be no number, or one that
/// no type holds.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope<'l> {
    event_id: Option<String>,
    sub_sequence_number: u64,
    partition_key: Option<String>,
    /// `null` is an answer, too.
    #[serde(borrow, default, deserialize_with = "present")]
    output: Option<&'l RawValue>,
    #[serde(borrow)]
    reason: Option<&'l RawValue>,
}

fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

impl Deliveries {
    /// Starts the files in `folder`, which is made if need be.
    ///
    /// # Errors
    ///
    /// The file system's own, or that another run is writing there.
    pub fn create(folder: &Path) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let lock = File::create(folder.join("lock"))?;
        lock.try_lock()
            .map_err(|_| io::Error::other(format!("another run is writing to {}", folder.display())))?;
        let files = Files {
            predictions: folder.join("predictions.jsonl"),
            dead_letters: folder.join("dead-letters.jsonl"),
            on_failure: folder.join("on-failure.jsonl"),
            log: folder.join("function.log"),
        };
        let create = |path: &Path| File::create(path).map(BufWriter::new);
        let (predictions, dead_letters) = (create(&files.predictions)?, create(&files.dead_letters)?);
        let log = create(&files.log)?;
        Ok(Self {
            files,
            predictions,
            dead_letters,
            log,
            counted: Counted::default(),
            _lock: lock,
        })
    }

    /// Where everything is written.
    pub fn files(&self) -> &Files {
        &self.files
    }

    /// Takes one line.
    ///
    /// # Errors
    ///
    /// The file system's own.
    pub fn take(&mut self, line: &Line) -> io::Result<()> {
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
                let first = self.is_first(event_id, sub_sequence_number);
                self.counted.rejected += u64::from(first);
                writeln!(self.dead_letters, "{text}")
            }
            Some(Envelope {
                event_id,
                sub_sequence_number,
                partition_key,
                output: Some(output),
                ..
            }) => {
                let first = self.is_first(event_id, sub_sequence_number);
                self.counted.predicted += u64::from(first);
                if first && let Some(score) = score_of(output) {
                    let partition_key = partition_key.unwrap_or_default();
                    self.keep_if_high(Highest {
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

    /// Writes the files out and returns where they are and what was counted.
    ///
    /// # Errors
    ///
    /// The file system's own.
    pub fn finish(mut self) -> io::Result<(Files, Counted)> {
        self.predictions.flush()?;
        self.dead_letters.flush()?;
        self.log.flush()?;
        Ok((self.files, self.counted))
    }

    fn is_first(&mut self, event_id: Option<String>, sub_sequence_number: u64) -> bool {
        let record = (event_id.unwrap_or_default(), sub_sequence_number);
        let first = self.counted.told.insert(record);
        self.counted.repeated += u64::from(!first);
        first
    }

    fn keep_if_high(&mut self, candidate: Highest) {
        let highest = &mut self.counted.highest;
        let place = highest.partition_point(|kept| kept.score >= candidate.score);
        highest.insert(place, candidate);
        highest.truncate(HIGHEST);
    }
}

fn score_of(output: &RawValue) -> Option<f64> {
    // What no number type holds has no score.
    serde_json::from_str(output.get())
        .ok()
        .and_then(|output| score(&output))
}

/// The number that a prediction amounts to: itself, or what its `score`, `probability` or `predictions` holds, the
/// first of a list.
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
    fn lines_are_told_apart_and_repeats_counted() {
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
            deliveries.take(&Line::Output(line.to_owned())).unwrap();
        }
        deliveries.take(&Line::Log("a log line".to_owned())).unwrap();
        let (files, counted) = deliveries.finish().unwrap();
        assert_eq!((counted.predicted, counted.rejected, counted.repeated), (3, 1, 1));
        assert_eq!(counted.highest.len(), 1);
        let given_up = [("a", 3), ("b", 1), ("d", 4)].map(|(id, held)| (id.to_owned(), held));
        assert_eq!(counted.not_told_of(&given_up), 5, "one of a, none of b, four of d");
        let count = |path: &Path| fs::read_to_string(path).unwrap().lines().count();
        assert_eq!(
            (count(&files.predictions), count(&files.dead_letters), count(&files.log)),
            (4, 1, 2)
        );
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_score_is_found_where_models_put_it() {
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
