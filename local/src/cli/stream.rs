//! `cargo local` without a subcommand: the stream.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use instream_local::build;
use instream_local::esm::Mapping;
use instream_local::lambda::Lambda;
use instream_local::packing::Packing;
use instream_local::processes::Mishaps;
use instream_local::source::Source;
use instream_local::stream_command::Stream;

use super::{FunctionArgs, OF_THE_LOCAL_ENDPOINT, share, some_time, time};

#[derive(Args)]
pub(crate) struct StreamArgs {
    /// Your own records, a line each, instead of the sample transactions
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// The records of a stream behind a Kinesis API, from the oldest on, until Ctrl-C; on this machine, no credentials
    /// are needed
    #[arg(long, value_name = "URL", requires = "stream", conflicts_with_all = ["input", "shards", "aggregate", "gzip"])]
    kinesis: Option<String>,
    /// Name of the stream
    #[arg(long, value_name = "NAME", requires = "kinesis")]
    stream: Option<String>,
    /// Take only the first N records
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
    /// Put up to N records, 1–10000, into one Kinesis record, as the Kinesis Producer Library does
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=10_000))]
    aggregate: Option<u16>,
    /// Compress each record by gzip
    #[arg(long)]
    gzip: bool,
    #[command(flatten)]
    mapping: MappingArgs,
    #[command(flatten)]
    mishaps: MishapArgs,
    /// Invoke a function under `cargo lambda watch`, which listens on port 9000 unless told otherwise, instead of
    /// starting one; it has its own settings, and its own endpoint (`cargo local endpoint`)
    #[arg(
        long,
        value_name = "URL",
        conflicts_with_all = ["function", "endpoint", "seed", "fresh", "kill", "kills"],
        conflicts_with_all = OF_THE_LOCAL_ENDPOINT
    )]
    invoke: Option<String>,
    /// Print the summary as JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    function: FunctionArgs,
}

#[derive(Args)]
#[group(skip)]
struct MappingArgs {
    /// Shards of the stream, 1–100
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=100))]
    shards: u8,
    /// Batches of each shard that are processed at once, 1–10; records with the same partition key stay in order
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=10))]
    parallelization_factor: u8,
    /// Records in a batch at most, 1–10000
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    batch_size: u16,
    /// How long to gather records for a batch, 300s at most
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = window)]
    batch_window: Duration,
    /// How often a batch comes again without any progress before the rest of it is discarded, up to 10000; -1 for no
    /// limit, which is what AWS does unless told otherwise
    #[arg(
        long,
        value_name = "N",
        default_value_t = 5,
        allow_negative_numbers = true,
        value_parser = clap::value_parser!(i16).range(-1..=10_000)
    )]
    max_retries: i16,
    /// Discard records that are older than this, counted from the start of the run, or from their arrival in a stream
    #[arg(long, value_name = "TIME", value_parser = some_time)]
    max_record_age: Option<Duration>,
    /// Split a batch that fails as a whole in two halves
    #[arg(long)]
    bisect: bool,
}

#[derive(Args)]
#[group(skip)]
struct MishapArgs {
    /// Give this share of the invocations a fresh process, though a warm one is idle
    #[arg(long, value_name = "SHARE", value_parser = share)]
    fresh: Option<f64>,
    /// Kill the process in the middle of this share of the invocations
    #[arg(long, value_name = "SHARE", value_parser = share)]
    kill: Option<f64>,
    /// Kill N processes at most
    #[arg(long, value_name = "N", requires = "kill")]
    kills: Option<u64>,
}

/// As [`time`], up to five minutes.
fn window(text: &str) -> Result<Duration, String> {
    let window = time(text)?;
    if window > Duration::from_mins(5) {
        return Err("300s at most".to_owned());
    }
    Ok(window)
}

impl StreamArgs {
    /// What to stream, and through which function.
    pub(crate) fn options(self) -> Result<(Stream, Lambda)> {
        let sample = || build::workspace().join("events/transactions.jsonl");
        let source = match (self.kinesis, self.stream) {
            (Some(url), Some(stream)) => Source::Kinesis { url, stream },
            _ => Source::File {
                path: self.input.unwrap_or_else(sample),
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
            folder: build::workspace().join("target/local"),
        };
        let lambda = match self.invoke {
            Some(url) => Lambda::Watched {
                url,
                timeout: self.function.timeout,
            },
            None => Lambda::Here {
                mishaps: self.mishaps.mishaps(self.function.local_endpoint.seed()),
                options: self.function.options()?,
            },
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

impl MishapArgs {
    fn mishaps(&self, seed: u64) -> Mishaps {
        Mishaps {
            fresh: self.fresh.unwrap_or_default(),
            kill: self.kill.unwrap_or_default(),
            kills_max: self.kills,
            seed,
        }
    }
}
