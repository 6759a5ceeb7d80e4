//! `cargo local redrive`.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use instream_local::redrive::{self, Patience, Redrive, Selection, Source, Target};

use super::{FunctionArgs, OF_THE_LOCAL_ENDPOINT, settings};

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct RedriveArgs {
    /// A file of JSON lines, a folder of such, `s3://BUCKET/PREFIX`, or `sqs:URL`; what each item is, its shape tells
    #[arg(required = true, value_name = "SOURCE")]
    sources: Vec<Source>,
    /// Do it: without this, nothing is put, deleted or written
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    selection: SelectionArgs,
    /// Through this deployed function, by Lambda's Invoke API, with this machine's AWS credentials
    #[arg(
        long,
        value_name = "NAME",
        conflicts_with_all = ["function", "endpoint", "seed", "to_stream"],
        conflicts_with_all = OF_THE_LOCAL_ENDPOINT
    )]
    function_name: Option<String>,
    /// Back to this stream, as new records: with new sequence numbers, and so with new event identifiers
    #[arg(
        long,
        value_name = "NAME",
        conflicts_with_all = ["function", "endpoint", "seed"],
        conflicts_with_all = OF_THE_LOCAL_ENDPOINT
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
  cargo local redrive target/local/dead-letters.jsonl
  cargo local redrive s3://my-bucket/dead-letters/2026/11/ --reason Refused --function-name instream --yes
  OUTPUT=kinesis:scores cargo local redrive sqs:https://sqs.eu-west-1.amazonaws.com/123456789012/dead \
    --endpoint fraud-detector --yes
  cargo local redrive s3://my-bucket/dead-letters/aws/lambda/ --to-stream transactions --yes

docs/redrive.md tells what may come twice, and which permissions it needs.";

/// How much longer than an invocation a message is hidden, in seconds.
const HIDDEN_BEYOND_S: u64 = 60;
/// SQS hides no message for longer.
const HIDDEN_MAX_S: i32 = 12 * 60 * 60;
/// A deployed function may take that long.
const DEPLOYED_S: u64 = 16 * 60;

impl RedriveArgs {
    pub(crate) fn options(self) -> Result<Redrive> {
        let timeout_s = self.function.timeout.as_secs();
        let target = match (self.function_name, self.to_stream) {
            (Some(name), _) => Target::Deployed(name),
            (None, Some(name)) => Target::Stream(name),
            (None, None) => Target::Here(self.function.options()?),
        };
        let attempt_s = match target {
            Target::Deployed(_) => timeout_s.max(DEPLOYED_S),
            Target::Here(_) | Target::Stream(_) => timeout_s,
        };
        let hidden_s = i32::try_from(attempt_s + HIDDEN_BEYOND_S).unwrap_or(HIDDEN_MAX_S);
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
            patience: Patience {
                max_retries: usize::from(self.max_retries),
                stop_after: self.stop_after as usize,
                hidden_s: hidden_s.min(HIDDEN_MAX_S),
            },
            journal: self.journal,
            folder: redrive::folder(),
            settings: settings(),
        })
    }
}
