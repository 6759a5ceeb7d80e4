//! Nothing is delivered or called twice without a cause, and keys stay in order.

use std::collections::HashMap;

use instream::delivery::{DestinationSetting, OutputMode};

use super::{RunResult, has_large_memo, stays_warm};
use crate::world::{Reliability, World, shard_and_number};

/// Returns true for an SQS FIFO queue, which drops duplicates itself.
fn is_fifo(destination: &DestinationSetting) -> bool {
    matches!(destination, DestinationSetting::Sqs(url) if url.contains(".fifo"))
}

pub(super) fn no_record_is_repeated_without_a_cause(world: &World, result: &mut RunResult) {
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
        let repeated: Vec<_> = seen.iter().filter(|(_, count)| **count > 1).collect();
        assert!(repeated.is_empty(), "records were delivered twice: {repeated:?}");
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
    // Some records of an aggregate go to OUTPUT and others to DEAD_LETTER, and one of these may fail.
    let is_divided = world.records_per_aggregate > 1
        && dead_letter.is_some()
        && !(world.output_reliability.is_perfect() && world.dead_letter_reliability.is_perfect());
    // The finished part of an aggregate that the memo could not keep is delivered before the rest.
    let has_small_memo = world.config().memo_bytes > 0 && !has_large_memo(world);
    world.config().output_mode == OutputMode::Unordered
        || world.output_refuses.is_some()
        || is_divided
        || world.records_per_aggregate > 1 && has_small_memo
        || may_take_a_part(&world.output, &world.output_reliability)
        || dead_letter.is_some_and(|destination| may_take_a_part(destination, &world.dead_letter_reliability))
}

/// In `ordered` mode, a destination that accepts every request gets each key's records in the order of the stream.
pub(super) fn keys_stay_in_order(world: &World, result: &RunResult) {
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

pub(super) fn no_remembered_record_is_called_again(world: &World, result: &RunResult) {
    // A record that was answered before is called again as a probe, after a failure that a record may have caused.
    let counts = &result.counts;
    if has_large_memo(world) {
        assert!(
            counts.repeated_calls <= counts.doubtful_faults * world.records_per_request as u64,
            "calls for records that were answered before"
        );
    }
}
