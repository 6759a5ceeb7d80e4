//! Writes log lines to standard error. If nobody reads it, lines are lost, but no write blocks the function.

use std::io::{self, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::thread;
use std::time::Duration;

/// The maximum time for which a line waits until it is written.
const WAIT: Duration = Duration::from_millis(100);
/// The maximum number of lines that wait for a reader.
const LINES_MAX: usize = 100;

/// The number of lines that were lost since the last log of it.
static LOST: AtomicUsize = AtomicUsize::new(0);

/// Returns the number of lines that were lost since the last call.
pub(super) fn lost_lines() -> usize {
    LOST.swap(0, Ordering::Relaxed)
}

/// A writer of lines, which a thread of its own passes on. A line normally waits until it is written, because Lambda
/// may stop the process at any time after the response. If a write takes longer than [`WAIT`], up to [`LINES_MAX`]
/// further lines do not wait, and all others are lost.
pub(super) struct LogWriter {
    lines: SyncSender<Vec<u8>>,
    written: Receiver<()>,
    unwritten: usize,
}

impl LogWriter {
    /// Creates a writer that passes lines on to `output`.
    pub(super) fn new(mut output: impl Write + Send + 'static) -> Self {
        let (lines, received) = sync_channel::<Vec<u8>>(LINES_MAX);
        let (sender, written) = channel();
        thread::spawn(move || {
            for line in received {
                // There is no place to report an error of the log.
                _ = output.write_all(&line);
                _ = sender.send(());
            }
        });
        Self {
            lines,
            written,
            unwritten: 0,
        }
    }
}

impl Write for LogWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.unwritten -= self.written.try_iter().count();
        let is_stuck = self.unwritten > 0;
        if self.lines.try_send(line.to_vec()).is_err() {
            LOST.fetch_add(1, Ordering::Relaxed);
            return Ok(line.len());
        }
        self.unwritten += 1;
        if !is_stuck && self.written.recv_timeout(WAIT).is_ok() {
            self.unwritten -= 1;
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::Sender;

    use super::*;

    /// Sends each line, and waits until it may go on.
    struct Gate {
        lines: Sender<Vec<u8>>,
        may_go_on: Receiver<()>,
    }

    impl Write for Gate {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            self.lines.send(line.to_vec()).unwrap();
            self.may_go_on.recv().unwrap();
            Ok(line.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_wait_for_a_reader_up_to_a_limit() {
        let (sender, lines) = channel();
        let (open, may_go_on) = channel();
        let mut log = LogWriter::new(Gate {
            lines: sender,
            may_go_on,
        });
        log.write_all(b"0").unwrap();
        assert_eq!(lines.recv().unwrap(), b"0");
        for number in 1..=LINES_MAX + 5 {
            log.write_all(number.to_string().as_bytes()).unwrap();
        }
        assert_eq!((lost_lines(), lost_lines()), (5, 0));
        for number in 1..=LINES_MAX {
            open.send(()).unwrap();
            assert_eq!(lines.recv().unwrap(), number.to_string().as_bytes());
        }
    }
}
