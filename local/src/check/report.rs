//! The result of a check: a table of the trials, and the settings that fit.

use std::fmt;
use std::path::PathBuf;

use super::{Observation, RecordResult, Shape, are_same, score_path};

/// The maximum length of a model's words or of a prediction, in characters.
const CHARS_MAX: usize = 160;

/// A trial and what follows from it.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// The shape of its requests.
    pub shape: Shape,
    /// What follows.
    pub verdict: Verdict,
    seen: Observation,
}

/// What follows from a trial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Each record was predicted in its own request.
    Alone,
    /// All records were predicted in one request, as they are predicted alone.
    Together,
    /// All records were predicted in one request, but a record alone was not, for this reason.
    TogetherOnly(String),
    /// All records were predicted in one request, but these (numbers from 1) otherwise than alone.
    Different(Vec<usize>),
    /// All records were predicted, but only after further requests for each of them.
    OneByOne,
    /// Some records were not predicted, for this reason.
    Failed(String),
}

impl Row {
    /// Judges a trial. `alone` is a trial of the same shape with one record a request.
    pub fn new(shape: Shape, seen: Observation, alone: Option<Observation>) -> Self {
        let verdict = verdict(&shape, &seen, alone);
        Self { shape, verdict, seen }
    }

    /// Returns how well the settings fit, from 0, the best. `None` if they do not.
    fn rank(&self) -> Option<u8> {
        match self.verdict {
            Verdict::Together => Some(0),
            Verdict::Alone => Some(1),
            Verdict::TogetherOnly(_) => Some(2),
            Verdict::Different(_) | Verdict::OneByOne | Verdict::Failed(_) => None,
        }
    }
}

fn verdict(shape: &Shape, seen: &Observation, alone: Option<Observation>) -> Verdict {
    let Some(predictions) = seen.predictions() else {
        return Verdict::Failed(failure(seen));
    };
    if !shape.is_multi_record() {
        return Verdict::Alone;
    }
    let Some(alone) = alone else {
        return Verdict::OneByOne;
    };
    let Some(expected) = alone.predictions() else {
        return Verdict::TogetherOnly(failure(&alone));
    };
    let pairs = (1..).zip(predictions.iter().zip(expected));
    let different: Vec<usize> = pairs
        .filter(|(_, (together, alone))| !are_same(together, alone))
        .map(|(number, _)| number)
        .collect();
    if different.is_empty() {
        Verdict::Together
    } else {
        Verdict::Different(different)
    }
}

/// Returns why a record was not predicted: the model's words if it refused a request, else the function's.
fn failure(seen: &Observation) -> String {
    let refused = seen
        .exchanges
        .iter()
        .find(|exchange| !(200..300).contains(&exchange.status));
    if let Some(refused) = refused {
        return shortened(&format!(
            "{} {}",
            refused.status,
            String::from_utf8_lossy(&refused.answer)
        ));
    }
    let reasons = seen.results.iter().filter_map(|result| match result {
        RecordResult::Predicted(_) => None,
        RecordResult::Rejected(reason) | RecordResult::Unfinished(reason) => Some(reason),
    });
    reasons.map(|reason| shortened(reason)).next().unwrap_or_default()
}

/// Returns the beginning of a text in one line, without control characters.
fn shortened(text: &str) -> String {
    let words: Vec<_> = text.split(|c: char| c.is_whitespace() || c.is_control()).collect();
    let words: Vec<_> = words.into_iter().filter(|word| !word.is_empty()).collect();
    words.join(" ").chars().take(CHARS_MAX).collect()
}

/// What a check has shown.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    url: String,
    input: PathBuf,
    rows: Vec<Row>,
    broken: Option<Observation>,
}

impl Report {
    /// Creates the report of these trials with the model server at `url`.
    pub fn new(url: String, input: PathBuf, rows: Vec<Row>) -> Self {
        Self {
            url,
            input,
            rows,
            broken: None,
        }
    }

    /// Adds the trial with the fitting shape in which the last record is broken.
    pub fn set_broken(&mut self, broken: Observation) {
        self.broken = Some(broken);
    }

