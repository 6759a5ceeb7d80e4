//! What must be true when the mapping has come through the stream.

use std::collections::{HashMap, HashSet};
use std::fmt;

use instream::config::{Destination, OutputMode};

use crate::world::{Ends, Nature, Reliability, World, name, place};

/// What came of a run.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Told {
    /// The records in OUTPUT with their partition keys, in its order.
    pub(crate) predicted: Vec<(String, String)>,
    pub(crate) dead: Vec<DeadLetter>,
    /// What the mapping gave up.
    pub(crate) discarded: Vec<String>,
    /// How often each record was answered.
    pub(crate) answered: Vec<(String, u32)>,
    pub(crate) counts: Counts,
}

#[derive(Debug, PartialEq)]
pub(crate) struct DeadLetter {
    pub(crate) record: String,
    pub(crate) reason: String,
}

/// What happened, in numbers.
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
    /// Records that came to an environment which had had an answer for them.
    pub(crate) answered_before: u64,
    /// Calls for such records.
    pub(crate) calls_again: u64,
    /// Simulated.
    pub(crate) seconds: u64,

    // What must not be.
    pub(crate) calls_while_frozen: u64,
    pub(crate) requests_while_frozen: u64,
    pub(crate) left_behind: u64,
    pub(crate) late_answers: u64,
    pub(crate) over_capacity: u64,
    pub(crate) too_many_attempts: u64,
}

/// Panics if anything is not as it must be.
pub(crate) fn check(world: &World, told: &mut Told) {
    nothing_is_lost(world, told);
    nothing_runs_where_it_must_not(told);
    every_end_has_its_reason(world, told);
    nothing_repeats_without_a_cause(world, told);
    keys_stay_in_order(world, told);
    no_call_is_made_for_what_is_remembered(world, told);
    only_the_hopeless_are_discarded(world, told);
    told.counts.predicted = told.predicted.len() as u64;
    told.counts.discarded = told.discarded.len() as u64;
    told.counts.refused = told.dead.iter().filter(|letter| letter.reason == "Refused").count() as u64;
    told.counts.given_up = told.dead.len() as u64 - told.counts.refused;
}

fn nothing_is_lost(world: &World, told: &Told) {
    let predicted = told.predicted.iter().map(|(record, _)| record);
    let dead = told.dead.iter().map(|letter| &letter.record);
    let arrived: HashSet<_> = predicted.chain(dead).chain(&told.discarded).collect();
    for (shard, natures) in world.shards.iter().enumerate() {
        for number in 0..natures.len() {
            let record = name(shard, number);
            assert!(arrived.contains(&record), "record {record} is lost");
        }
    }
    assert_eq!(arrived.len(), world.records(), "records that nobody put in");
}

fn nothing_runs_where_it_must_not(told: &Told) {
    let counts = &told.counts;
    assert_eq!(counts.calls_while_frozen, 0, "calls after the answer");
    assert_eq!(counts.requests_while_frozen, 0, "deliveries after the answer");
    assert_eq!(counts.left_behind, 0, "calls or deliveries in flight after the answer");
    assert_eq!(counts.late_answers, 0, "answers after the deadline");
    assert_eq!(counts.over_capacity, 0, "more calls in flight than CAPACITY");
    assert_eq!(counts.too_many_attempts, 0, "more attempts than MAX_ATTEMPTS");
}

/// Only what is refused is dead-lettered as such, and only what fails by what may be its own fault is given up: never for
/// an outage.
fn every_end_has_its_reason(world: &World, told: &Told) {
    for (record, _) in &told.predicted {
        let nature = world.nature(record);
        assert!(
            matches!(nature, Nature::Good | Nature::Flaky(..)),
            "{record} is {nature:?}, and predicted"
        );
    }
    let may_be_unlucky = world.transient > 0.0;
    for DeadLetter { record, reason } in &told.dead {
        let nature = world.nature(record);
        let is_right = match (&**reason, nature) {
            ("Refused", Nature::Refused) | ("GivenUp", Nature::Hopeless(_)) => true,
            ("GivenUp", Nature::Flaky(_, ends)) => ends.is_suspect() || may_be_unlucky,
            ("GivenUp", Nature::Good | Nature::Refused) => may_be_unlucky,
            _ => false,
        };
        assert!(is_right, "{record} is {nature:?}, and dead-lettered as {reason}");
    }
}

/// Whether all redeliveries of a batch go to the environment that had it before.
fn stays_warm(world: &World) -> bool {
    world.kills + world.fresh == 0.0 && world.shards.len() == 1 && world.parallelization_factor == 1
}

fn remembers(world: &World) -> bool {
    world.config().memo_bytes > 1_000_000
}

/// A FIFO queue drops repeats by itself.
fn is_fifo(destination: &Destination) -> bool {
    matches!(destination, Destination::Sqs(url) if url.contains(".fifo"))
}

