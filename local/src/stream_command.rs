//! `cargo local`: a stream of records through the function, and what came of it.

use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail, ensure};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::deliveries::{Counted, Deliveries, Files, Highest};
use crate::esm::{Discarded, Mapping, Report};
use crate::function::Line;
use crate::interrupt::interrupted;
use crate::on_failure;
use crate::sagemaker::SageMakerRuntime;
use crate::setup::{Options, Setup};
use crate::stream::StreamRecord;
use crate::summary::{Summary, Tally};
use crate::warm::Warm;

/// How much of a record stands beside its score, in characters.
const RECORD_SHOWN: usize = 160;

/// What to stream, and how.
#[derive(Debug, Clone)]
pub struct Stream {
    /// A file with a record a line.
    pub input: PathBuf,
    /// How many lines to take at most.
    pub limit: Option<usize>,
    /// The event source mapping.
    pub mapping: Mapping,
    /// Folder for predictions, dead letters and the log.
    pub folder: PathBuf,
}

/// Runs the stream through the function.
///
/// # Errors
///
/// If the input cannot be read, or the function or its endpoint cannot be started.
pub async fn run(stream: Stream, options: Options) -> Result<Summary> {
    let records = read(&stream.input, stream.limit)?;
    let input = records.clone();
    let Setup {
        endpoint,
        launch,
        lines,
    } = Setup::new(options).await?;
    let goes_to = |name: &str| launch.environment.get(name).map(String::as_str).unwrap_or_default();
    let sees_predictions = goes_to("OUTPUT") == "stdout:";
    let sees_dead_letters = ["stdout:", ""].contains(&goes_to("DEAD_LETTER"));
    let taker = tokio::spawn(take_all(lines, Deliveries::create(&stream.folder)?));
    let mut function = tokio::select! {
        started = Warm::start(launch) => started?,
        () = interrupted() => bail!("interrupted while the function started"),
    };
    let progress = progress_bar(input.len())?;
    let mut tally = Tally::default();
    let started = Instant::now();
    let invoke = async |event| function.invoke(event).await;
    let feed = stream.mapping.run(records, invoke, |report| {
        progress.inc(match &report {
            Report::Invoked(invoked) => invoked.finished as u64,
            Report::Discarded(discarded) => discarded.records.len() as u64,
        });
        tally.add(report);
        if tally.redelivered > 0 {
            let discarded = tally.count_discarded();
            progress.set_message(format!(", {} again, {discarded} discarded", tally.redelivered));
        }
    });
    let interrupted = tokio::select! {
        () = feed => false,
        () = interrupted() => true,
    };
    let elapsed = started.elapsed();
    function.stop().await;
    progress.finish_and_clear();
    let (files, counted) = taker.await??;
    let discarded = tally.count_discarded();
    keep(&tally.discarded, &files.on_failure)?;
    Ok(Summary {
        records: input.len(),
        predicted: sees_predictions.then_some(counted.predicted),
        rejected: sees_dead_letters.then_some(counted.rejected),
        redelivered: tally.redelivered,
        discarded,
        repeated: counted.repeated,
        batches: tally.batches,
        batch_latency_ms: tally.percentiles(),
        last_failure: tally.last_failure,
        calls: endpoint.as_ref().map(SageMakerRuntime::calls),
        most_in_flight: endpoint.as_ref().map(SageMakerRuntime::most_in_flight),
        faults: endpoint
            .as_ref()
            .map(|endpoint| endpoint.faults().counts())
            .unwrap_or_default(),
        seconds: elapsed.as_secs_f64(),
        interrupted,
        highest_scores: with_records(counted.highest, &input),
        files,
    })
}

/// The lines of `input` as records that have just arrived. Empty lines are no records.
fn read(input: &Path, limit: Option<usize>) -> Result<Vec<StreamRecord>> {
    let text = std::fs::read(input).with_context(|| format!("cannot read {}", input.display()))?;
    let arrival_ms = now_ms();
    let lines = text
        .split(|byte| *byte == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let records: Vec<_> = (1..)
        .zip(lines)
        .filter(|(_, line)| !line.is_empty())
        .take(limit.unwrap_or(usize::MAX))
        .map(|(number, line)| StreamRecord::from_line(number, line, arrival_ms))
        .collect();
    ensure!(!records.is_empty(), "{} holds no records", input.display());
    Ok(records)
}

/// Writes the destination for failures: a file that is empty where nothing was given up.
fn keep(discarded: &[Discarded], file: &Path) -> io::Result<()> {
    let now_ms = now_ms();
    let mut file = BufWriter::new(File::create(file)?);
    for discarded in discarded {
        writeln!(file, "{}", on_failure::object(discarded, now_ms))?;
    }
    file.flush()
}

fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or_default()
}

/// Puts the beginning of its record beside each of the highest scores.
fn with_records(highest: Vec<Highest>, input: &[StreamRecord]) -> Vec<Highest> {
    let beginning = |partition_key: &str| {
        let record = input.iter().find(|record| record.partition_key == partition_key)?;
        Some(
            String::from_utf8_lossy(&record.data)
                .chars()
                .take(RECORD_SHOWN)
                .collect(),
        )
    };
    let fill = |kept: Highest| Highest {
        record: beginning(&kept.partition_key).unwrap_or_default(),
        ..kept
    };
    highest.into_iter().map(fill).collect()
}

async fn take_all(
    mut lines: mpsc::UnboundedReceiver<Line>,
    mut deliveries: Deliveries,
) -> io::Result<(Files, Counted)> {
    while let Some(line) = lines.recv().await {
        deliveries.take(&line)?;
    }
    deliveries.finish()
}

/// Shown where standard error is a terminal.
fn progress_bar(records: usize) -> Result<ProgressBar> {
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} records after {elapsed}{msg}")?;
    let progress = ProgressBar::new(records as u64).with_style(style);
    progress.enable_steady_tick(Duration::from_millis(100));
    Ok(progress)
}
