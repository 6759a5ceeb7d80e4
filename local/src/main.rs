//! The `cargo local` command: see `cargo local --help`.

use std::collections::HashMap;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};
use instream_local::esm::Mapping;
use instream_local::function::{Answer, Program};
use instream_local::interrupt::interrupted;
use instream_local::setup::{Options, start_endpoint};
use instream_local::stream_command::{self, Stream};
use instream_local::{build, environment, event_command, transactions};

/// What a shell reports for a command that Ctrl-C ended.
const INTERRUPTED: u8 = 130;

/// Runs the function on this machine: a stream of records through it, by way of a local Lambda, a local SageMaker
/// endpoint and a local event source mapping. Settings of the function's come from the environment, as in
/// `CAPACITY=64 cargo local`.
#[derive(Parser)]
#[command(
    name = "cargo local",
    bin_name = "cargo local",
    args_conflicts_with_subcommands = true
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    stream: StreamArgs,
}

#[derive(Subcommand)]
enum Command {
    /// Sends one event; prints what was delivered, then the answer
    Event {
        /// The event's JSON; settings in a file beside it with the ending .env win over the environment
        file: PathBuf,
        #[command(flatten)]
        function: FunctionArgs,
    },
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
struct StreamArgs {
    /// Your own records, a line each, instead of the sample transactions
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Take only the first N records
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
    /// Records in a batch at most, 1–10000
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    batch_size: u16,
    /// How often a batch comes again without any progress before the rest of it is discarded
    #[arg(long, value_name = "N", default_value_t = 5)]
    max_retries: usize,
    /// Print the summary as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    function: FunctionArgs,
}

#[derive(Args)]
struct FunctionArgs {
    /// Run this instead of building the function: one plain command that starts any Lambda binary for Kinesis events
    #[arg(long, value_name = "CMD")]
    function: Option<String>,
    /// Call your own SageMaker endpoint, with this machine's AWS credentials
    #[arg(long, value_name = "NAME", conflicts_with_all = ["model_server", "latency"])]
    endpoint: Option<String>,
    /// Time for one invocation, as in template.yaml
    #[arg(long, value_name = "TIME", default_value = "330s", value_parser = some_time)]
    timeout: Duration,
    #[command(flatten)]
    local_endpoint: EndpointArgs,
}

#[derive(Args)]
struct EndpointArgs {
    /// Call a model container on this machine instead of the built-in model
    #[arg(long, value_name = "URL")]
    model_server: Option<String>,
    /// What each call to the local endpoint takes at least, beyond the model's own time; 20ms with the built-in model
    #[arg(long, value_name = "TIME", value_parser = time)]
    latency: Option<Duration>,
}

impl EndpointArgs {
    /// The built-in model answers at once, which no endpoint does.
    fn latency(&self) -> Duration {
        let of_the_model = if self.model_server.is_some() {
            Duration::ZERO
        } else {
            Duration::from_millis(20)
        };
        self.latency.unwrap_or(of_the_model)
    }
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

impl FunctionArgs {
    fn options(self) -> Options {
        let own = std::env::vars_os();
        let settings: HashMap<_, _> = own
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        Options {
            program: self.function.map(Program::Shell),
            aws_endpoint: self.endpoint,
            latency: self.local_endpoint.latency(),
            model_server: self.local_endpoint.model_server,
            timeout: self.timeout,
            settings,
        }
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match cli.command {
        None => stream(cli.stream).await,
        Some(Command::Event { file, function }) => tokio::select! {
            done = event(file, function) => done,
            () = interrupted() => Ok(ExitCode::from(INTERRUPTED)),
        },
        Some(Command::Endpoint { port, endpoint }) => serve_endpoint(port, endpoint).await,
        Some(Command::Transactions { count, seed }) => print_transactions(count, seed),
    };
    done.unwrap_or_else(|error| {
        // Whoever reads our output has had enough, as `head` has.
        if error
            .downcast_ref::<io::Error>()
            .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
        {
            return ExitCode::SUCCESS;
        }
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

async fn stream(args: StreamArgs) -> Result<ExitCode> {
    let sample = || build::workspace().join("events/transactions.jsonl");
    let mapping = Mapping {
        batch_size: usize::from(args.batch_size),
        max_retries: args.max_retries,
    };
    let stream = Stream {
        input: args.input.unwrap_or_else(sample),
        limit: args.limit.map(|limit| limit as usize),
        mapping,
        folder: build::workspace().join("target/local"),
    };
    let summary = stream_command::run(stream, args.function.options()).await?;
    if args.json {
        writeln!(io::stdout(), "{}", serde_json::to_string(&summary)?)?;
    } else {
        write!(io::stdout(), "{summary}")?;
    }
    Ok(match (summary.interrupted, summary.is_complete()) {
        (true, _) => ExitCode::from(INTERRUPTED),
        (false, true) => ExitCode::SUCCESS,
        (false, false) => ExitCode::FAILURE,
    })
}

async fn event(file: PathBuf, function: FunctionArgs) -> Result<ExitCode> {
    let run = event_command::run(&file, function.options()).await?;
    for line in &run.log {
        eprintln!("{line}");
    }
    for line in run.output.iter().chain([&run.answer_line()]) {
        writeln!(io::stdout(), "{line}")?;
    }
    Ok(if matches!(run.answer, Answer::Response(_)) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

async fn serve_endpoint(port: u16, args: EndpointArgs) -> Result<ExitCode> {
    let endpoint = start_endpoint(port, args.model_server.as_deref(), args.latency()).await?;
    let address = endpoint.address();
    let name = environment::LOCAL_ENDPOINT;
    writeln!(
        io::stdout(),
        "SageMaker Runtime on http://{address}, until Ctrl-C. For the function:"
    )?;
    writeln!(
        io::stdout(),
        "  AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME=http://{address} AWS_REGION=us-east-1 \\"
    )?;
    writeln!(
        io::stdout(),
        "  AWS_ACCESS_KEY_ID=local AWS_SECRET_ACCESS_KEY=local ENDPOINT_NAME={name} \\"
    )?;
    writeln!(
        io::stdout(),
        "  OUTPUT=stdout: DEAD_LETTER=stdout: cargo lambda watch --invoke-address 127.0.0.1"
    )?;
    interrupted().await;
    writeln!(
        io::stdout(),
        "{} calls, at most {} in flight",
        endpoint.calls(),
        endpoint.most_in_flight()
    )?;
    Ok(ExitCode::SUCCESS)
}

fn print_transactions(count: u64, seed: u64) -> Result<ExitCode> {
    let mut out = io::stdout().lock();
    for transaction in transactions::generate(count, seed) {
        writeln!(out, "{}", serde_json::to_string(&transaction)?)?;
    }
    Ok(ExitCode::SUCCESS)
}
