//! Files of JSON lines.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use tokio::io::{AsyncReadExt as _, BufReader};

use super::letter::Origin;
use super::lines::Lines;
use super::source::Found;

/// Each read goes to another thread: few of them, then.
const BUFFER_BYTES: usize = 256 * 1024;

/// Files in the order of their names.
#[derive(Debug)]
pub(super) struct Files {
    paths: VecDeque<PathBuf>,
    lines: Option<Lines>,
}

impl Files {
    /// The file, or all files in the folder, at whatever depth, but for hidden ones.
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

    pub(super) async fn next(&mut self) -> Option<Found> {
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
                    return Some(Found::Unreadable {
                        place: path.display().to_string(),
                        why: error.to_string(),
                    });
                }
            }
        }
    }
}

/// What is written to a file from now on, as by this very run, is not read.
fn read(path: &Path) -> io::Result<Lines> {
    let file = File::open(path)?;
    let length = match file.metadata()? {
        metadata if metadata.is_file() => metadata.len(),
        _ => u64::MAX,
    };
    let origin = Origin {
        place: path.display().to_string(),
        ..Origin::default()
    };
    let reader = BufReader::with_capacity(BUFFER_BYTES, tokio::fs::File::from_std(file));
    Ok(Lines::new(reader.take(length), origin))
}

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
                Found::Text { text, origin } => (origin.place, text),
                Found::Unreadable { place, why } => (place, why),
                Found::Pause => panic!("no file pauses"),
            })
            .map(|(place, text)| (place.replace(&format!("{}/", folder.display()), ""), text))
            .collect();
        let expected = [
            ("a.jsonl:1", "one\n"),
            ("a.jsonl:3", "it is not UTF-8"),
            ("a.jsonl:4", "two"),
            ("b/c/d:1", "{\n  \"three\": 3\n}\n"),
        ];
        assert_eq!(found, expected.map(|(place, text)| (place.to_owned(), text.to_owned())));
        fs::remove_dir_all(folder).unwrap();
    }
}
