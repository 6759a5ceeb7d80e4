//! `cargo redrive`: redrives dead letters, and batches that the event source mapping discarded.
//!
//! ```text
//! files, S3, queues ─ source ─▶ recognise ─▶ intake ─ batch ─▶ sender ─▶ target: a function, or a stream
//!    (stream_reader: batches and dead          ▲                 │
//!     letters without their records)           └──── journal ◀───┴─ delivered
//! ```
//!
//! A record *succeeds* when the target has finished it without rejecting it again. The journal records each record
//! before it is sent and after it has succeeded. So the same command continues a run that was stopped, and after a kill
//! sends at most one batch twice.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use instream_local::build;
use instream_local::environment::Settings;
use tokio::time::Instant;

mod aws;
mod batch_reader;
mod bucket;
mod counts;
mod dead_letter;
mod delivered;
mod deployed;
mod files;
mod intake;
mod journal;
mod lines;
mod payload;
mod printing;
mod queue;
mod recognise;
mod sender;
mod source;
mod stop;
mod stream_reader;
mod stream_target;
mod summary;
mod survey;
mod target;
#[cfg(test)]
mod test_run;

pub use counts::Counts;
pub use delivered::Files;
pub use sender::RetryLimits;
pub use source::Source;
pub use summary::Summary;
pub use survey::Survey;
pub use target::Target;

use aws::Services;
use delivered::Delivered;
use intake::{Intake, Next};
use journal::Journal;
use printing::report;
use sender::Sender;
use source::Reader;
use stop::Stop;
use stream_reader::StreamReader;
use stream_target::PUT_RECORDS_MAX;

/// The maximum number of records in doubt that are printed.
const IN_DOUBT_PRINTED_MAX: usize = 100;
/// The visibility timeout of messages in a dry run, in seconds. It matters only if the run ends without releasing them.
const DRY_RUN_VISIBILITY_TIMEOUT_S: i32 = 60;

/// A redrive: the records to send, and their target.
#[derive(Debug, Clone)]
pub struct Redrive {
    /// The sources of the dead letters.
    pub sources: Vec<Source>,
    /// The dead letters to select.
    pub selection: Selection,
    /// The target of the records.
    pub target: Target,
    /// Sends the records if true. Otherwise the run is dry: it only reports what it would send.
    pub yes: bool,
    /// The maximum number of dead letters in an event, 1–10,000.
    pub batch_size: usize,
    /// The limits of retries.
    pub retry_limits: RetryLimits,
    /// The journal's file. By default, each target has its own in `folder`.
    pub journal: Option<PathBuf>,
    /// The folder for the journal, and for the lines that the function on this machine delivers.
    pub folder: PathBuf,
    /// The environment, for the URLs of services: `AWS_ENDPOINT_URL_…`.
    pub settings: Settings,
}

/// The dead letters to select.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// The kinds of reasons to select. If empty, all are.
    pub reasons: Vec<String>,
    /// The maximum number of dead letters.
    pub limit: Option<usize>,
    /// Whether to send records that succeeded in an earlier run again.
    pub again: bool,
    /// Whether to skip records that an earlier run was sending when it was killed.
    pub skip_in_doubt: bool,
}

/// Returns the folder for the files of all runs.
pub fn folder() -> PathBuf {
    build::workspace().join("target/local/redrive")
}

/// Sends the selected dead letters. In a dry run, only reports what would be sent.
///
/// # Errors
///
/// If a source or the journal cannot be opened, or if the function or its endpoint cannot be started. Later, if the
/// journal cannot be written.
pub async fn run(redrive: Redrive) -> Result<Summary> {
    // Fails early, before the function is built.
    for source in &redrive.sources {
        if let Source::Path(path) = source {
            std::fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?;
        }
    }
    let path = match &redrive.journal {
        Some(path) => path.clone(),
        None => redrive.folder.join(default_journal_name(&redrive).await?),
    };
    let journal = Journal::open(&path, !redrive.yes)?;
    print_in_doubt(&journal);
    let stop = Stop::listen();
    let running = async {
        if redrive.yes {
            Box::pin(send(redrive, journal, &stop)).await
        } else {
            Box::pin(dry_run(redrive, journal, &stop)).await
        }
    };
    tokio::select! {
        summary = running => summary,
        () = stop.requested_twice() => bail!("interrupted twice: the records in flight are in doubt"),
    }
}

/// Returns the file name of the target's journal.
async fn default_journal_name(redrive: &Redrive) -> Result<String> {
    let services = Services::new(redrive.settings.clone());
    let identity = match redrive.target.identity(&services).await {
        Ok(identity) => identity,
        Err(error) if redrive.yes => return Err(error),
        // A dry run can do without the journal.
        Err(error) => {
            report(format_args!(
                "the journal is not read, because its target cannot be identified: {error:#}"
            ));
            String::new()
        }
    };
    Ok(format!(
        "journal-{}.jsonl",
        &dead_letter::sha256_hex(identity.as_bytes())[..16]
    ))
}

