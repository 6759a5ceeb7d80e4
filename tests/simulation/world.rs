//! Everything that a seed decides: the stream, the settings and the failures.

use std::collections::HashMap;
use std::ops::Range;
use std::time::Duration;

use instream::config::Config;
use instream::delivery::DestinationSetting;
use instream::outcome::FaultKind;

use crate::cloud::Fate;
use crate::logs::MARKER;

/// The start time of every run, in milliseconds since 1970.
pub(crate) const START_MS: u64 = 1_800_000_000_000;

/// The endpoint's treatment of a record while the endpoint is up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RecordKind {
    /// Every call is answered.
    Good,
    /// Every call is refused.
    Refused,
    /// Every call fails in a way that the record may cause.
    Poison(CallFailure),
    /// The given number of calls fail, later ones are answered.
    Flaky(u32, CallFailure),
}

/// The way in which a call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CallFailure {
    Fault(FaultKind),
    Hang,
    Panic,
}

impl CallFailure {
    /// Returns true if the record may be the cause.
    pub(crate) fn is_suspect(self) -> bool {
        match self {
            Self::Fault(kind) => kind == FaultKind::Suspect,
            Self::Hang | Self::Panic => true,
        }
    }
}

/// The reliability of a destination. Shares are between 0 and 1.
#[derive(Debug, Clone)]
pub(crate) struct Reliability {
    /// The share of the entries that are refused.
    pub(crate) refused_entries: f64,
    /// The share of the requests that are refused as a whole.
    pub(crate) refused_requests: f64,
    /// The share of the requests that are accepted, but get no response.
    pub(crate) lost_responses: f64,
    /// The share of the requests that hang and are not accepted.
    pub(crate) hangs: f64,
    /// The periods in which nothing is accepted.
    pub(crate) outages: Vec<Range<Duration>>,
}

/// Returns a record's data, which is also its name.
pub(crate) fn record_name(shard: usize, number: usize) -> String {
    format!("{MARKER}{shard}-{number}")
}

/// Returns the shard and the number of the record with this name.
pub(crate) fn shard_and_number(name: &str) -> (usize, usize) {
    let (shard, number) = name.strip_prefix(MARKER).unwrap().split_once('-').unwrap();
    (shard.parse().unwrap(), number.parse().unwrap())
}

/// All parameters of a run.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) seed: u64,
    /// The kind of each record of each shard.
    pub(crate) shards: Vec<Vec<RecordKind>>,
    /// The number of partition keys.
    pub(crate) keys: u64,
    /// The maximum number of user records in one Kinesis record. They share its partition key.
    pub(crate) records_per_aggregate: usize,
    /// The maximum number of records in one request.
    pub(crate) records_per_request: usize,
    pub(crate) settings: HashMap<&'static str, String>,
    pub(crate) output: DestinationSetting,
    pub(crate) dead_letter: Option<DestinationSetting>,
    pub(crate) latency_ms: Range<u64>,
    /// The share of the calls that fail with a transient fault.
    pub(crate) transient: f64,
    /// The periods in which the endpoint is down, and how calls fail in them.
    pub(crate) outages: Vec<(Range<Duration>, CallFailure)>,
    pub(crate) output_reliability: Reliability,
    pub(crate) dead_letter_reliability: Reliability,
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

struct Dice(fastrand::Rng);

impl Dice {
    fn chance(&mut self, share: f64) -> bool {
        self.0.f64() < share
    }

    fn one_of<T: Clone>(&mut self, choices: &[T]) -> T {
        choices[self.0.usize(..choices.len())].clone()
    }

    fn fault_kind(&mut self) -> FaultKind {
        self.one_of(&[FaultKind::Suspect, FaultKind::Overload, FaultKind::Unreachable])
    }

    fn suspect_failure(&mut self) -> CallFailure {
        self.one_of(&[
            CallFailure::Fault(FaultKind::Suspect),
            CallFailure::Hang,
            CallFailure::Panic,
        ])
    }

