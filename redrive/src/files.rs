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

/// The reason why an entry of a folder is skipped.
const NOT_REGULAR: &str = "it is not a regular file";

/// The files of one source, in the order of their names.
#[derive(Debug)]
pub(super) struct Files {
    paths: VecDeque<PathBuf>,
    /// The entries of a folder that are not regular files, such as pipes. Opening one could wait forever, and links can
    /// form a circle.
    skipped: Vec<PathBuf>,
    lines: Option<Lines>,
}

impl Files {
    /// Opens one file, or all regular files in a folder and its subfolders except hidden ones.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let (mut paths, mut skipped) = (Vec::new(), Vec::new());
        let metadata = fs::metadata(path)?;
        if metadata.is_dir() {
            collect(path, &mut paths, &mut skipped)?;
            paths.sort();
        } else if metadata.is_file() {
            File::open(path)?;
            paths.push(path.to_owned());
        } else {
            return Err(io::Error::other(NOT_REGULAR));
        }
        Ok(Self {
            paths: paths.into(),
            skipped,
            lines: None,
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.paths.is_empty() && self.skipped.is_empty()
    }

    pub(super) async fn next(&mut self) -> Option<SourceItem> {
        if let Some(path) = self.skipped.pop() {
            return Some(SourceItem::Unreadable {
                location: path.display().to_string(),
                why: format!("skipped: {NOT_REGULAR}"),
            });
        }
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
    let length = file.metadata()?.len();
    let origin = Origin {
        location: path.display().to_string(),
        ..Origin::default()
    };
    let reader = BufReader::with_capacity(BUFFER_BYTES, tokio::fs::File::from_std(file));
    Ok(Lines::new(reader.take(length), origin))
}

/// Collects the regular files in a folder and its subfolders, and everything else that is there. Follows no links.
fn collect(folder: &Path, paths: &mut Vec<PathBuf>, skipped: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with('.') {
            continue;
        }
        match entry.file_type()? {
            kind if kind.is_dir() => collect(&entry.path(), paths, skipped)?,
            kind if kind.is_file() => paths.push(entry.path()),
            _ => skipped.push(entry.path()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn links_pipes_and_devices_in_a_folder_are_skipped() {
        use std::os::unix::fs::symlink;
        let folder = std::env::temp_dir().join(format!("instream-special-files-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let pipe = folder.join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
        assert!(made.success());
        symlink(&folder, folder.join("circle")).unwrap();
        symlink("/dev/zero", folder.join("zero")).unwrap();
        fs::write(folder.join("regular"), "one").unwrap();
        let mut files = Files::open(&folder).unwrap();
        let mut skipped = std::collections::BTreeSet::new();
        while let Some(SourceItem::Unreadable { location, why }) = files.next().await {
            assert_eq!(why, "skipped: it is not a regular file");
            skipped.insert(location.rsplit('/').next().unwrap().to_owned());
        }
        assert_eq!(skipped.into_iter().collect::<Vec<_>>(), ["circle", "pipe", "zero"]);
        assert!(files.next().await.is_none(), "the regular file was read");
        for special in [&*pipe, Path::new("/dev/zero")] {
            assert_eq!(Files::open(special).unwrap_err().to_string(), NOT_REGULAR);
        }
        // A link that the user names is followed.
        symlink(folder.join("regular"), folder.join("link")).unwrap();
        let next = Files::open(&folder.join("link")).unwrap().next().await;
        assert!(matches!(next, Some(SourceItem::Text { .. })), "{next:?}");
        fs::remove_dir_all(folder).unwrap();
    }

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
