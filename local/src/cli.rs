//! The command line of `cargo local`.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};
use instream_local::environment::Settings;
use instream_local::function::Program;
use instream_local::setup::{Options, OwnEndpoint};

mod bench;
mod endpoint;
mod redrive;
mod stream;

pub(crate) use bench::BenchArgs;
pub(crate) use endpoint::EndpointArgs;
use endpoint::OF_THE_LOCAL_ENDPOINT;
pub(crate) use redrive::RedriveArgs;
pub(crate) use stream::StreamArgs;

/// Runs the function on this machine: a stream of records through it, by way of a local Lambda, a local SageMaker
/// endpoint and a local event source mapping. Settings of the function's come from the environment, as in
/// `CAPACITY=64 cargo local`.
#[derive(Parser)]
#[command(
    name = "cargo local",
    bin_name = "cargo local",
    args_conflicts_with_subcommands = true
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) stream: StreamArgs,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Sends one event; prints what was delivered, then the answer
    Event {
        /// The event's JSON; settings in a file beside it with the ending .env win over the environment
        file: PathBuf,
        #[command(flatten)]
        function: FunctionArgs,
    },
    /// Measures what a record costs and how fast the function is, and compares it with other Lambda binaries
    ///
    /// One shard, one batch after the other, in a fresh process with a fresh endpoint in each round. All functions get
    /// the environment's settings, as in `CAPACITY=64 cargo local bench`; `OUTPUT` and `DEAD_LETTER` are `none:` unless
    /// they are set, so that writing lines is not measured unless asked for, and logs are in JSON from level INFO on.
    /// All is built in release mode, this program too.
    Bench(Box<BenchArgs>),
    /// Puts dead letters, and what the mapping gave up, once more: through the function, or back to a stream.
    ///
    /// Without --yes it only reads, and tells what it would do. Each record is put with its original bytes, partition
    /// key and arrival time, and through a function with its event identifier, so that what is delivered carries the
    /// same eventId. A journal keeps what has gone through: the same command goes on where it was ended. Ctrl-C lets
    /// the invocation under way end. Files and objects are never changed; a message is deleted when its record has gone
    /// through.
    ///
    /// The function runs on this machine as in `cargo local`: settings come from the environment, `OUTPUT` and
    /// `DEAD_LETTER` are stdout: unless they are set, and with that end in target/local/redrive/, to which each run
    /// adds.
    ///
    /// The exit code is 0 only if everything was readable, went through, and was not rejected again, as far as that is
    /// told.
    Redrive(Box<RedriveArgs>),
    /// Runs only the SageMaker endpoint, for `cargo lambda watch`
    Endpoint {
        /// Port on 127.0.0.1
        #[arg(long, default_value_t = 9001)]
        port: u16,
        #[command(flatten)]
        endpoint: EndpointArgs,
    },
    /// Prints generated card transactions, as in events/transactions.jsonl
    Transactions {
        /// How many
        #[arg(long, default_value_t = 1000)]
        count: u64,
        /// The same seed makes the same transactions
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
}

#[derive(Args)]
pub(crate) struct FunctionArgs {
    /// Run this instead of building the function: one plain command that starts any Lambda binary for Kinesis events
    #[arg(long, value_name = "CMD")]
    pub(crate) function: Option<String>,
    /// Call your own endpoint with this machine's AWS credentials: one of SageMaker by its name, any other by its URL
    #[arg(long, value_name = "NAME|URL", conflicts_with_all = OF_THE_LOCAL_ENDPOINT)]
    pub(crate) endpoint: Option<OwnEndpoint>,
    /// Time for one invocation, as in template.yaml
    #[arg(long, value_name = "TIME", default_value = "120s", value_parser = some_time)]
    pub(crate) timeout: Duration,
    #[command(flatten)]
    pub(crate) local_endpoint: EndpointArgs,
}

/// `10%`, `0.5%`.
fn share(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').and_then(|number| number.parse::<f64>().ok());
    let percent = number.filter(|percent| (0.0..=100.0).contains(percent));
    let share = percent.map(|percent| percent / 100.0);
    share.ok_or_else(|| "a share is like 10% or 0.5%, 100% at most".to_owned())
}

/// `20ms`, `1.5s`.
fn time(text: &str) -> Result<Duration, String> {
    let number = |digits: &str, per_second: f64| {
        let seconds = digits.parse::<f64>().ok().map(|number| number / per_second);
        seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
    };
    let parsed = match (text.strip_suffix("ms"), text.strip_suffix('s')) {
        (Some(digits), _) => number(digits, 1000.0),
        (None, Some(digits)) => number(digits, 1.0),
        (None, None) => None,
    };
    parsed.ok_or_else(|| "a time is like 20ms or 1.5s".to_owned())
}

/// As [`time`], but more than none.
fn some_time(text: &str) -> Result<Duration, String> {
    time(text).and_then(|time| {
        if time.is_zero() {
            Err("no time at all".to_owned())
        } else {
            Ok(time)
        }
    })
}

/// The environment, as far as it is UTF-8.
fn settings() -> Settings {
    let own = std::env::vars_os();
    own.filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

impl FunctionArgs {
    pub(crate) fn options(self) -> Result<Options> {
        Ok(Options {
            program: self.function.map(Program::Shell),
            own_endpoint: self.endpoint,
            local_endpoint: self.local_endpoint.options()?,
            timeout: self.timeout,
            settings: settings(),
        })
    }
}
