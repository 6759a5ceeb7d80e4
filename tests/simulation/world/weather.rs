//! The failures of the endpoint that no record causes.

use std::ops::Range;
use std::time::Duration;

use super::dice::Dice;
use super::failure::Failure;

/// The failures of the endpoint that no record causes. Shares are between 0 and 1.
#[derive(Debug)]
pub(crate) struct Weather {
    /// The periods in which all calls fail, and how.
    pub(crate) outages: Vec<(Range<Duration>, Failure)>,
    /// The failures of calls at random.
    pub(crate) random: Random,
    /// The model that fails in a period, and how.
    pub(crate) model_outage: Option<(usize, Range<Duration>, Failure)>,
    /// The failure of every call for a lone record.
    pub(crate) lone_row: Option<Failure>,
    pub(crate) credentials: Credentials,
    /// The share of the invocations before which the environment is frozen for two minutes.
    pub(crate) freezes: f64,
}

/// Calls that fail at random.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Random {
    None,
    /// This share of the calls fails, each in one of a few ways.
    Rare(f64),
    /// This share of the calls is throttled.
    Throttling(f64, Failure),
    /// Half of the instances fail all their calls.
    HalfBroken(Failure),
}

/// The fetches of the credentials that calls need.
#[derive(Debug, Default)]
pub(crate) struct Credentials {
    /// The share of the fetches that fail.
    pub(crate) failing: f64,
    /// The share of the fetches during which the clock jumps two minutes.
    pub(crate) jumps: f64,
    /// The periods in which every fetch fails (`false`) or hangs (`true`).
    pub(crate) outages: Vec<(Range<Duration>, bool)>,
}

impl Random {
    /// Returns the failure of the next call, if it fails.
    pub(crate) fn failure(self, random: &mut fastrand::Rng) -> Option<Failure> {
        const RARE: [Failure; 4] = [
            Failure::Status(500),
            Failure::Throttled,
            Failure::ServiceFault,
            Failure::Reset,
        ];
        let drawn = random.f64();
        match self {
            Self::None => None,
            Self::Rare(share) => (drawn < share).then(|| RARE[random.usize(..RARE.len())]),
            Self::Throttling(share, failure) => (drawn < share).then_some(failure),
            Self::HalfBroken(failure) => (drawn < 0.5).then_some(failure),
        }
    }
}

impl Credentials {
    pub(crate) fn is_perfect(&self) -> bool {
        self.failing + self.jumps == 0.0 && self.outages.is_empty()
    }
}

impl Weather {
    pub(super) fn draw(dice: &mut Dice, models: usize, records_per_request: usize) -> Self {
        let outages = dice
            .windows()
            .into_iter()
            .map(|window| (window, dice.outage()))
            .collect();
        let random = match dice.0.u32(..100) {
            0..50 => Random::None,
            50..70 => Random::Rare(dice.0.f64() * 0.1),
            70..85 => {
                let share = 0.05 + dice.0.f64() * 0.15;
                let failure = dice.one_of(&[Failure::Throttled, Failure::Status(429), Failure::Status(503)]);
                Random::Throttling(share, failure)
            }
            _ => Random::HalfBroken(dice.broken_instance()),
        };
        let model_outage = (models > 1 && dice.chance(0.5)).then(|| {
            let window = if dice.chance(0.7) {
                dice.window()
            } else {
                Duration::ZERO..Duration::MAX
            };
            (dice.0.usize(..models), window, dice.model_outage())
        });
        let lone_row = (records_per_request > 1 && dice.chance(0.15))
            .then(|| dice.one_of(&[Failure::Status(400), Failure::Status(500), Failure::Status(422)]));
        Self {
            outages,
            random,
            model_outage,
            lone_row,
            credentials: Credentials::draw(dice),
            freezes: if dice.chance(0.1) { 0.1 } else { 0.0 },
        }
    }

    /// Returns the weather in which no call fails except by its record.
    pub(super) fn perfect() -> Self {
        Self {
            outages: Vec::new(),
            random: Random::None,
            model_outage: None,
            lone_row: None,
            credentials: Credentials::default(),
            freezes: 0.0,
        }
    }

    /// Returns true if no call fails except by its record.
    pub(crate) fn is_perfect(&self) -> bool {
        self.outages.is_empty()
            && self.random == Random::None
            && self.model_outage.is_none()
            && self.lone_row.is_none()
            && self.credentials.is_perfect()
            && self.freezes == 0.0
    }
}

impl Credentials {
    fn draw(dice: &mut Dice) -> Self {
        let is_perfect = dice.chance(0.7);
        let windows = if is_perfect { Vec::new() } else { dice.windows() };
        Self {
            failing: if is_perfect { 0.0 } else { dice.share(0.1) },
            jumps: if is_perfect || dice.chance(0.7) { 0.0 } else { 0.003 },
            outages: windows.into_iter().map(|window| (window, dice.0.bool())).collect(),
        }
    }
}
