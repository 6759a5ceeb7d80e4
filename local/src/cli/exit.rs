//! The end of a command: its summary on standard output, an error on standard error, and the exit code.

use std::fmt::Display;
use std::io::{self, Write as _};
use std::process::ExitCode;

use anyhow::Result;
use serde::Serialize;

/// The exit code that shells report for a command that Ctrl-C ended.
pub const INTERRUPTED: u8 = 130;

/// Returns the exit code of a command. An error is printed and becomes 1.
pub fn exit_code(result: Result<ExitCode>) -> ExitCode {
    exit_code_or(result, ExitCode::FAILURE)
}

/// Returns the exit code of a command. An error is printed and becomes `failure`.
pub fn exit_code_or(result: Result<ExitCode>, failure: ExitCode) -> ExitCode {
    result.unwrap_or_else(|error| {
        // The reader of the output has closed it, as `head` does.
        if error
            .downcast_ref::<io::Error>()
            .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
        {
            return ExitCode::SUCCESS;
        }
        eprintln!("error: {error:#}");
        failure
    })
}

/// Returns the exit code of a run: 130 if it was interrupted, otherwise 0 if it is complete and 1 if not.
pub fn run_exit_code(is_interrupted: bool, is_complete: bool) -> ExitCode {
    match (is_interrupted, is_complete) {
        (true, _) => ExitCode::from(INTERRUPTED),
        (false, true) => ExitCode::SUCCESS,
        (false, false) => ExitCode::FAILURE,
    }
}

/// Prints a summary to standard output, as JSON or as text.
///
/// # Errors
///
/// If standard output cannot be written.
pub fn print(summary: &(impl Display + Serialize), json: bool) -> Result<()> {
    if json {
        writeln!(io::stdout(), "{}", serde_json::to_string(summary)?)?;
    } else {
        write!(io::stdout(), "{summary}")?;
    }
    Ok(())
}
