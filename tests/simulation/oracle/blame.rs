//! Only records that are poison are rejected, and they are rejected soon.

use std::time::Duration;

use super::{DeadLetter, RunResult, has_large_memo, stays_warm};
use crate::world::{Failure, Random, RecordKind, World};

/// No poison record is predicted, and no healthy one is rejected.
pub(super) fn every_outcome_has_its_reason(world: &World, result: &mut RunResult) {
    for (record, _) in &result.predicted {
        let kind = world.record(record).kind;
        assert!(
            matches!(kind, RecordKind::Good | RecordKind::Flaky(..)),
            "{record} is {kind:?}, but was predicted"
        );
        assert!(!world.is_refused_by_output(record), "OUTPUT refuses {record}");
    }
    if world.weather.random != Random::None {
        let records = world.shards.iter().flatten();
        result.counts.exposed = records.filter(|record| record.kind == RecordKind::Good).count() as u64;
    }
    for DeadLetter { record, reason } in &result.dead {
        let kind = world.record(record).kind;
        if reason == "PredictionRefused" {
            assert!(world.is_refused_by_output(record), "OUTPUT accepts {record}");
            result.counts.refused_by_output += 1;
            continue;
        }
        let is_healthy = kind == RecordKind::Good;
        let is_unlucky = is_unlucky(world, result, record);
        result.counts.unlucky += u64::from(is_unlucky && is_healthy);
        let is_right = match kind {
            RecordKind::Poison(failure) => is_reason(world, failure, reason),
            RecordKind::NamesMissingModel => is_reason(world, Failure::NoSuchModel, reason),
            RecordKind::Flaky(_, failure) if failure.may_be_poison() => true,
            RecordKind::Flaky(..) | RecordKind::Good => is_unlucky,
        };
        let trail = result.trails.iter().find(|(name, _)| name == record);
        assert!(
            is_right,
            "{record} is {kind:?}, but was dead-lettered as {reason} after {trail:?}"
        );
    }
}

/// Returns true if this `reason` is right for a poison record. Without other failures, there is only one.
fn is_reason(world: &World, failure: Failure, reason: &str) -> bool {
    let expected = if failure.is_refusal() { "Refused" } else { "GivenUp" };
    reason == expected || !world.weather.is_perfect() && ["Refused", "GivenUp"].contains(&reason)
}

/// Returns true if the last attempts at the healthy `record` happened to fail, while calls for others were answered.
/// Such a record cannot be distinguished from a poison record. [`Counts`](super::Counts) limits their share. In an
/// outage or with a broken model, there is no such excuse.
fn is_unlucky(world: &World, result: &RunResult, record: &str) -> bool {
    let trail = result.trails.iter().find(|(name, _)| name == record);
    world.weather.random != Random::None && trail.is_some_and(|(_, trail)| trail.unlucky_alone_most > 0)
}

/// Returns true if nothing but poison records can keep the function from its work, and it has the time for them.
fn is_quiet(world: &World) -> bool {
    let config = world.config();
    let has_destinations = world.output_reliability.is_perfect()
        && world.dead_letter_reliability.is_perfect()
        && world.dead_letter.is_some();
    let time = world.timeout.saturating_sub(config.time_budget.reserve);
    world.weather.is_perfect()
        && has_destinations
        && config.give_up_after.is_some()
        && world.output_refuses.is_none()
        && stays_warm(world)
        && has_large_memo(world)
        && time_for_one_batch(world) < time
}

/// Returns the longest time that the calls for one batch can take.
fn time_for_one_batch(world: &World) -> Duration {
    let config = world.config();
    let batch = world.batch_size * world.records_per_aggregate;
    let records = world.shards.iter().map(|shard| shard.len().min(batch));
    let records = u32::try_from(records.max().unwrap_or_default()).unwrap();
    let failing = world
        .shards
        .iter()
        .flatten()
        .filter(|record| record.kind != RecordKind::Good);
    let failing = u32::try_from(failing.count()).unwrap().min(records);
    let splits = world.records_per_request.next_power_of_two().ilog2();
    let attempts = config.retry.max_attempts + 2 + splits;
    let capacity = u32::try_from(config.capacity.get()).unwrap();
    let one_answer = Duration::from_millis(world.latency_ms.end);
    let one_failure = (config.call_timeout + config.retry.backoff.cap) * attempts;
    one_answer * records.div_ceil(capacity) * 2 + one_failure * failing.div_ceil(capacity).max(1)
}

/// While the endpoint answers others, a poison record stops its shard for two deliveries and `GIVE_UP_AFTER_S` at most.
pub(super) fn poison_stops_no_shard(world: &World, result: &mut RunResult) {
    if !is_quiet(world) {
        return;
    }
    result.counts.quiet_runs = 1;
    let give_up_after = world.config().give_up_after.unwrap_or_default();
    let has_evidence = |stop: &super::Stop| {
        stop.records.iter().all(|name| {
            let record = world.record(name);
            let is_about_model = record.kind == RecordKind::NamesMissingModel;
            stop.answered_models.contains(&record.model) || is_about_model && !stop.answered_models.is_empty()
        })
    };
    let late = result
        .stops
        .iter()
        .filter(|stop| stop.start >= give_up_after && has_evidence(stop));
    let mut deliveries = std::collections::HashMap::new();
    for stop in late {
        let count: &mut u32 = deliveries.entry(&stop.records[0]).or_default();
        *count += 1;
        let kinds: Vec<_> = stop.records.iter().map(|name| world.record(name).kind).collect();
        assert!(
            *count <= 2,
            "{:?} stop their shard for {count} deliveries and more: {kinds:?}",
            stop.records
        );
    }
}

/// Returns whether a poison record is for a model that answers no record before it and none in the first batch. Then
/// nothing may show that the model works.
fn has_silent_model(world: &World) -> bool {
    world.shards.iter().any(|shard| {
        shard.iter().enumerate().any(|(index, record)| {
            let reached = shard.iter().take(index.max(world.batch_size));
            let mut good = reached.filter(|other| other.kind == RecordKind::Good);
            matches!(record.kind, RecordKind::Poison(_)) && good.all(|good| good.model != record.model)
        })
    })
}

/// If records can be given up, the mapping discards only failing records that no environment could judge, because the
/// endpoint answered no other call.
pub(super) fn only_failing_records_are_discarded(world: &World, result: &RunResult) {
    if !is_quiet(world) || world.max_retries.is_some() || has_silent_model(world) {
        return;
    }
    for record in &result.discarded {
        let kind = world.record(record).kind;
        assert!(kind != RecordKind::Good, "{record} is {kind:?}, but was discarded");
    }
}
