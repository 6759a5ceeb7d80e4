//! `stdout:`: one line per record, for a person, a log query or the next program in a pipe.

use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;

use tokio::sync::Mutex;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout_at};

use super::{DeliveryError, LineKind, OutputLine};

/// A writer that writes all lines of a delivery together, so that lines of concurrent invocations do not interleave.
pub struct StdoutLines {
    writer: Arc<Mutex<Box<dyn Write + Send>>>,
}

impl StdoutLines {
    /// Creates lines that go to `writer`.
    pub fn new(writer: Box<dyn Write + Send>) -> Self {
        Self {
            writer: Arc::new(Mutex::new(writer)),
        }
    }

    /// Writes all lines and flushes them, or returns an error for all of them. An alert is the member `alert` of an
    /// object.
    ///
    /// If the reader of the output is blocked, a write can outlast `end`, and a started write cannot be cancelled. Its
    /// lines then appear in the output later or never, but whole. Later writes wait until it has ended.
    pub(super) async fn deliver(&self, lines: &[OutputLine], end: Instant) -> Result<(), DeliveryError> {
        let mut text = String::with_capacity(lines.iter().map(|line| line.text.len() + 12).sum());
        for line in lines {
            // The prediction of the alert is a line of its own, which would look the same.
            let (before, after) = match line.kind {
                LineKind::Alert => ("{\"alert\":", "}\n"),
                LineKind::Prediction | LineKind::DeadLetter => ("", "\n"),
            };
            text.extend([before, &line.text, after]);
        }
        self.write(text.into_bytes(), end).await
    }

    /// Writes whole lines and flushes them. The lines of a write that outlasts `end` appear later or never, as for
    /// [`deliver`](Self::deliver).
    pub(crate) async fn write(&self, lines: Vec<u8>, end: Instant) -> Result<(), DeliveryError> {
        let write = async {
            let mut writer = Arc::clone(&self.writer).lock_owned().await;
            let written = spawn_blocking(move || {
                writer.write_all(&lines)?;
                writer.flush()
            });
            written.await.unwrap_or_else(|panicked| Err(io::Error::other(panicked)))
        };
        let written = timeout_at(end, write).await;
        written
            .map_err(|_elapsed| DeliveryError::OutOfTime)?
            .map_err(|error| DeliveryError::NotAccepted {
                destination: "stdout:",
                reason: error.to_string(),
            })
    }
}

impl fmt::Debug for StdoutLines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StdoutLines")
    }
}
