//! The table of metrics: names, units, meanings, and the value that each has for an invocation's statistics.

use super::invocation_stats::{Cause, InvocationStats};
use super::metric_value::MetricValue;
use crate::outcome::FaultKind::{self, Misconfigured, Overload, Suspect, Unreachable};
use crate::outcome::RejectionKind::{
    BrokenRecord, GivenUp, PayloadTooLarge, PredictionRefused, PredictionTooLarge, Refused, UnpackedTooLarge,
    WrongShape,
};

/// A metric. `docs/metrics.md` lists all of them.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// The metric's name in `CloudWatch`.
    pub name: &'static str,
    /// The invocations in which the metric has a value.
    pub when: When,
    /// The description in the documentation.
    pub meaning: &'static str,
    value_of: fn(&InvocationStats) -> MetricValue<'_>,
}

/// The invocations in which a metric has a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// All invocations.
    Always,
    /// Invocations in which the value is not zero or empty.
    NotZero,
}

const fn always(
    name: &'static str,
    meaning: &'static str,
    value_of: fn(&InvocationStats) -> MetricValue<'_>,
) -> Metric {
    let when = When::Always;
    Metric {
        name,
        when,
        meaning,
        value_of,
    }
}

const fn not_zero(
    name: &'static str,
    meaning: &'static str,
    value_of: fn(&InvocationStats) -> MetricValue<'_>,
) -> Metric {
    let when = When::NotZero;
    Metric {
        name,
        when,
        meaning,
        value_of,
    }
}

macro_rules! rejected {
    ($name:literal, $kind:expr, $meaning:literal) => {
        not_zero($name, concat!("of Rejected: ", $meaning), |it| {
            MetricValue::Count(it.delivered.rejected.get(&$kind).copied().unwrap_or_default())
        })
    };
}

macro_rules! failed {
    ($name:literal, $cause:expr, $meaning:literal) => {
        not_zero($name, concat!("of Failed: ", $meaning), |it| {
            MetricValue::Count(it.failed.get(&$cause).copied().unwrap_or_default())
        })
    };
}

