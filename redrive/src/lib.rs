//! `cargo redrive`: redrives dead letters, and batches that the event source mapping discarded.
//!
//! ```text
//! files, S3, queues ─ source ─▶ letter ─▶ intake ─ batch ─▶ sender ─▶ target: a function, or a stream
//!   (stream: batches and dead                ▲                │
//!    letters without payload)                └─── journal ◀───┘ finished
//! ```
//!
//! A letter is finished when the target says so. Then the journal gets its key, and a message whose letters are all in
//! the journal is deleted. So the same command continues a run that was stopped, and nothing is lost: what was in
//! flight is sent again. A record that the target rejects again has a new dead letter, which is another letter.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;
use instream_local::build;
use instream_local::cli::settings;
use instream_local::environment::Settings;
use tokio::time::Instant;

mod aws;
mod intake;
mod journal;
mod letter;
mod sender;
mod source;
mod stop;
mod stream;
mod summary;
mod target;
#[cfg(test)]
mod tests;

pub use summary::{Counts, Summary, Survey};
pub use target::Target;

use intake::Intake;
use journal::Journal;
use sender::Sender;
use source::Source;
use stop::Stop;
use target::{OpenTarget, PUT_RECORDS_MAX};

/// What to redrive, and how.
#[derive(Debug, Clone, Args)]
#[group(skip)]
pub struct Run {
    /// A file of JSON lines, a folder of such files, `s3://BUCKET/PREFIX`, or `sqs:URL`; the members of each item show
    /// what it is
    #[arg(required = true, value_name = "SOURCE")]
    pub sources: Vec<String>,
    /// Send the records; without this, nothing is sent, deleted or written. Sources in s3: and sqs: need an explicit
    /// target
    #[arg(long)]
    pub yes: bool,
    /// Select only dead letters with this reason, such as `Refused` or `RetryAttemptsExhausted`; may be given several
    /// times
    #[arg(long = "reason", value_name = "KIND")]
    pub reasons: Vec<String>,
    /// Select only the first N of the records that would be sent
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
    /// Also send dead letters that succeeded in an earlier run according to the journal
    #[arg(long)]
    pub again: bool,
    /// Maximum number of records in an event, 1–10000; in a request to a stream, at most 500
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    pub batch_size: u16,
    /// Number of retries without any progress before a batch is halved, and its halves, until the record at fault is
    /// alone and given up
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub max_retries: usize,
    /// End the run after N consecutive records were given up, as in an outage; 0 for no limit
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub stop_after: usize,
    /// The journal; by default, each target has its own in target/local/redrive/
    #[arg(long, value_name = "FILE")]
    pub journal: Option<PathBuf>,
    /// The folder for the journal, and for the lines that the function on this machine delivers
    #[arg(skip = build::workspace().join("target/local/redrive"))]
    pub folder: PathBuf,
    /// The environment, for the URLs of services: `AWS_ENDPOINT_URL_…`
    #[arg(skip = settings())]
    pub settings: Settings,
}

/// Sends the selected dead letters. In a dry run, only reports what would be sent.
///
/// # Errors
///
/// If a source or the journal cannot be opened, or if the function or its endpoint cannot be started. Later, if the
/// journal or the delivered lines cannot be written.
pub async fn run(run: Run, target: Target) -> Result<Summary> {
    let default = || run.folder.join(target.journal_name(&run.settings));
    let path = run.journal.clone().unwrap_or_else(default);
    let journal = Journal::open(&path, !run.yes, run.again)?;
    let stop = Stop::listen();
    tokio::select! {
        summary = Box::pin(run_until(&stop, &run, target, journal)) => summary,
        () = stop.requested(2) => bail!("interrupted twice: the records in flight are sent again by the next run"),
    }
}

/// Runs until the sources end, the user interrupts, or too many consecutive letters fail.
async fn run_until(stop: &Stop, run: &Run, target: Target, mut journal: Journal) -> Result<Summary> {
    let is_stream = matches!(target, Target::Stream(_));
    let size_max = if is_stream { PUT_RECORDS_MAX } else { usize::MAX };
    let mut intake = Intake::new(run, size_max);
    let mut summary = Summary {
        is_dry: !run.yes,
        target: target.describe(),
        journal: journal.path.clone(),
        ..Summary::default()
    };
    let opening = async {
        let mut opened = Vec::new();
        for name in &run.sources {
            opened.push(Source::open(name, &run.settings).await?);
        }
        anyhow::Ok(opened)
    };
    let opened = stop.unless_requested(Box::pin(opening)).await;
    let mut sources = opened.transpose()?.unwrap_or_default();
    // The function is built before a message is received, whose visibility timeout would run meanwhile.
    let mut sender = None;
    if run.yes && !stop.is_requested() {
        sender = Some(Sender {
            target: target.open(&run.settings, &run.folder).await?,
            run,
            stop,
            consecutive_failures: 0,
        });
    }
    let started = Instant::now();
    for source in &mut sources {
        while !sender.as_ref().is_some_and(Sender::has_given_up)
            && let Some(batch) = {
                let batch = Box::pin(intake.batch(source, &journal, &mut summary));
                stop.unless_requested(batch).await
            }
        {
            let is_empty = batch.is_empty();
            let mut deleted = 0;
            if let Some(sender) = &mut sender {
                if !is_empty {
                    sender.send(batch, &mut journal, &mut summary).await?;
                }
                if let Some(queue) = source.queue() {
                    match queue.delete_done(&journal).await {
                        Ok(count) => deleted = count,
                        Err(error) => summary.queue_failures.push(format!("{error:#}")),
                    }
                }
            }
            // A FIFO queue shows further messages of a group once the first are deleted.
            if is_empty && deleted == 0 {
                break;
            }
        }
    }
    summary.seconds = started.elapsed().as_secs_f64();
    summary.interrupted = stop.is_requested();
    for queue in sources.iter_mut().filter_map(Source::queue) {
        let failure = queue.release().await.err().map(|error| format!("{error:#}"));
        summary.queue_failures.extend(failure);
    }
    if let Some(sender) = sender {
        let counts = &mut summary.counts;
        counts.not_tried = summary.survey.records - counts.finished - counts.unfinished;
        summary.given_up = sender.has_given_up();
        if let OpenTarget::Here(function) = sender.target {
            function.close(&mut summary).await?;
        }
    }
    Ok(summary)
}
