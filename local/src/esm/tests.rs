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

/// The places in `all` of an event's records.
fn places(event: &[u8], all: &[StreamRecord]) -> Vec<usize> {
    let event: Value = serde_json::from_slice(event).unwrap();
    let entries = event["Records"].as_array().unwrap().iter();
    let place = |entry: &Value| {
        let named = entry["kinesis"]["sequenceNumber"].as_str().unwrap();
        all.iter().position(|record| record.sequence_number == named).unwrap()
    };
    entries.map(place).collect()
}

/// What a mapping told: the sizes of the batches, how many records of each were finished, and what was discarded, as
/// record numbers from 0.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Told {
    sizes: Vec<usize>,
    finished: Vec<usize>,
    failures: Vec<String>,
    discarded: Vec<(Condition, Vec<usize>, usize)>,
}

impl Told {
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
                    .push((discarded.condition, places(&event, all), discarded.invocations));
            }
        }
    }
}

/// Runs a mapping over ten records; `answer` says what the function answers to which invocation, counted from 1, with
/// a batch of which records.
async fn run(mapping: Mapping, answer: impl Fn(usize, &[StreamRecord]) -> Answer) -> Told {
    let all = records(10);
    let invocation = Cell::new(0);
    let invoke = async |event: Bytes| {
        let batch: Vec<_> = places(&event, &all)
            .into_iter()
            .map(|place| all[place].clone())
            .collect();
        invocation.set(invocation.get() + 1);
        answer(invocation.get(), &batch)
    };
    let told = RefCell::default();
    let report = |report| Told::add(&mut told.borrow_mut(), report, &all);
    mapping.run_all(vec![all.clone()], &invoke, &report).await;
    told.into_inner()
}

fn success() -> Answer {
    Answer::Response(Bytes::new())
}

fn failure() -> Answer {
    Answer::TimedOut(Duration::from_secs(3))
}

#[tokio::test(start_paused = true)]
async fn a_batch_goes_on_from_its_checkpoint() {
    let told = run(MAPPING, |invocation, batch| match invocation {
        1 => Answer::Response(failing(batch, &[1]).into()),
        _ => success(),
    })
    .await;
    assert_eq!(told.sizes, [4, 3, 4, 2]);
    assert_eq!(told.finished, [1, 3, 4, 2]);
}

#[tokio::test(start_paused = true)]
async fn exhausted_retries_discard_the_rest_of_the_batch_only() {
    let mapping = Mapping {
        batch_size: 5,
        ..MAPPING
    };
    let told = run(mapping, |invocation, batch| match invocation {
        1 => Answer::Response(failing(batch, &[3]).into()),
        2..=4 => failure(),
        _ => success(),
    })
    .await;
    assert_eq!(told.sizes, [5, 2, 2, 2, 5]);
    assert_eq!(told.discarded, [(Condition::RetryAttemptsExhausted, vec![3, 4], 4)]);
    assert_eq!(told.failures[0], "no answer within 3 s, the time for an invocation");
}

#[tokio::test(start_paused = true)]
async fn a_batch_whose_first_record_is_named_spends_a_retry() {
    let told = run(MAPPING, |_, batch| Answer::Response(failing(batch, &[0]).into())).await;
    assert_eq!(told.sizes, [4, 4, 4, 4, 4, 4, 2, 2, 2]);
    let discarded: Vec<_> = told
        .discarded
        .iter()
        .flat_map(|(_, places, _)| places.clone())
        .collect();
    assert_eq!(discarded, (0..10).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn without_a_limit_a_batch_comes_again_until_it_is_finished() {
    let mapping = Mapping {
        max_retries: None,
        ..MAPPING
    };
    let told = run(
        mapping,
        |invocation, _| if invocation <= 500 { failure() } else { success() },
    )
    .await;
    assert_eq!(told.sizes.len(), 503, "three batches, the first of them 501 times");
    assert_eq!(told.discarded, []);
}

#[tokio::test(start_paused = true)]
async fn a_batch_whose_process_was_killed_comes_again() {
    let told = run(MAPPING, |invocation, _| match invocation {
        1 | 3 => Answer::Exited("killed".to_owned()),
        _ => success(),
    })
    .await;
    assert_eq!(told.sizes, [4, 4, 4, 4, 2]);
    assert_eq!(told.finished, [0, 4, 0, 4, 2]);
    assert_eq!(told.failures[0], "the function's process ended: killed");
    assert_eq!(told.discarded, []);
}

#[tokio::test(start_paused = true)]
async fn bisecting_leaves_only_the_record_that_fails() {
    let mapping = Mapping {
        bisect: true,
        ..MAPPING
    };
    let poison = records(10)[2].sequence_number.clone();
    let told = run(mapping, |_, batch| {
        let is_there = batch.iter().any(|record| record.sequence_number == poison);
        if is_there { failure() } else { success() }
    })
    .await;
    // Four fail, then 0–1 succeed, 2–3 fail, 2 alone fails with all its retries, 3 succeeds.
    assert_eq!(told.sizes, [4, 2, 2, 1, 1, 1, 1, 4, 2]);
    assert_eq!(told.discarded, [(Condition::RetryAttemptsExhausted, vec![2], 5)]);
}

#[tokio::test(start_paused = true)]
async fn bisecting_splits_at_the_record_that_is_named_and_spends_no_retry() {
    let mapping = Mapping {
        batch_size: 10,
        max_retries: Some(0),
        bisect: true,
        ..MAPPING
    };
    let told = run(mapping, |invocation, batch| match invocation {
        1 => Answer::Response(failing(batch, &[3]).into()),
        2 => failure(),
        3 | 4 => Answer::Response(failing(batch, &[1]).into()),
        _ => success(),
    })
    .await;
    // Ten are split at the fourth, the seven left in half; then three, two and one of the first half remain.
    assert_eq!(told.sizes, [10, 7, 3, 2, 1, 4]);
    assert_eq!(told.finished, [3, 0, 1, 1, 1, 4]);
    assert_eq!(told.discarded, []);
}
