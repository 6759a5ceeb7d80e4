//! Reads a file or an object line by line.

use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _};

use super::dead_letter::Origin;
use super::source::SourceItem;

/// The lines of one file or object.
pub(super) struct Lines {
    reader: Box<dyn AsyncBufRead + Unpin>,
    /// The origin of the whole text.
    origin: Origin,
    number: u64,
    has_failed: bool,
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
            has_failed: false,
        }
    }

    /// Returns the next line that is not empty. If the first line is `{`, returns the whole text: it is one JSON object
    /// that spans several lines.
    pub(super) async fn next(&mut self) -> Option<SourceItem> {
        // A reader that has failed would fail again.
        while !self.has_failed {
            let mut line = Vec::new();
            let mut read = self.reader.read_until(b'\n', &mut line).await;
            self.number += 1;
            if read.is_ok() && self.number == 1 && line.trim_ascii() == b"{" {
                read = self.reader.read_to_end(&mut line).await;
            }
            if let Err(error) = read {
                self.has_failed = true;
                return Some(SourceItem::Unreadable {
                    location: self.origin.location.clone(),
                    why: format!("truncated: {error}"),
                });
            }
            if line.is_empty() {
                return None;
            }
            if !line.trim_ascii().is_empty() {
                return Some(self.item(line));
            }
        }
        None
    }

    fn item(&self, line: Vec<u8>) -> SourceItem {
        let location = format!("{}:{}", self.origin.location, self.number);
        match String::from_utf8(line) {
            Ok(text) => SourceItem::Text {
                text,
                origin: Origin {
                    location,
                    ..self.origin.clone()
                },
            },
            Err(_) => SourceItem::Unreadable {
                location,
                why: "it is not UTF-8".to_owned(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;
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
