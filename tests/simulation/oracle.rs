//! Checks what must be true when the mapping has finished the stream.

use std::collections::{HashMap, HashSet};
use std::fmt;

use instream::delivery::{DestinationSetting, OutputMode};

use crate::world::{CallFailure, RecordKind, Reliability, World, record_name, shard_and_number};

/// The result of a run.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct RunResult {
    /// The records in OUTPUT with their partition keys, in the order of OUTPUT.
    pub(crate) predicted: Vec<(String, String)>,
    pub(crate) dead: Vec<DeadLetter>,
    /// The records that the mapping discarded.
    pub(crate) discarded: Vec<String>,
    /// The number of answers for each record.
    pub(crate) answered: Vec<(String, u32)>,
    pub(crate) counts: Counts,
}

#[derive(Debug, PartialEq)]
pub(crate) struct DeadLetter {
    pub(crate) record: String,
    pub(crate) reason: String,
}

/// The number of events of each kind.
#[derive(Debug, Default, Clone, PartialEq)]
pub(crate) struct Counts {
    pub(crate) records: u64,
    pub(crate) predicted: u64,
    pub(crate) refused: u64,
    pub(crate) given_up: u64,
    pub(crate) discarded: u64,
    pub(crate) repeated: u64,
    pub(crate) repeated_unordered: u64,
    pub(crate) calls: u64,
    pub(crate) endpoint_faults: u64,
    pub(crate) output_faults: u64,
    pub(crate) kills: u64,
    pub(crate) redelivered: u64,
    /// Redelivered records for which the environment had already received an answer.
    pub(crate) answered_before: u64,
    /// Calls for records for which the environment had already received an answer.
    pub(crate) repeated_calls: u64,
    /// Simulated time.
    pub(crate) seconds: u64,

    // These counts must be zero.
    pub(crate) calls_while_frozen: u64,
    pub(crate) requests_while_frozen: u64,
    pub(crate) left_in_flight: u64,
    pub(crate) late_responses: u64,
    pub(crate) over_capacity: u64,
    pub(crate) too_many_attempts: u64,
}

/// Checks the result of a run, and adds its counts. Panics if a check fails.
pub(crate) fn check(world: &World, result: &mut RunResult) {
    no_record_is_lost(world, result);
    limits_are_kept(result);
    every_outcome_has_its_reason(world, result);
    no_record_is_repeated_without_a_cause(world, result);
    keys_stay_in_order(world, result);
    no_remembered_record_is_called_again(world, result);
    only_failing_records_are_discarded(world, result);
    result.counts.predicted = result.predicted.len() as u64;
    result.counts.discarded = result.discarded.len() as u64;
    result.counts.refused = result.dead.iter().filter(|it| it.reason == "Refused").count() as u64;
    result.counts.given_up = result.dead.len() as u64 - result.counts.refused;
}

fn no_record_is_lost(world: &World, result: &RunResult) {
    let predicted = result.predicted.iter().map(|(record, _)| record);
    let dead = result.dead.iter().map(|dead_letter| &dead_letter.record);
    let arrived: HashSet<_> = predicted.chain(dead).chain(&result.discarded).collect();
    for (shard, kinds) in world.shards.iter().enumerate() {
        for number in 0..kinds.len() {
            let record = record_name(shard, number);
            assert!(arrived.contains(&record), "record {record} is lost");
        }
    }
    assert_eq!(
        arrived.len(),
        world.records(),
        "there are records that are not in the stream"
    );
}

fn limits_are_kept(result: &RunResult) {
    let counts = &result.counts;
    assert_eq!(counts.calls_while_frozen, 0, "calls started after the response");
    assert_eq!(counts.requests_while_frozen, 0, "deliveries started after the response");
    assert_eq!(
        counts.left_in_flight, 0,
        "calls or deliveries in flight after the response"
    );
    assert_eq!(counts.late_responses, 0, "responses after the deadline");
    assert_eq!(counts.over_capacity, 0, "more calls in flight than CAPACITY");
    assert_eq!(counts.too_many_attempts, 0, "more attempts than MAX_ATTEMPTS");
}

