//! The command line of `cargo redrive`.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use clap::{Args, Parser};
use instream_local::cli::{FunctionArgs, LOCAL_ENDPOINT_FLAGS, settings};
use instream_redrive::{Redrive, RetryLimits, Selection, Source, Target, folder};

/// Puts dead letters, and what the mapping gave up, once more: through the function, or back to a stream.
///
/// Without --yes it only reads, and tells what it would do. Each record is put with its original bytes, partition key
/// and arrival time, and through a function with its event identifier, so that what is delivered carries the same
/// eventId. A journal keeps what has gone through: the same command goes on where it was ended. Ctrl-C lets the
/// invocation under way end. Files and objects are never changed; a message is deleted when its record has gone
/// through.
///
/// The function runs on this machine as in `cargo local`: settings come from the environment, `OUTPUT` and
/// `DEAD_LETTER` are stdout: unless they are set, and with that end in target/local/redrive/, to which each run adds.
///
/// The exit code is 0 only if everything was readable, went through, and was not rejected again, as far as that is
/// told.
#[derive(Parser)]
#[command(name = "cargo redrive", bin_name = "cargo redrive", after_help = EXAMPLES)]
pub(crate) struct RedriveArgs {
    /// A file of JSON lines, a folder of such, `s3://BUCKET/PREFIX`, or `sqs:URL`; what each item is, its shape tells
    #[arg(required = true, value_name = "SOURCE")]
    sources: Vec<Source>,
    /// Do it: without this, nothing is put, deleted or written. What is in s3: or sqs: needs a target that is named
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    selection: SelectionArgs,
    /// Through this deployed function, by Lambda's Invoke API, with this machine's AWS credentials
    #[arg(
        long,
        value_name = "NAME",
        conflicts_with_all = ["function", "endpoint", "seed", "to_stream"],
        conflicts_with_all = LOCAL_ENDPOINT_FLAGS
    )]
    function_name: Option<String>,
    /// Back to this stream, as new records: with new sequence numbers, and so with new event identifiers
    #[arg(
        long,
        value_name = "NAME",
        conflicts_with_all = ["function", "endpoint", "seed"],
        conflicts_with_all = LOCAL_ENDPOINT_FLAGS
    )]
    to_stream: Option<String>,
    /// Records in an event at most, 1–10000; in a request to a stream, 500
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    batch_size: u16,
    /// How often records come again without any progress before the first of them is left, and those behind it go on
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(..=10_000))]
    max_retries: u16,
    /// End when so many records in a row came to nothing, as in an outage; 0 for never
    #[arg(long, value_name = "N", default_value_t = 20)]
    stop_after: u32,
    /// The journal; by default one for each target, under target/local/redrive/
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
    /// Only letters of this reason, such as `Refused` or `RetryAttemptsExhausted`; may be given several times
    #[arg(long = "reason", value_name = "KIND")]
    reasons: Vec<String>,
    /// Only the first N records that are to be put
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
    /// Also put what the journal says has gone through
    #[arg(long)]
    again: bool,
    /// Leave out what an earlier run was killed with, which may have gone through; otherwise it is put again
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

docs/redrive.md tells what may come twice, and which permissions it needs.";

/// How much longer than an invocation a message is hidden, in seconds.
const HIDDEN_BEYOND_S: u64 = 60;
/// SQS hides no message for longer.
const HIDDEN_MAX_S: i32 = 12 * 60 * 60;
/// A deployed function may take that long.
const DEPLOYED_S: u64 = 16 * 60;

/// What names a target.
const TARGETS: &str = "--function-name, --to-stream, --endpoint, --model-server or --function";

impl RedriveArgs {
    /// What lies in a bucket or a queue is production's: the built-in model's predictions are nothing to delete it for.
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
            "with --yes, what is in s3: or sqs: needs a target: one of {TARGETS}"
        );
        eprintln!("no target is named: with --yes, what is in s3: or sqs: needs one of {TARGETS}");
        Ok(())
    }

    pub(crate) fn options(self) -> Result<Redrive> {
        self.check_target()?;
        let timeout_s = self.function.timeout.as_secs();
        let target = match (self.function_name, self.to_stream) {
            (Some(name), _) => Target::Deployed(name),
            (None, Some(name)) => Target::Stream(name),
            (None, None) => Target::Local(self.function.options()?),
        };
        let attempt_s = match target {
            Target::Deployed(_) => timeout_s.max(DEPLOYED_S),
            Target::Local(_) | Target::Stream(_) => timeout_s,
        };
        let visibility_timeout_s = i32::try_from(attempt_s + HIDDEN_BEYOND_S).unwrap_or(HIDDEN_MAX_S);
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
                visibility_timeout_s: visibility_timeout_s.min(HIDDEN_MAX_S),
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
    fn what_is_in_a_bucket_or_a_queue_is_put_only_through_a_target_that_is_named() {
        for source in ["s3://dead/letters/", "sqs:http://127.0.0.1/1/dead"] {
            let told = error(&["a.jsonl", source, "--yes"]).unwrap();
            for target in [
                "--function-name",
                "--to-stream",
                "--endpoint",
                "--model-server",
                "--function",
            ] {
                assert!(told.contains(target), "{told}");
                assert_eq!(error(&[source, "--yes", target, "http://127.0.0.1:1"]), None);
            }
            assert_eq!(error(&[source]), None, "a dry run");
        }
        assert_eq!(error(&["a.jsonl", "--yes"]), None);
    }
}
