//! `cargo local bench`: measures the cost of a record and the speed of the function, and compares it with other
//! functions.

use std::collections::HashSet;
use std::convert::Infallible;
use std::ffi::OsString;
use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Error, Result, ensure};
use indicatif::{ProgressBar, ProgressStyle};

use crate::bench::candidate::{Candidate, make_unique};
use crate::bench::comparison::{Column, Comparison};
use crate::bench::report::ReportFile;
use crate::bench::round::{self, Round};
use crate::build::{self, Profile};
use crate::environment::{self, Settings};
use crate::setup::{EndpointOptions, Options};
use crate::source::{lines, now_ms};
use crate::stream::StreamRecord;
use crate::transactions;

/// The maximum number of calls of a round that are recorded for the report's plots. The table counts all calls.
const RECORDED_CALLS_MAX: usize = 1_000_000;

/// Settings for the functions, unless the user sets them. They save the time for output that nobody reads, and make the
/// function log its limit as JSON, which the bench reads.
const DEFAULT_SETTINGS: [(&str, &str); 4] = [
    ("OUTPUT", "none:"),
    ("DEAD_LETTER", "none:"),
    ("AWS_LAMBDA_LOG_FORMAT", "JSON"),
    ("AWS_LAMBDA_LOG_LEVEL", "INFO"),
];

const DOCUMENTATION: &str = include_str!("../../docs/settings.md");

/// The functions to measure, and the load.
#[derive(Debug)]
pub struct Bench {
    /// A file with one record per line. If `None`, transactions are generated.
    pub input: Option<PathBuf>,
    /// The number of records in a round. A file with fewer lines is repeated from the beginning.
    pub records: usize,
    /// The maximum number of records in a batch, 1–10,000. It must be less than `records`.
    pub batch_size: usize,
    /// The number of rounds for each function.
    pub rounds: usize,
    /// The command of the function. If `None`, the function is built with cargo in release mode.
    pub function: Option<String>,
    /// The commands of the functions that it is compared with.
    pub against: Vec<String>,
    /// The endpoint. Each round starts its own.
    pub endpoint: EndpointOptions,
    /// The timeout of one invocation.
    pub timeout: Duration,
    /// Environment variables for all functions.
    pub settings: Settings,
    /// The command line, for the report.
    pub command: String,
    /// The file for the report.
    pub report: ReportFile,
}

/// Measures the functions and writes the report. In each round, the functions take turns.
///
/// # Errors
///
/// If the records cannot be read or are too few, the function does not compile, a function or its endpoint does not
/// start, a record is not finished, or the report cannot be written.
pub async fn run(mut bench: Bench) -> Result<Comparison> {
    bench.check()?;
    let records = bench.records()?;
    for (name, value) in DEFAULT_SETTINGS {
        bench
            .settings
            .entry(name.to_owned())
            .or_insert_with(|| value.to_owned());
    }
    let candidates = bench.candidates()?;
    let mut rounds: Vec<_> = candidates.iter().map(|_| Vec::new()).collect();
    let progress = progress_bar(records.len() * candidates.len() * bench.rounds)?;
    for number in 1..=bench.rounds {
        for (candidate, rounds) in candidates.iter().zip(&mut rounds) {
            progress.set_message(format!("{}, round {number}", candidate.name));
            rounds.push(bench.round(candidate, number, &records, &progress).await?);
        }
    }
    progress.finish_and_clear();
    let column = |(candidate, rounds): (Candidate, Vec<Round>)| Column {
        name: candidate.name,
        command: candidate.command,
        rounds,
    };
    let comparison = Comparison {
        settings: reported_settings(&bench.settings, DOCUMENTATION),
        command: bench.command,
        records: records.len(),
        batch_size: bench.batch_size,
        columns: candidates.into_iter().zip(rounds).map(column).collect(),
        report: bench.report.path().to_owned(),
    };
    bench.report.write(&comparison)?;
    Ok(comparison)
}

/// Builds this program and the function in release mode, and replaces this process with the new program and the same
/// arguments. An emulator without optimisation would slow down the functions and distort the measurements.
///
/// # Errors
///
/// If the build fails or the program cannot be run. On success, it does not return.
pub fn restart_in_release_mode(arguments: impl Iterator<Item = OsString>) -> Result<Infallible> {
    let program = build::own_release()?;
    let error = Command::new(&program).args(arguments).exec();
    Err(Error::new(error).context(format!("cannot run {}", program.display())))
}

impl Bench {
    /// Checks the options before anything is built or run.
    ///
    /// # Errors
    ///
    /// If there are too few records, their file cannot be read, or the settings name another endpoint.
    pub fn check(&self) -> Result<()> {
        let (records, batch_size) = (self.records, self.batch_size);
        ensure!(
            records > batch_size,
            "--records must be more than --batch-size, as the first batch is measured separately: {records} records \
             are no more than one batch of {batch_size}"
        );
        ensure!(
            !environment::is_set(&self.settings, "ENDPOINT_URL"),
            "ENDPOINT_URL is set, but a bench measures with an endpoint on this machine: unset it"
        );
        environment::check_local(&self.settings, self.endpoint.gateway.is_some())?;
        match &self.input {
            Some(path) => File::open(path).map(drop).with_context(|| cannot_read(path)),
            None => Ok(()),
        }
    }

    fn records(&self) -> Result<Vec<StreamRecord>> {
        let text = match &self.input {
            Some(path) => std::fs::read(path).with_context(|| cannot_read(path))?,
            None => generated_transactions(self.records)?,
        };
        let lines: Vec<_> = lines(&text).map(|(_, line)| line).collect();
        let input = self.input.as_deref().unwrap_or(Path::new("")).display();
        ensure!(!lines.is_empty(), "{input} holds no records");
        let arrival_ms = now_ms();
        let numbered = (1..).zip(lines.into_iter().cycle().take(self.records));
        Ok(numbered
            .map(|(number, line)| StreamRecord::from_line(number, line, arrival_ms))
            .collect())
    }

