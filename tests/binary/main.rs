//! The function's real binary, driven over its Runtime API.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod bench;
mod capacity;
mod connections;
mod deadline;
#[path = "../support/emf.rs"]
mod emf;
mod events;
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
use instream_local::setup::Options;

/// The function as cargo has just built it, with these settings.
fn options(settings: &[(&str, &str)]) -> Options {
    let settings: HashMap<_, _> = settings
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    Options {
        program: Some(Program::Binary(PathBuf::from(env!("CARGO_BIN_EXE_instream")))),
        timeout: Duration::from_mins(1),
        settings,
        ..Options::default()
    }
}

/// A path in the repository.
fn repository(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)
}
