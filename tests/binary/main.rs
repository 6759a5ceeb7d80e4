//! The function's real binary, driven over its Runtime API.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod bench;
mod capacity;
mod connections;
mod deadline;
#[path = "../support/emf.rs"]
mod emf;
mod events;
mod gateway;
mod give_up;
mod redrive;
mod start_up;
mod stream;
mod telemetry;
#[cfg(feature = "opentelemetry")]
mod traces;

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use instream_local::function::Program;
use instream_local::lambda::Lambda;
use instream_local::setup::Options;
use instream_local::stream_command::{self, Stream};
use instream_local::summary::Summary;

/// Returns the options for the binary that cargo has just built, with `settings`.
fn options(settings: &[(&str, &str)]) -> Options {
    let settings: HashMap<_, _> = settings
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    Options {
        program: Some(Program::Binary(PathBuf::from(env!("CARGO_BIN_EXE_instream")))),
        timeout: Duration::from_mins(2),
        settings,
        ..Options::default()
    }
}

/// Runs a stream of transactions. Asserts that the function's log shows no transaction, neither plain nor in base64,
/// and no prediction.
async fn run_stream(stream: Stream, lambda: Lambda) -> Summary {
    let summary = Box::pin(stream_command::run(stream, lambda)).await.unwrap();
    let log = std::fs::read_to_string(&summary.files.log).unwrap();
    assert!(log.contains("batch "), "each invocation logs a summary");
    for secret in ["merchant_category", "eyJ0aW1l", "\"score"] {
        assert!(!log.contains(secret), "{secret}: {log}");
    }
    summary
}

/// Returns the absolute path of a file in the repository.
fn repository(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)
}
