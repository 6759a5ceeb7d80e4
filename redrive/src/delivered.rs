//! Stores the lines that the function on this machine delivers to `stdout:`. The files are only appended to, so that a
//! run that continues another one adds to its lines.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use instream_local::function::Line;
use instream_local::private_file::{self, append};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::dead_letter::{DeadLetter, record_id, record_key};
use super::journal::fingerprint;

/// The silence after which all lines of an invocation have been read. The function writes its lines before it responds.
const SILENCE_MAX: Duration = Duration::from_millis(250);

/// The files with the delivered lines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Files {
    /// The predictions, one envelope a line.
    pub predictions: PathBuf,
    /// The dead letters, one envelope a line.
    pub dead_letters: PathBuf,
    /// The function's log, and all other lines that it writes.
    pub log: PathBuf,
}

/// Reads, counts and stores the function's lines.
#[derive(Debug)]
pub(super) struct Delivered {
    lines: mpsc::UnboundedReceiver<Line>,
    open_files: Option<OpenFiles>,
    shows: (bool, bool),
    /// The fingerprints of the keys that may stand for many user records.
    multi_record_keys: HashSet<u128>,
    /// The content hash of the latest dead letter with a key.
    content_hashes: HashMap<u128, u128>,
    /// The fingerprints of the dead letters for which a line was delivered.
    reported: HashSet<u128>,
    /// The fingerprints of the user records for which a line was delivered.
    records: HashSet<u128>,
    rejected: HashSet<u128>,
    /// The IDs of the records that were rejected since the last [`take_newly_rejected`](Self::take_newly_rejected).
    newly_rejected: Vec<String>,
    predicted_count: u64,
    rejected_count: u64,
}

#[derive(Debug)]
struct OpenFiles {
    files: Files,
    predictions: File,
    dead_letters: File,
    log: File,
    /// Prevents another run from writing to the same files.
    _lock: File,
}

/// The members of an envelope that are needed here.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope<'l> {
    event_id: Option<String>,
    sub_sequence_number: u64,
    #[serde(borrow)]
    reason: Option<&'l RawValue>,
}

impl Delivered {
    /// Appends to the files in `folder`, if there is one. `shows` is whether predictions and dead letters are among
    /// `lines`.
    pub(super) fn open(
        lines: mpsc::UnboundedReceiver<Line>,
        folder: Option<&Path>,
        shows: (bool, bool),
    ) -> Result<Self> {
        let open_files = folder
            .map(|folder| OpenFiles::open(folder).with_context(|| format!("cannot write to {}", folder.display())));
        Ok(Self {
            lines,
            open_files: open_files.transpose()?,
            shows,
            multi_record_keys: HashSet::new(),
            content_hashes: HashMap::new(),
            reported: HashSet::new(),
            records: HashSet::new(),
            rejected: HashSet::new(),
            newly_rejected: Vec::new(),
            predicted_count: 0,
            rejected_count: 0,
        })
    }

    pub(super) fn files(&self) -> Option<&Files> {
        self.open_files.as_ref().map(|open_files| &open_files.files)
    }

    /// Returns the number of predicted user records, if it is known.
    pub(super) fn predicted(&self) -> Option<u64> {
        self.shows.0.then_some(self.predicted_count)
    }

    /// Returns the number of rejected user records, if it is known.
    pub(super) fn rejected(&self) -> Option<u64> {
        self.shows.1.then_some(self.rejected_count)
    }

    /// Returns `true` if the record of this dead letter, or a user record in it, was rejected again.
    pub(super) fn is_rejected(&self, letter: &DeadLetter) -> bool {
        self.rejected.contains(&fingerprint(&letter.id()))
    }

    /// Returns the IDs of the records that were rejected since the last call.
    pub(super) fn take_newly_rejected(&mut self) -> Vec<String> {
        std::mem::take(&mut self.newly_rejected)
    }

    /// Registers dead letters that are about to be sent, so that delivered lines can be assigned to them.
    pub(super) fn register(&mut self, letters: &[DeadLetter]) {
        let many = letters.iter().filter(|letter| letter.has_unknown_record_count());
        self.multi_record_keys
            .extend(many.map(|letter| fingerprint(&letter.key)));
        let hashes = letters
            .iter()
            .map(|letter| (fingerprint(&letter.key), letter.content_hash));
        self.content_hashes.extend(hashes);
    }

