//! Reads files of JSON lines.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use tokio::io::{AsyncReadExt as _, BufReader};

use super::dead_letter::Origin;
use super::lines::Lines;
use super::source::SourceItem;

/// The size of the read buffer. It is large because each read runs on another thread.
const BUFFER_BYTES: usize = 256 * 1024;

/// The files of one source, in the order of their names.
#[derive(Debug)]
pub(super) struct Files {
    paths: VecDeque<PathBuf>,
    lines: Option<Lines>,
}

impl Files {
    /// Opens one file, or all files in a folder and its subfolders except hidden ones.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let mut paths = Vec::new();
        if fs::metadata(path)?.is_dir() {
            collect(path, &mut paths)?;
            paths.sort();
        } else {
            File::open(path)?;
            paths.push(path.to_owned());
        }
        Ok(Self {
            paths: paths.into(),
            lines: None,
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }

    pub(super) async fn next(&mut self) -> Option<SourceItem> {
        loop {
            if let Some(lines) = &mut self.lines
                && let Some(found) = lines.next().await
            {
                return Some(found);
            }
            self.lines = None;
            let path = self.paths.pop_front()?;
            match read(&path) {
                Ok(lines) => self.lines = Some(lines),
                Err(error) => {
                    return Some(SourceItem::Unreadable {
                        location: path.display().to_string(),
                        why: error.to_string(),
                    });
                }
            }
        }
    }
}

/// Opens a file up to its current end. Lines that are added later, perhaps by this run, are not read.
fn read(path: &Path) -> io::Result<Lines> {
    let file = File::open(path)?;
    let length = match file.metadata()? {
        metadata if metadata.is_file() => metadata.len(),
        _ => u64::MAX,
    };
    let origin = Origin {
        location: path.display().to_string(),
        ..Origin::default()
    };
    let reader = BufReader::with_capacity(BUFFER_BYTES, tokio::fs::File::from_std(file));
    Ok(Lines::new(reader.take(length), origin))
}

/// Collects the files in a folder and its subfolders.
fn collect(folder: &Path, paths: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with('.') {
            continue;
        }
        match entry.path() {
            path if path.is_dir() => collect(&path, paths)?,
            path => paths.push(path),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_folder_is_read_line_by_line_in_the_order_of_its_files() {
        let folder = std::env::temp_dir().join(format!("instream-files-{}", std::process::id()));
        fs::create_dir_all(folder.join("b/c")).unwrap();
        for (name, text) in [
            ("a.jsonl", &b"one\n\r\n\xff\r\ntwo"[..]),
            ("b/c/d", b"{\n  \"three\": 3\n}\n"),
            (".hidden", b"four"),
        ] {
            fs::write(folder.join(name), text).unwrap();
        }
        let mut files = Files::open(&folder).unwrap();
        let mut found = Vec::new();
        while let Some(next) = files.next().await {
            found.push(next);
        }
        let found: Vec<_> = found
            .into_iter()
            .map(|found| match found {
                SourceItem::Text { text, origin } => (origin.location, text),
                SourceItem::Unreadable { location, why } => (location, why),
                SourceItem::Predictions | SourceItem::Pause => panic!("{found:?}"),
            })
            .map(|(location, text)| (location.replace(&format!("{}/", folder.display()), ""), text))
            .collect();
        let expected = [
            ("a.jsonl:1", "one\n"),
            ("a.jsonl:3", "it is not UTF-8"),
            ("a.jsonl:4", "two"),
            ("b/c/d:1", "{\n  \"three\": 3\n}\n"),
        ];
        assert_eq!(
            found,
            expected.map(|(location, text)| (location.to_owned(), text.to_owned()))
        );
        fs::remove_dir_all(folder).unwrap();
    }
}
