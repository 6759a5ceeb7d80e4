//! The command line of `cargo local`. `cargo redrive` shares [`FunctionArgs`] and the exit codes.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};

use crate::environment::Settings;
use crate::function::Program;
use crate::setup::{Options, UserEndpoint};

mod bench;
mod check;
mod endpoint;
mod exit;
mod stream;

pub use bench::BenchArgs;
pub use check::CheckArgs;
pub use endpoint::{EndpointArgs, LOCAL_ENDPOINT_FLAGS};
pub use exit::{INTERRUPTED, exit_code, exit_code_or, print, run_exit_code};
pub use stream::StreamArgs;

/// Runs the function on this machine: streams records through it, with a local Lambda, a local SageMaker endpoint and a
/// local event source mapping. The function's settings come from the environment, as in `CAPACITY=64 cargo local`.
#[derive(Debug, Parser)]
#[command(
    name = "cargo local",
    bin_name = "cargo local",
    args_conflicts_with_subcommands = true
)]
pub struct Cli {
    /// The subcommand. Without one, a stream runs.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// The arguments of the stream.
    #[command(flatten)]
    pub stream: StreamArgs,
}

/// The subcommands of `cargo local`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Sends one event, and prints the lines that the function delivers, then its response
    Event {
        /// The event's JSON. Settings in a file with the same name and the extension .env override the environment
        file: PathBuf,
        /// The function to invoke.
        #[command(flatten)]
        function: FunctionArgs,
    },
    /// Measures the cost of a record and the speed of the function, and compares it with other Lambda binaries
    ///
    /// Each round streams one shard, one batch at a time, through a fresh process with a fresh endpoint. All functions
    /// get the environment's settings, as in `CAPACITY=64 cargo local bench`. `OUTPUT` and `DEAD_LETTER` are `none:` by
    /// default, so that writing lines is measured only on request. Logs are JSON, at level INFO and above. Everything
    /// is built in release mode, this program included.
    Bench(Box<BenchArgs>),
    /// Finds the settings that fit a model server: sends it sample records one by one, together and with a broken one
    ///
    /// Each trial is a fresh process of the function. The environment's settings hold. Content type, ACCEPT and batch
    /// strategy are varied if they are not set. The exit code is 0 if some settings fit, 1 if none do, and 2 if the
    /// check cannot be made, for example because no model server answers.
    Check(CheckArgs),
    /// Runs only the SageMaker endpoint, for `cargo lambda watch`
    Endpoint {
        /// Port on 127.0.0.1
        #[arg(long, default_value_t = 9001)]
        port: u16,
        /// The endpoint to run.
        #[command(flatten)]
        endpoint: EndpointArgs,
    },
    /// Prints generated events of taxi trips, like those in events/rides.jsonl
    Rides {
        /// Number of events
        #[arg(long, default_value_t = 240)]
        count: u64,
        /// Seed of the generator; the same seed generates the same events
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Prints generated card transactions, like those in events/transactions.jsonl
    Transactions {
        /// Number of transactions
        #[arg(long, default_value_t = 1000)]
        count: u64,
        /// Seed of the generator; the same seed generates the same transactions
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
}

/// The function to run on this machine, and its endpoint.
#[derive(Debug, Clone, Args)]
pub struct FunctionArgs {
    /// Run this command instead of building the function: one plain command that starts any Lambda binary for Kinesis
    /// events
    #[arg(long, value_name = "CMD")]
    pub function: Option<String>,
    /// Call your own endpoint with this machine's AWS credentials: a SageMaker endpoint by its name, any other by its
    /// URL
    #[arg(long, value_name = "NAME|URL", conflicts_with_all = LOCAL_ENDPOINT_FLAGS)]
    pub endpoint: Option<UserEndpoint>,
    /// Timeout of one invocation, as in template.yaml
    #[arg(long, value_name = "TIME", default_value = "120s", value_parser = positive_time)]
    pub timeout: Duration,
    /// The endpoint on this machine.
    #[command(flatten)]
    pub local_endpoint: EndpointArgs,
}

/// Parses a share such as `10%` or `0.5%`, as a fraction of 1.
fn share(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').and_then(|number| number.parse::<f64>().ok());
    let percent = number.filter(|percent| (0.0..=100.0).contains(percent));
    let share = percent.map(|percent| percent / 100.0);
    share.ok_or_else(|| "expected a share such as 10% or 0.5%, at most 100%".to_owned())
}

/// Parses a time such as `20ms` or `1.5s`.
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
    parsed.ok_or_else(|| "expected a time such as 20ms or 1.5s".to_owned())
}

/// Parses a time that is more than 0.
fn positive_time(text: &str) -> Result<Duration, String> {
    time(text).and_then(|time| {
        if time.is_zero() {
            Err("the time must be more than 0".to_owned())
        } else {
            Ok(time)
        }
    })
}

/// Returns the environment variables of this process whose names and values are UTF-8.
pub fn settings() -> Settings {
    let variables = std::env::vars_os();
    variables
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

impl FunctionArgs {
    /// Returns the options with which the function is set up. The settings come from the environment.
    ///
    /// # Errors
    ///
    /// If the flags of the endpoint contradict each other.
    pub fn options(self) -> Result<Options> {
        Ok(Options {
            program: self.function.map(Program::Shell),
            user_endpoint: self.endpoint,
            local_endpoint: self.local_endpoint.options()?,
            timeout: self.timeout,
            settings: settings(),
        })
    }
}
