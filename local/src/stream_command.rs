//! `cargo local`: a stream of records through the function, and what came of it.

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

use crate::deliveries::{Counted, Deliveries, Files, Highest};
use crate::esm::{Mapping, Report};
use crate::function::Line;
use crate::gateway::Gateway;
use crate::interrupt::interrupted;
use crate::lambda::Lambda;
use crate::on_failure;
use crate::sagemaker::SageMakerRuntime;
use crate::source::{OpenSource, Source, now_ms};
use crate::summary::{Summary, Tally};

/// How much of a record stands beside its score, in characters.
const RECORD_SHOWN: usize = 160;

/// What to stream, and how.
#[derive(Debug, Clone)]
pub struct Stream {
    /// Where the records come from.
    pub source: Source,
    /// How many records to take at most.
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
/// If the records cannot be read, or the function or its endpoint cannot be started.
pub async fn run(stream: Stream, lambda: Lambda) -> Result<Summary> {
    let source = stream.source.open(stream.limit).await?;
    let (function, lines) = lambda.start().await?;
    let deliveries = Deliveries::create(&stream.folder)?;
    let observer = Observer::new(&source, &deliveries.files().on_failure)?;
    let taker = tokio::spawn(take_all(lines, deliveries));
    let started = Instant::now();
    let invoke = async |event: Bytes| function.invoke(event).await;
    let report = |report| observer.take(report);
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
    let (files, counted) = taker.await??;
    let done = done.transpose()?;
    Ok(Summary {
        records: source.count_read(),
        predicted: shows_predictions.then_some(counted.predicted),
        rejected: shows_dead_letters.then_some(counted.rejected),
        redelivered: tally.redelivered,
        discarded: counted.not_told_of(&tally.given_up),
        repeated: counted.repeated,
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
        highest_scores: with_records(counted.highest, &source),
        files,
    })
}

/// Takes what the mapping reports: adds it up, shows it, and keeps what was given up.
struct Observer<'s> {
    source: &'s OpenSource,
    progress: ProgressBar,
    seen: RefCell<Seen>,
}

struct Seen {
    tally: Tally,
    /// The destination for failures: empty where nothing was given up. It is written at once, so that a run that is
    /// interrupted keeps it.
    on_failure: File,
    /// The first error of that file.
    written: io::Result<()>,
}

impl<'s> Observer<'s> {
    fn new(source: &'s OpenSource, on_failure: &std::path::Path) -> Result<Self> {
        let on_failure = File::create(on_failure).with_context(|| format!("cannot write {}", on_failure.display()))?;
        let seen = RefCell::new(Seen {
            tally: Tally::default(),
            on_failure,
            written: Ok(()),
        });
        Ok(Self {
            source,
            progress: progress_bar(source.expected())?,
            seen,
        })
    }

    fn take(&self, report: Report) {
        let mut seen = self.seen.borrow_mut();
        let (shard, done, user_records) = match &report {
            Report::Invoked(invoked) => (Some(&invoked.shard), invoked.finished, invoked.finished_user_records),
            Report::Discarded(discarded) => {
                let object = on_failure::object(discarded, now_ms());
                if seen.written.is_ok() {
                    seen.written = writeln!(seen.on_failure, "{object}");
                }
                let first = discarded.records.first();
                let shard = first.map(|record| &record.shard);
                (shard, discarded.records.len(), discarded.user_records())
            }
        };
        self.source.done(shard.map_or("", String::as_str), done);
        self.progress.inc(user_records as u64);
        seen.tally.add(report);
        if seen.tally.redelivered > 0 {
            let Tally {
                redelivered, discarded, ..
            } = seen.tally;
            let message = format!(", {redelivered} again, {discarded} discarded");
            self.progress.set_message(message);
        }
    }

    fn finish(self) -> Result<Tally> {
        self.progress.finish_and_clear();
        let Seen { tally, written, .. } = self.seen.into_inner();
        written.context("cannot write what was given up")?;
        Ok(tally)
    }
}

/// Puts the beginning of its record beside each of the highest scores.
fn with_records(highest: Vec<Highest>, source: &OpenSource) -> Vec<Highest> {
    let beginning = |partition_key: &str| {
        let line = source.line(partition_key)?;
        Some(String::from_utf8_lossy(line).chars().take(RECORD_SHOWN).collect())
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
