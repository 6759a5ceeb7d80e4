//! The result of a check: a table of the trials, and the settings that fit.

use std::fmt;
use std::path::PathBuf;

use super::verdict::{failure, shortened};
use super::{Observation, RecordResult, Row, Verdict, are_same, score_path};

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
            "REQUEST_TEMPLATE",
            "calls",
            "status",
            "predicted",
            "",
        ];
        let table: Vec<_> = std::iter::once(head.map(str::to_owned))
            .chain(self.rows.iter().map(Row::cells))
            .collect();
        let length = |row: &[String; 8], column| row.get(column).map_or(0, |cell: &String| cell.chars().count());
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
            None => writeln!(
                f,
                "no settings fit: in no trial each record was predicted alone, or together as alone"
            ),
        }
    }
}

impl Report {
    fn write_fitting(&self, f: &mut fmt::Formatter<'_>, fitting: &Row) -> fmt::Result {
        let predictions = fitting.seen.predictions().unwrap_or_default();
        let first = predictions.first().copied().cloned().unwrap_or_default();
        writeln!(f, "a prediction     {}", shortened(&first.to_string()))?;
        let is_together = fitting.shape.is_multi_record();
        if is_together && predictions.iter().all(|prediction| are_same(prediction, &first)) {
            writeln!(
                f,
                "                 all are the same, so it was not seen that each belongs to its record"
            )?;
        }
        if let Some(broken) = &self.broken {
            writeln!(f, "a broken record  {}", describe_broken(broken))?;
        }
        let settings = fitting.shape.settings();
        let settings: Vec<_> = settings.map(|(name, value)| format!("{name}={value}")).collect();
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
    let is_refused = seen.exchanges.iter().any(|exchange| !exchange.is_prediction());
    let status = if is_refused {
        format!("the model answers {}", failure(seen))
    } else {
        "the model accepts it".to_owned()
    };
    let Some((broken, others)) = seen.results.split_last() else {
        return status;
    };
    let result = match broken {
        RecordResult::Predicted(prediction) => format!("it is predicted: {}", shortened(&prediction.to_string())),
        // Behind its kind, a reason repeats the model's words.
        RecordResult::Rejected(reason) if is_refused => {
            format!("it is rejected as {}", reason.split(':').next().unwrap_or_default())
        }
        RecordResult::Rejected(reason) => format!("it is rejected: {}", shortened(reason)),
        RecordResult::Unfinished(reason) => format!("it is not rejected in its first delivery: {}", shortened(reason)),
    };
    let predicted = count_predicted(others);
    format!(
        "{status}; {result}; {predicted} of {} others are predicted",
        others.len()
    )
}

fn count_predicted(results: &[RecordResult]) -> usize {
    let predicted = results
        .iter()
        .filter(|result| matches!(result, RecordResult::Predicted(_)));
    predicted.count()
}

fn list(numbers: &[impl ToString]) -> String {
    let numbers: Vec<_> = numbers.iter().map(ToString::to_string).collect();
    numbers.join(", ")
}

impl Row {
    fn cells(&self) -> [String; 8] {
        let shape = self.shape.clone();
        let mut statuses: Vec<_> = self.seen.exchanges.iter().map(|exchange| exchange.status).collect();
        statuses.sort_unstable();
        statuses.dedup();
        let results = &self.seen.results;
        let predicted = count_predicted(results);
        let verdict = match &self.verdict {
            Verdict::Alone => "each in its own request".to_owned(),
            Verdict::Together => "together, as alone".to_owned(),
            Verdict::TogetherOnly(reason) => format!("together, but not alone: {reason}"),
            Verdict::Different(numbers) => format!("together, but not as alone: records {}", list(numbers)),
            Verdict::OneByOne => "not together: the answer has no prediction for each".to_owned(),
            Verdict::Failed(reason) => reason.clone(),
        };
        [
            shape.strategy,
            shape.content_type,
            shape.accept,
            shape.request_template.unwrap_or_default().to_owned(),
            self.seen.calls.to_string(),
            list(&statuses),
            format!("{predicted} of {}", results.len()),
            verdict,
        ]
    }
}
