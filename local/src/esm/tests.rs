use std::cell::{Cell, RefCell};

use serde_json::Value;

use super::*;

mod lanes;
mod time;

pub(super) const MAPPING: Mapping = Mapping {
    batch_size: 4,
    batch_window: Duration::ZERO,
    parallelization_factor: 1,
    max_retries: Some(2),
    max_record_age: None,
    bisect: false,
};

pub(super) fn records(count: u64) -> Vec<StreamRecord> {
    (1..=count)
        .map(|number| StreamRecord::from_line(number, b"x", 0))
        .collect()
}

pub(super) fn failing(records: &[StreamRecord], positions: &[usize]) -> String {
    let named = |position: &usize| format!(r#"{{"itemIdentifier":"{}"}}"#, records[*position].sequence_number);
    let list: Vec<_> = positions.iter().map(named).collect();
    format!(r#"{{"batchItemFailures":[{}]}}"#, list.join(","))
}

/// Returns the positions in `all` of an event's records.
fn positions(event: &[u8], all: &[StreamRecord]) -> Vec<usize> {
    let event: Value = serde_json::from_slice(event).unwrap();
    let entries = event["Records"].as_array().unwrap().iter();
    let position = |entry: &Value| {
        let named = entry["kinesis"]["sequenceNumber"].as_str().unwrap();
        all.iter().position(|record| record.sequence_number == named).unwrap()
    };
    entries.map(position).collect()
}

/// The reports of a mapping: for each batch its size, its number of finished records and its failure, if any. For each
/// discard the condition, the records as positions from 0, and the number of invocations.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Reported {
    sizes: Vec<usize>,
    finished: Vec<usize>,
    failures: Vec<String>,
    discarded: Vec<(Condition, Vec<usize>, usize)>,
}

impl Reported {
    fn add(&mut self, report: Report, all: &[StreamRecord]) {
        match report {
            Report::Invoked(invoked) => {
                self.sizes.push(invoked.records);
                self.finished.push(invoked.finished);
                self.failures.extend(invoked.failure);
            }
            Report::Discarded(discarded) => {
                let event = crate::stream::event(&discarded.records);
                self.discarded
                    .push((discarded.condition, positions(&event, all), discarded.invocations));
            }
        }
    }
}

/// Runs a mapping over ten records. `respond` gets the number of the invocation, from 1, and the records of its batch.
/// It returns the result of the invocation.
async fn run(mapping: Mapping, respond: impl Fn(usize, &[StreamRecord]) -> InvocationResult) -> Reported {
    let all = records(10);
    let invocation = Cell::new(0);
    let invoke = async |event: Bytes| {
        let batch: Vec<_> = positions(&event, &all)
            .into_iter()
            .map(|position| all[position].clone())
            .collect();
        invocation.set(invocation.get() + 1);
        respond(invocation.get(), &batch)
    };
    let reported = RefCell::default();
    let report = |report| Reported::add(&mut reported.borrow_mut(), report, &all);
    mapping.run_all(vec![all.clone()], &invoke, &report).await;
    reported.into_inner()
}

fn success() -> InvocationResult {
    InvocationResult::Response(Bytes::new())
}

fn failure() -> InvocationResult {
    InvocationResult::TimedOut(Duration::from_secs(3))
}

#[tokio::test(start_paused = true)]
async fn a_batch_continues_from_its_checkpoint() {
    let reported = run(MAPPING, |invocation, batch| match invocation {
        1 => InvocationResult::Response(failing(batch, &[1]).into()),
        _ => success(),
    })
    .await;
    assert_eq!(reported.sizes, [4, 3, 4, 2]);
    assert_eq!(reported.finished, [1, 3, 4, 2]);
}

#[tokio::test(start_paused = true)]
async fn exhausted_retries_discard_only_the_rest_of_the_batch() {
    let mapping = Mapping {
        batch_size: 5,
        ..MAPPING
    };
    let reported = run(mapping, |invocation, batch| match invocation {
        1 => InvocationResult::Response(failing(batch, &[3]).into()),
        2..=4 => failure(),
        _ => success(),
    })
    .await;
    assert_eq!(reported.sizes, [5, 2, 2, 2, 5]);
    assert_eq!(reported.discarded, [(Condition::RetryAttemptsExhausted, vec![3, 4], 4)]);
    assert_eq!(reported.failures[0], "no response within the invocation timeout of 3 s");
}

#[tokio::test(start_paused = true)]
async fn a_response_that_names_the_first_record_spends_a_retry() {
    let reported = run(MAPPING, |_, batch| {
        InvocationResult::Response(failing(batch, &[0]).into())
    })
    .await;
    assert_eq!(reported.sizes, [4, 4, 4, 4, 4, 4, 2, 2, 2]);
    let discarded: Vec<_> = reported
        .discarded
        .iter()
        .flat_map(|(_, positions, _)| positions.clone())
        .collect();
    assert_eq!(discarded, (0..10).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn without_a_retry_limit_a_batch_is_redelivered_until_it_is_finished() {
    let mapping = Mapping {
        max_retries: None,
        ..MAPPING
    };
    let reported = run(
        mapping,
        |invocation, _| if invocation <= 500 { failure() } else { success() },
    )
    .await;
    assert_eq!(
        reported.sizes.len(),
        503,
        "three batches, the first delivered 501 times"
    );
    assert_eq!(reported.discarded, []);
}

#[tokio::test(start_paused = true)]
async fn a_batch_whose_process_was_killed_is_redelivered() {
    let reported = run(MAPPING, |invocation, _| match invocation {
        1 | 3 => InvocationResult::Exited("killed".to_owned()),
        _ => success(),
    })
    .await;
    assert_eq!(reported.sizes, [4, 4, 4, 4, 2]);
    assert_eq!(reported.finished, [0, 4, 0, 4, 2]);
    assert_eq!(reported.failures[0], "the function's process ended: killed");
    assert_eq!(reported.discarded, []);
}

#[tokio::test(start_paused = true)]
async fn bisecting_discards_only_the_record_that_fails() {
    let mapping = Mapping {
        bisect: true,
        ..MAPPING
    };
    let poison = records(10)[2].sequence_number.clone();
    let reported = run(mapping, |_, batch| {
        let has_poison = batch.iter().any(|record| record.sequence_number == poison);
        if has_poison { failure() } else { success() }
    })
    .await;
    // Records 0–3 fail, 0–1 succeed, 2–3 fail, 2 alone fails with all its retries, 3 succeeds.
    assert_eq!(reported.sizes, [4, 2, 2, 1, 1, 1, 1, 4, 2]);
    assert_eq!(reported.discarded, [(Condition::RetryAttemptsExhausted, vec![2], 5)]);
}

#[tokio::test(start_paused = true)]
async fn bisecting_splits_at_the_named_record_and_spends_no_retry() {
    let mapping = Mapping {
        batch_size: 10,
        max_retries: Some(0),
        bisect: true,
        ..MAPPING
    };
    let reported = run(mapping, |invocation, batch| match invocation {
        1 => InvocationResult::Response(failing(batch, &[3]).into()),
        2 => failure(),
        3 | 4 => InvocationResult::Response(failing(batch, &[1]).into()),
        _ => success(),
    })
    .await;
    // The ten records are split at the fourth. The remaining seven are halved. Then three, two and one record of the
    // first half remain.
    assert_eq!(reported.sizes, [10, 7, 3, 2, 1, 4]);
    assert_eq!(reported.finished, [3, 0, 1, 1, 1, 4]);
    assert_eq!(reported.discarded, []);
}