    fn record_kind(&mut self) -> RecordKind {
        match self.0.u32(..100) {
            0..4 => RecordKind::Refused,
            4..7 => RecordKind::Poison(self.suspect_failure()),
            7..20 => {
                let kind = self.fault_kind();
                let failure = self.one_of(&[CallFailure::Fault(kind), CallFailure::Hang, CallFailure::Panic]);
                RecordKind::Flaky(self.0.u32(1..6), failure)
            }
            _ => RecordKind::Good,
        }
    }

    /// Returns up to two windows in the first minutes. Each is longer than any call may take.
    fn windows(&mut self) -> Vec<Range<Duration>> {
        let count = self.0.usize(..3).saturating_sub(self.0.usize(..2));
        (0..count)
            .map(|_| {
                let start = Duration::from_millis(self.0.u64(..60_000));
                start..start + Duration::from_millis(self.0.u64(5000..40_000))
            })
            .collect()
    }

    fn reliability(&mut self) -> Reliability {
        let mut rate = |most: f64| if self.0.bool() { self.0.f64() * most } else { 0.0 };
        Reliability {
            refused_entries: rate(0.4),
            refused_requests: rate(0.1),
            lost_responses: rate(0.05),
            hangs: rate(0.03),
            outages: self.windows(),
        }
    }

    fn destination(&mut self, name: &str) -> DestinationSetting {
        let queue = |suffix: &str| format!("https://sqs.eu-central-1.amazonaws.com/123456789012/{name}{suffix}");
        match self.0.u8(..5) {
            0 => DestinationSetting::Firehose(name.to_owned()),
            1 => DestinationSetting::Sqs(queue("")),
            2 => DestinationSetting::Sqs(queue(".fifo")),
            _ => DestinationSetting::Kinesis(name.to_owned()),
        }
    }
}

impl World {
    pub(crate) fn draw(seed: u64) -> Self {
        let mut dice = Dice(fastrand::Rng::with_seed(seed));
        let calm = dice.chance(0.3);
        let shards = (0..dice.0.usize(1..4))
            .map(|_| (0..dice.0.usize(1..40)).map(|_| dice.record_kind()).collect())
            .collect();
        let dead_letter = dice.chance(0.85).then(|| dice.destination("dead"));
        let (mut records_per_aggregate, mut records_per_request) = (1, 1);
        if dice.chance(0.4) {
            records_per_aggregate = dice.0.usize(1..12);
        }
        if dice.chance(0.4) {
            records_per_request = dice.0.usize(2..20);
        }
        let settings = settings(&mut dice, dead_letter.is_some(), records_per_request);
        let windows = dice.windows();
        let outages = windows.into_iter().map(|window| {
            let kind = dice.one_of(&[FaultKind::Misconfigured, FaultKind::Overload, FaultKind::Unreachable]);
            let failure = dice.one_of(&[
                CallFailure::Fault(kind),
                CallFailure::Fault(FaultKind::Suspect),
                CallFailure::Hang,
            ]);
            (window, failure)
        });
        let outages = outages.collect();
        let latency = dice.0.u64(1..100);
        Self {
            seed,
            shards,
            keys: dice.0.u64(1..20),
            records_per_aggregate,
            records_per_request,
            settings,
            output: dice.destination("scores"),
            dead_letter,
            outages,
            latency_ms: latency..latency + dice.0.u64(1..200),
            transient: if dice.chance(0.5) { 0.0 } else { dice.0.f64() * 0.1 },
            output_reliability: dice.reliability(),
            dead_letter_reliability: dice.reliability(),
            timeout: Duration::from_millis(dice.0.u64(3000..40_000)),
            kills: if calm || dice.chance(0.5) {
                0.0
            } else {
                dice.0.f64() * 0.1
            },
            fresh: if calm || dice.chance(0.5) {
                0.0
            } else {
                dice.0.f64() * 0.3
            },
            batch_size: dice.0.usize(1..30),
            parallelization_factor: dice.0.usize(1..4),
            max_retries: dice.chance(0.2).then(|| dice.0.usize(1..8)),
            max_record_age: Duration::from_mins(5),
            bisect: dice.0.bool(),
        }
    }

