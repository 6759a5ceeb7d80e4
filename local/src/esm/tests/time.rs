//! Records that arrive over time: when batches close, and when records are too old.

use tokio::time::sleep_until;

use super::*;

/// Runs a mapping over one record for each time in `entered`, in seconds, in a stream that ends after `end` seconds.
/// Returns the reports, and for each invocation its time in seconds and the size of its batch.
async fn run_over_time(
    mapping: Mapping,
    entered: &[u64],
    end: u64,
    respond: impl Fn() -> InvocationResult,
) -> (Reported, Vec<(u64, usize)>) {
    let started = Instant::now();
    let at = |seconds: u64| started + Duration::from_secs(seconds);
    let all = records(entered.len() as u64);
    let (sender, receiver) = mpsc::unbounded_channel();
    let enter = async {
        for (record, seconds) in all.iter().zip(entered) {
            sleep_until(at(*seconds)).await;
            let entered = Instant::now();
            sender
                .send(StreamRecord {
                    entered,
                    ..record.clone()
                })
                .unwrap();
        }
        sleep_until(at(end)).await;
        drop(sender);
    };
    let (reported, batches) = (RefCell::default(), RefCell::new(Vec::new()));
    let invoke = async |event: Bytes| {
        let size = positions(&event, &all).len();
        batches.borrow_mut().push((started.elapsed().as_secs(), size));
        respond()
    };
    let report = |report| Reported::add(&mut reported.borrow_mut(), report, &all);
    tokio::join!(biased; enter, mapping.run(vec![receiver], &invoke, &report));
    (reported.into_inner(), batches.into_inner())
}

#[tokio::test(start_paused = true)]
async fn a_batch_closes_when_it_is_full_or_its_window_or_the_stream_ends() {
    let mapping = Mapping {
        batch_window: Duration::from_secs(10),
        ..MAPPING
    };
    let entered = [0, 3, 20, 21, 21, 22, 40];
    let (_, batches) = run_over_time(mapping, &entered, 42, success).await;
    assert_eq!(batches, [(10, 2), (22, 4), (42, 1)]);
}

#[tokio::test(start_paused = true)]
async fn without_a_window_a_batch_holds_the_records_already_there() {
    let entered = [0, 3, 20, 20, 20, 20, 20];
    let (_, batches) = run_over_time(MAPPING, &entered, 99, success).await;
    assert_eq!(batches, [(0, 1), (3, 1), (20, 4), (20, 1)]);
}

#[tokio::test(start_paused = true)]
async fn a_large_batch_reaches_its_lane_whole() {
    let mapping = Mapping {
        batch_size: 10_000,
        ..MAPPING
    };
    let (_, batches) = run_over_time(mapping, &[1; 1000], 2, success).await;
    assert_eq!(batches, [(1, 1000)]);
}

#[tokio::test(start_paused = true)]
async fn records_that_grow_too_old_are_discarded() {
    let mapping = Mapping {
        max_retries: None,
        max_record_age: Some(Duration::from_mins(1)),
        ..MAPPING
    };
    let reported = run(mapping, |_, _| failure()).await;
    let too_old: Vec<_> = reported
        .discarded
        .iter()
        .map(|(condition, positions, _)| (*condition, positions.len()))
        .collect();
    assert_eq!(
        too_old,
        [4, 4, 2].map(|records| (Condition::RecordAgeExceeded, records))
    );
    assert!(
        (20..50).contains(&reported.sizes.len()),
        "it was redelivered for a minute"
    );
}

#[tokio::test(start_paused = true)]
async fn only_the_too_old_records_of_a_batch_are_discarded() {
    let mapping = Mapping {
        batch_window: Duration::from_secs(50),
        max_retries: None,
        max_record_age: Some(Duration::from_mins(1)),
        ..MAPPING
    };
    // The batch closes after 50 s and fails until its last record is too old.
    let (reported, batches) = run_over_time(mapping, &[0, 40, 40], 300, failure).await;
    assert_eq!(batches[0], (50, 3));
    let with = |size| {
        batches
            .iter()
            .filter(move |(_, it)| *it == size)
            .map(|(after, _)| *after)
    };
    assert!(with(3).all(|after| after <= 60) && with(3).count() > 3, "{batches:?}");
    assert!(
        with(2).all(|after| (60..=100).contains(&after)) && with(2).count() > 3,
        "{batches:?}"
    );
    let discarded: Vec<_> = reported
        .discarded
        .iter()
        .map(|(_, positions, _)| positions.clone())
        .collect();
    assert_eq!(discarded, [vec![0], vec![1, 2]]);
    let first_invocations = with(3).count();
    assert_eq!(
        reported.discarded[0],
        (Condition::RecordAgeExceeded, vec![0], first_invocations)
    );
}
