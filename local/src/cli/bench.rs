//! The arguments of `cargo local bench`.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::Args;

use super::{EndpointArgs, positive_time, settings};
use crate::bench::report::ReportFile;
use crate::bench_command::Bench;
use crate::build;

/// The arguments of `cargo local bench`.
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// Your own records, one a line, instead of generated transactions; they repeat from the first if there are too few
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Number of records in a round, 2–10000000, more than --batch-size
    #[arg(long, value_name = "N", default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(2..=10_000_000))]
    records: u32,
    /// Maximum number of records in a batch, 1–10000
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    batch_size: u16,
    /// Number of measurements of each function, 1–1000, each in a fresh process with a fresh endpoint; 3 by default, 5
    /// with --against
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    rounds: Option<u16>,
    /// Measure this command instead of building the function in release mode: one plain command that starts any Lambda
    /// binary for Kinesis events. A path alone is started without a shell, which would add to the measured start
    #[arg(long, value_name = "CMD", value_parser = command)]
    function: Option<String>,
    /// Also measure this Lambda binary, in turn with the function in each round; may be given several times
    #[arg(long, value_name = "CMD", value_parser = command)]
    against: Vec<String>,
    /// Timeout of one invocation, as in template.yaml
    #[arg(long, value_name = "TIME", default_value = "120s", value_parser = positive_time)]
    timeout: Duration,
    #[command(flatten)]
    endpoint: EndpointArgs,
    /// Print all values of all rounds as JSON instead of the table
    #[arg(long)]
    pub json: bool,
    /// File for the HTML report; target/bench.html by default
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
}

fn command(text: &str) -> Result<String, String> {
    if text.trim().is_empty() {
        return Err("expected a command that starts a Lambda binary, not an empty one".to_owned());
    }
    Ok(text.to_owned())
}

impl BenchArgs {
    /// Returns the measurements to make. `command` is the command line that the report shows.
    ///
    /// # Errors
    ///
    /// If a flag or the input is invalid, or the report cannot be written. Everything that can be checked before the
    /// first measurement is checked here.
    pub fn options(self, command: String) -> Result<Bench> {
        let default_rounds = if self.against.is_empty() { 3 } else { 5 };
        let report = self
            .report
            .unwrap_or_else(|| build::workspace().join("target/bench.html"));
        let bench = Bench {
            input: self.input,
            records: self.records as usize,
            batch_size: usize::from(self.batch_size),
            rounds: usize::from(self.rounds.unwrap_or(default_rounds)),
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

    /// The error of these arguments, each alone or in combination.
    fn error(arguments: &[&str]) -> String {
        let bench = parse(arguments).and_then(|args| args.options(String::new()).map_err(|error| error.to_string()));
        bench.unwrap_err()
    }

    #[test]
    fn an_invalid_argument_is_an_error_that_names_the_allowed_values() {
        let report = std::env::temp_dir().join(format!("instream-cli-bench-{}", std::process::id()));
        let report = report.to_str().unwrap();
        for (arguments, expected) in [
            (vec!["--records", "1"], "1 is not in 2..=10000000"),
            (vec!["--batch-size", "0"], "0 is not in 1..=10000"),
            (vec!["--rounds", "0"], "0 is not in 1..=1000"),
            (vec!["--rounds", "many"], "invalid digit"),
            (vec!["--against", " "], "a command that starts a Lambda binary"),
            (vec!["--function", ""], "a command that starts a Lambda binary"),
            (vec!["--throttle", "10"], "a share such as 10%"),
            (vec!["--latency", "20"], "a time such as 20ms"),
            (vec!["--timeout", "0s"], "the time must be more than 0"),
            (vec!["--slow-rate", "1%"], "--slow-by <TIME>"),
            (
                vec!["--throttle", "60%", "--error-rate", "60%"],
                "must add up to at most 100%",
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
    fn a_comparison_has_more_rounds_by_default() {
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
