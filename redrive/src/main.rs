//! The `cargo redrive` command: see `cargo redrive --help`.

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser as _;
use instream_local::cli::{exit_code, print, run_exit_code};

mod cli;

use cli::RedriveArgs;

#[tokio::main]
async fn main() -> ExitCode {
    exit_code(Box::pin(redrive(RedriveArgs::parse())).await)
}

async fn redrive(args: RedriveArgs) -> Result<ExitCode> {
    let json = args.json;
    let summary = instream_redrive::run(args.options()?).await?;
    print(&summary, json)?;
    Ok(run_exit_code(summary.interrupted, summary.is_complete()))
}
