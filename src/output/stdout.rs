//! `stdout:`: a JSON object a line, for a person, a log query or the next program in a pipe.

use std::fmt;
use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};

/// A writer that takes whole batches of lines, so that those of concurrent invocations never mix.
pub struct Lines {
    writer: Mutex<Box<dyn Write + Send>>,
}

impl Lines {
    /// Lines to `writer`.
    pub fn new(writer: Box<dyn Write + Send>) -> Self {
        Self {
            writer: Mutex::new(writer),
        }
    }

    /// Writes all lines and flushes them.
    ///
    /// # Errors
    ///
    /// The writer's own, as when the reader of a pipe has gone.
    pub fn deliver(&self, lines: &[String]) -> io::Result<()> {
        if lines.is_empty() {
            return Ok(());
        }
        let mut text = lines.join("\n");
        text.push('\n');
        // A panic while writing leaves nothing behind that a later batch could trip over.
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        writer.write_all(text.as_bytes())?;
        writer.flush()
    }
}

impl fmt::Debug for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lines")
    }
}
