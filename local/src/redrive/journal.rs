//! What was done, on disk before it counts: a line of intent before each invocation, a line of outcome after it, each
//! synced. A record with an intent and no outcome is *in doubt*: the run was killed while it was under way.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use md5::{Digest as _, Md5};
use serde::{Deserialize, Serialize};

use super::letter::{Letter, Version, hash};
use crate::source::now_ms;

/// A letter that was written so shortly before its record was put may have been written after it, by another clock.
const CLOCKS_DIFFER_MS: u64 = 5 * 60 * 1000;

/// The journal of one target. Nobody else writes to it as long as this lives.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    file: File,
    done: HashMap<u128, Done>,
    doubt: BTreeSet<String>,
    /// When the invocation under way began.
    begun_ms: u64,
}

/// A record that has gone through.
#[derive(Debug)]
struct Done {
    /// When the invocation began.
    begun_ms: u64,
    /// The letters about it that were put, as far as their source tells them apart.
    versions: HashSet<String>,
}

/// What the journal knows of a letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Known {
    /// Nothing, or that it has not gone through.
    Open,
    /// Its record may have gone through.
    InDoubt,
    /// Its record has gone through.
    Done,
}

#[derive(Serialize, Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Line {
    at_ms: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    intent: Vec<String>,
    /// The identities of the records that went through, each with its version where it has one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    done: Vec<(String, Option<String>)>,
    /// Those that are to come again, for whatever reason.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    open: Vec<String>,
}

impl Journal {
    /// Opens the journal, or begins one. Where nothing is to be put, nothing is made.
    pub(super) fn open(path: &Path, is_dry: bool) -> Result<Self> {
        let failed = || format!("cannot use the journal {}", path.display());
        let file = if is_dry {
            // One that is there and cannot be read is no reason to call everything undone.
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
            OpenOptions::new().read(true).append(true).create(true).open(path)
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
            doubt: BTreeSet::new(),
            begun_ms: 0,
        };
        journal.read().with_context(failed)?;
        if !is_dry {
            journal.mend().with_context(failed)?;
        }
        Ok(journal)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The identities of the records in doubt.
    pub(super) fn in_doubt(&self) -> &BTreeSet<String> {
        &self.doubt
    }

    /// What is known of this letter. One that was written after its record had been put is another rejection of it.
    pub(super) fn knows(&self, letter: &Letter) -> Known {
        if self.doubt.contains(&letter.id()) {
            return Known::InDoubt;
        }
        let Some(done) = self.done.get(&short(&letter.id())) else {
            return Known::Open;
        };
        let is_newer = letter
            .origin
            .version
            .as_ref()
            .is_some_and(|Version { id, written_ms }| {
                !done.versions.contains(&hash(id.as_bytes())) && written_ms + CLOCKS_DIFFER_MS >= done.begun_ms
            });
        if is_newer { Known::Open } else { Known::Done }
    }

    /// Takes down that these are about to be put.
    pub(super) fn intend(&mut self, letters: &[Letter]) -> Result<()> {
        self.write(Line {
            at_ms: now_ms(),
            intent: letters.iter().map(Letter::id).collect(),
            ..Line::default()
        })
    }

    /// Takes down how the invocation ended: what went through, and what of it is still to be put.
    pub(super) fn ended(&mut self, done: &[&Letter], open: &[&Letter]) -> Result<()> {
        let version = |letter: &Letter| {
            letter
                .origin
                .version
                .as_ref()
                .map(|version| hash(version.id.as_bytes()))
        };
        self.write(Line {
            at_ms: now_ms(),
            done: done.iter().map(|letter| (letter.id(), version(letter))).collect(),
            open: open.iter().map(|letter| letter.id()).collect(),
            ..Line::default()
        })
    }

    /// Takes down that these, which went through, were rejected again.
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
        self.take(line);
        Ok(())
    }

    /// A line that cannot be read was cut off by the end of the run that wrote it.
    fn read(&mut self) -> std::io::Result<()> {
        self.file.seek(SeekFrom::Start(0))?;
        let mut reader = BufReader::new(self.file.try_clone()?);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line)? > 0 {
            if let Ok(line) = serde_json::from_slice(&line) {
                self.take(line);
            }
            line.clear();
        }
        Ok(())
    }

    /// A line that was cut off does not take the next one with it.
    fn mend(&mut self) -> std::io::Result<()> {
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

    fn take(&mut self, line: Line) {
        if !line.intent.is_empty() {
            self.begun_ms = line.at_ms;
        }
        self.doubt.extend(line.intent);
        for (key, version) in line.done {
            self.doubt.remove(&key);
            let done = self.done.entry(short(&key)).or_insert_with(|| Done {
                begun_ms: 0,
                versions: HashSet::new(),
            });
            done.begun_ms = self.begun_ms;
            done.versions.extend(version);
        }
        for key in line.open {
            self.doubt.remove(&key);
            self.done.remove(&short(&key));
        }
    }
}

/// Enough of a key to know it by, in little memory.
pub(super) fn short(key: &str) -> u128 {
    let digest: [u8; 16] = Md5::digest(key.as_bytes()).into();
    u128::from_be_bytes(digest)
}

#[cfg(test)]
mod tests;
