//! Several lanes and several shards at once.

use std::collections::HashMap;

use tokio::time::{sleep, timeout};

use super::*;
use crate::stream::shard_id;

/// Returns `count` records of the first shard, with `keys` different partition keys at most.
fn keyed(count: u64, keys: u64) -> Vec<StreamRecord> {
    let mut records = records(count);
    for (number, record) in (0..).zip(&mut records) {
        record.partition_key = format!("key-{}", number * number % keys);
    }
    records
}

#[tokio::test(start_paused = true)]
async fn lanes_run_concurrently_each_with_one_batch_in_flight() {
    let mapping = Mapping {
        parallelization_factor: 4,
        ..MAPPING
    };
    let (in_flight, max_in_flight) = (RefCell::<HashMap<usize, usize>>::default(), Cell::new(0));
    let all = keyed(80, 80);
    let invoke = async |event: Bytes| {
        let key = &all[positions(&event, &all)[0]].partition_key;
        let lane = partition_index(key, Partitions::Lanes, 4);
        let before = in_flight.borrow_mut().insert(lane, 1);
        assert_eq!(before, None, "a lane has one batch in flight");
        max_in_flight.set(max_in_flight.get().max(in_flight.borrow().len()));
        sleep(Duration::from_secs(1)).await;
        in_flight.borrow_mut().remove(&lane);
        success()
    };
    let lanes = RefCell::new([0; 4]);
    let report = |report| match report {
        Report::Invoked(invoked) => lanes.borrow_mut()[invoked.lane] += invoked.finished,
        Report::Discarded(discarded) => panic!("{discarded:?}"),
    };
    let started = Instant::now();
    mapping.run_all(vec![all.clone()], &invoke, &report).await;
    assert_eq!(max_in_flight.get(), 4);
    let lanes = lanes.into_inner();
    assert_eq!(lanes.iter().sum::<usize>(), 80);
    let longest = lanes.iter().max().unwrap().div_ceil(4) as u64;
    assert_eq!(
        started.elapsed().as_secs(),
        longest,
        "the run takes as long as the longest lane"
    );
}

/// Runs 300 records with up to 13 keys through four lanes. Invocations fail at random, as `seed` determines. Returns
/// the positions of the records in the order in which they were finished, and all reports.
async fn run_with_random_failures(seed: u64) -> (Vec<usize>, Vec<Report>) {
    let mapping = Mapping {
        parallelization_factor: 4,
        max_retries: None,
        bisect: true,
        ..MAPPING
    };
    let all = keyed(300, 13);
    let random = RefCell::new(fastrand::Rng::with_seed(seed));
    let finished = RefCell::new(Vec::new());
    let invoke = async |event: Bytes| {
        let batch = positions(&event, &all);
        let wait_ms = random.borrow_mut().u64(1..50);
        let drawn = random.borrow_mut().usize(..12);
        sleep(Duration::from_millis(wait_ms)).await;
        match drawn {
            0 => failure(),
            1 => InvocationResult::Exited("killed".to_owned()),
            _ if drawn < 2 + batch.len() => {
                let named = drawn - 2;
                finished.borrow_mut().extend(&batch[..named]);
                InvocationResult::Response(failing(&all, &[batch[named]]).into())
            }
            _ => {
                finished.borrow_mut().extend(&batch);
                success()
            }
        }
    };
    let reports = RefCell::default();
    let report = |report| Vec::push(&mut *reports.borrow_mut(), report);
    mapping.run_all(vec![all.clone()], &invoke, &report).await;
    (finished.into_inner(), reports.into_inner())
}

#[tokio::test(start_paused = true)]
async fn the_records_of_a_key_stay_in_order_under_random_failures() {
    let all = keyed(300, 13);
    for seed in 0..20 {
        let (finished, _) = run_with_random_failures(seed).await;
        let mut last = HashMap::new();
        for position in &finished {
            let before = last.insert(&all[*position].partition_key, *position);
            assert!(before < Some(*position), "seed {seed}: {before:?}, then {position}");
        }
        assert_eq!(finished.len(), 300, "seed {seed}: each record once");
        assert!(!finished.is_sorted(), "seed {seed}: the lanes run concurrently");
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_is_reproducible() {
    assert_eq!(run_with_random_failures(7).await, run_with_random_failures(7).await);
}

#[tokio::test(start_paused = true)]
async fn two_shards_do_not_block_each_other() {
    let all = records(40);
    let mut shards = vec![all[..20].to_vec(), all[20..].to_vec()];
    for record in &mut shards[1] {
        record.shard = shard_id(1);
    }
    let done = Cell::new(0);
    let invoke = async |event: Bytes| {
        sleep(Duration::from_millis(10)).await;
        let batch = positions(&event, &all);
        // The first shard has no success until the second is finished.
        if batch[0] < 20 && done.get() < 20 {
            return failure();
        }
        done.set(done.get() + batch.len());
        success()
    };
    let successful_shards = RefCell::new(Vec::new());
    let report = |report| match report {
        Report::Invoked(it) if it.finished > 0 => successful_shards.borrow_mut().push(it.shard),
        Report::Invoked(_) => {}
        Report::Discarded(discarded) => panic!("{discarded:?}"),
    };
    let mapping = Mapping {
        max_retries: None,
        ..MAPPING
    };
    // Only a guard: if the shards were read one after the other, the first would never end.
    let run = timeout(Duration::from_hours(1), mapping.run_all(shards, &invoke, &report));
    run.await.expect("both shards are read to the end");
    let expected = [vec![shard_id(1); 5], vec![shard_id(0); 5]].concat();
    assert_eq!(successful_shards.into_inner(), expected);
}
