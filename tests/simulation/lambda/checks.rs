//! Checks after each response, and the result of a run.

use std::collections::HashSet;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use serde_json::Value;

use super::stream::{EventRecords, bytes};
use super::{Lambda, Process};
use crate::cloud::Cloud;
use crate::oracle::{DeadLetter, RunResult, Stop};
use crate::world::World;

/// The records whose prediction or dead letter has arrived.
#[derive(Default)]
pub(super) struct Arrived {
    names: HashSet<String>,
    predicted: usize,
    dead: usize,
}

impl Lambda<'_> {
    /// Counts the event's records for which this environment has already received an answer. Returns the part of a
    /// stop that is known at the start.
    pub(super) fn begin_invocation(&self, records: &EventRecords, process: &Process) -> Stop {
        let mut calls = process.calls.lock().unwrap();
        calls.attempts.clear();
        calls.most_in_flight = 0;
        let answered_before = records.names().filter(|name| calls.answered.contains(*name)).count();
        self.service.counts.lock().unwrap().answered_before += answered_before as u64;
        Stop {
            records: Vec::new(),
            start: self.started.elapsed(),
            answered_models: calls
                .answered
                .iter()
                .map(|name| self.world.record(name).model)
                .collect(),
        }
    }

    /// Counts violations of the rules that hold after each response.
    pub(super) fn check_after_response(&self, process: &Process) {
        let calls = process.calls.lock().unwrap();
        let config = self.world.config();
        let mut counts = self.service.counts.lock().unwrap();
        counts.left_in_flight += (calls.in_flight + process.gate.in_flight.load(Ordering::Relaxed)) as u64;
        counts.over_capacity += u64::from(calls.most_in_flight > config.capacity.get());
        let attempts_max = attempts_max(self.world);
        let too_many = |(name, count): &(&String, &u32)| **count > attempts_max && !calls.answered.contains(*name);
        for (name, attempts) in calls.attempts.iter().filter(too_many) {
            counts.too_many_attempts += 1;
            self.service
                .trace(|| format!("{attempts} attempts at {name}, at most {attempts_max} are allowed"));
        }
    }

    /// Checks that the response names the first unfinished record, and notes the `stop` there.
    pub(super) fn check_checkpoint(&self, response: &Bytes, records: &EventRecords, stop: Stop) {
        let response: Value = serde_json::from_slice(response).unwrap();
        let (before, named) = records.split_at_checkpoint(&response);
        let mut arrived = self.arrived.borrow_mut();
        arrived.update(&self.output, &self.dead_letter);
        for record in before {
            assert!(
                arrived.names.contains(record),
                "{record} is before the checkpoint, but not finished"
            );
        }
        let is_reliable = self.world.output_reliability.is_perfect() && self.world.dead_letter_reliability.is_perfect();
        let is_finished = !named.is_empty() && named.iter().all(|record| arrived.names.contains(*record));
        assert!(
            !(is_reliable && is_finished),
            "the response names {named:?}, which is finished"
        );
        let records = named.into_iter().filter(|record| !arrived.names.contains(*record));
        let records: Vec<_> = records.map(ToOwned::to_owned).collect();
        if !records.is_empty() {
            self.stops.borrow_mut().push(Stop { records, ..stop });
        }
    }

    pub(super) fn into_result(self, discarded: Vec<String>) -> RunResult {
        let envelopes = |cloud: &Cloud| cloud.envelopes().into_iter();
        let predicted = envelopes(&self.output).map(|it| (it["output"].as_str().unwrap().to_owned(), key(&it)));
        let dead = envelopes(&self.dead_letter).map(|it| DeadLetter {
            record: dead_record(&it),
            reason: it["reason"]["kind"].as_str().unwrap().to_owned(),
        });
        let mut counts = self.service.counts.lock().unwrap().clone();
        counts.seconds = self.started.elapsed().as_secs();
        counts.records = self.world.records() as u64;
        counts.requests_while_frozen = self.output.while_frozen() + self.dead_letter.while_frozen();
        counts.output_faults = self.output.faults() + self.dead_letter.faults();
        RunResult {
            predicted: predicted.collect(),
            dead: dead.collect(),
            discarded,
            trails: self.service.trails(),
            stops: self.stops.into_inner(),
            counts,
        }
    }
}

impl Arrived {
    fn update(&mut self, output: &Cloud, dead_letter: &Cloud) {
        let (predicted, dead) = (output.taken(), dead_letter.taken());
        let read = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        let new = predicted[self.predicted..].iter();
        self.names
            .extend(new.map(|it| read(&it.text)["output"].as_str().unwrap().to_owned()));
        self.names
            .extend(dead[self.dead..].iter().map(|it| dead_record(&read(&it.text))));
        (self.predicted, self.dead) = (predicted.len(), dead.len());
    }
}

/// Returns the maximum number of attempts at a record in one invocation.
fn attempts_max(world: &World) -> u32 {
    let config = world.config();
    // While some instances may be broken, a record has several last attempts.
    let last_attempts_max = 8;
    let attempts_max = config.retry.max_attempts.max(2) + last_attempts_max;
    // A record is part of the whole request and of each half down to the record alone.
    let requests_max = world.records_per_request.next_power_of_two().ilog2() + 1;
    // Any record of a request may also be sent as a probe of the endpoint.
    let probes_max = if requests_max > 1 { requests_max } else { 0 };
    attempts_max * requests_max + probes_max
}

fn dead_record(envelope: &Value) -> String {
    String::from_utf8(bytes(&envelope["data"]).to_vec()).unwrap()
}

fn key(envelope: &Value) -> String {
    envelope["partitionKey"].as_str().unwrap().to_owned()
}
