//! What a seed brings: a stream, settings, and everything that goes wrong.

use std::collections::HashMap;
use std::ops::Range;
use std::time::Duration;

use instream::config::{Config, Destination};
use instream::endpoint::FaultKind;

use crate::cloud::Fate;
use crate::logs::MARKER;

/// When every run begins, in milliseconds since 1970.
pub(crate) const START_MS: u64 = 1_800_000_000_000;

/// What the endpoint makes of one record, when it is up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Nature {
    /// It is answered.
    Good,
    /// It is refused.
    Refused,
    /// It fails each time, as a suspect does.
    Hopeless(Ends),
    /// So many calls fail, then it is answered.
    Flaky(u32, Ends),
}

/// How a call ends that brings no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ends {
    With(FaultKind),
    Hanging,
    Panicking,
}

impl Ends {
    /// Whether it may be the record's own fault.
    pub(crate) fn is_suspect(self) -> bool {
        match self {
            Self::With(kind) => kind == FaultKind::Suspect,
            Self::Hanging | Self::Panicking => true,
        }
    }
}

/// How a destination treats requests.
#[derive(Debug, Clone)]
pub(crate) struct Reliability {
    /// Share of the entries that are not taken.
    pub(crate) refuses_entries: f64,
    /// Share of the requests of which nothing is taken.
    pub(crate) refuses: f64,
    /// Share of the requests that are taken without an answer.
    pub(crate) silent: f64,
    pub(crate) hangs: f64,
    /// When nothing is taken.
    pub(crate) outages: Vec<Range<Duration>>,
}

/// A record's data, by which all know it.
pub(crate) fn name(shard: usize, number: usize) -> String {
    format!("{MARKER}{shard}-{number}")
}

/// The shard and the number of the record of this name.
pub(crate) fn place(name: &str) -> (usize, usize) {
    let (shard, number) = name.strip_prefix(MARKER).unwrap().split_once('-').unwrap();
    (shard.parse().unwrap(), number.parse().unwrap())
}

/// Everything that a run depends on.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) seed: u64,
    /// What each record of each shard is like.
    pub(crate) shards: Vec<Vec<Nature>>,
    pub(crate) keys: u64,
    /// Records that a producer puts into one Kinesis record at most; those of one have its partition key.
    pub(crate) aggregated: usize,
    /// Records in one request at most.
    pub(crate) packed: usize,
    pub(crate) settings: HashMap<&'static str, String>,
    pub(crate) output: Destination,
    pub(crate) dead_letter: Option<Destination>,
    pub(crate) latency_ms: Range<u64>,
    /// Share of the calls that fail for a moment.
    pub(crate) transient: f64,
    /// When the endpoint is down, and how calls end then.
    pub(crate) outages: Vec<(Range<Duration>, Ends)>,
    pub(crate) output_is: Reliability,
    pub(crate) dead_letter_is: Reliability,
    /// Lambda's limit.
    pub(crate) timeout: Duration,
    /// Share of the invocations whose environment is killed in the middle.
    pub(crate) kills: f64,
    /// Share of the invocations that go to a fresh environment.
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

    fn kind(&mut self) -> FaultKind {
        self.one_of(&[FaultKind::Suspect, FaultKind::Overload, FaultKind::Unreachable])
    }

    fn suspect(&mut self) -> Ends {
        self.one_of(&[Ends::With(FaultKind::Suspect), Ends::Hanging, Ends::Panicking])
    }

    fn nature(&mut self) -> Nature {
        match self.0.u32(..100) {
            0..4 => Nature::Refused,
            4..7 => Nature::Hopeless(self.suspect()),
            7..20 => {
                let kind = self.kind();
                let ends = self.one_of(&[Ends::With(kind), Ends::Hanging, Ends::Panicking]);
                Nature::Flaky(self.0.u32(1..6), ends)
            }
            _ => Nature::Good,
        }
    }

    /// Up to two windows in the first minutes, longer than any call may take.
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
            refuses_entries: rate(0.4),
            refuses: rate(0.1),
            silent: rate(0.05),
            hangs: rate(0.03),
            outages: self.windows(),
        }
    }

    fn destination(&mut self, name: &str) -> Destination {
        let queue = |suffix: &str| format!("https://sqs.eu-central-1.amazonaws.com/123456789012/{name}{suffix}");
        match self.0.u8(..5) {
            0 => Destination::Firehose(name.to_owned()),
            1 => Destination::Sqs(queue("")),
            2 => Destination::Sqs(queue(".fifo")),
            _ => Destination::Kinesis(name.to_owned()),
        }
    }
}

