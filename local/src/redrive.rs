//! `cargo local redrive`: dead letters, and what the mapping gave up, put once more.
//!
//! ```text
//! files, S3, queues ─ source ─▶ recognise ─▶ intake ─ batch ─▶ put ─▶ target: a function, or a stream
//!   (shard: batches without their records)     ▲                │
//!                                              └─── journal ◀───┴─ delivered
//! ```
//!
//! A record is in the journal before it is put, and after it has gone through: a run that was ended goes on where it was,
//! and one that was killed puts at most the batch under way twice.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use tokio::time::Instant;

use crate::build;
use crate::environment::Settings;

mod aws;
mod bucket;
mod counts;
mod delivered;
mod deployed;
mod files;
mod intake;
mod journal;
mod letter;
mod lines;
mod put;
mod queue;
mod recognise;
mod shard;
mod source;
mod stop;
mod stream_target;
mod summary;
mod survey;
mod target;

pub use counts::Counts;
pub use delivered::Files;
pub use put::Patience;
pub use source::Source;
pub use summary::Summary;
pub use survey::Survey;
pub use target::Target;

use aws::Services;
use delivered::Delivered;
use intake::{Intake, Next};
use journal::Journal;
use put::Putter;
use shard::Shards;
use source::Reader;
use stop::Stop;
use stream_target::TOGETHER_MAX;

/// How many keys in doubt are named.
const NAMED_MAX: usize = 100;
/// How long a dry run hides messages, if nobody shows them again before.
const LOOK_S: i32 = 60;

/// What to put once more, and where.
#[derive(Debug, Clone)]
pub struct Redrive {
    /// Where the letters lie.
    pub sources: Vec<Source>,
    /// Which of them.
    pub selection: Selection,
    /// Where the records go.
    pub target: Target,
    /// Whether they go there. Otherwise it is only told what would.
    pub yes: bool,
    /// Letters in an event at most, 1–10,000.
    pub batch_size: usize,
    /// How often, and how long.
    pub patience: Patience,
    /// The journal's file; one for the target in `folder` if there is none.
    pub journal: Option<PathBuf>,
    /// Folder for the journal, and for what the function on this machine delivers.
    pub folder: PathBuf,
    /// The environment, for where services are: `AWS_ENDPOINT_URL_…`.
    pub settings: Settings,
}

/// Which letters.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// Of these reasons only, if there are any.
    pub reasons: Vec<String>,
    /// So many at most.
    pub limit: Option<usize>,
    /// Also those whose record has gone through in an earlier run.
    pub again: bool,
    /// None of those that an earlier run was killed with.
    pub skip_in_doubt: bool,
}

/// The folder of all runs.
pub fn folder() -> PathBuf {
    build::workspace().join("target/local/redrive")
}

/// Puts the letters once more, or tells what would be put.
///
/// # Errors
///
/// If a source or the journal cannot be opened, or the function or its endpoint cannot be started; later on, if the journal
/// cannot be written.
pub async fn run(redrive: Redrive) -> Result<Summary> {
    // Before anything is built for them.
    for source in &redrive.sources {
        if let Source::Path(path) = source {
            std::fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?;
        }
    }
    let path = match &redrive.journal {
        Some(path) => path.clone(),
        None => redrive.folder.join(of_the_target(&redrive).await?),
    };
    let journal = Journal::open(&path, !redrive.yes)?;
    name_doubts(&journal);
    let stop = Stop::listen();
    if redrive.yes {
        Box::pin(put(redrive, journal, &stop)).await
    } else {
        look(redrive, journal, &stop).await
    }
}

/// The name of the target's journal.
async fn of_the_target(redrive: &Redrive) -> Result<String> {
    let services = Services::new(redrive.settings.clone());
    let identity = match redrive.target.identity(&services).await {
        Ok(identity) => identity,
        Err(error) if redrive.yes => return Err(error),
        // Enough to look at what there is.
        Err(error) => {
            eprintln!("no journal is read, since nobody knows whose it would be: {error:#}");
            String::new()
        }
    };
    Ok(format!("journal-{}.jsonl", &letter::hash(identity.as_bytes())[..16]))
}