fn nothing_repeats_without_a_cause(world: &World, told: &mut Told) {
    let mut seen: HashMap<&str, u64> = HashMap::new();
    let predicted = told.predicted.iter().map(|(record, _)| record);
    for record in predicted.chain(told.dead.iter().map(|letter| &letter.record)) {
        *seen.entry(record).or_default() += 1;
    }
    told.counts.repeated = seen.values().map(|count| count - 1).sum();
    let is_silent = world.output_is.silent + world.dead_letter_is.silent > 0.0;
    let may_repeat =
        world.kills > 0.0 || is_silent || arrives_in_part(world) && !(stays_warm(world) && remembers(world));
    if !may_repeat {
        assert_eq!(told.counts.repeated, 0, "records were delivered twice");
    }
    if world.config().output_mode == OutputMode::Unordered {
        told.counts.repeated_unordered = told.counts.repeated;
    }
}

/// Whether something may arrive that lies behind the checkpoint.
fn arrives_in_part(world: &World) -> bool {
    let in_part = |destination: &Destination, is: &Reliability| {
        // A queue without order is sent several requests at once.
        let is_queue = matches!(destination, Destination::Sqs(_)) && !is_fifo(destination);
        is.refuses_entries > 0.0 || is_queue && !is.is_perfect()
    };
    let dead_letter = world.dead_letter.as_ref();
    world.config().output_mode == OutputMode::Unordered
        || in_part(&world.output, &world.output_is)
        || dead_letter.is_some_and(|destination| in_part(destination, &world.dead_letter_is))
}

/// In `ordered` mode a destination that takes everything gets each key's records in the order of the stream.
fn keys_stay_in_order(world: &World, told: &Told) {
    let is_queue = matches!(world.output, Destination::Sqs(_)) && !is_fifo(&world.output);
    let is_in_order = world.config().output_mode == OutputMode::Ordered && world.output_is.is_perfect() && !is_queue;
    if !is_in_order || told.counts.repeated > 0 {
        return;
    }
    let mut last: HashMap<(usize, &str), usize> = HashMap::new();
    for (record, key) in &told.predicted {
        let (shard, number) = place(record);
        let before = last.insert((shard, key), number);
        assert!(
            before.is_none_or(|before| before < number),
            "{key}: record {record} came late"
        );
    }
}

fn no_call_is_made_for_what_is_remembered(world: &World, told: &Told) {
    // Where a record is to be given up or a request split, one that was answered is asked for again.
    if remembers(world) && world.config().give_up_after.is_none() && world.packed == 1 {
        assert_eq!(
            told.counts.calls_again, 0,
            "calls for records that were answered before"
        );
    }
}

/// One bad record does not block the shard: where it can be given up, the mapping has nothing to discard but what no
/// environment could judge, for want of any answer.
fn only_the_hopeless_are_discarded(world: &World, told: &Told) {
    let gives_up = world.config().give_up_after.is_some() && world.max_retries.is_none();
    let has_time = world.config().call_timeout * world.config().retry.max_attempts < world.timeout / 2;
    if !(gives_up && has_time && stays_warm(world)) {
        return;
    }
    for record in &told.discarded {
        let nature = world.nature(record);
        let is_hopeless = match nature {
            Nature::Hopeless(_) => true,
            Nature::Flaky(_, ends) => ends != Ends::With(instream::endpoint::FaultKind::Overload),
            Nature::Good | Nature::Refused => false,
        };
        assert!(is_hopeless, "{record} is {nature:?}, and discarded");
    }
}

impl Told {
    pub(crate) fn add(&mut self, other: &Self) {
        self.counts.add(&other.counts);
    }
}

impl Counts {
    fn each(&mut self) -> [&mut u64; 21] {
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
            &mut self.calls_again,
            &mut self.seconds,
            &mut self.calls_while_frozen,
            &mut self.requests_while_frozen,
            &mut self.left_behind,
            &mut self.late_answers,
            &mut self.over_capacity,
            &mut self.too_many_attempts,
        ]
    }

    fn add(&mut self, other: &Self) {
        let mut other = other.clone();
        for (mine, its) in self.each().into_iter().zip(other.each()) {
            *mine += *its;
        }
    }

    pub(crate) fn assert_that_everything_happened(&mut self) {
        for (place, count) in self.each().into_iter().take(15).enumerate() {
            assert!(*count > 0, "number {place} of what is counted never happened");
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
        let saved = self.answered_before.saturating_sub(self.calls_again);
        let hours = self.seconds / 3600;
        let in_order = repeated - repeated_unordered;
        write!(
            f,
            "{records} records in {hours} simulated hours: {predicted} predictions, {refused} refused, {given_up} given \
             up, {discarded} discarded by the mapping, none lost; delivered again: {in_order} in ordered mode, \
             {repeated_unordered} in unordered. {endpoint_faults} faults of \
             the endpoint in {calls} calls, {output_faults} of destinations, {kills} kills; {redelivered} records \
             redelivered, {saved} calls saved by the memo"
        )
    }
}
