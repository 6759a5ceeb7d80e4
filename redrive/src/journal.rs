//! The journal: a file with one line for each letter that succeeded, synced to disk. A record that is rejected again
//! gets a new letter with another key, so it is sent again.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use instream_local::private_file::append;

/// The journal of one target. It is locked while this value exists.
#[derive(Debug)]
pub(super) struct Journal {
    pub(super) path: PathBuf,
    /// `None` in a dry run.
    file: Option<File>,
    done: HashSet<u128>,
}

impl Journal {
    /// Opens or creates the journal. A dry run creates nothing. With `again`, nothing counts as done.
    pub(super) fn open(path: &Path, is_dry: bool, again: bool) -> Result<Self> {
        let failed = || format!("cannot use the journal {}", path.display());
        let mut file = None;
        if !is_dry {
            fs::create_dir_all(path.parent().unwrap_or(Path::new(""))).with_context(failed)?;
            let opened = append(path).with_context(failed)?;
            let locked = opened.try_lock();
            locked.with_context(|| format!("another run uses the journal {}", path.display()))?;
            file = Some(opened);
        }
        let is_empty = again || is_dry && !path.try_exists().with_context(failed)?;
        let mut text = String::new();
        if !is_empty {
            text = fs::read_to_string(path).with_context(failed)?;
        }
        // A line that was truncated when its run was killed has fewer digits.
        let lines = text.lines().filter(|line| line.len() == 32);
        Ok(Self {
            path: path.to_owned(),
            file,
            done: lines.filter_map(|line| u128::from_str_radix(line, 16).ok()).collect(),
        })
    }

    /// Returns `true` if the letter with this key has succeeded.
    pub(super) fn has(&self, key: u128) -> bool {
        self.done.contains(&key)
    }

    /// Adds the keys of letters that have succeeded.
    pub(super) fn add(&mut self, keys: impl Iterator<Item = u128>) -> Result<()> {
        let mut lines = String::new();
        for key in keys.filter(|key| self.done.insert(*key)) {
            // The line break comes first, so that a truncated line before it stays alone.
            write!(lines, "\n{key:032x}")?;
        }
        if let Some(file) = &mut self.file {
            let written = file.write_all(lines.as_bytes()).and_then(|()| file.sync_data());
            written.with_context(|| format!("cannot write the journal {}", self.path.display()))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
