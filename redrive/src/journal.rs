//! The journal: a file with one line of intent before each invocation and one line of outcome after it. Each line is
//! synced to disk. A record with an intent and without an outcome is *in doubt*: the run was killed while sending it.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use instream_local::private_file::append;
use instream_local::source::now_ms;
use serde::{Deserialize, Serialize};

use super::dead_letter::{DeadLetter, Version, hash, sha256_hex};

/// The maximum difference of two clocks. A dead letter that seems to be written this long before its record was sent
/// may have been written afterwards.
const CLOCK_SKEW_MAX_MS: u64 = 5 * 60 * 1000;

/// The journal of one target. It is locked while this value exists.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    file: File,
    done: HashMap<u128, DoneRecord>,
    in_doubt: BTreeSet<String>,
    /// The start of the current invocation, in milliseconds since 1970.
    started_ms: u64,
}

/// A record that has succeeded.
#[derive(Debug)]
struct DoneRecord {
    /// The start of the invocation, in milliseconds since 1970.
    started_ms: u64,
    /// The hashes of the versions of its dead letters that were sent.
    versions: HashSet<String>,
}

/// The status of a dead letter in the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum JournalStatus {
    /// The record is unknown or has not succeeded.
    Pending,
    /// The record may have succeeded.
    InDoubt,
    /// The record has succeeded.
    Done,
}

#[derive(Serialize, Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Line {
    at_ms: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    intent: Vec<String>,
    /// The IDs of the records that succeeded, each with the hash of its version if it has one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    done: Vec<(String, Option<String>)>,
    /// The IDs of the records that must be sent again, for any reason.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    open: Vec<String>,
}

impl Journal {
    /// Opens or creates the journal. A dry run creates nothing.
    pub(super) fn open(path: &Path, is_dry: bool) -> Result<Self> {
        let failed = || format!("cannot use the journal {}", path.display());
        let file = if is_dry {
            // Only a missing journal counts as empty. One that cannot be read is an error.
            File::open(path).or_else(|error| {
                if error.kind() == ErrorKind::NotFound {
                    File::open("/dev/null")
                } else {
                    Err(error)
                }
            })
        } else {
            let folder = path.parent().unwrap_or(Path::new(""));
            fs::create_dir_all(folder).with_context(failed)?;
            append(path)
        };
        let file = file.with_context(failed)?;
        if !is_dry {
            file.try_lock()
                .with_context(|| format!("another run uses the journal {}", path.display()))?;
        }
        let mut journal = Self {
            path: path.to_owned(),
            file,
            done: HashMap::new(),
            in_doubt: BTreeSet::new(),
            started_ms: 0,
        };
        journal.read().with_context(failed)?;
        if !is_dry {
            journal.end_last_line().with_context(failed)?;
        }
        Ok(journal)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the IDs of the records in doubt.
    pub(super) fn in_doubt(&self) -> &BTreeSet<String> {
        &self.in_doubt
    }

    /// Returns the status of a dead letter. A dead letter that was written after its record was sent is a new
    /// rejection.
    pub(super) fn status(&self, letter: &DeadLetter) -> JournalStatus {
        if self.in_doubt.contains(&letter.id()) {
            return JournalStatus::InDoubt;
        }
        let Some(done) = self.done.get(&fingerprint(&letter.id())) else {
            return JournalStatus::Pending;
        };
        let is_newer = letter
            .origin
            .version
            .as_ref()
            .is_some_and(|Version { id, written_ms }| {
                !done.versions.contains(&sha256_hex(id.as_bytes())) && written_ms + CLOCK_SKEW_MAX_MS >= done.started_ms
            });
        if is_newer {
            JournalStatus::Pending
        } else {
            JournalStatus::Done
        }
    }

    /// Records that these dead letters are about to be sent.
    pub(super) fn record_intent(&mut self, letters: &[DeadLetter]) -> Result<()> {
        self.write(Line {
            at_ms: now_ms(),
            intent: letters.iter().map(DeadLetter::id).collect(),
            ..Line::default()
        })
    }

    /// Records the outcome of the invocation: the records that succeeded, and those that must be sent again.
    pub(super) fn record_outcome(&mut self, done: &[&DeadLetter], open: &[&DeadLetter]) -> Result<()> {
        let version = |letter: &DeadLetter| {
            letter
                .origin
                .version
                .as_ref()
                .map(|version| sha256_hex(version.id.as_bytes()))
        };
        self.write(Line {
            at_ms: now_ms(),
            done: done.iter().map(|letter| (letter.id(), version(letter))).collect(),
            open: open.iter().map(|letter| letter.id()).collect(),
            ..Line::default()
        })
    }

    /// Records that these records, which had succeeded, were rejected again.
    pub(super) fn reopen(&mut self, ids: Vec<String>) -> Result<()> {
        if ids.is_empty() {
            return Ok(());
        }
        self.write(Line {
            at_ms: now_ms(),
            open: ids,
            ..Line::default()
        })
    }

    fn write(&mut self, line: Line) -> Result<()> {
        let mut text = serde_json::to_vec(&line)?;
        text.push(b'\n');
        self.file
            .write_all(&text)
            .and_then(|()| self.file.sync_data())
            .with_context(|| format!("cannot write the journal {}", self.path.display()))?;
        self.apply(line);
        Ok(())
    }

    /// Reads all lines. Ignores a line that cannot be parsed: it was truncated when its run was killed.
    fn read(&mut self) -> std::io::Result<()> {
        self.file.seek(SeekFrom::Start(0))?;
        let mut reader = BufReader::new(self.file.try_clone()?);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line)? > 0 {
            if let Ok(line) = serde_json::from_slice(&line) {
                self.apply(line);
            }
            line.clear();
        }
        Ok(())
    }

    /// Ends a truncated last line, so that the next line is separate.
    fn end_last_line(&mut self) -> std::io::Result<()> {
        if self.file.seek(SeekFrom::End(0))? == 0 {
            return Ok(());
        }
        self.file.seek(SeekFrom::End(-1))?;
        let mut last = [0];
        self.file.read_exact(&mut last)?;
        if last != [b'\n'] {
            self.file.write_all(b"\n")?;
        }
        Ok(())
    }

    /// Applies a line to the state in memory.
    fn apply(&mut self, line: Line) {
        if !line.intent.is_empty() {
            self.started_ms = line.at_ms;
        }
        self.in_doubt.extend(line.intent);
        for (key, version) in line.done {
            self.in_doubt.remove(&key);
            let done = self.done.entry(fingerprint(&key)).or_insert_with(|| DoneRecord {
                started_ms: 0,
                versions: HashSet::new(),
            });
            done.started_ms = self.started_ms;
            done.versions.extend(version);
        }
        for key in line.open {
            self.in_doubt.remove(&key);
            self.done.remove(&fingerprint(&key));
        }
    }
}

/// Returns a hash of an ID or a key, which takes less memory.
pub(super) fn fingerprint(key: &str) -> u128 {
    hash(key.as_bytes())
}

#[cfg(test)]
mod tests;
