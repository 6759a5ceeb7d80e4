//! The arguments of `cargo local check`.

use std::path::PathBuf;

use clap::Args;

use super::settings;
use crate::build;
use crate::check_command::Check;
use crate::function::Program;

/// The arguments of `cargo local check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Your own records, one a line, instead of the sample transactions
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Send the first N records, 3–100
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u8).range(3..=100))]
    limit: u8,
    /// The model server on this machine, as in `cargo local --model-server URL`
    #[arg(long, value_name = "URL")]
    model_server: String,
    /// Run this command instead of building the function
    #[arg(long, value_name = "CMD")]
    function: Option<String>,
}

impl CheckArgs {
    /// Returns the check to make. The settings come from the environment.
    pub fn options(self) -> Check {
        let sample = || build::workspace().join("events/transactions.jsonl");
        Check {
            input: self.input.unwrap_or_else(sample),
            limit: usize::from(self.limit),
            model_server: self.model_server,
            program: self.function.map(Program::Shell),
            settings: settings(),
        }
    }
}
