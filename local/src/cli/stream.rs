//! The arguments of `cargo local` without a subcommand, which streams records.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::Args;

use super::{FunctionArgs, LOCAL_ENDPOINT_FLAGS, positive_time, share, time};
use crate::build;
use crate::environment::settings_beside;
use crate::esm::Mapping;
use crate::lambda::Lambda;
use crate::packing::Packing;
use crate::processes::Disruptions;
use crate::source::Source;
use crate::stream_command::Stream;

/// The stream, its event source mapping and the function.
#[derive(Debug, Args)]
pub struct StreamArgs {
    /// Your own records, one a line, instead of the sample transactions. Settings in a file with the same name and the
    /// extension .env override the environment
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Read the records of a stream from a Kinesis API, starting with the oldest, until Ctrl-C; an API on this machine
    /// needs no credentials
    #[arg(long, value_name = "URL", requires = "stream", conflicts_with_all = ["input", "shards", "aggregate", "gzip"])]
    kinesis: Option<String>,
    /// Name of the stream
    #[arg(long, value_name = "NAME", requires = "kinesis")]
    stream: Option<String>,
    /// Take only the first N records
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
    /// Aggregate up to N records, 1–10000, into one Kinesis record, as the Kinesis Producer Library does
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=10_000))]
    aggregate: Option<u16>,
    /// Compress each record with gzip
    #[arg(long)]
    gzip: bool,
    #[command(flatten)]
    mapping: MappingArgs,
    #[command(flatten)]
    disruptions: DisruptionArgs,
    /// Invoke a function that runs under `cargo lambda watch`, by default on port 9000, instead of starting one; it has
    /// its own settings and its own endpoint (`cargo local endpoint`)
    #[arg(
        long,
        value_name = "URL",
        conflicts_with_all = ["function", "endpoint", "seed", "fresh", "kill", "kills"],
        conflicts_with_all = LOCAL_ENDPOINT_FLAGS
    )]
    invoke: Option<String>,
    /// Folder for the predictions, the dead letters and the log, instead of target/local; a run replaces the files of
    /// an earlier one
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Print the summary as JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    function: FunctionArgs,
}

#[derive(Debug, Args)]
#[group(skip)]
struct MappingArgs {
    /// Number of shards of the stream, 1–100
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=100))]
    shards: u8,
    /// Number of batches of each shard that are processed at once, 1–10; records with the same partition key stay in
    /// order
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=10))]
    parallelization_factor: u8,
    /// Maximum number of records in a batch, 1–10000
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    batch_size: u16,
    /// Time to gather records for a batch, at most 300s
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = window)]
    batch_window: Duration,
    /// Number of redeliveries of a batch without any progress before the rest of it is discarded, up to 10000; -1 for
    /// no limit, which is the default in AWS
    #[arg(
        long,
        value_name = "N",
        default_value_t = 5,
        allow_negative_numbers = true,
        value_parser = clap::value_parser!(i16).range(-1..=10_000)
    )]
    max_retries: i16,
    /// Discard records that are older than this; the age counts from the start of the run, or with --kinesis from the
    /// arrival in the stream
    #[arg(long, value_name = "TIME", value_parser = positive_time)]
    max_record_age: Option<Duration>,
    /// Split a batch that fails as a whole into two halves
    #[arg(long)]
    bisect: bool,
}

#[derive(Debug, Args)]
#[group(skip)]
struct DisruptionArgs {
    /// Use a new process for this share of the invocations, even if a warm one is idle
    #[arg(long, value_name = "SHARE", value_parser = share)]
    fresh: Option<f64>,
    /// Kill the process in the middle of this share of the invocations
    #[arg(long, value_name = "SHARE", value_parser = share)]
    kill: Option<f64>,
    /// Kill at most N processes
    #[arg(long, value_name = "N", requires = "kill")]
    kills: Option<u64>,
}

/// Parses a time of at most five minutes.
fn window(text: &str) -> Result<Duration, String> {
    let window = time(text)?;
    if window > Duration::from_mins(5) {
        return Err("the time must be at most 300s".to_owned());
    }
    Ok(window)
}

impl StreamArgs {
    /// Returns the stream to run, and the function that processes it.
    ///
    /// # Errors
    ///
    /// If the flags of the endpoint contradict each other, or the settings beside the input are wrong.
    pub fn options(self) -> Result<(Stream, Lambda)> {
        let sample = || build::workspace().join("events/transactions.jsonl");
        let path = self.input.unwrap_or_else(sample);
        let settings = settings_beside(&path)?;
        let source = match (self.kinesis, self.stream) {
            (Some(url), Some(stream)) => Source::Kinesis { url, stream },
            _ => Source::File {
                path,
                shards: usize::from(self.mapping.shards),
                packing: Packing {
                    aggregate: self.aggregate.map(usize::from),
                    gzip: self.gzip,
                },
            },
        };
        let stream = Stream {
            source,
            limit: self.limit.map(|limit| limit as usize),
            mapping: self.mapping.mapping(),
            folder: self.out.unwrap_or_else(|| build::workspace().join("target/local")),
        };
        let lambda = if let Some(url) = self.invoke {
            Lambda::Watched {
                url,
                timeout: self.function.timeout,
            }
        } else {
            let disruptions = self.disruptions.disruptions(self.function.local_endpoint.seed());
            let mut options = self.function.options()?;
            options.settings.extend(settings);
            Lambda::Spawned { options, disruptions }
        };
        Ok((stream, lambda))
    }
}

impl MappingArgs {
    fn mapping(&self) -> Mapping {
        Mapping {
            batch_size: usize::from(self.batch_size),
            batch_window: self.batch_window,
            parallelization_factor: usize::from(self.parallelization_factor),
            max_retries: usize::try_from(self.max_retries).ok(),
            max_record_age: self.max_record_age,
            bisect: self.bisect,
        }
    }
}

impl DisruptionArgs {
    fn disruptions(&self, seed: u64) -> Disruptions {
        Disruptions {
            fresh: self.fresh.unwrap_or_default(),
            kill: self.kill.unwrap_or_default(),
            kills_max: self.kills,
            seed,
        }
    }
}
