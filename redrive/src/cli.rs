//! The command line of `cargo redrive`.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use clap::{Args, Parser};
use instream_local::cli::{FunctionArgs, LOCAL_ENDPOINT_FLAGS, settings};
use instream_redrive::{Redrive, RetryLimits, Selection, Source, Target, folder};

/// Redrives dead letters, and batches that the event source mapping discarded: through the function, or back to a
/// stream.
///
/// Without --yes, it only reads and prints what it would do. Each record is sent with its original bytes, partition key
/// and arrival time. A function also gets the original event identifier, so that it delivers the same eventId. A
/// journal records which records have succeeded, so that the same command continues a run that was stopped. Ctrl-C lets
/// the current invocation finish. Files and objects are never changed. A message is deleted when its records have
/// succeeded.
///
/// By default, the function runs on this machine as in `cargo local`. Its settings come from the environment. `OUTPUT`
/// and `DEAD_LETTER` are `stdout:` by default, and each run appends those lines to the files in target/local/redrive/.
///
/// The exit code is 0 only if everything was readable, every record succeeded, and none was rejected again, as far as
/// that is known.
#[derive(Parser)]
#[command(name = "cargo redrive", bin_name = "cargo redrive", after_help = EXAMPLES)]
pub(crate) struct RedriveArgs {
    /// A file of JSON lines, a folder of such files, `s3://BUCKET/PREFIX`, or `sqs:URL`; the members of each item show
    /// what it is
    #[arg(required = true, value_name = "SOURCE")]
    sources: Vec<Source>,
    /// Send the records; without this, nothing is sent, deleted or written. Sources in s3: and sqs: need an explicit
    /// target
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    selection: SelectionArgs,
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
    /// Maximum number of records in an event, 1–10000; in a request to a stream, at most 500
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    batch_size: u16,
    /// Number of retries without any progress before the first record is given up and the others continue
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(..=10_000))]
    max_retries: u16,
    /// End the run after N consecutive records were given up, as in an outage; 0 for no limit
    #[arg(long, value_name = "N", default_value_t = 20)]
    stop_after: u32,
    /// The journal; by default, each target has its own in target/local/redrive/
    #[arg(long, value_name = "FILE")]
    journal: Option<PathBuf>,
    /// Print the summary as JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    function: FunctionArgs,
}

#[derive(Args)]
#[group(skip)]
struct SelectionArgs {
    /// Select only dead letters with this reason, such as `Refused` or `RetryAttemptsExhausted`; may be given several
    /// times
    #[arg(long = "reason", value_name = "KIND")]
    reasons: Vec<String>,
    /// Select only the first N of the records that would be sent
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
    /// Also send records that succeeded in an earlier run according to the journal
    #[arg(long)]
    again: bool,
    /// Skip records that an earlier run was sending when it was killed, and that may have succeeded; otherwise they are
    /// sent again
    #[arg(long)]
    skip_in_doubt: bool,
}

const EXAMPLES: &str = "\
Examples:
  cargo redrive target/local/dead-letters.jsonl
  cargo redrive s3://my-bucket/dead-letters/2026/11/ --reason Refused --function-name instream --yes
  OUTPUT=kinesis:scores cargo redrive sqs:https://sqs.eu-west-1.amazonaws.com/123456789012/dead \
    --endpoint fraud-detector --yes
  cargo redrive s3://my-bucket/aws/lambda/ --to-stream transactions --yes

docs/redrive.md describes which records can be duplicated, and the permissions that a redrive needs.";

/// The time by which the visibility timeout of a message exceeds the timeout of an invocation, in seconds.
const VISIBILITY_MARGIN_S: u64 = 60;
/// The maximum visibility timeout of SQS, in seconds.
const VISIBILITY_TIMEOUT_MAX_S: i32 = 12 * 60 * 60;
/// The maximum time of an invocation of a deployed function, in seconds.
const DEPLOYED_INVOCATION_MAX_S: u64 = 16 * 60;

/// The flags that name a target.
const TARGET_FLAGS: &str = "--function-name, --to-stream, --endpoint, --model-server or --function";

impl RedriveArgs {
    /// Checks that sources in S3 and SQS have an explicit target. They hold production data, and messages must not be
    /// deleted because the built-in model has scored their records.
    fn check_target(&self) -> Result<()> {
        let is_a_file = |source: &Source| matches!(source, Source::Path(_));
        let names = [
            &self.function_name,
            &self.to_stream,
            &self.function.local_endpoint.model_server,
            &self.function.function,
        ];
        let is_named = self.function.endpoint.is_some() || names.iter().any(|name| name.is_some());
        if self.sources.iter().all(is_a_file) || is_named {
            return Ok(());
        }
        ensure!(
            !self.yes,
            "with --yes, sources in s3: and sqs: need an explicit target: one of {TARGET_FLAGS}"
        );
        eprintln!("no explicit target: with --yes, sources in s3: and sqs: need one of {TARGET_FLAGS}");
        Ok(())
    }

    /// Returns the redrive to run.
    pub(crate) fn options(self) -> Result<Redrive> {
        self.check_target()?;
        let timeout_s = self.function.timeout.as_secs();
        let target = match (self.function_name, self.to_stream) {
            (Some(name), _) => Target::Deployed(name),
            (None, Some(name)) => Target::Stream(name),
            (None, None) => Target::Local(self.function.options()?),
        };
        let attempt_s = match target {
            Target::Deployed(_) => timeout_s.max(DEPLOYED_INVOCATION_MAX_S),
            Target::Local(_) | Target::Stream(_) => timeout_s,
        };
        let visibility_timeout_s = i32::try_from(attempt_s + VISIBILITY_MARGIN_S).unwrap_or(VISIBILITY_TIMEOUT_MAX_S);
        Ok(Redrive {
            sources: self.sources,
            selection: Selection {
                reasons: self.selection.reasons,
                limit: self.selection.limit.map(|limit| limit as usize),
                again: self.selection.again,
                skip_in_doubt: self.selection.skip_in_doubt,
            },
            target,
            yes: self.yes,
            batch_size: usize::from(self.batch_size),
            retry_limits: RetryLimits {
                max_retries: usize::from(self.max_retries),
                stop_after: self.stop_after as usize,
                visibility_timeout_s: visibility_timeout_s.min(VISIBILITY_TIMEOUT_MAX_S),
            },
            journal: self.journal,
            folder: folder(),
            settings: settings(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(flags: &[&str]) -> Option<String> {
        let line = ["cargo redrive"].iter().chain(flags);
        let args = RedriveArgs::try_parse_from(line).unwrap();
        args.options().err().map(|error| error.to_string())
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