impl World {
    pub(crate) fn draw(seed: u64) -> Self {
        let mut dice = Dice(fastrand::Rng::with_seed(seed));
        let calm = dice.chance(0.3);
        let shards = (0..dice.0.usize(1..4))
            .map(|_| (0..dice.0.usize(1..40)).map(|_| dice.nature()).collect())
            .collect();
        let dead_letter = dice.chance(0.85).then(|| dice.destination("dead"));
        let (mut aggregated, mut packed) = (1, 1);
        if dice.chance(0.4) {
            aggregated = dice.0.usize(1..12);
        }
        if dice.chance(0.4) {
            packed = dice.0.usize(2..20);
        }
        let settings = settings(&mut dice, dead_letter.is_some(), packed);
        let windows = dice.windows();
        let outages = windows.into_iter().map(|window| {
            let kind = dice.one_of(&[FaultKind::Misconfigured, FaultKind::Overload, FaultKind::Unreachable]);
            let ends = dice.one_of(&[Ends::With(kind), Ends::With(FaultKind::Suspect), Ends::Hanging]);
            (window, ends)
        });
        let outages = outages.collect();
        let latency = dice.0.u64(1..100);
        Self {
            seed,
            shards,
            keys: dice.0.u64(1..20),
            aggregated,
            packed,
            settings,
            output: dice.destination("scores"),
            dead_letter,
            outages,
            latency_ms: latency..latency + dice.0.u64(1..200),
            transient: if dice.chance(0.5) { 0.0 } else { dice.0.f64() * 0.1 },
            output_is: dice.reliability(),
            dead_letter_is: dice.reliability(),
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

    pub(crate) fn nature(&self, record: &str) -> Nature {
        let (shard, number) = place(record);
        self.shards[shard][number]
    }

    pub(crate) fn records(&self) -> usize {
        self.shards.iter().map(Vec::len).sum()
    }
}

fn settings(dice: &mut Dice, has_dead_letter: bool, packed: usize) -> HashMap<&'static str, String> {
    let number = |dice: &mut Dice, range: Range<u64>| dice.0.u64(range).to_string();
    let base = dice.0.u64(1..200);
    let mode = dice.one_of(&["ordered", "ordered", "unordered"]);
    let memo_bytes = dice.one_of(&["16777216", "16777216", "16777216", "2000", "0"]);
    let give_up = (dice.chance(0.6) && has_dead_letter).then(|| number(dice, 10..60));
    HashMap::from([
        ("ENDPOINT_NAME", "simulated".to_owned()),
        // The real destinations are opened over the simulated network.
        ("OUTPUT", "none:".to_owned()),
        ("DEAD_LETTER", if has_dead_letter { "none:" } else { "" }.to_owned()),
        ("BATCH_STRATEGY", if packed > 1 { "MultiRecord" } else { "" }.to_owned()),
        ("MAX_RECORDS_PER_REQUEST", packed.to_string()),
        // Whatever a record is, a line can hold it.
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
    /// Whether a part of what is sent may arrive without the rest, or without a word.
    pub(crate) fn is_perfect(&self) -> bool {
        self.refuses_entries + self.refuses + self.silent + self.hangs == 0.0 && self.outages.is_empty()
    }

    /// What becomes of a request of so many entries, now.
    pub(crate) fn decide(&self, random: &mut fastrand::Rng, since_start: Duration, entries: usize) -> Fate {
        if self.outages.iter().any(|outage| outage.contains(&since_start)) {
            return if random.bool() {
                Fate::Refused(503, "ServiceUnavailable")
            } else {
                Fate::Hangs
            };
        }
        let drawn = random.f64();
        if drawn < self.refuses {
            Fate::Refused(500, "InternalFailure")
        } else if drawn < self.refuses + self.silent {
            Fate::TakenInSilence
        } else if drawn < self.refuses + self.silent + self.hangs {
            Fate::Hangs
        } else {
            Fate::Partly((0..entries).map(|_| random.f64() >= self.refuses_entries).collect())
        }
    }
}
