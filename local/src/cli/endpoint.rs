//! The flags of the endpoint on this machine.

use std::time::Duration;

use anyhow::{Result, ensure};
use clap::Args;

use super::{positive_time, share, time};
use crate::faults::{Rates, Slow};
use crate::gateway::{GatewayOptions, UsagePlan};
use crate::setup::EndpointOptions;

/// The flags that only a local endpoint has: they conflict with flags that name another endpoint. `--seed` is not one
/// of them, because it is also the seed of killed processes.
pub const LOCAL_ENDPOINT_FLAGS: [&str; 12] = [
    "model_server",
    "latency",
    "slow_rate",
    "slow_by",
    "max_in_flight",
    "throttle",
    "error_rate",
    "hang_rate",
    "refuse_rate",
    "tls",
    "gateway",
    "usage_plan",
];

/// The endpoint on this machine, and its faults.
#[derive(Debug, Clone, Args)]
#[group(skip)]
pub struct EndpointArgs {
    /// Call a model server on this machine instead of the built-in model: at the path of the URL, or at /invocations if
    /// it has none
    #[arg(long, value_name = "URL")]
    pub model_server: Option<String>,
    /// Time that each call to the local endpoint takes in addition to the model's own time; 20ms by default with the
    /// built-in model
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub latency: Option<Duration>,
    /// Delay this share of the calls, such as 1%, by --slow-by; each call is drawn independently
    #[arg(long, value_name = "SHARE", value_parser = share, requires = "slow_by")]
    pub slow_rate: Option<f64>,
    /// Additional time of the calls that --slow-rate delays, such as 500ms
    #[arg(long, value_name = "TIME", value_parser = positive_time, requires = "slow_rate")]
    pub slow_by: Option<Duration>,
    /// Throttle calls while N others are in flight, 1–100000; throttled calls do not count as in flight
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub max_in_flight: Option<u32>,
    /// Throttle this share of the calls, such as 10%
    #[arg(long, value_name = "SHARE", value_parser = share)]
    pub throttle: Option<f64>,
    /// Answer this share of the calls with status 500 of the container
    #[arg(long, value_name = "SHARE", value_parser = share)]
    pub error_rate: Option<f64>,
    /// Never answer this share of the calls
    #[arg(long, value_name = "SHARE", value_parser = share)]
    pub hang_rate: Option<f64>,
    /// Refuse this share of the records, in every call, with status 400 of the container
    #[arg(long, value_name = "SHARE", value_parser = share)]
    pub refuse_rate: Option<f64>,
    /// Listen with TLS, with a certificate that is created at start and that the function trusts
    #[arg(long)]
    pub tls: bool,
    /// Behave like API Gateway: accept only signed calls with the API key of a usage plan
    #[arg(long)]
    pub gateway: bool,
    /// Limits of the usage plan: RATE calls a second, 0.1–100000, and BURST calls at once, 1–100000, or `off` for no
    /// limit; 20/100 by default
    #[arg(long, value_name = "RATE/BURST", value_parser = usage_plan, requires = "gateway")]
    pub usage_plan: Option<UsagePlanArg>,
    /// Seed of the faults and of killed processes; the same seed draws the same
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
}

/// The value of `--usage-plan`: a usage plan, or `None` for `off`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct UsagePlanArg(Option<UsagePlan>);

/// Parses a usage plan such as `20/100`, or `off`.
fn usage_plan(text: &str) -> Result<UsagePlanArg, String> {
    if text == "off" {
        return Ok(UsagePlanArg(None));
    }
    let numbers = text
        .split_once('/')
        .and_then(|(rate, burst)| Some((rate.parse::<f64>().ok()?, burst.parse::<f64>().ok()?)));
    let Some((rate, burst)) = numbers else {
        return Err("expected off, or a usage plan such as 20/100: calls a second and calls at once".to_owned());
    };
    for (name, value, least) in [("rate", rate, 0.1), ("burst", burst, 1.0)] {
        if !(least..=100_000.0).contains(&value) {
            return Err(format!("the {name} must be from {least} to 100000, not {value}"));
        }
    }
    Ok(UsagePlanArg(Some(UsagePlan { rate, burst })))
}

