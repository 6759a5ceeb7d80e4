//! Files of JSON lines, and what else has lines.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read as _, Take};
use std::path::{Path, PathBuf};

use super::letter::Origin;
use super::source::Found;

/// Files in the order of their names.
#[derive(Debug)]
pub(super) struct Files {
    paths: VecDeque<PathBuf>,
    lines: Option<Lines<Take<BufReader<File>>>>,
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

    pub(super) fn next(&mut self) -> Option<Found> {
        loop {
            if let Some(found) = self.lines.as_mut().and_then(Lines::next) {
                return Some(found);
            }
            self.lines = None;
            let path = self.paths.pop_front()?;
            match read(&path) {
                Ok(file) => self.lines = Some(Lines::new(file, path.display().to_string())),
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
fn read(path: &Path) -> io::Result<Take<BufReader<File>>> {
    let file = File::open(path)?;
    let length = match file.metadata()? {
        metadata if metadata.is_file() => metadata.len(),
        _ => u64::MAX,
    };
    Ok(BufReader::new(file).take(length))
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

/// The lines of a text that is read piece by piece.
#[derive(Debug)]
pub(super) struct Lines<R> {
    reader: R,
    place: String,
    number: u64,
    has_failed: bool,
}

impl<R: BufRead> Lines<R> {
    fn new(reader: R, place: String) -> Self {
        Self {
            reader,
            place,
            number: 0,
            has_failed: false,
        }
    }

    fn next(&mut self) -> Option<Found> {
        // What failed once would fail for ever.
        while !self.has_failed {
            let mut line = Vec::new();
            match self.reader.read_until(b'\n', &mut line) {
                Ok(0) => return None,
                Ok(_) => {}
                Err(error) => {
                    self.has_failed = true;
                    return Some(Found::Unreadable {
                        place: self.place.clone(),
                        why: error.to_string(),
                    });
                }
            }
            self.number += 1;
            if is_document(&line, self.number) && self.reader.read_to_end(&mut line).is_err() {
                line.clear();
            }
            if let Some(found) = piece(line, &self.place, self.number, None) {
                return Some(found);
            }
        }
        None
    }
}

/// Whether the whole text is one object, spread over many lines, as its first line tells.
pub(super) fn is_document(line: &[u8], number: u64) -> bool {
    number == 1 && line.trim_ascii() == b"{"
}

/// The line as a piece of text; `None` where it is empty.
pub(super) fn piece(line: Vec<u8>, place: &str, number: u64, origin: Option<&Origin>) -> Option<Found> {
    if line.trim_ascii().is_empty() {
        return None;
    }
    let place = format!("{place}:{number}");
    Some(match String::from_utf8(line) {
        Ok(text) => Found::Text {
            text,
            origin: Origin {
                place,
                ..origin.cloned().unwrap_or_default()
            },
        },
        Err(_) => Found::Unreadable {
            place,
            why: "it is not UTF-8".to_owned(),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_read_line_by_line_in_the_order_of_its_files() {
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
        let found: Vec<_> = std::iter::from_fn(|| files.next())
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