fn name_doubts(journal: &Journal) {
    let doubts = journal.in_doubt();
    for id in doubts.iter().take(NAMED_MAX) {
        eprintln!("in doubt: {}: a run was killed with it", letter::without_content(id));
    }
    if doubts.len() > NAMED_MAX {
        eprintln!("in doubt: {} more", doubts.len() - NAMED_MAX);
    }
}

fn summary(redrive: &Redrive, journal: &Journal) -> Summary {
    Summary {
        is_dry: !redrive.yes,
        target: redrive.target.in_words(),
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

/// Reads all, and puts nothing.
async fn look(redrive: Redrive, journal: Journal, stop: &Stop) -> Result<Summary> {
    let mut summary = summary(&redrive, &journal);
    let services = Services::new(redrive.settings);
    let reader = Reader::open(&services, &redrive.sources, LOOK_S, true).await?;
    let mut intake = Intake::new(reader, Shards::new(services), redrive.selection);
    loop {
        let next = tokio::select! {
            biased;
            () = stop.asked() => break,
            next = intake.next(&journal, &mut summary.counts) => next,
        };
        match next {
            Next::Letter(letter) => summary.survey.add(&letter, intake.source()),
            Next::Pause => {}
            Next::End => break,
        }
    }
    summary.interrupted = stop.is_asked();
    summary.queue_failures = intake.finish().await;
    Ok(summary)
}

async fn put(redrive: Redrive, journal: Journal, stop: &Stop) -> Result<Summary> {
    let mut summary = summary(&redrive, &journal);
    let folder = matches!(redrive.target, Target::Here(_)).then_some(&*redrive.folder);
    let is_stream = matches!(redrive.target, Target::Stream(_));
    let size = redrive
        .batch_size
        .min(if is_stream { TOGETHER_MAX } else { usize::MAX });
    let services = Services::new(redrive.settings);
    let (target, lines) = redrive.target.open(&services).await?;
    let delivered = Delivered::open(lines, folder, target.shows())?;
    // Messages that are hidden do not wait for a build.
    let reader = Reader::open(&services, &redrive.sources, redrive.patience.hidden_s, false).await?;
    let mut intake = Intake::new(reader, Shards::new(services), redrive.selection);
    let mut putter = Putter {
        target: &target,
        patience: redrive.patience,
        stop,
        journal,
        delivered,
        batches: 0,
        last_failure: None,
        in_a_row: 0,
    };
    let started = Instant::now();
    let done = put_all(&mut intake, &mut putter, size, &mut summary).await;
    summary.seconds = started.elapsed().as_secs_f64();
    summary.interrupted = stop.is_asked();
    summary.given_up = putter.has_given_up();
    summary.counts.not_tried = summary.survey.records - summary.counts.finished - summary.counts.unfinished;
    summary.queue_failures.extend(intake.finish().await);
    let Putter {
        mut journal,
        mut delivered,
        batches,
        last_failure,
        ..
    } = putter;
    target.stop().await;
    delivered.finish().await?;
    journal.reopen(delivered.news())?;
    done?;
    Ok(Summary {
        predicted: delivered.predicted(),
        rejected_again: delivered.rejected(),
        batches,
        last_failure,
        files: delivered.files().cloned(),
        ..summary
    })
}

async fn put_all(intake: &mut Intake, putter: &mut Putter<'_>, size: usize, summary: &mut Summary) -> Result<()> {
    while !putter.has_given_up() {
        let batch = tokio::select! {
            biased;
            () = putter.stop.asked() => break,
            batch = intake.batch(size, &putter.journal, summary) => batch,
        };
        if batch.is_empty() {
            break;
        }
        putter.put(batch, &mut summary.counts).await?;
        summary.queue_failures.extend(intake.reader.settle().await);
    }
    Ok(())
}