impl EndpointArgs {
    /// Returns the seed, 1 by default.
    pub(super) fn seed(&self) -> u64 {
        self.seed.unwrap_or(1)
    }

    /// Returns the options with which the endpoint starts.
    ///
    /// # Errors
    ///
    /// If the fault rates add up to more than 100%.
    pub fn options(self) -> Result<EndpointOptions> {
        // The built-in model answers immediately, which a real endpoint never does.
        let default_latency = if self.model_server.is_some() {
            Duration::ZERO
        } else {
            Duration::from_millis(20)
        };
        let rates = Rates {
            throttle: self.throttle.unwrap_or_default(),
            error: self.error_rate.unwrap_or_default(),
            hang: self.hang_rate.unwrap_or_default(),
            refuse: self.refuse_rate.unwrap_or_default(),
            seed: self.seed(),
        };
        ensure!(
            rates.throttle + rates.error + rates.hang <= 1.0,
            "--throttle, --error-rate and --hang-rate must add up to at most 100%: they are shares of the same calls"
        );
        let slow = self.slow_rate.zip(self.slow_by);
        Ok(EndpointOptions {
            latency: self.latency.unwrap_or(default_latency),
            slow: slow.map(|(share, by)| Slow { share, by }),
            max_in_flight: self.max_in_flight.map(|calls| calls as usize),
            model_server: self.model_server,
            rates,
            tls: self.tls,
            recorded_max: 0,
            keeps_exchanges: false,
            gateway: self.gateway.then(|| GatewayOptions {
                usage_plan: self
                    .usage_plan
                    .map_or_else(|| Some(UsagePlan::default()), |UsagePlanArg(plan)| plan),
                ..GatewayOptions::default()
            }),
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::super::{Cli, Command};
    use super::*;

    fn gateway(flags: &[&str]) -> Result<Option<GatewayOptions>, String> {
        let line = ["cargo local", "endpoint"].iter().chain(flags);
        match Cli::try_parse_from(line).map(|cli| cli.command) {
            Ok(Some(Command::Endpoint { endpoint, .. })) => Ok(endpoint.options().unwrap().gateway),
            Ok(_) => panic!("no endpoint"),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn a_gateway_has_the_default_usage_plan_or_the_given_one() {
        let plan = |flags: &[&str]| gateway(flags).unwrap().unwrap().usage_plan;
        let [default, given] = [(20.0, 100.0), (0.5, 1.0)].map(|(rate, burst)| Some(UsagePlan { rate, burst }));
        assert_eq!(gateway(&[]).unwrap(), None);
        assert_eq!(plan(&["--gateway"]), default);
        assert_eq!(plan(&["--gateway", "--usage-plan", "0.5/1"]), given);
        assert_eq!(plan(&["--gateway", "--usage-plan", "off"]), None);
    }

    #[test]
    fn an_invalid_usage_plan_is_an_error_that_names_the_allowed_values() {
        for (plan, expected) in [
            ("20", "a usage plan such as 20/100"),
            ("many/100", "a usage plan such as 20/100"),
            ("0/100", "the rate must be from 0.1 to 100000, not 0"),
            ("NaN/100", "the rate must be from 0.1 to 100000, not NaN"),
            ("20/0.5", "the burst must be from 1 to 100000, not 0.5"),
            ("20/1000000", "the burst must be from 1 to 100000, not 1000000"),
        ] {
            let error = gateway(&["--gateway", "--usage-plan", plan]).unwrap_err();
            assert!(error.contains(expected), "{plan}: {error}");
        }
        let alone = gateway(&["--usage-plan", "20/100"]).unwrap_err();
        assert!(alone.contains("--gateway"), "{alone}");
    }

    #[test]
    fn flags_of_the_local_endpoint_conflict_with_an_own_endpoint() {
        for flags in [&["--gateway"][..], &["--tls"], &["--gateway", "--usage-plan", "off"]] {
            let line = ["cargo local", "--endpoint", "https://one.example"].iter().chain(flags);
            let error = Cli::try_parse_from(line).err().unwrap().to_string();
            assert!(error.contains("cannot be used with"), "{flags:?}: {error}");
        }
    }
}
