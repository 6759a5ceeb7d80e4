//! The `cargo redrive` command: see `cargo redrive --help`.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::Parser;
use instream_local::cli::{FunctionArgs, LOCAL_ENDPOINT_FLAGS, exit_code, print, run_exit_code};
use instream_redrive::{Run, Target};
use tokio::runtime::Runtime;

/// The maximum time for which the end of the program waits, for example for a read of a file that was interrupted.
const SHUTDOWN_MAX: Duration = Duration::from_millis(500);

/// Redrives dead letters, and batches that the event source mapping discarded: through the function, or back to a
/// stream.
///
/// Without --yes, it only reads and prints what it would do. Each record is sent with its original bytes, partition key
/// and arrival time. A function also gets the original event identifier, so that it delivers the same eventId. A
/// journal has the dead letters that the target has finished, so that the same command continues a run that was
/// stopped. Ctrl-C lets the current invocation finish. Files and objects are never changed. A message is deleted when
/// its records are finished.
///
/// By default, the function runs on this machine as in `cargo local`. Its settings come from the environment. `OUTPUT`
/// and `DEAD_LETTER` are `stdout:` by default, and each run appends those lines to the files in target/local/redrive/.
///
/// The exit code is 0 only if everything was readable, every record succeeded, and none was rejected again, as far as
/// that is known.
#[derive(Parser)]
#[command(name = "cargo redrive", bin_name = "cargo redrive", after_help = EXAMPLES)]
struct RedriveArgs {
    #[command(flatten)]
    run: Run,
    /// Send to this deployed function with Lambda's Invoke API and this machine's AWS credentials
    #[arg(
        long,
        value_name = "NAME",
        conflicts_with_all = ["function", "endpoint", "seed", "to_stream"],
        conflicts_with_all = LOCAL_ENDPOINT_FLAGS
    )]
    function_name: Option<String>,
    /// Send back to this stream, as new records with new sequence numbers and therefore new event identifiers
    #[arg(
        long,
        value_name = "NAME",
        conflicts_with_all = ["function", "endpoint", "seed"],
        conflicts_with_all = LOCAL_ENDPOINT_FLAGS
    )]
    to_stream: Option<String>,
    /// Print the summary as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    function: FunctionArgs,
}

const EXAMPLES: &str = "\
Examples:
  cargo redrive target/local/dead-letters.jsonl
  cargo redrive s3://my-bucket/dead-letters/2026/11/ --reason Refused --function-name instream --yes
  OUTPUT=kinesis:scores cargo redrive sqs:https://sqs.eu-west-1.amazonaws.com/123456789012/dead \
    --endpoint fraud-detector --yes
  cargo redrive s3://my-bucket/aws/lambda/ --to-stream transactions --yes

docs/redrive.md describes which records can be duplicated, and the permissions that a redrive needs.";

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

impl RedriveArgs {
    /// Returns the target. Sources in S3 and SQS need an explicit one: they hold production data, and messages must not
    /// be deleted because the built-in model has scored their records.
    fn target(&self) -> Result<Target> {
        if let Some(name) = &self.function_name {
            return Ok(Target::Deployed(name.clone()));
        }
        if let Some(name) = &self.to_stream {
            return Ok(Target::Stream(name.clone()));
        }
        let function = self.function.clone();
        let model_server = &function.local_endpoint.model_server;
        let is_named = function.function.is_some() || function.endpoint.is_some() || model_server.is_some();
        let is_remote = |source: &String| source.starts_with("s3:") || source.starts_with("sqs:");
        if !is_named && self.run.sources.iter().any(is_remote) {
            let flags = "--function-name, --to-stream, --endpoint, --model-server or --function";
            let why = format!("with --yes, sources in s3: and sqs: need an explicit target: one of {flags}");
            ensure!(!self.run.yes, why);
            eprintln!("{why}");
        }
        Ok(Target::Local(function.options()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(flags: &[&str]) -> Option<String> {
        let line = ["cargo redrive"].iter().chain(flags);
        let args = RedriveArgs::try_parse_from(line).unwrap();
        args.target().err().map(|error| error.to_string())
    }

    #[test]
    fn sources_in_s3_and_sqs_need_an_explicit_target() {
        for source in ["s3://dead/letters/", "sqs:http://127.0.0.1/1/dead"] {
            let message = error(&["a.jsonl", source, "--yes"]).unwrap();
            for target in [
                "--function-name",
                "--to-stream",
                "--endpoint",
                "--model-server",
                "--function",
            ] {
                assert!(message.contains(target), "{message}");
                assert_eq!(error(&[source, "--yes", target, "http://127.0.0.1:1"]), None);
            }
            assert_eq!(error(&[source]), None, "a dry run");
        }
        assert_eq!(error(&["a.jsonl", "--yes"]), None);
    }
}
