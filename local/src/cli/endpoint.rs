//! Flags of the endpoint on this machine.

use std::time::Duration;

use anyhow::{Result, ensure};
use clap::Args;
use instream_local::faults::{Rates, Slow};
use instream_local::setup::EndpointOptions;

use super::{share, some_time, time};

/// What only the local endpoint has. The seed is that of killed processes, too.
pub(super) const OF_THE_LOCAL_ENDPOINT: [&str; 10] = [
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
    /// The same seed brings the same faults and mishaps
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
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
            gateway: None,
        })
    }
}
