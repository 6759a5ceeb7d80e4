//! The metrics: names, units, meanings, and what each is of an invocation's figures.

use super::invocation_stats::{Cause, Figures};
use super::metric_value::Reading;
use crate::outcome::FaultKind::{Misconfigured, Overload, Suspect, Unreachable};
use crate::outcome::RejectionKind::{
    BrokenRecord, GivenUp, PayloadTooLarge, PredictionTooLarge, Refused, UnpackedTooLarge, WrongShape,
};

/// A metric, as `docs/metrics.md` lists it.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// Its name in `CloudWatch`.
    pub name: &'static str,
    /// When it has a value.
    pub when: When,
    /// What it is, for a person.
    pub meaning: &'static str,
    of: fn(&Figures) -> Reading<'_>,
}

/// When a metric has a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// In each invocation.
    Always,
    /// Where it is more than nothing.
    NotZero,
}

const fn always(name: &'static str, meaning: &'static str, of: fn(&Figures) -> Reading<'_>) -> Metric {
    let when = When::Always;
    Metric {
        name,
        when,
        meaning,
        of,
    }
}

const fn not_zero(name: &'static str, meaning: &'static str, of: fn(&Figures) -> Reading<'_>) -> Metric {
    let when = When::NotZero;
    Metric {
        name,
        when,
        meaning,
        of,
    }
}

macro_rules! rejected {
    ($name:literal, $kind:expr, $meaning:literal) => {
        not_zero($name, concat!("of Rejected: ", $meaning), |it| {
            Reading::Count(it.arrived.rejected.get(&$kind).copied().unwrap_or_default())
        })
    };
}

macro_rules! failed {
    ($name:literal, $cause:expr, $meaning:literal) => {
        not_zero($name, concat!("of Failed: ", $meaning), |it| {
            Reading::Count(it.failed.get(&$cause).copied().unwrap_or_default())
        })
    };
}

/// All metrics.
pub const METRICS: [Metric; 35] = [
    always("KinesisRecords", "Kinesis records in the event", |it| {
        Reading::Count(it.kinesis_records)
    }),
    always(
        "UserRecords",
        "user records in them: more than Kinesis records where these are aggregated",
        |it| Reading::Count(it.user_records),
    ),
    always("Predicted", "user records whose predictions OUTPUT has taken", |it| {
        Reading::Count(it.arrived.predicted)
    }),
    always(
        "Rejected",
        "user records that can never succeed, whose dead letters DEAD_LETTER has taken",
        |it| Reading::Count(it.rejected()),
    ),
    always("Failed", "user records that come again, each time that they do", |it| {
        Reading::Count(it.failed())
    }),
    always(
        "Calls",
        "calls of the endpoint, repeated and second ones included, but not the one at once after a dead connection",
        |it| Reading::Count(it.calls()),
    ),
    always(
        "CapacityLimit",
        "how many calls may be in flight at the end: CAPACITY, or what the endpoint takes",
        |it| Reading::Number(it.limit),
    ),
    always("BatchLatency", "from the event to the answer", |it| {
        Reading::Time(Some(it.spent))
    }),
    always(
        "DeadlineMargin",
        "from the answer to the moment at which Lambda would have ended the invocation",
        |it| Reading::Time(Some(it.left)),
    ),
    not_zero(
        "CallLatency",
        "of each attempt that was answered; up to 100 values, each the mean of those about as long",
        |it| Reading::Times(&it.latencies_us),
    ),
    not_zero(
        "AgeAtPrediction",
        "of the oldest predicted record: from its arrival in the stream until OUTPUT has its prediction",
        |it| Reading::Time(it.arrived.oldest),
    ),
    not_zero("Retries", "attempts after the first at the same request", |it| {
        Reading::Count(it.retries)
    }),
    not_zero("Throttles", "calls that ended by Overload", |it| {
        Reading::Count(it.throttles)
    }),
    not_zero("Timeouts", "attempts that had no answer within CALL_TIMEOUT_MS", |it| {
        Reading::Count(it.timeouts)
    }),
    not_zero("Hedges", "second calls", |it| Reading::Count(it.hedges)),
    not_zero(
        "Splits",
        "requests for several records that were split in halves",
        |it| Reading::Count(it.splits),
    ),
    not_zero("MemoHits", "user records whose outcome was remembered", |it| {
        Reading::Count(it.remembered)
    }),
    not_zero(
        "DeliveredBefore",
        "user records that came again, behind one that failed, though they had been delivered",
        |it| Reading::Count(it.before),
    ),
    rejected!(
        "RejectedBrokenRecord",
        BrokenRecord,
        "envelope, base64, compression or aggregation is broken"
    ),
    rejected!(
        "RejectedUnpackedTooLarge",
        UnpackedTooLarge,
        "unpacks to more than DECOMPRESS_LIMIT_BYTES"
    ),
    rejected!(
        "RejectedWrongShape",
        WrongShape,
        "not of the shape that a setting takes for granted"
    ),
    rejected!(
        "RejectedPayloadTooLarge",
        PayloadTooLarge,
        "larger than MAX_PAYLOAD_BYTES"
    ),
    rejected!("RejectedRefused", Refused, "the endpoint refused it"),
    rejected!(
        "RejectedGivenUp",
        GivenUp,
        "older than GIVE_UP_AFTER_S, and the endpoint answers others"
    ),
    rejected!(
        "RejectedPredictionTooLarge",
        PredictionTooLarge,
        "its prediction is larger than OUTPUT takes"
    ),
    failed!(
        "FailedSuspect",
        Cause::Fault(Suspect),
        "by its own fault or the container's, such as no answer in time"
    ),
    failed!(
        "FailedOverload",
        Cause::Fault(Overload),
        "the endpoint has too much to do"
    ),
    failed!(
        "FailedUnreachable",
        Cause::Fault(Unreachable),
        "the endpoint could not be reached, or the service broke"
    ),
    failed!(
        "FailedMisconfigured",
        Cause::Fault(Misconfigured),
        "somebody must mend the endpoint, the permissions or the settings"
    ),
    failed!("FailedOutOfTime", Cause::OutOfTime, "the deadline came first"),
    failed!(
        "FailedBehind",
        Cause::Behind,
        "not called any more, since a record before it had failed"
    ),
    failed!(
        "FailedTooMuchAtOnce",
        Cause::TooMuchAtOnce,
        "the batch unpacks to more than one invocation may hold"
    ),
    failed!(
        "FailedDeadLetterTooLarge",
        Cause::DeadLetterTooLarge,
        "its dead letter is larger than DEAD_LETTER takes"
    ),
    failed!(
        "FailedWaiting",
        Cause::Waiting,
        "it has its outcome, and waits for a record before it that has failed"
    ),
    failed!(
        "FailedUndelivered",
        Cause::Undelivered,
        "it has its outcome, but OUTPUT or DEAD_LETTER has not taken it, or is not set"
    ),
];

impl Metric {
    /// Its unit in `CloudWatch`.
    pub fn unit(&self) -> &'static str {
        (self.of)(&Figures::default()).unit().name()
    }

    /// What it reads of these figures; nothing where it has no value.
    pub(super) fn read<'f>(&self, figures: &'f Figures) -> Option<Reading<'f>> {
        let reading = (self.of)(figures);
        (self.when == When::Always || !reading.is_nothing()).then_some(reading)
    }
}