    fn candidates(&self) -> Result<Vec<Candidate>> {
        let ours = match &self.function {
            Some(command) => Candidate::new(command)?,
            None => Candidate::built(build::function(Profile::Release)?),
        };
        let others = self.against.iter().map(|command| Candidate::new(command));
        let mut candidates = std::iter::once(Ok(ours)).chain(others).collect::<Result<Vec<_>>>()?;
        make_unique(candidates.iter_mut().map(|candidate| &mut candidate.name));
        Ok(candidates)
    }

    async fn round(
        &self,
        candidate: &Candidate,
        number: usize,
        records: &[StreamRecord],
        progress: &ProgressBar,
    ) -> Result<Round> {
        let options = Options {
            program: Some(candidate.program.clone()),
            user_endpoint: None,
            local_endpoint: EndpointOptions {
                recorded_max: RECORDED_CALLS_MAX,
                ..self.endpoint.clone()
            },
            timeout: self.timeout,
            settings: self.settings.clone(),
        };
        let done = |records| progress.inc(records as u64);
        let round = round::run(options, records, self.batch_size, &done).await;
        let Candidate { name, command, .. } = candidate;
        round.with_context(|| format!("{name}, round {number} ({command})"))
    }
}

fn cannot_read(path: &Path) -> String {
    format!("cannot read {}", path.display())
}

/// Returns generated transactions as JSON, one per line.
fn generated_transactions(records: usize) -> Result<Vec<u8>> {
    let mut text = Vec::new();
    for transaction in transactions::generate(records as u64, 1) {
        serde_json::to_writer(&mut text, &transaction)?;
        text.push(b'\n');
    }
    Ok(text)
}

/// Returns the settings for the report: those in the documentation and Lambda's. All other environment variables can be
/// secret, and so can `ENDPOINT_HEADERS`.
fn reported_settings(settings: &Settings, documentation: &str) -> Vec<String> {
    let documented: HashSet<_> = documentation
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split(' ').next())
        .collect();
    let is_reported = |name: &str| {
        let is_known = documented.contains(name) || name.starts_with("AWS_LAMBDA_");
        is_known && name != "ENDPOINT_HEADERS"
    };
    let reported = settings.iter().filter(|(name, _)| is_reported(name));
    let mut reported: Vec<_> = reported.map(|(name, value)| format!("{name}={value}")).collect();
    reported.sort_unstable();
    reported
}

/// Returns the progress bar. It is visible only if standard error is a terminal.
fn progress_bar(records: usize) -> Result<ProgressBar> {
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} records after {elapsed}: {msg}")?;
    let progress = ProgressBar::new(records as u64).with_style(style);
    progress.enable_steady_tick(Duration::from_millis(100));
    Ok(progress)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_can_be_secret_are_not_reported() {
        let settings = [
            "CAPACITY",
            "OUTPUT",
            "AWS_LAMBDA_LOG_LEVEL",
            "API_TOKEN",
            "ENDPOINT_HEADERS",
            "HOME",
            "|---|---|---|---|",
        ];
        let settings = settings.map(|name| (name.to_owned(), "x".to_owned())).into();
        let with_headers = format!("{DOCUMENTATION}| ENDPOINT_HEADERS | unset | … | … |\n");
        assert_eq!(
            reported_settings(&settings, &with_headers),
            ["AWS_LAMBDA_LOG_LEVEL=x", "CAPACITY=x", "OUTPUT=x"]
        );
    }

    fn bench(name: &str, records: usize) -> Bench {
        let folder = std::env::temp_dir().join(format!("instream-bench-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let input = folder.join("input");
        std::fs::write(&input, "one\r\n\ntwo\nthree\n").unwrap();
        Bench {
            input: Some(input),
            records,
            batch_size: 2,
            rounds: 1,
            function: None,
            against: Vec::new(),
            endpoint: EndpointOptions::default(),
            timeout: Duration::from_secs(1),
            settings: Settings::new(),
            command: String::new(),
            report: ReportFile::open(&folder.join("bench.html")).unwrap(),
        }
    }

    #[test]
    fn a_file_with_too_few_lines_is_repeated() {
        let bench = bench("records", 5);
        let records = bench.records().unwrap();
        let texts: Vec<_> = records.iter().map(|record| &*record.data).collect();
        assert_eq!(texts, [b"one".as_slice(), b"two", b"three", b"one", b"two"]);
        assert!(records.is_sorted_by(|one, next| one.sequence_number < next.sequence_number));
        std::fs::remove_dir_all(bench.report.path().parent().unwrap()).unwrap();
    }

    #[test]
    fn a_set_endpoint_url_is_an_error_before_anything_is_built() {
        let mut bench = bench("url", 5);
        let url = ("ENDPOINT_URL".to_owned(), "https://one.example".to_owned());
        bench.settings.extend([url]);
        let error = format!("{:#}", bench.check().unwrap_err());
        assert!(
            error.contains("a bench measures") && error.contains("ENDPOINT_URL"),
            "{error}"
        );
        std::fs::remove_dir_all(bench.report.path().parent().unwrap()).unwrap();
    }

    #[test]
    fn fewer_records_than_two_batches_are_an_error() {
        let bench = bench("too-few", 2);
        let error = bench.check().unwrap_err().to_string();
        assert!(error.contains("--records") && error.contains("--batch-size"), "{error}");
        std::fs::remove_dir_all(bench.report.path().parent().unwrap()).unwrap();
    }
}
