//! Checks what must be true when the mapping has finished the stream.

use std::collections::HashSet;
use std::time::Duration;

use crate::endpoint::Trail;
use crate::world::World;

mod blame;
mod counts;
mod repeats;

pub(crate) use counts::Counts;

/// The result of a run.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct RunResult {
    /// The records in OUTPUT with their partition keys, in the order of OUTPUT.
    pub(crate) predicted: Vec<(String, String)>,
    pub(crate) dead: Vec<DeadLetter>,
    /// The records that the mapping discarded.
    pub(crate) discarded: Vec<String>,
    /// The calls for each record.
    pub(crate) trails: Vec<(String, Trail)>,
    /// The responses that name an unfinished record.
    pub(crate) stops: Vec<Stop>,
    pub(crate) counts: Counts,
}

#[derive(Debug, PartialEq)]
pub(crate) struct DeadLetter {
    pub(crate) record: String,
    pub(crate) reason: String,
}

/// A response that names an unfinished record.
#[derive(Debug, PartialEq)]
pub(crate) struct Stop {
    /// The unfinished user records of the Kinesis record that it names.
    pub(crate) records: Vec<String>,
    /// The start of the invocation, since the start of the run.
    pub(crate) start: Duration,
    /// The models that had answered in this environment before. `None` is the model that no record names.
    pub(crate) answered_models: HashSet<Option<usize>>,
}

/// Checks the result of a run, and adds its counts. Panics if a check fails.
pub(crate) fn check(world: &World, result: &mut RunResult) {
    result.counts.predicted = result.predicted.len() as u64;
    result.counts.discarded = result.discarded.len() as u64;
    result.counts.refused = result.dead.iter().filter(|it| it.reason == "Refused").count() as u64;
    result.counts.given_up = result.dead.iter().filter(|it| it.reason == "GivenUp").count() as u64;
    no_record_is_lost(world, result);
    limits_are_kept(result);
    blame::every_outcome_has_its_reason(world, result);
    blame::poison_stops_no_shard(world, result);
    blame::only_failing_records_are_discarded(world, result);
    repeats::no_record_is_repeated_without_a_cause(world, result);
    repeats::keys_stay_in_order(world, result);
    repeats::no_remembered_record_is_called_again(world, result);
}

fn no_record_is_lost(world: &World, result: &RunResult) {
    let predicted = result.predicted.iter().map(|(record, _)| record);
    let dead = result.dead.iter().map(|dead_letter| &dead_letter.record);
    let arrived: HashSet<_> = predicted.chain(dead).chain(&result.discarded).collect();
    for record in world.names() {
        assert!(arrived.contains(&record), "record {record} is lost");
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

/// Returns true if every redelivery of a batch goes to the environment that had the batch before.
fn stays_warm(world: &World) -> bool {
    world.kills + world.fresh == 0.0 && world.shards.len() == 1 && world.parallelization_factor == 1
}

fn has_large_memo(world: &World) -> bool {
    world.config().memo_bytes > 1_000_000
}
