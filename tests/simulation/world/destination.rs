//! Destinations and their failures.

use std::ops::Range;
use std::time::Duration;

use instream::delivery::DestinationSetting;

use super::dice::Dice;
use crate::cloud::Fate;

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

impl Reliability {
    pub(super) fn perfect() -> Self {
        Self {
            refused_entries: 0.0,
            refused_requests: 0.0,
            lost_responses: 0.0,
            hangs: 0.0,
            outages: Vec::new(),
        }
    }
}

impl Dice {
    pub(super) fn reliability(&mut self) -> Reliability {
        Reliability {
            refused_entries: self.share(0.4),
            refused_requests: self.share(0.1),
            lost_responses: self.share(0.05),
            hangs: self.share(0.03),
            outages: self.windows(),
        }
    }

    pub(super) fn destination(&mut self, name: &str) -> DestinationSetting {
        let queue = |suffix: &str| format!("https://sqs.eu-central-1.amazonaws.com/123456789012/{name}{suffix}");
        match self.0.u8(..5) {
            0 => DestinationSetting::Firehose(name.to_owned()),
            1 => DestinationSetting::Sqs(queue("")),
            2 => DestinationSetting::Sqs(queue(".fifo")),
            _ => DestinationSetting::Kinesis(name.to_owned()),
        }
    }
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
