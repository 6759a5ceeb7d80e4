//! Everything that a seed decides: the stream, the settings and the failures.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::OnceLock;
use std::time::Duration;

use instream::config::Config;
use instream::delivery::DestinationSetting;

mod destination;
mod dice;
mod failure;
mod ingredients;
mod record;
mod settings;
mod weather;

pub(crate) use destination::Reliability;
use dice::Dice;
pub(crate) use failure::Failure;
pub(crate) use ingredients::INGREDIENTS;
pub(crate) use record::{MISSING_MODEL, Record, RecordKind, model_number, shard_and_number};
pub(crate) use weather::{Random, Weather};

/// The start time of every run, in milliseconds since 1970.
pub(crate) const START_MS: u64 = 1_800_000_000_000;

/// All parameters of a run.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) seed: u64,
    /// The records of each shard.
    pub(crate) shards: Vec<Vec<Record>>,
    /// The number of partition keys.
    pub(crate) keys: u64,
    /// The maximum number of user records in one Kinesis record. They share its partition key.
    pub(crate) records_per_aggregate: usize,
    /// The maximum number of records in one request.
    pub(crate) records_per_request: usize,
    pub(crate) settings: HashMap<&'static str, String>,
    config: OnceLock<Config>,
    pub(crate) output: DestinationSetting,
    pub(crate) dead_letter: Option<DestinationSetting>,
    pub(crate) latency_ms: Range<u64>,
    /// Whether errors look like those of `SageMaker`. Otherwise they come directly from the model's container.
    pub(crate) is_sagemaker: bool,
    pub(crate) weather: Weather,
    pub(crate) output_reliability: Reliability,
    pub(crate) dead_letter_reliability: Reliability,
    /// If set, OUTPUT never accepts the prediction of each record whose number is divisible by this.
    pub(crate) output_refuses: Option<usize>,
    /// The function's timeout.
    pub(crate) timeout: Duration,
    /// The share of the invocations whose environment is killed.
    pub(crate) kills: f64,
    /// The share of the invocations that go to a fresh environment.
    pub(crate) fresh: f64,
    pub(crate) batch_size: usize,
    pub(crate) parallelization_factor: usize,
    pub(crate) max_retries: Option<usize>,
    pub(crate) max_record_age: Duration,
    pub(crate) bisect: bool,
}

impl World {
    pub(crate) fn draw(seed: u64) -> Self {
        let mut dice = Dice(fastrand::Rng::with_seed(seed));
        // In a plain run, only records and the container's dislikes make calls fail.
        let (is_plain, is_calm) = (dice.chance(0.25), dice.chance(0.3));
        let records_per_aggregate = if dice.chance(0.4) { dice.0.usize(1..12) } else { 1 };
        let records_per_request = if dice.chance(0.4) { dice.0.usize(2..20) } else { 1 };
        let models = if dice.chance(0.4) { dice.0.usize(1..4) } else { 0 };
        let drawn = Weather::draw(&mut dice, models, records_per_request);
        let weather = if is_plain { Weather::perfect() } else { drawn };
        // With poison records, it would be unknown why a lone record fails.
        let is_healthy = weather.lone_row.is_some() || dice.chance(0.1);
        let shards = if is_plain { 1 } else { dice.0.usize(1..4) };
        let shards = (0..shards)
            .map(|_| {
                (0..dice.0.usize(1..40))
                    .map(|_| dice.record(models, is_healthy, is_plain))
                    .collect()
            })
            .collect();
        let dead_letter = dice.chance(0.85).then(|| dice.destination("dead"));
        let settings = dice.settings(dead_letter.is_some(), models > 0, records_per_request, is_plain);
        let latency = dice.0.u64(1..100);
        let mut reliability = || {
            if is_plain {
                Reliability::perfect()
            } else {
                dice.reliability()
            }
        };
        Self {
            seed,
            shards,
            records_per_aggregate,
            records_per_request,
            settings,
            config: OnceLock::new(),
            output_reliability: reliability(),
            dead_letter_reliability: reliability(),
            keys: dice.0.u64(1..20),
            output: dice.destination("scores"),
            dead_letter,
            latency_ms: latency..latency + dice.0.u64(1..200),
            is_sagemaker: dice.0.bool(),
            max_record_age: Duration::from_mins(if weather.freezes > 0.0 { 20 } else { 5 }),
            weather,
            timeout: Duration::from_millis(dice.0.u64(3000..40_000)),
            kills: if is_plain || is_calm { 0.0 } else { dice.share(0.1) },
            fresh: if is_plain || is_calm { 0.0 } else { dice.share(0.3) },
            batch_size: dice.0.usize(1..30),
            parallelization_factor: if is_plain { 1 } else { dice.0.usize(1..4) },
            max_retries: dice.chance(0.2).then(|| dice.0.usize(1..8)),
            bisect: dice.0.bool(),
            output_refuses: (!is_plain && dice.chance(0.2)).then(|| dice.0.usize(2..9)),
        }
    }

    pub(crate) fn config(&self) -> &Config {
        self.config
            .get_or_init(|| Config::from_lookup(|name| self.settings.get(name).cloned()).unwrap())
    }

    /// Returns the record with this name.
    pub(crate) fn record(&self, name: &str) -> Record {
        let (shard, number) = shard_and_number(name);
        self.shards[shard][number]
    }

    /// Returns whether OUTPUT never accepts the prediction of the record with this name.
    pub(crate) fn is_refused_by_output(&self, name: &str) -> bool {
        let (_, number) = shard_and_number(name);
        self.output_refuses
            .is_some_and(|divisor| number.is_multiple_of(divisor))
    }

    pub(crate) fn records(&self) -> usize {
        self.shards.iter().map(Vec::len).sum()
    }

    /// Returns the names of all records.
    pub(crate) fn names(&self) -> impl Iterator<Item = String> {
        let shards = self.shards.iter().enumerate();
        shards.flat_map(|(shard, records)| {
            let records = records.iter().enumerate();
            records.map(move |(number, record)| record.name(shard, number))
        })
    }
}
