//! The `cargo local` command: see `cargo local --help`.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser as _;
use instream_local::cli::{
    BenchArgs, CheckArgs, Cli, Command, EndpointArgs, FunctionArgs, INTERRUPTED, StreamArgs, exit_code, exit_code_or,
    print, run_exit_code,
};
use instream_local::function::InvocationResult;
use instream_local::gateway::{self, Gateway};
use instream_local::interrupt::interrupted;
use instream_local::sagemaker::SageMakerRuntime;
use instream_local::{bench_command, check_command, environment, event_command, rides, stream_command, transactions};
use serde::Serialize;

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.command {
        None => Box::pin(stream(cli.stream)).await,
        Some(Command::Event { file, function }) => tokio::select! {
            result = event(file, function) => result,
            () = interrupted() => Ok(ExitCode::from(INTERRUPTED)),
        },
        Some(Command::Bench(args)) => tokio::select! {
            result = bench(*args) => result,
            () = interrupted() => Ok(ExitCode::from(INTERRUPTED)),
        },
        Some(Command::Check(args)) => tokio::select! {
            result = check(args) => return exit_code_or(result, ExitCode::from(2)),
            () = interrupted() => Ok(ExitCode::from(INTERRUPTED)),
        },
        Some(Command::Endpoint { port, endpoint }) => serve_endpoint(port, endpoint).await,
        Some(Command::Transactions { count, seed }) => print_lines(&transactions::generate(count, seed)),
        Some(Command::Rides { count, seed }) => print_lines(&rides::generate(count, seed)),
    };
    exit_code(result)
}

async fn stream(args: StreamArgs) -> Result<ExitCode> {
    let json = args.json;
    let (stream, lambda) = args.options()?;
    let summary = stream_command::run(stream, lambda).await?;
    print(&summary, json)?;
    Ok(run_exit_code(summary.interrupted, summary.is_complete()))
}

async fn event(file: PathBuf, function: FunctionArgs) -> Result<ExitCode> {
    let run = event_command::run(&file, function.options()?).await?;
    for line in &run.log {
        eprintln!("{line}");
    }
    for line in run.output.iter().chain([&run.result_line()]) {
        writeln!(io::stdout(), "{line}")?;
    }
    Ok(if matches!(run.result, InvocationResult::Response(_)) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

async fn bench(args: BenchArgs) -> Result<ExitCode> {
    let json = args.json;
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let bench = args.options(format!("cargo local {}", arguments.join(" ")))?;
    if cfg!(debug_assertions) {
        bench_command::restart_in_release_mode(std::env::args_os().skip(1))?;
    }
    let comparison = bench_command::run(bench).await?;
    let mut out = io::stdout();
    if json {
        writeln!(out, "{}", comparison.json())?;
    } else {
        write!(out, "{comparison}")?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn check(args: CheckArgs) -> Result<ExitCode> {
    let report = check_command::run(args.options()).await?;
    write!(io::stdout(), "{report}")?;
    Ok(if report.fitting().is_some() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

async fn serve_endpoint(port: u16, args: EndpointArgs) -> Result<ExitCode> {
    let endpoint = SageMakerRuntime::start(port, &args.options()?).await?;
    let mut out = io::stdout();
    announce(&endpoint, &mut out)?;
    interrupted().await;
    writeln!(
        out,
        "{} calls, at most {} in flight, {} connections",
        endpoint.calls(),
        endpoint.most_in_flight(),
        endpoint.connections()
    )?;
    let counts = endpoint.gateway().map(Gateway::counts);
    if let Some(refused) = counts.filter(|counts| counts.refused() > 0) {
        writeln!(out, "{refused} of these calls were refused by the gateway")?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints the address of the endpoint, and how to call it from the function and by hand.
fn announce(endpoint: &SageMakerRuntime, out: &mut impl io::Write) -> Result<()> {
    let (url, is_gateway) = (endpoint.url(), endpoint.gateway().is_some());
    let service = if is_gateway { "API Gateway" } else { "SageMaker Runtime" };
    writeln!(out, "{service} on {url}, until Ctrl-C. Settings for the function:")?;
    for (name, value) in environment::endpoint_variables(&url, is_gateway) {
        writeln!(out, "  {name}={value} \\")?;
    }
    if let Some(certificate) = endpoint.certificate() {
        writeln!(out, "  SSL_CERT_FILE='{}' \\", certificate.display())?;
    }
    for (name, value) in environment::default_settings(is_gateway) {
        writeln!(out, "  {name}={value} \\")?;
    }
    writeln!(
        out,
        "  AWS_REGION=us-east-1 AWS_ACCESS_KEY_ID=local AWS_SECRET_ACCESS_KEY=local \\"
    )?;
    writeln!(
        out,
        "  OUTPUT=stdout: DEAD_LETTER=stdout: cargo lambda watch --invoke-address 127.0.0.1"
    )?;
    if let Some(gateway) = endpoint.gateway() {
        let (region, service, key) = (gateway::REGION, gateway::SERVICE, gateway.key());
        writeln!(out, "A call by hand, with a transaction of events/transactions.jsonl:")?;
        writeln!(
            out,
            "  curl --aws-sigv4 aws:amz:{region}:{service} --user local:local -H 'x-api-key: {key}' \\"
        )?;
        writeln!(
            out,
            "    -H 'content-type: application/json' -d '…' {url}{}",
            gateway::PATH
        )?;
    }
    Ok(())
}

fn print_lines(records: &[impl Serialize]) -> Result<ExitCode> {
    let mut out = io::stdout().lock();
    for record in records {
        writeln!(out, "{}", serde_json::to_string(record)?)?;
    }
    Ok(ExitCode::SUCCESS)
}
