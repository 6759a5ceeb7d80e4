//! The `cargo redrive` command: see `cargo redrive --help`.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::Parser as _;
use instream_local::cli::{exit_code, print, run_exit_code};
use tokio::runtime::Runtime;

mod cli;

use cli::RedriveArgs;

/// The maximum time for which the end of the program waits, for example for a read of a file that was interrupted.
const SHUTDOWN_MAX: Duration = Duration::from_millis(500);

fn main() -> ExitCode {
    let args = RedriveArgs::parse();
    let runtime = match Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return exit_code(Err(error.into())),
    };
    let result = runtime.block_on(Box::pin(redrive(args)));
    runtime.shutdown_timeout(SHUTDOWN_MAX);
    exit_code(result)
}

async fn redrive(args: RedriveArgs) -> Result<ExitCode> {
    let target = args.target()?;
    let summary = instream_redrive::run(args.run, target).await?;
    print(&summary, args.json)?;
    Ok(run_exit_code(summary.interrupted, summary.is_complete()))
}
