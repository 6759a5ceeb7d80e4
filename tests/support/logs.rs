//! No log line shows a payload: while a suite runs, all that the function logs down to DEBUG goes through here. Above that,
//! the build has nothing.

use std::io::{self, Write};
use std::sync::Once;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use lambda_runtime::tracing::subscriber::filter::LevelFilter;
use lambda_runtime::tracing::subscriber::fmt;

/// Stands in every payload, and nowhere else. JSON takes it for a number, before other digits as well.
pub(crate) const MARKER: &str = "902107770";

/// From now on, a log line that shows a payload ends the process: a panic would be taken for a call's.
pub(crate) fn watch() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let subscriber = fmt().json().with_max_level(LevelFilter::DEBUG).with_writer(|| Watch);
        subscriber.init();
    });
}

struct Watch;

impl Write for Watch {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let line = String::from_utf8_lossy(line);
        // Three bytes are four characters: so many of them are the same wherever the payload goes on.
        let encoded = BASE64.encode(MARKER);
        if [MARKER, &encoded].iter().any(|shown| line.contains(shown)) {
            eprintln!("a log line shows a payload: {line}");
            std::process::abort();
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
