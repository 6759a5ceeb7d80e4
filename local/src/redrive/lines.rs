//! The lines of a text that is read piece by piece, wherever it lies.

use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _};

use super::letter::Origin;
use super::source::Found;

/// A text that is being read.
pub(super) struct Lines {
    reader: Box<dyn AsyncBufRead + Unpin>,
    /// Of the text as a whole.
    origin: Origin,
    number: u64,
    has_failed: bool,
}

impl std::fmt::Debug for Lines {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lines")
            .field("place", &self.origin.place)
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

    /// The next line that is not empty; the whole text where that is one object, spread over many lines.
    pub(super) async fn next(&mut self) -> Option<Found> {
        // What failed once would fail for ever.
        while !self.has_failed {
            let mut line = Vec::new();
            let mut read = self.reader.read_until(b'\n', &mut line).await;
            self.number += 1;
            if read.is_ok() && self.number == 1 && line.trim_ascii() == b"{" {
                read = self.reader.read_to_end(&mut line).await;
            }
            if let Err(error) = read {
                self.has_failed = true;
                return Some(Found::Unreadable {
                    place: self.origin.place.clone(),
                    why: format!("cut off: {error}"),
                });
            }
            if line.is_empty() {
                return None;
            }
            if !line.trim_ascii().is_empty() {
                return Some(self.piece(line));
            }
        }
        None
    }

    fn piece(&self, line: Vec<u8>) -> Found {
        let place = format!("{}:{}", self.origin.place, self.number);
        match String::from_utf8(line) {
            Ok(text) => Found::Text {
                text,
                origin: Origin {
                    place,
                    ..self.origin.clone()
                },
            },
            Err(_) => Found::Unreadable {
                place,
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

    /// Text, and then an error for ever.
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
    async fn what_is_cut_off_is_told_once_in_a_line_or_in_a_document() {
        for (text, whole_lines) in [(&b"one\ntw"[..], 1), (b"{\n \"one\": 1", 0), (b"", 0)] {
            let mut lines = Lines::new(BufReader::new(Broken(text)), Origin::default());
            for _ in 0..whole_lines {
                assert!(matches!(lines.next().await, Some(Found::Text { .. })));
            }
            match lines.next().await {
                Some(Found::Unreadable { why, .. }) => assert_eq!(why, "cut off: gone"),
                other => panic!("{other:?}"),
            }
            assert!(lines.next().await.is_none());
        }
    }
}