    /// Returns the trial with the settings that fit best: all records in one request, otherwise each in its own.
    pub fn fitting(&self) -> Option<&Row> {
        let fitting = self.rows.iter().filter_map(|row| Some((row.rank()?, row)));
        fitting.min_by_key(|(rank, _)| *rank).map(|(_, row)| row)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let records = self.rows.first().map_or(0, |row| row.seen.results.len());
        writeln!(
            f,
            "{records} records of {}, sent to {}\n",
            self.input.display(),
            self.url
        )?;
        let head = [
            "BATCH_STRATEGY",
            "CONTENT_TYPE",
            "ACCEPT",
            "calls",
            "status",
            "predicted",
            "",
        ];
        let table: Vec<_> = std::iter::once(head.map(str::to_owned))
            .chain(self.rows.iter().map(Row::cells))
            .collect();
        let length = |row: &[String; 7], column| row.get(column).map_or(0, |cell: &String| cell.chars().count());
        for row in &table {
            let mut line = String::new();
            for (column, cell) in row.iter().enumerate() {
                let width = table.iter().map(|row| length(row, column)).max().unwrap_or_default();
                let padding = " ".repeat(width - length(row, column) + 2);
                line += cell;
                line += &padding;
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        writeln!(f)?;
        match self.fitting() {
            Some(fitting) => self.write_fitting(f, fitting),
            None => writeln!(f, "no settings fit: no trial has predicted all records"),
        }
    }
}

impl Report {
    fn write_fitting(&self, f: &mut fmt::Formatter<'_>, fitting: &Row) -> fmt::Result {
        let predictions = fitting.seen.predictions().unwrap_or_default();
        let first = predictions.first().copied().cloned().unwrap_or_default();
        writeln!(f, "a prediction     {}", shortened(&first.to_string()))?;
        if predictions.iter().all(|prediction| are_same(prediction, &first)) {
            writeln!(
                f,
                "                 all are the same, so it was not seen that each belongs to its record"
            )?;
        }
        if let Some(broken) = &self.broken {
            writeln!(f, "a broken record  {}", describe_broken(broken))?;
        }
        let settings = fitting.shape.settings().map(|(name, value)| format!("{name}={value}"));
        writeln!(f, "\nthese settings fit:\n  {}", settings.join(" "))?;
        match score_path(&first) {
            Some(path) if !path.is_empty() => {
                writeln!(f, "  OUTPUT_FILTER='${path}'  # to deliver only the number")
            }
            _ => Ok(()),
        }
    }
}

/// Describes what became of the last record, which is broken, and of its neighbours.
fn describe_broken(seen: &Observation) -> String {
    let mut statuses: Vec<_> = seen.exchanges.iter().map(|exchange| exchange.status).collect();
    statuses.retain(|status| !(200..300).contains(status));
    statuses.sort_unstable();
    statuses.dedup();
    let status = match statuses.as_slice() {
        [] => "the model accepts it".to_owned(),
        statuses => format!("the model answers {}", list(statuses)),
    };
    let Some((broken, others)) = seen.results.split_last() else {
        return status;
    };
    let result = match broken {
        RecordResult::Predicted(prediction) => format!("it is predicted: {}", shortened(&prediction.to_string())),
        RecordResult::Rejected(reason) => format!("it is rejected: {}", shortened(reason)),
        RecordResult::Unfinished(reason) => format!("it is not rejected in its first delivery: {}", shortened(reason)),
    };
    let predicted = others
        .iter()
        .filter(|result| matches!(result, RecordResult::Predicted(_)))
        .count();
    format!(
        "{status}; {result}; {predicted} of {} others are predicted",
        others.len()
    )
}

fn list(numbers: &[impl ToString]) -> String {
    let numbers: Vec<_> = numbers.iter().map(ToString::to_string).collect();
    numbers.join(", ")
}

impl Row {
    fn cells(&self) -> [String; 7] {
        let [strategy, content_type, accept] = self.shape.settings().map(|(_, value)| value.to_owned());
        let mut statuses: Vec<_> = self.seen.exchanges.iter().map(|exchange| exchange.status).collect();
        statuses.sort_unstable();
        statuses.dedup();
        let results = &self.seen.results;
        let predicted = results
            .iter()
            .filter(|result| matches!(result, RecordResult::Predicted(_)))
            .count();
        let verdict = match &self.verdict {
            Verdict::Alone => "each in its own request".to_owned(),
            Verdict::Together => "together, as alone".to_owned(),
            Verdict::TogetherOnly(reason) => format!("together, but not alone: {reason}"),
            Verdict::Different(numbers) => format!("together, but not as alone: records {}", list(numbers)),
            Verdict::OneByOne => "not together: the answer has no prediction for each".to_owned(),
            Verdict::Failed(reason) => reason.clone(),
        };
        [
            strategy,
            content_type,
            accept,
            self.seen.calls.to_string(),
            list(&statuses),
            format!("{predicted} of {}", results.len()),
            verdict,
        ]
    }
}