/// Only refused records are dead-lettered as `Refused`. Only records that may cause their failures are given up, never
/// because of an outage.
fn every_outcome_has_its_reason(world: &World, result: &RunResult) {
    for (record, _) in &result.predicted {
        let kind = world.record_kind(record);
        assert!(
            matches!(kind, RecordKind::Good | RecordKind::Flaky(..)),
            "{record} is {kind:?}, but was predicted"
        );
    }
    let has_transient_faults = world.transient > 0.0;
    for DeadLetter { record, reason } in &result.dead {
        let kind = world.record_kind(record);
        let is_right = match (&**reason, kind) {
            ("Refused", RecordKind::Refused) | ("GivenUp", RecordKind::Poison(_)) => true,
            ("GivenUp", RecordKind::Flaky(_, failure)) => failure.is_suspect() || has_transient_faults,
            ("GivenUp", RecordKind::Good | RecordKind::Refused) => has_transient_faults,
            _ => false,
        };
        assert!(is_right, "{record} is {kind:?}, but was dead-lettered as {reason}");
    }
}

/// Returns true if every redelivery of a batch goes to the environment that had the batch before.
fn stays_warm(world: &World) -> bool {
    world.kills + world.fresh == 0.0 && world.shards.len() == 1 && world.parallelization_factor == 1
}

fn has_large_memo(world: &World) -> bool {
    world.config().memo_bytes > 1_000_000
}

/// Returns true for an SQS FIFO queue, which drops duplicates itself.
fn is_fifo(destination: &DestinationSetting) -> bool {
    matches!(destination, DestinationSetting::Sqs(url) if url.contains(".fifo"))
}

fn no_record_is_repeated_without_a_cause(world: &World, result: &mut RunResult) {
    let mut seen: HashMap<&str, u64> = HashMap::new();
    let predicted = result.predicted.iter().map(|(record, _)| record);
    for record in predicted.chain(result.dead.iter().map(|dead_letter| &dead_letter.record)) {
        *seen.entry(record).or_default() += 1;
    }
    result.counts.repeated = seen.values().map(|count| count - 1).sum();
    let loses_responses = world.output_reliability.lost_responses + world.dead_letter_reliability.lost_responses > 0.0;
    let may_repeat = world.kills > 0.0
        || loses_responses
        || may_deliver_past_checkpoint(world) && !(stays_warm(world) && has_large_memo(world));
    if !may_repeat {
        assert_eq!(result.counts.repeated, 0, "records were delivered twice");
    }
    if world.config().output_mode == OutputMode::Unordered {
        result.counts.repeated_unordered = result.counts.repeated;
    }
}

/// Returns true if records after the checkpoint may be delivered.
fn may_deliver_past_checkpoint(world: &World) -> bool {
    let may_take_a_part = |destination: &DestinationSetting, reliability: &Reliability| {
        // A standard queue gets several requests at once.
        let is_queue = matches!(destination, DestinationSetting::Sqs(_)) && !is_fifo(destination);
        reliability.refused_entries > 0.0 || is_queue && !reliability.is_perfect()
    };
    let dead_letter = world.dead_letter.as_ref();
    world.config().output_mode == OutputMode::Unordered
        || may_take_a_part(&world.output, &world.output_reliability)
        || dead_letter.is_some_and(|destination| may_take_a_part(destination, &world.dead_letter_reliability))
}

