//! `stdout:`: a JSON object a line, for a person, a log query or the next program in a pipe.

use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;

use tokio::sync::Mutex;
use tokio::task::spawn_blocking;

/// A writer that takes whole batches of lines, so that those of concurrent invocations never mix.
pub struct Lines {
    writer: Arc<Mutex<Box<dyn Write + Send>>>,
}

impl Lines {
    /// Lines to `writer`.
    pub fn new(writer: Box<dyn Write + Send>) -> Self {
        Self {
            writer: Arc::new(Mutex::new(writer)),
        }
    }

    /// Writes all lines and flushes them.
    ///
    /// Nobody may be reading, and a write that has begun cannot be taken back: whoever stops waiting for it finds the
    /// lines in the output later or never, but whole. Until then, what comes after it waits here, unwritten.
    ///
    /// # Errors
    ///
    /// The writer's own, as when the reader of a pipe has gone.
    pub async fn deliver(&self, lines: &[String]) -> io::Result<()> {
        if lines.is_empty() {
            return Ok(());
        }
        let mut text = lines.join("\n");
        text.push('\n');
        let mut writer = Arc::clone(&self.writer).lock_owned().await;
        let written = spawn_blocking(move || {
            writer.write_all(text.as_bytes())?;
            writer.flush()
        });
        written.await.unwrap_or_else(|panicked| Err(io::Error::other(panicked)))
    }
}

impl fmt::Debug for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lines")
    }
}