    /// Reads the lines of the dead letters that the function has just finished, and writes them to disk.
    pub(super) async fn read(&mut self, finished: &[&DeadLetter]) -> Result<()> {
        while self.open_files.is_some() && !self.has_all(finished) {
            match timeout(SILENCE_MAX, self.lines.recv()).await {
                Ok(Some(line)) => self.take(&line)?,
                Ok(None) | Err(_) => break,
            }
        }
        while let Ok(line) = self.lines.try_recv() {
            self.take(&line)?;
        }
        self.sync()
    }

    /// Reads all remaining lines after the function was stopped.
    pub(super) async fn finish(&mut self) -> Result<()> {
        while let Some(line) = self.lines.recv().await {
            self.take(&line)?;
        }
        self.sync()
    }

    fn sync(&self) -> Result<()> {
        if let Some(open_files) = &self.open_files {
            let synced = open_files
                .predictions
                .sync_data()
                .and_then(|()| open_files.dead_letters.sync_data());
            synced.context("cannot write the delivered lines")?;
        }
        Ok(())
    }

    /// Returns `true` if the lines of these dead letters have all been read.
    fn has_all(&self, finished: &[&DeadLetter]) -> bool {
        let is_reported = |letter: &&DeadLetter| {
            !letter.has_unknown_record_count() && self.reported.contains(&fingerprint(&letter.id()))
        };
        self.shows == (true, true) && finished.iter().all(is_reported)
    }

    fn take(&mut self, line: &Line) -> Result<()> {
        let (Line::Output(text) | Line::Log(text)) = line;
        let envelope = match line {
            Line::Output(text) => serde_json::from_str::<Envelope<'_>>(text).ok(),
            Line::Log(_) => None,
        };
        let is_rejected = envelope.as_ref().map(|envelope| self.count(envelope));
        if let Some(open_files) = &mut self.open_files {
            let file = match is_rejected {
                Some(false) => &mut open_files.predictions,
                Some(true) => &mut open_files.dead_letters,
                None => &mut open_files.log,
            };
            // One write, so that a kill leaves no partial line unless the disk is full.
            file.write_all(format!("{text}\n").as_bytes())
                .context("cannot write the delivered lines")?;
        }
        Ok(())
    }

    /// Counts a user record on its first delivery. Returns whether it was rejected.
    fn count(&mut self, envelope: &Envelope<'_>) -> bool {
        let is_rejected = envelope.reason.is_some();
        let event_id = envelope.event_id.as_deref();
        let record = record_key(event_id, envelope.sub_sequence_number, 0);
        let whole = event_id.filter(|event_id| self.multi_record_keys.contains(&fingerprint(event_id)));
        let letter = whole.map_or_else(|| record.clone(), str::to_owned);
        // An event never has two records with the same identifier.
        let content = self
            .content_hashes
            .get(&fingerprint(&letter))
            .copied()
            .unwrap_or_default();
        let letter = record_id(&letter, content);
        self.reported.insert(fingerprint(&letter));
        // Without an event identifier, repeats cannot be recognised.
        if self.records.insert(fingerprint(&record_id(&record, content))) || event_id.is_none() {
            self.predicted_count += u64::from(!is_rejected);
            self.rejected_count += u64::from(is_rejected);
        }
        if is_rejected && self.rejected.insert(fingerprint(&letter)) {
            self.newly_rejected.push(letter);
        }
        is_rejected
    }
}

impl OpenFiles {
    fn open(folder: &Path) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let lock = private_file::create(&folder.join("lock"))?;
        lock.try_lock()
            .map_err(|_| io::Error::other("another run is writing there"))?;
        let files = Files {
            predictions: folder.join("predictions.jsonl"),
            dead_letters: folder.join("dead-letters.jsonl"),
            log: folder.join("function.log"),
        };
        Ok(Self {
            predictions: append(&files.predictions)?,
            dead_letters: append(&files.dead_letters)?,
            log: append(&files.log)?,
            files,
            _lock: lock,
        })
    }
}
