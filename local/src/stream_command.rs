//! `cargo local`: sends a stream of records through the function and summarises the run.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::deliveries::{Deliveries, DeliveryCounts, Files, HighScore};
use crate::esm::{Mapping, Report};
use crate::function::Line;
use crate::gateway::Gateway;
use crate::interrupt::interrupted;
use crate::lambda::Lambda;
use crate::on_failure;
use crate::private_file;
use crate::sagemaker::SageMakerRuntime;
use crate::source::{OpenSource, Source, now_ms};
use crate::summary::{Summary, Tally, why_nothing_was_predicted};

/// The maximum number of characters of a record that are shown beside its score.
const RECORD_CHARS_MAX: usize = 160;

/// The options of a stream run.
#[derive(Debug, Clone)]
pub struct Stream {
    /// The source of the records.
    pub source: Source,
    /// The maximum number of records to read.
    pub limit: Option<usize>,
    /// The event source mapping.
    pub mapping: Mapping,
    /// The folder for predictions, dead letters and the log.
    pub folder: PathBuf,
}

/// Sends the stream through the function and returns the summary.
///
/// # Errors
///
/// If the records cannot be read, or the function or its endpoint cannot be started.
pub async fn run(stream: Stream, lambda: Lambda) -> Result<Summary> {
    let source = stream.source.open(stream.limit).await?;
    let (function, lines) = lambda.start().await?;
    let deliveries = Deliveries::create(&stream.folder, function.output_format, function.shows_alerts)
        .with_context(|| format!("cannot write to {}", stream.folder.display()))?;
    let observer = Observer::new(&source, &deliveries.files().on_failure)?;
    let writer = tokio::spawn(write_lines(lines, deliveries));
    let started = Instant::now();
    let invoke = async |event: Bytes| function.invoke(event).await;
    let report = |report| observer.on_report(report);
    let feed = async {
        let (shards, read) = source.channels();
        let process = stream.mapping.run(shards, &invoke, &report);
        tokio::try_join!(biased; read, async {
            process.await;
            Ok(())
        })
    };
    let done = tokio::select! {
        biased;
        () = interrupted() => None,
        done = feed => Some(done),
    };
    let elapsed = started.elapsed();
    let (shows_predictions, shows_dead_letters) = (function.shows_predictions, function.shows_dead_letters);
    let (endpoint, processes) = function.stop().await;
    let tally = observer.finish()?;
    let (files, counts) = writer.await??;
    let done = done.transpose()?;
    let nothing_predicted = why_nothing_was_predicted(
        source.count_read(),
        shows_predictions.then_some(counts.predicted),
        &counts,
        tally.last_failure.as_deref(),
    );
    Ok(Summary {
        nothing_predicted,
        records: source.count_read(),
        predicted: shows_predictions.then_some(counts.predicted),
        rejected: shows_dead_letters.then_some(counts.rejected),
        redelivered: tally.redelivered,
        discarded: counts.count_undelivered(&tally.discarded_kinesis_records),
        repeated: counts.repeated,
        alerted: counts.alerted,
        skipped: counts.skipped,
        batches: tally.batches,
        batch_latency_ms: tally.percentiles(),
        last_failure: tally.last_failure,
        processes,
        calls: endpoint.as_ref().map(SageMakerRuntime::calls),
        most_in_flight: endpoint.as_ref().map(SageMakerRuntime::most_in_flight),
        connections: endpoint.as_ref().map(SageMakerRuntime::connections),
        faults: endpoint
            .as_ref()
            .map(|endpoint| endpoint.faults().counts())
            .unwrap_or_default(),
        gateway: endpoint
            .as_ref()
            .and_then(|endpoint| endpoint.gateway().map(Gateway::counts)),
        seconds: elapsed.as_secs_f64(),
        interrupted: done.is_none(),
        highest_scores: with_records(counts.highest, &source),
        files,
    })
}

/// Receives the mapping's reports: counts them, shows the progress, and writes discarded records to a file.
struct Observer<'s> {
    source: &'s OpenSource,
    progress: ProgressBar,
    state: RefCell<ObserverState>,
}

struct ObserverState {
    tally: Tally,
    /// The file of the on-failure destination, empty if nothing was discarded. Each object is written immediately, so
    /// that an interrupted run keeps it.
    on_failure: File,
    /// The first error of that file.
    written: io::Result<()>,
}

impl<'s> Observer<'s> {
    fn new(source: &'s OpenSource, on_failure: &std::path::Path) -> Result<Self> {
        let failed = || format!("cannot write {}", on_failure.display());
        let on_failure = private_file::create(on_failure).with_context(failed)?;
        let state = RefCell::new(ObserverState {
            tally: Tally::default(),
            on_failure,
            written: Ok(()),
        });
        Ok(Self {
            source,
            progress: progress_bar(source.expected())?,
            state,
        })
    }

    fn on_report(&self, report: Report) {
        let mut state = self.state.borrow_mut();
        let (shard, done, user_records) = match &report {
            Report::Invoked(invoked) => (Some(&invoked.shard), invoked.finished, invoked.finished_user_records),
            Report::Discarded(discarded) => {
                let object = on_failure::object(discarded, now_ms());
                if state.written.is_ok() {
                    state.written = writeln!(state.on_failure, "{object}");
                }
                let first = discarded.records.first();
                let shard = first.map(|record| &record.shard);
                (shard, discarded.records.len(), discarded.user_records())
            }
        };
        self.source.mark_finished(shard.map_or("", String::as_str), done);
        self.progress.inc(user_records as u64);
        state.tally.add(report);
        if state.tally.redelivered > 0 {
            let Tally {
                redelivered, discarded, ..
            } = state.tally;
            let message = format!(", {redelivered} again, {discarded} discarded");
            self.progress.set_message(message);
        }
    }

    fn finish(self) -> Result<Tally> {
        self.progress.finish_and_clear();
        let ObserverState { tally, written, .. } = self.state.into_inner();
        written.context("cannot write the discarded records")?;
        Ok(tally)
    }
}

/// Adds the beginning of the record to each of the highest scores.
fn with_records(highest: Vec<HighScore>, source: &OpenSource) -> Vec<HighScore> {
    let beginning = |partition_key: &str| {
        let line = source.line(partition_key)?;
        Some(String::from_utf8_lossy(line).chars().take(RECORD_CHARS_MAX).collect())
    };
    let fill = |high_score: HighScore| HighScore {
        record: beginning(&high_score.partition_key).unwrap_or_default(),
        ..high_score
    };
    highest.into_iter().map(fill).collect()
}

async fn write_lines(
    mut lines: mpsc::UnboundedReceiver<Line>,
    mut deliveries: Deliveries,
) -> io::Result<(Files, DeliveryCounts)> {
    while let Some(line) = lines.recv().await {
        deliveries.add(&line)?;
    }
    deliveries.finish()
}

/// Returns the progress bar. It is visible only if standard error is a terminal.
fn progress_bar(records: Option<usize>) -> Result<ProgressBar> {
    let (progress, template) = match records {
        Some(records) => (
            ProgressBar::new(records as u64),
            "{bar:40} {pos}/{len} records after {elapsed}{msg}",
        ),
        None => (
            ProgressBar::no_length(),
            "{spinner} {pos} records after {elapsed}{msg}, until Ctrl-C",
        ),
    };
    let progress = progress.with_style(ProgressStyle::with_template(template)?);
    progress.enable_steady_tick(Duration::from_millis(100));
    Ok(progress)
}
