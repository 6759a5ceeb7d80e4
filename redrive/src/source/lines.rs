//! Reads a file or an object line by line.

use std::io;

use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _, empty};

use super::Item;

/// The maximum size of a line, and of an object that spans several lines, in bytes. The largest that are needed are a
/// record of 10 MiB in base64, and an event of 6 MB as a JSON string.
const LINE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// The size of the parts in which the rest of a line that is too long is skipped.
const SKIPPED_BYTES: u64 = 64 * 1024;

/// The lines of one file or object.
pub(super) struct Lines {
    reader: Box<dyn AsyncBufRead + Unpin>,
    location: String,
    version: String,
    number: u64,
}

impl Lines {
    pub(super) fn new(reader: impl AsyncBufRead + Unpin + 'static, location: &str, version: String) -> Self {
        Self {
            reader: Box::new(reader),
            location: location.to_owned(),
            version,
            number: 0,
        }
    }

    /// Returns the next line that is not empty. If the first line is `{`, returns the whole text: it is one JSON object
    /// that spans several lines.
    pub(super) async fn next(&mut self) -> Option<Item> {
        loop {
            self.number += 1;
            let location = format!("{}:{}", self.location, self.number);
            let text = match self.read().await {
                Ok(line) if line.is_empty() => return None,
                Ok(line) if line.trim_ascii().is_empty() => continue,
                Ok(line) if line.len() > LINE_BYTES_MAX => Err("it is longer than 64 MiB".to_owned()),
                Ok(mut line) => {
                    // The last line of a file may get its line break later.
                    line.truncate(line.trim_ascii_end().len());
                    String::from_utf8(line).map_err(|_| "it is not UTF-8".to_owned())
                }
                Err(error) => {
                    // The reader would fail again.
                    self.reader = Box::new(empty());
                    Err(format!("truncated: {error}"))
                }
            };
            return Some(Item::new(location, &self.version, text));
        }
    }

    /// Reads one line, or the whole text if it is one object. Returns the start of a line that is too long, and skips
    /// the rest of it.
    async fn read(&mut self) -> io::Result<Vec<u8>> {
        let mut line = Vec::new();
        let mut reader = (&mut self.reader).take(LINE_BYTES_MAX as u64 + 1);
        reader.read_until(b'\n', &mut line).await?;
        if self.number == 1 && line.trim_ascii() == b"{" {
            reader.read_to_end(&mut line).await?;
            self.reader = Box::new(empty());
        } else if line.len() > LINE_BYTES_MAX && !line.ends_with(b"\n") {
            let mut rest = Vec::new();
            while !rest.ends_with(b"\n") {
                rest.clear();
                let mut reader = (&mut self.reader).take(SKIPPED_BYTES);
                if reader.read_until(b'\n', &mut rest).await? == 0 {
                    break;
                }
            }
        }
        Ok(line)
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use tokio::io::{AsyncRead, BufReader, ReadBuf};

    use super::*;

    /// A reader that returns its text and then only errors.
    struct Broken(&'static [u8]);

    impl AsyncRead for Broken {
        fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            if self.0.is_empty() {
                return Poll::Ready(Err(io::Error::other("gone")));
            }
            buffer.put_slice(std::mem::take(&mut self.0));
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn a_line_that_is_too_long_is_reported_and_the_next_one_is_read() {
        for (start, lines_after) in [("", &["x.jsonl:2 next"][..]), ("{\n", &[])] {
            let long = || tokio::io::repeat(b'x').take(LINE_BYTES_MAX as u64 + 300_000);
            let text = || BufReader::new(start.as_bytes().chain(long()).chain(&b"\nnext\n"[..]));
            let held = Lines {
                number: 1,
                ..Lines::new(text(), "x.jsonl", String::new())
            }
            .read()
            .await
            .unwrap();
            assert_eq!(held.len(), LINE_BYTES_MAX + 1, "the rest takes no memory");
            let mut lines = Lines::new(text(), "x.jsonl", String::new());
            match lines.next().await {
                Some(Item {
                    location,
                    text: Err(why),
                    ..
                }) => {
                    assert_eq!((&*location, &*why), ("x.jsonl:1", "it is longer than 64 MiB"));
                }
                other => panic!("{:?}", other.is_some()),
            }
            let mut after = Vec::new();
            while let Some(item) = lines.next().await {
                after.push(format!("{} {}", item.location, item.text.unwrap()));
            }
            assert_eq!(after, lines_after);
        }
    }

    #[tokio::test]
    async fn a_truncated_line_or_object_is_reported_once() {
        for (text, whole_lines) in [(&b"one\ntw"[..], 1), (b"{\n \"one\": 1", 0), (b"", 0)] {
            let mut lines = Lines::new(BufReader::new(Broken(text)), "x.jsonl", String::new());
            for _ in 0..whole_lines {
                assert!(lines.next().await.unwrap().text.is_ok());
            }
            match lines.next().await {
                Some(Item { text: Err(why), .. }) => assert_eq!(why, "truncated: gone"),
                other => panic!("{other:?}"),
            }
            assert!(lines.next().await.is_none());
        }
    }
}
