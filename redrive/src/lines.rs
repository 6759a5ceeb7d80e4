//! Reads a file or an object line by line.

use std::io;

use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _};

use super::dead_letter::Origin;
use super::source::SourceItem;

/// The maximum size of a line, and of an object that spans several lines, in bytes. The largest that are needed are a
/// record of 10 MiB in base64, and an event of 6 MB as a JSON string.
const LINE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The lines of one file or object.
pub(super) struct Lines {
    reader: Box<dyn AsyncBufRead + Unpin>,
    /// The origin of the whole text.
    origin: Origin,
    number: u64,
    has_ended: bool,
}

impl std::fmt::Debug for Lines {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lines")
            .field("location", &self.origin.location)
            .finish_non_exhaustive()
    }
}

impl Lines {
    pub(super) fn new(reader: impl AsyncBufRead + Unpin + 'static, origin: Origin) -> Self {
        Self {
            reader: Box::new(reader),
            origin,
            number: 0,
            has_ended: false,
        }
    }

    /// Returns the next line that is not empty. If the first line is `{`, returns the whole text: it is one JSON object
    /// that spans several lines.
    pub(super) async fn next(&mut self) -> Option<SourceItem> {
        while !self.has_ended {
            self.number += 1;
            let line = match self.read().await {
                Ok(line) => line,
                Err(error) => {
                    // The reader would fail again.
                    self.has_ended = true;
                    return Some(SourceItem::Unreadable {
                        location: self.origin.location.clone(),
                        why: format!("truncated: {error}"),
                    });
                }
            };
            if line.is_empty() {
                return None;
            }
            if !line.trim_ascii().is_empty() {
                return Some(self.item(line));
            }
        }
        None
    }

    /// Reads one line, or the whole text if it is one object. Returns the start of a line that is too long, and skips
    /// the rest of it.
    async fn read(&mut self) -> io::Result<Vec<u8>> {
        let mut line = Vec::new();
        let mut reader = (&mut self.reader).take(LINE_BYTES_MAX as u64 + 1);
        reader.read_until(b'\n', &mut line).await?;
        if self.number == 1 && line.trim_ascii() == b"{" {
            reader.read_to_end(&mut line).await?;
            self.has_ended = true;
        } else if line.len() > LINE_BYTES_MAX && !line.ends_with(b"\n") {
            self.skip_line().await?;
        }
        Ok(line)
    }

    /// Skips the rest of a line.
    async fn skip_line(&mut self) -> io::Result<()> {
        loop {
            let buffer = self.reader.fill_buf().await?;
            let end = buffer.iter().position(|byte| *byte == b'\n');
            let is_last = end.is_some() || buffer.is_empty();
            let length = end.map_or(buffer.len(), |end| end + 1);
            self.reader.consume(length);
            if is_last {
                return Ok(());
            }
        }
    }

    fn item(&self, line: Vec<u8>) -> SourceItem {
        let location = format!("{}:{}", self.origin.location, self.number);
        let text = if line.len() > LINE_BYTES_MAX {
            Err("it is longer than 64 MiB")
        } else {
            String::from_utf8(line).map_err(|_| "it is not UTF-8")
        };
        match text {
            Ok(text) => SourceItem::Text {
                text,
                origin: Origin {
                    location,
                    ..self.origin.clone()
                },
            },
            Err(why) => SourceItem::Unreadable {
                location,
                why: why.to_owned(),
            },
        }
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
        for (start, lines_after) in [("", &["x.jsonl:2 next\n"][..]), ("{\n", &[])] {
            let long = || tokio::io::repeat(b'x').take(LINE_BYTES_MAX as u64 + 300_000);
            let text = || BufReader::new(start.as_bytes().chain(long()).chain(&b"\nnext\n"[..]));
            let held = Lines {
                number: 1,
                ..Lines::new(text(), Origin::default())
            }
            .read()
            .await
            .unwrap();
            assert_eq!(held.len(), LINE_BYTES_MAX + 1, "the rest takes no memory");
            let origin = Origin {
                location: "x.jsonl".to_owned(),
                ..Origin::default()
            };
            let mut lines = Lines::new(text(), origin);
            match lines.next().await {
                Some(SourceItem::Unreadable { location, why }) => {
                    assert_eq!((&*location, &*why), ("x.jsonl:1", "it is longer than 64 MiB"));
                }
                other => panic!("{:?}", other.is_some()),
            }
            let mut after = Vec::new();
            while let Some(SourceItem::Text { text, origin }) = lines.next().await {
                after.push(format!("{} {text}", origin.location));
            }
            assert_eq!(after, lines_after);
        }
    }

    #[tokio::test]
    async fn a_truncated_line_or_object_is_reported_once() {
        for (text, whole_lines) in [(&b"one\ntw"[..], 1), (b"{\n \"one\": 1", 0), (b"", 0)] {
            let mut lines = Lines::new(BufReader::new(Broken(text)), Origin::default());
            for _ in 0..whole_lines {
                assert!(matches!(lines.next().await, Some(SourceItem::Text { .. })));
            }
            match lines.next().await {
                Some(SourceItem::Unreadable { why, .. }) => assert_eq!(why, "truncated: gone"),
                other => panic!("{other:?}"),
            }
            assert!(lines.next().await.is_none());
        }
    }
}
