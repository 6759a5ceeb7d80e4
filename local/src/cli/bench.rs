//! `cargo local bench`.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use instream_local::bench::report::ReportFile;
use instream_local::bench_command::Bench;
use instream_local::build;

use super::{EndpointArgs, settings, some_time};

#[derive(Args)]
pub(crate) struct BenchArgs {
    /// Your own records, a line each and from the first again where there are too few, instead of generated transactions
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Records of a round, 2–10000000, more than --batch-size
    #[arg(long, value_name = "N", default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(2..=10_000_000))]
    records: u32,
    /// Records in a batch at most, 1–10000
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    batch_size: u16,
    /// How often each function is measured, 1–1000, each time in a fresh process with a fresh endpoint; 3 unless told
    /// otherwise, 5 with --against
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    rounds: Option<u16>,
    /// Measure this instead of building the function in release mode: one plain command that starts any Lambda binary
    /// for Kinesis events. A path alone is started without a shell, which would take its part of the start
    #[arg(long, value_name = "CMD", value_parser = command)]
    function: Option<String>,
    /// Measure this Lambda binary as well, round by round in turn with the function; may be given several times
    #[arg(long, value_name = "CMD", value_parser = command)]
    against: Vec<String>,
    /// Time for one invocation, as in template.yaml
    #[arg(long, value_name = "TIME", default_value = "120s", value_parser = some_time)]
    timeout: Duration,
    #[command(flatten)]
    endpoint: EndpointArgs,
    /// Print all values of all rounds as JSON, instead of the table
    #[arg(long)]
    pub(crate) json: bool,
    /// Where the report goes, one HTML file; target/bench.html unless told otherwise
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
}

fn command(text: &str) -> Result<String, String> {
    if text.trim().is_empty() {
        return Err("a command that starts a Lambda binary, not an empty one".to_owned());
    }
    Ok(text.to_owned())
}

impl BenchArgs {
    /// What to measure, all of it checked that can be before something runs, so that the report can be written, too.
    pub(crate) fn options(self, command: String) -> Result<Bench> {
        let usual = if self.against.is_empty() { 3 } else { 5 };
        let report = self
            .report
            .unwrap_or_else(|| build::workspace().join("target/bench.html"));
        let bench = Bench {
            input: self.input,
            records: self.records as usize,
            batch_size: usize::from(self.batch_size),
            rounds: usize::from(self.rounds.unwrap_or(usual)),
            function: self.function,
            against: self.against,
            endpoint: self.endpoint.options()?,
            timeout: self.timeout,
            settings: settings(),
            command,
            report: ReportFile::open(&report)?,
        };
        bench.check()?;
        Ok(bench)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::{Cli, Command};

    fn parse(arguments: &[&str]) -> Result<BenchArgs, String> {
        let arguments = ["cargo local", "bench"].iter().chain(arguments);
        match Cli::try_parse_from(arguments).map(|cli| cli.command) {
            Ok(Some(Command::Bench(args))) => Ok(*args),
            Ok(_) => panic!("no bench"),
            Err(error) => Err(error.to_string()),
        }
    }

    /// What is wrong with the arguments, be it one or several together.
    fn error(arguments: &[&str]) -> String {
        let bench = parse(arguments).and_then(|args| args.options(String::new()).map_err(|error| error.to_string()));
        bench.unwrap_err()
    }

    #[test]
    fn what_is_wrong_is_said_with_what_is_allowed() {
        let report = std::env::temp_dir().join(format!("instream-cli-bench-{}", std::process::id()));
        let report = report.to_str().unwrap();
        for (arguments, expected) in [
            (vec!["--records", "1"], "1 is not in 2..=10000000"),
            (vec!["--batch-size", "0"], "0 is not in 1..=10000"),
            (vec!["--rounds", "0"], "0 is not in 1..=1000"),
            (vec!["--rounds", "many"], "invalid digit"),
            (vec!["--against", " "], "a command that starts a Lambda binary"),
            (vec!["--function", ""], "a command that starts a Lambda binary"),
            (vec!["--throttle", "10"], "a share is like 10%"),
            (vec!["--latency", "20"], "a time is like 20ms"),
            (vec!["--timeout", "0s"], "no time at all"),
            (vec!["--slow-rate", "1%"], "--slow-by <TIME>"),
            (
                vec!["--throttle", "60%", "--error-rate", "60%"],
                "together 100% at most",
            ),
            (
                vec!["--records", "100", "--report", report],
                "--records must be more than --batch-size",
            ),
            (
                vec!["--input", "no/such/file", "--report", report],
                "cannot read no/such/file",
            ),
            (
                vec!["--report", "/dev/null/x.html"],
                "cannot write the report to /dev/null/x.html",
            ),
        ] {
            let error = error(&arguments);
            assert!(error.contains(expected), "{arguments:?}: {error}");
        }
        std::fs::remove_file(report).unwrap();
    }

    #[test]
    fn there_are_more_rounds_where_functions_are_compared() {
        let report = std::env::temp_dir().join(format!("instream-cli-rounds-{}", std::process::id()));
        let report = report.to_str().unwrap();
        let rounds = |arguments: &[&str]| {
            let arguments = [&["--report", report], arguments].concat();
            parse(&arguments).unwrap().options(String::new()).unwrap().rounds
        };
        assert_eq!(rounds(&[]), 3);
        assert_eq!(rounds(&["--against", "./a", "--against", "./b"]), 5);
        assert_eq!(rounds(&["--against", "./a", "--rounds", "2"]), 2);
        std::fs::remove_file(report).unwrap();
    }
}