fn print_in_doubt(journal: &Journal) {
    let in_doubt = journal.in_doubt();
    for id in in_doubt.iter().take(IN_DOUBT_PRINTED_MAX) {
        report(format_args!(
            "in doubt: {}: an earlier run was killed while sending it",
            dead_letter::key_of(id)
        ));
    }
    if in_doubt.len() > IN_DOUBT_PRINTED_MAX {
        eprintln!("in doubt: {} more", in_doubt.len() - IN_DOUBT_PRINTED_MAX);
    }
}

fn empty_summary(redrive: &Redrive, journal: &Journal) -> Summary {
    Summary {
        is_dry: !redrive.yes,
        target: redrive.target.describe(),
        survey: Survey::default(),
        counts: Counts::default(),
        predicted: None,
        rejected_again: None,
        batches: 0,
        last_failure: None,
        queue_failures: Vec::new(),
        interrupted: false,
        given_up: false,
        seconds: 0.0,
        journal: journal.path().to_owned(),
        files: None,
    }
}

/// Reads all sources and sends nothing.
async fn dry_run(redrive: Redrive, journal: Journal, stop: &Stop) -> Result<Summary> {
    let mut summary = empty_summary(&redrive, &journal);
    let services = Services::new(redrive.settings);
    let opening = Reader::open(&services, &redrive.sources, DRY_RUN_VISIBILITY_TIMEOUT_S, true);
    let Some(reader) = stop.unless_requested(opening).await else {
        summary.interrupted = true;
        return Ok(summary);
    };
    let reader = reader?;
    let mut intake = Intake::new(reader, StreamReader::new(services), redrive.selection);
    loop {
        match stop.unless_requested(intake.next(&journal, &mut summary.counts)).await {
            Some(Next::DeadLetter(letter)) => summary.survey.add(&letter, intake.source()),
            Some(Next::Pause) => {}
            Some(Next::End) | None => break,
        }
    }
    summary.interrupted = stop.is_requested();
    summary.queue_failures = intake.finish().await;
    Ok(summary)
}

/// Sends the selected dead letters to the target.
async fn send(redrive: Redrive, journal: Journal, stop: &Stop) -> Result<Summary> {
    let mut summary = empty_summary(&redrive, &journal);
    let folder = matches!(redrive.target, Target::Local(_)).then_some(&*redrive.folder);
    let is_stream = matches!(redrive.target, Target::Stream(_));
    let size = redrive
        .batch_size
        .min(if is_stream { PUT_RECORDS_MAX } else { usize::MAX });
    let services = Services::new(redrive.settings);
    let (target, lines) = redrive.target.open(&services).await?;
    let delivered = Delivered::open(lines, folder, target.shows())?;
    // Opened after the build of the function, so that the visibility timeout of messages does not run meanwhile.
    let visibility_timeout_s = redrive.retry_limits.visibility_timeout_s;
    let opening = Reader::open(&services, &redrive.sources, visibility_timeout_s, false);
    let Some(reader) = stop.unless_requested(opening).await else {
        summary.interrupted = true;
        return Ok(summary);
    };
    let reader = reader?;
    let mut intake = Intake::new(reader, StreamReader::new(services), redrive.selection);
    let mut sender = Sender {
        target: &target,
        retry_limits: redrive.retry_limits,
        stop,
        journal,
        delivered,
        batches: 0,
        last_failure: None,
        consecutive_failures: 0,
    };
    let started = Instant::now();
    let result = send_all(&mut intake, &mut sender, size, &mut summary).await;
    summary.seconds = started.elapsed().as_secs_f64();
    summary.interrupted = stop.is_requested();
    summary.given_up = sender.has_given_up();
    summary.counts.not_tried = summary.survey.records - summary.counts.finished - summary.counts.unfinished;
    summary.queue_failures.extend(intake.finish().await);
    let Sender {
        mut journal,
        mut delivered,
        batches,
        last_failure,
        ..
    } = sender;
    target.stop().await;
    delivered.finish().await?;
    journal.reopen(delivered.take_newly_rejected())?;
    result?;
    Ok(Summary {
        predicted: delivered.predicted(),
        rejected_again: delivered.rejected(),
        batches,
        last_failure,
        files: delivered.files().cloned(),
        ..summary
    })
}

/// Sends batches until the sources end, the user interrupts, or too many consecutive records fail.
async fn send_all(intake: &mut Intake, sender: &mut Sender<'_>, size: usize, summary: &mut Summary) -> Result<()> {
    while !sender.has_given_up() {
        let batch = sender
            .stop
            .unless_requested(intake.batch(size, &sender.journal, summary));
        let Some(batch) = batch.await.filter(|batch| !batch.is_empty()) else {
            break;
        };
        sender.send(batch, &mut summary.counts).await?;
        summary.queue_failures.extend(intake.reader.delete_done().await);
    }
    Ok(())
}