/// All metrics.
pub const METRICS: [Metric; 40] = [
    always("KinesisRecords", "Kinesis records in the event", |it| {
        MetricValue::Count(it.kinesis_records)
    }),
    always(
        "UserRecords",
        "user records in them: more than Kinesis records if these are aggregated",
        |it| MetricValue::Count(it.user_records),
    ),
    always(
        "Predicted",
        "user records whose predictions OUTPUT has accepted",
        |it| MetricValue::Count(it.delivered.predicted),
    ),
    always(
        "Rejected",
        "user records that can never succeed, whose dead letters DEAD_LETTER has accepted",
        |it| MetricValue::Count(it.rejected()),
    ),
    always(
        "Failed",
        "user records that will be redelivered, counted in each delivery",
        |it| MetricValue::Count(it.failed()),
    ),
    always(
        "Calls",
        "calls to the endpoint, retries and hedged calls included, without a call repeated at once after a lost connection",
        |it| MetricValue::Count(it.calls()),
    ),
    always(
        "CapacityLimit",
        "the limit of calls in flight at the end of the invocation: CAPACITY, or what the endpoint was found to accept",
        |it| MetricValue::Number(it.limit),
    ),
    always("BatchLatency", "the time from the event to the response", |it| {
        MetricValue::Time(Some(it.elapsed))
    }),
    always(
        "DeadlineMargin",
        "the time from the response to the moment at which Lambda would have ended the invocation",
        |it| MetricValue::Time(Some(it.remaining)),
    ),
    not_zero(
        "CallLatency",
        "the duration of each answered attempt; up to 100 values, each the mean of similar durations",
        |it| MetricValue::Times(&it.latencies_us),
    ),
    not_zero(
        "AgeAtPrediction",
        "the age of the oldest predicted record: from its arrival in the stream until OUTPUT has its prediction",
        |it| MetricValue::Time(it.delivered.oldest_age),
    ),
    not_zero(
        "Alerted",
        "predictions that ALERT has accepted, counted in Predicted too",
        |it| MetricValue::Count(it.delivered.alerted),
    ),
    not_zero(
        "Skipped",
        "user records that are empty or do not match RECORD_PATTERN: not called, not delivered",
        |it| MetricValue::Count(it.skipped),
    ),
    not_zero("Retries", "attempts after the first for the same request", |it| {
        MetricValue::Count(it.retries)
    }),
    not_zero("Throttles", "calls that ended with Overload", |it| {
        MetricValue::Count(it.throttles)
    }),
    not_zero("Timeouts", "attempts without an answer within CALL_TIMEOUT_MS", |it| {
        MetricValue::Count(it.timeouts)
    }),
    not_zero("Hedges", "hedged calls", |it| MetricValue::Count(it.hedges)),
    not_zero(
        "Splits",
        "requests for several records that were split into halves",
        |it| MetricValue::Count(it.splits),
    ),
    not_zero(
        "PackingOff",
        "models that get only single records for a time, because their answers had the wrong number of predictions",
        |it| MetricValue::Count(it.packing_off),
    ),
    not_zero(
        "MemoHits",
        "user records whose outcome was remembered from an earlier delivery",
        |it| MetricValue::Count(it.remembered),
    ),
    not_zero(
        "DeliveredBefore",
        "user records that were redelivered after a failed record, although they had already been delivered",
        |it| MetricValue::Count(it.delivered_before),
    ),
    rejected!(
        "RejectedBrokenRecord",
        BrokenRecord,
        "the envelope, base64, compression or aggregation is broken"
    ),
    rejected!(
        "RejectedUnpackedTooLarge",
        UnpackedTooLarge,
        "decompresses to more than DECOMPRESS_LIMIT_BYTES"
    ),
    rejected!(
        "RejectedWrongShape",
        WrongShape,
        "does not have the shape that a setting expects"
    ),
    rejected!(
        "RejectedPayloadTooLarge",
        PayloadTooLarge,
        "larger than MAX_PAYLOAD_BYTES"
    ),
    rejected!(
        "RejectedRefused",
        Refused,
        "the endpoint refuses it, while it answers other records"
    ),
    rejected!(
        "RejectedGivenUp",
        GivenUp,
        "keeps failing and is older than GIVE_UP_AFTER_S, while the endpoint answers other records"
    ),
    rejected!(
        "RejectedPredictionTooLarge",
        PredictionTooLarge,
        "its prediction is larger than OUTPUT or ALERT accepts"
    ),
    rejected!(
        "RejectedPredictionRefused",
        PredictionRefused,
        "OUTPUT or ALERT can never accept its prediction"
    ),
    failed!(
        "FailedRefused",
        Cause::Fault(FaultKind::Refused),
        "the endpoint refuses it, and no answer to another record shows that it works"
    ),
    failed!(
        "FailedSuspect",
        Cause::Fault(Suspect),
        "caused by the record or the container, such as no answer in time"
    ),
    failed!("FailedOverload", Cause::Fault(Overload), "the endpoint is overloaded"),
    failed!(
        "FailedUnreachable",
        Cause::Fault(Unreachable),
        "the endpoint could not be reached, or the service failed"
    ),
    failed!(
        "FailedMisconfigured",
        Cause::Fault(Misconfigured),
        "the endpoint, the permissions or the settings must be fixed"
    ),
    failed!(
        "FailedOutOfTime",
        Cause::OutOfTime,
        "the deadline passed before it was finished"
    ),
    failed!(
        "FailedBehind",
        Cause::AfterFailure,
        "not called, because a record before it had failed"
    ),
    failed!(
        "FailedTooMuchAtOnce",
        Cause::BatchTooLarge,
        "the batch decompresses to more than one invocation may hold"
    ),
    failed!(
        "FailedDeadLetterRefused",
        Cause::DeadLetterRefused,
        "DEAD_LETTER does not accept its dead letter, not even without the payload"
    ),
    failed!(
        "FailedWaiting",
        Cause::Waiting,
        "it has its outcome, but a record before it has failed"
    ),
    failed!(
        "FailedUndelivered",
        Cause::Undelivered,
        "it has its outcome, but OUTPUT or DEAD_LETTER has not accepted it, or is not set"
    ),
];

impl Metric {
    /// Returns the metric's unit in `CloudWatch`.
    pub fn unit(&self) -> &'static str {
        (self.value_of)(&InvocationStats::default()).unit().name()
    }

    /// Returns the metric's value for these statistics, or `None` if it has no value.
    pub(super) fn value<'s>(&self, stats: &'s InvocationStats) -> Option<MetricValue<'s>> {
        let value = (self.value_of)(stats);
        (self.when == When::Always || !value.is_zero_or_empty()).then_some(value)
    }
}