/// In `ordered` mode, a destination that accepts every request gets each key's records in the order of the stream.
fn keys_stay_in_order(world: &World, result: &RunResult) {
    let is_queue = matches!(world.output, DestinationSetting::Sqs(_)) && !is_fifo(&world.output);
    let is_in_order =
        world.config().output_mode == OutputMode::Ordered && world.output_reliability.is_perfect() && !is_queue;
    if !is_in_order || result.counts.repeated > 0 {
        return;
    }
    let mut last: HashMap<(usize, &str), usize> = HashMap::new();
    for (record, key) in &result.predicted {
        let (shard, number) = shard_and_number(record);
        let before = last.insert((shard, key), number);
        assert!(
            before.is_none_or(|before| before < number),
            "{key}: record {record} is out of order"
        );
    }
}

fn no_remembered_record_is_called_again(world: &World, result: &RunResult) {
    // Giving up a record and splitting a request both repeat calls for answered records.
    if has_large_memo(world) && world.config().give_up_after.is_none() && world.records_per_request == 1 {
        assert_eq!(
            result.counts.repeated_calls, 0,
            "calls for records that were answered before"
        );
    }
}

/// A poison record does not block its shard. If records can be given up, the mapping discards only failing records that
/// no environment could judge, because the endpoint answered no other call.
fn only_failing_records_are_discarded(world: &World, result: &RunResult) {
    let gives_up = world.config().give_up_after.is_some() && world.max_retries.is_none();
    let has_time = world.config().call_timeout * world.config().retry.max_attempts < world.timeout / 2;
    if !(gives_up && has_time && stays_warm(world)) {
        return;
    }
    for record in &result.discarded {
        let kind = world.record_kind(record);
        let may_be_discarded = match kind {
            RecordKind::Poison(_) => true,
            RecordKind::Flaky(_, failure) => failure != CallFailure::Fault(instream::outcome::FaultKind::Overload),
            RecordKind::Good | RecordKind::Refused => false,
        };
        assert!(may_be_discarded, "{record} is {kind:?}, but was discarded");
    }
}

impl RunResult {
    pub(crate) fn add(&mut self, other: &Self) {
        self.counts.add(&other.counts);
    }
}

impl Counts {
    fn all_mut(&mut self) -> [&mut u64; 21] {
        [
            &mut self.records,
            &mut self.predicted,
            &mut self.refused,
            &mut self.given_up,
            &mut self.discarded,
            &mut self.repeated,
            &mut self.repeated_unordered,
            &mut self.calls,
            &mut self.endpoint_faults,
            &mut self.output_faults,
            &mut self.kills,
            &mut self.redelivered,
            &mut self.answered_before,
            &mut self.repeated_calls,
            &mut self.seconds,
            &mut self.calls_while_frozen,
            &mut self.requests_while_frozen,
            &mut self.left_in_flight,
            &mut self.late_responses,
            &mut self.over_capacity,
            &mut self.too_many_attempts,
        ]
    }

    fn add(&mut self, other: &Self) {
        let mut other = other.clone();
        for (mine, its) in self.all_mut().into_iter().zip(other.all_mut()) {
            *mine += *its;
        }
    }

    pub(crate) fn assert_every_kind_happened(&mut self) {
        for (index, count) in self.all_mut().into_iter().take(15).enumerate() {
            assert!(*count > 0, "count {index} is zero in all runs");
        }
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            records,
            predicted,
            refused,
            given_up,
            discarded,
            repeated,
            repeated_unordered,
            ..
        } = self;
        let Self {
            calls,
            endpoint_faults,
            output_faults,
            kills,
            redelivered,
            ..
        } = self;
        let saved = self.answered_before.saturating_sub(self.repeated_calls);
        let hours = self.seconds / 3600;
        let in_order = repeated - repeated_unordered;
        write!(
            f,
            "{records} records in {hours} simulated hours: {predicted} predictions, {refused} refused, {given_up} given \
             up, {discarded} discarded by the mapping, none lost; delivered twice: {in_order} in ordered mode, \
             {repeated_unordered} in unordered mode. {endpoint_faults} endpoint faults in {calls} calls, \
             {output_faults} destination faults, {kills} kills; {redelivered} records redelivered, {saved} calls saved by the memo"
        )
    }
}
