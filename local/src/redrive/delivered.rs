//! What the function on this machine delivers under `stdout:`, kept in files that only grow: a run that goes on where
//! another ended adds to what that has written.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::journal::short;
use super::letter::{Letter, id, key};
use crate::function::Line;

/// The function has written its lines before it answers. After such a silence, all of them have been read.
const SILENCE: Duration = Duration::from_millis(250);

/// Where it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Files {
    /// Predictions, an envelope a line.
    pub predictions: PathBuf,
    /// Dead letters, an envelope a line.
    pub dead_letters: PathBuf,
    /// The function's log, and whatever else it wrote.
    pub log: PathBuf,
}

/// Takes the function's lines.
#[derive(Debug)]
pub(super) struct Delivered {
    lines: mpsc::UnboundedReceiver<Line>,
    kept: Option<Kept>,
    shows: (bool, bool),
    /// The keys of the letters that may hold many records.
    many: HashSet<u128>,
    /// The bytes' hash of the letter that was put last under a key.
    put: HashMap<u128, u64>,
    /// The identities of letters of which something was delivered.
    told: HashSet<u128>,
    /// The user records of which something was delivered.
    records: HashSet<u128>,
    rejected: HashSet<u128>,
    /// The identities of those that were rejected since this was last asked.
    news: Vec<String>,
    predicted_count: u64,
    rejected_count: u64,
}

#[derive(Debug)]
struct Kept {
    files: Files,
    predictions: File,
    dead_letters: File,
    log: File,
    /// Held as long as this run writes.
    _lock: File,
}

/// As much of an envelope as is needed here.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope<'l> {
    event_id: Option<String>,
    sub_sequence_number: u64,
    #[serde(borrow)]
    reason: Option<&'l RawValue>,
}

impl Delivered {
    /// Adds to the files in `folder`, if there is one. `shows` is whether predictions and dead letters are among `lines`.
    pub(super) fn open(
        lines: mpsc::UnboundedReceiver<Line>,
        folder: Option<&Path>,
        shows: (bool, bool),
    ) -> Result<Self> {
        let kept =
            folder.map(|folder| Kept::open(folder).with_context(|| format!("cannot write to {}", folder.display())));
        Ok(Self {
            lines,
            kept: kept.transpose()?,
            shows,
            many: HashSet::new(),
            put: HashMap::new(),
            told: HashSet::new(),
            records: HashSet::new(),
            rejected: HashSet::new(),
            news: Vec::new(),
            predicted_count: 0,
            rejected_count: 0,
        })
    }

    pub(super) fn files(&self) -> Option<&Files> {
        self.kept.as_ref().map(|kept| &kept.files)
    }

    /// How many user records were predicted, where that is known.
    pub(super) fn predicted(&self) -> Option<u64> {
        self.shows.0.then_some(self.predicted_count)
    }

    /// How many user records were rejected, where that is known.
    pub(super) fn rejected(&self) -> Option<u64> {
        self.shows.1.then_some(self.rejected_count)
    }

    /// Whether the letter's record, or one of those that it holds, was rejected again.
    pub(super) fn is_rejected(&self, letter: &Letter) -> bool {
        self.rejected.contains(&short(&letter.id()))
    }

    /// The identities of those that were rejected since this was last asked.
    pub(super) fn news(&mut self) -> Vec<String> {
        std::mem::take(&mut self.news)
    }

    /// Before a letter is put.
    pub(super) fn expect(&mut self, letters: &[Letter]) {
        let many = letters.iter().filter(|letter| letter.may_be_many());
        self.many.extend(many.map(|letter| short(&letter.key)));
        let put = letters.iter().map(|letter| (short(&letter.key), letter.content_hash));
        self.put.extend(put);
    }

    /// Reads what was delivered of letters that the function has just called finished, and writes it to disk.
    pub(super) async fn read(&mut self, finished: &[&Letter]) -> Result<()> {
        while self.kept.is_some() && !self.knows_all(finished) {
            match timeout(SILENCE, self.lines.recv()).await {
                Ok(Some(line)) => self.take(&line)?,
                Ok(None) | Err(_) => break,
            }
        }
        while let Ok(line) = self.lines.try_recv() {
            self.take(&line)?;
        }
        self.sync()
    }

    /// Reads to the end of the lines, once the function has been stopped.
    pub(super) async fn finish(&mut self) -> Result<()> {
        while let Some(line) = self.lines.recv().await {
            self.take(&line)?;
        }
        self.sync()
    }

    fn sync(&self) -> Result<()> {
        if let Some(kept) = &self.kept {
            let synced = kept
                .predictions
                .sync_data()
                .and_then(|()| kept.dead_letters.sync_data());
            synced.context("cannot write what was delivered")?;
        }
        Ok(())
    }

    /// Whether there is nothing more to come.
    fn knows_all(&self, finished: &[&Letter]) -> bool {
        let is_told = |letter: &&Letter| !letter.may_be_many() && self.told.contains(&short(&letter.id()));
        self.shows == (true, true) && finished.iter().all(is_told)
    }

    fn take(&mut self, line: &Line) -> Result<()> {
        let (Line::Output(text) | Line::Log(text)) = line;
        let envelope = match line {
            Line::Output(text) => serde_json::from_str::<Envelope<'_>>(text).ok(),
            Line::Log(_) => None,
        };
        let is_rejected = envelope.as_ref().map(|envelope| self.count(envelope));
        if let Some(kept) = &mut self.kept {
            let file = match is_rejected {
                Some(false) => &mut kept.predictions,
                Some(true) => &mut kept.dead_letters,
                None => &mut kept.log,
            };
            // In one go, so that a kill leaves no half of a line but where the disk is full.
            file.write_all(format!("{text}\n").as_bytes())
                .context("cannot write what was delivered")?;
        }
        Ok(())
    }

    /// Counts a user record the first time. Says whether it was rejected.
    fn count(&mut self, envelope: &Envelope<'_>) -> bool {
        let is_rejected = envelope.reason.is_some();
        let event_id = envelope.event_id.as_deref();
        let record = key(event_id, envelope.sub_sequence_number, b"");
        let whole = event_id.filter(|event_id| self.many.contains(&short(event_id)));
        let letter = whole.map_or_else(|| record.clone(), str::to_owned);
        // No two records of one identifier are in one event.
        let content = self.put.get(&short(&letter)).copied().unwrap_or_default();
        let letter = id(&letter, content);
        self.told.insert(short(&letter));
        // Nothing tells those apart that have no event identifier.
        if self.records.insert(short(&id(&record, content))) || event_id.is_none() {
            self.predicted_count += u64::from(!is_rejected);
            self.rejected_count += u64::from(is_rejected);
        }
        if is_rejected && self.rejected.insert(short(&letter)) {
            self.news.push(letter);
        }
        is_rejected
    }
}

impl Kept {
    fn open(folder: &Path) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let lock = File::create(folder.join("lock"))?;
        lock.try_lock()
            .map_err(|_| io::Error::other("another run is writing there"))?;
        let files = Files {
            predictions: folder.join("predictions.jsonl"),
            dead_letters: folder.join("dead-letters.jsonl"),
            log: folder.join("function.log"),
        };
        let open = |path: &Path| OpenOptions::new().append(true).create(true).open(path);
        Ok(Self {
            predictions: open(&files.predictions)?,
            dead_letters: open(&files.dead_letters)?,
            log: open(&files.log)?,
            files,
            _lock: lock,
        })
    }
}