    pub(crate) fn config(&self) -> Config {
        Config::from_lookup(|name| self.settings.get(name).cloned()).unwrap()
    }

    pub(crate) fn record_kind(&self, record: &str) -> RecordKind {
        let (shard, number) = shard_and_number(record);
        self.shards[shard][number]
    }

    pub(crate) fn records(&self) -> usize {
        self.shards.iter().map(Vec::len).sum()
    }
}

fn settings(dice: &mut Dice, has_dead_letter: bool, records_per_request: usize) -> HashMap<&'static str, String> {
    let number = |dice: &mut Dice, range: Range<u64>| dice.0.u64(range).to_string();
    let base = dice.0.u64(1..200);
    let mode = dice.one_of(&["ordered", "ordered", "unordered"]);
    let memo_bytes = dice.one_of(&["16777216", "16777216", "16777216", "2000", "0"]);
    let give_up = (dice.chance(0.6) && has_dead_letter).then(|| number(dice, 10..60));
    HashMap::from([
        ("ENDPOINT_NAME", "simulated".to_owned()),
        // The destinations under test are opened separately, on the simulated network.
        ("OUTPUT", "none:".to_owned()),
        ("DEAD_LETTER", if has_dead_letter { "none:" } else { "" }.to_owned()),
        (
            "BATCH_STRATEGY",
            if records_per_request > 1 { "MultiRecord" } else { "" }.to_owned(),
        ),
        ("MAX_RECORDS_PER_REQUEST", records_per_request.to_string()),
        // Any record of the simulation fits on one line.
        ("CONTENT_TYPE", "application/jsonlines".to_owned()),
        ("CAPACITY", number(dice, 1..16)),
        ("MAX_ATTEMPTS", number(dice, 1..5)),
        ("CALL_TIMEOUT_MS", number(dice, 400..2000)),
        ("RETRY_BASE_MS", base.to_string()),
        ("RETRY_CAP_MS", (base * 4).to_string()),
        ("DEADLINE_RESERVE_MS", number(dice, 300..1500)),
        ("OUTPUT_MODE", mode.to_owned()),
        (
            "MEMO_BYTES",
            if mode == "unordered" && memo_bytes == "0" {
                "1000"
            } else {
                memo_bytes
            }
            .to_owned(),
        ),
        ("GIVE_UP_AFTER_S", give_up.unwrap_or_default()),
        ("ADAPTIVE_CAPACITY", dice.one_of(&["on", "on", "off"]).to_owned()),
    ])
}

impl Reliability {
    /// Returns true if every request is accepted as a whole and gets its response.
    pub(crate) fn is_perfect(&self) -> bool {
        self.refused_entries + self.refused_requests + self.lost_responses + self.hangs == 0.0
            && self.outages.is_empty()
    }

    /// Decides what happens to a request with this number of entries.
    pub(crate) fn decide(&self, random: &mut fastrand::Rng, since_start: Duration, entries: usize) -> Fate {
        if self.outages.iter().any(|outage| outage.contains(&since_start)) {
            return if random.bool() {
                Fate::Refused(503, "ServiceUnavailable")
            } else {
                Fate::Hangs
            };
        }
        let drawn = random.f64();
        if drawn < self.refused_requests {
            Fate::Refused(500, "InternalFailure")
        } else if drawn < self.refused_requests + self.lost_responses {
            Fate::TakenWithoutResponse
        } else if drawn < self.refused_requests + self.lost_responses + self.hangs {
            Fate::Hangs
        } else {
            Fate::Partly((0..entries).map(|_| random.f64() >= self.refused_entries).collect())
        }
    }
}
