//! Flags of the endpoint on this machine.

use std::time::Duration;

use anyhow::{Result, ensure};
use clap::Args;
use instream_local::faults::{Rates, Slow};
use instream_local::gateway::{GatewayOptions, UsagePlan};
use instream_local::setup::EndpointOptions;

use super::{share, some_time, time};

/// What only the local endpoint has. The seed is that of killed processes, too.
pub(super) const OF_THE_LOCAL_ENDPOINT: [&str; 12] = [
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

#[derive(Args)]
#[group(skip)]
pub(crate) struct EndpointArgs {
    /// Call a model container on this machine instead of the built-in model
    #[arg(long, value_name = "URL")]
    pub(crate) model_server: Option<String>,
    /// What each call to the local endpoint takes at least, beyond the model's own time; 20ms with the built-in model
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(crate) latency: Option<Duration>,
    /// Let this share of the calls, such as 1%, take longer by --slow-by; whether one does is drawn for each anew
    #[arg(long, value_name = "SHARE", value_parser = share, requires = "slow_by")]
    pub(crate) slow_rate: Option<f64>,
    /// How much longer the calls of --slow-rate take, such as 500ms
    #[arg(long, value_name = "TIME", value_parser = some_time, requires = "slow_rate")]
    pub(crate) slow_by: Option<Duration>,
    /// Throttle calls while N others are in flight, 1–100000; those that are throttled themselves do not count
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) max_in_flight: Option<u32>,
    /// Throttle this share of the calls, such as 10%
    #[arg(long, value_name = "SHARE", value_parser = share)]
    pub(crate) throttle: Option<f64>,
    /// Answer this share of the calls with the container's status 500
    #[arg(long, value_name = "SHARE", value_parser = share)]
    pub(crate) error_rate: Option<f64>,
    /// Never answer this share of the calls
    #[arg(long, value_name = "SHARE", value_parser = share)]
    pub(crate) hang_rate: Option<f64>,
    /// Refuse this share of the records, whenever they are called, with the container's status 400
    #[arg(long, value_name = "SHARE", value_parser = share)]
    pub(crate) refuse_rate: Option<f64>,
    /// Listen with TLS, by a certificate made at the start, which the function is told to trust
    #[arg(long)]
    pub(crate) tls: bool,
    /// Answer as API Gateway does: signed calls with a key of a usage plan only
    #[arg(long)]
    pub(crate) gateway: bool,
    /// Calls that the usage plan takes: RATE a second, 0.1–100000, and BURST at once, 1–100000, or `off` for any number;
    /// 20/100 unless told otherwise
    #[arg(long, value_name = "RATE/BURST", value_parser = throttle, requires = "gateway")]
    pub(crate) usage_plan: Option<Throttle>,
    /// The same seed brings the same faults and mishaps
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
}

/// A usage plan, or none.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Throttle(Option<UsagePlan>);

/// `20/100`, `off`.
fn throttle(text: &str) -> Result<Throttle, String> {
    if text == "off" {
        return Ok(Throttle(None));
    }
    let numbers = text
        .split_once('/')
        .and_then(|(rate, burst)| Some((rate.parse::<f64>().ok()?, burst.parse::<f64>().ok()?)));
    let Some((rate, burst)) = numbers else {
        return Err("a usage plan is like 20/100, calls a second and at once, or off".to_owned());
    };
    for (name, value, least) in [("rate", rate, 0.1), ("burst", burst, 1.0)] {
        if !(least..=100_000.0).contains(&value) {
            return Err(format!("the {name} is {least} to 100000, not {value}"));
        }
    }
    Ok(Throttle(Some(UsagePlan { rate, burst })))
}

impl EndpointArgs {
    pub(super) fn seed(&self) -> u64 {
        self.seed.unwrap_or(1)
    }

    pub(crate) fn options(self) -> Result<EndpointOptions> {
        // The built-in model answers at once, which no endpoint does.
        let of_the_model = if self.model_server.is_some() {
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
            "--throttle, --error-rate and --hang-rate are shares of the same calls: together 100% at most"
        );
        let slow = self.slow_rate.zip(self.slow_by);
        Ok(EndpointOptions {
            latency: self.latency.unwrap_or(of_the_model),
            slow: slow.map(|(share, by)| Slow { share, by }),
            max_in_flight: self.max_in_flight.map(|calls| calls as usize),
            model_server: self.model_server,
            rates,
            tls: self.tls,
            recorded_max: 0,
            gateway: self.gateway.then(|| GatewayOptions {
                usage_plan: self
                    .usage_plan
                    .map_or_else(|| Some(UsagePlan::default()), |Throttle(plan)| plan),
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
    fn a_gateway_has_the_usual_plan_or_the_one_that_is_told() {
        let plan = |flags: &[&str]| gateway(flags).unwrap().unwrap().usage_plan;
        let [usual, told] = [(20.0, 100.0), (0.5, 1.0)].map(|(rate, burst)| Some(UsagePlan { rate, burst }));
        assert_eq!(gateway(&[]).unwrap(), None);
        assert_eq!(plan(&["--gateway"]), usual);
        assert_eq!(plan(&["--gateway", "--usage-plan", "0.5/1"]), told);
        assert_eq!(plan(&["--gateway", "--usage-plan", "off"]), None);
    }

    #[test]
    fn what_is_wrong_with_a_plan_is_said_with_what_is_allowed() {
        for (plan, expected) in [
            ("20", "a usage plan is like 20/100"),
            ("many/100", "a usage plan is like 20/100"),
            ("0/100", "the rate is 0.1 to 100000, not 0"),
            ("NaN/100", "the rate is 0.1 to 100000, not NaN"),
            ("20/0.5", "the burst is 1 to 100000, not 0.5"),
            ("20/1000000", "the burst is 1 to 100000, not 1000000"),
        ] {
            let error = gateway(&["--gateway", "--usage-plan", plan]).unwrap_err();
            assert!(error.contains(expected), "{plan}: {error}");
        }
        let alone = gateway(&["--usage-plan", "20/100"]).unwrap_err();
        assert!(alone.contains("--gateway"), "{alone}");
    }

    #[test]
    fn ones_own_endpoint_has_nothing_of_the_local_one() {
        for flags in [&["--gateway"][..], &["--tls"], &["--gateway", "--usage-plan", "off"]] {
            let line = ["cargo local", "--endpoint", "https://one.example"].iter().chain(flags);
            let error = Cli::try_parse_from(line).err().unwrap().to_string();
            assert!(error.contains("cannot be used with"), "{flags:?}: {error}");
        }
    }
}
