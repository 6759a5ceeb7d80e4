use bytes::Bytes;

use super::*;
use crate::endpoint::Response;
use crate::event;
use crate::event::UserRecord;
use crate::inference::read_prediction;

fn predicted(bytes: usize) -> Outcome {
    let response = Response {
        body: b"1".repeat(bytes).into(),
        content_type: None,
        variant: None,
        custom_attributes: None,
    };
    Outcome::Predicted(read_prediction(&response).unwrap())
}

/// Calls `check` with three Kinesis records of two user records each. All are predicted except the second user
/// record of the second Kinesis record.
fn with_progress(mode: OutputMode, held_bytes_max: usize, check: impl FnOnce(&mut Progress<'_>)) {
    with_predictions(1, mode, held_bytes_max, check);
}

/// The same with predictions of this size.
fn with_predictions(bytes: usize, mode: OutputMode, held_bytes_max: usize, check: impl FnOnce(&mut Progress<'_>)) {
    let entry = |number: u32| format!(r#"{{"kinesis":{{"sequenceNumber":"{number}","data":""}}}}"#);
    let entries = [7, 8, 9].map(entry).join(",");
    let payload = format!(r#"{{"Records":[{entries}]}}"#);
    let event = event::read(payload.as_bytes()).unwrap();
    let user_record = |number: usize| UserRecord {
        record_index: number / 2,
        sub_sequence_number: (number % 2) as u64,
        ..UserRecord::not_aggregated(0, &event.records[0], Ok(Bytes::new()))
    };
    let user_records: Vec<_> = (0..6).map(user_record).collect();
    let batch = Batch {
        records: &event.records,
        user_records: &user_records,
        stream_arn: "",
    };
    let rules = ProgressRules {
        mode,
        is_rejected_unfinished: false,
        join_input: false,
        held_bytes_max,
        memo_bytes: 10_000,
    };
    let mut progress = Progress::new(batch, rules);
    for index in [5, 4, 0, 2, 1] {
        progress.settle(index, predicted(bytes));
    }
    progress.settle(3, Outcome::Failed(Failure::OutOfTime));
    check(&mut progress);
}

fn put_result(delivered: &[usize], undelivered: &[usize], refused: &[usize]) -> PutResult {
    PutResult {
        delivered: delivered.to_vec(),
        undelivered: undelivered.to_vec(),
        refused: refused.iter().map(|index| (*index, "too long".to_owned())).collect(),
        alerts: 0,
        at: UNIX_EPOCH,
    }
}

#[test]
fn only_whole_kinesis_records_are_delivered_in_order() {
    with_progress(OutputMode::Ordered, 10_000, |progress| {
        assert_eq!(progress.take_ready(3, 9), None);
        assert_eq!(
            progress.take_ready(1, 9).unwrap(),
            [0, 1],
            "the second record would be redelivered with half of it delivered"
        );
        progress.record_result(put_result(&[0, 1], &[], &[]));
        assert_eq!(progress.finished_prefix(), 1);
        assert_eq!(progress.take_ready(1, 9), None);
    });
}

#[test]
fn the_finished_part_of_a_kinesis_record_is_delivered_if_the_memo_could_not_keep_it() {
    with_progress(OutputMode::Ordered, 100, |progress| {
        assert_eq!(progress.take_ready(1, 9).unwrap(), [0, 1]);
        progress.record_result(put_result(&[0, 1], &[], &[]));
        assert_eq!(progress.take_ready(1, 9).unwrap(), [2]);
        progress.record_result(put_result(&[2], &[], &[]));
        assert_eq!(progress.finished_prefix(), 1);
        assert_eq!(progress.delivered().predicted, 3);
    });
}

#[test]
fn unordered_delivery_is_tracked_per_user_record() {
    with_progress(OutputMode::Unordered, 10_000, |progress| {
        assert_eq!(progress.take_ready(1, 3).unwrap(), [0, 1, 2]);
        assert_eq!(progress.take_ready(1, 9).unwrap(), [4, 5]);
        progress.record_result(put_result(&[0, 2, 5], &[1, 4], &[]));
        assert_eq!(progress.finished_prefix(), 0);
        let delivered = |(index, outcome): (usize, &Outcome)| matches!(outcome, Outcome::Delivered).then_some(index);
        assert_eq!(progress.outcomes().filter_map(delivered).collect::<Vec<_>>(), [0, 2, 5]);
        assert_eq!(progress.delivered().predicted, 3);
    });
}

#[test]
fn a_delivery_ends_with_the_record_that_makes_it_large() {
    with_predictions(DELIVERY_BYTES / 2, OutputMode::Unordered, 10_000, |progress| {
        assert_eq!(progress.take_ready(1, 9).unwrap(), [0, 1]);
        assert_eq!(progress.take_ready(9, 9).unwrap(), [2, 4]);
        assert_eq!(progress.take_ready(9, 9), None);
    });
}

#[test]
fn a_refused_prediction_is_rejected_and_a_refused_dead_letter_is_delivered_without_its_payload() {
    with_progress(OutputMode::Ordered, 10_000, |progress| {
        assert_eq!(progress.take_ready(1, 9).unwrap(), [0, 1]);
        progress.record_result(put_result(&[1], &[], &[0]));
        assert_eq!(progress.take_ready(1, 9).unwrap(), [0], "as a dead letter");
        progress.record_result(put_result(&[], &[], &[0]));
        assert!(progress.without_payload.contains(&0));
        assert_eq!(progress.take_ready(1, 9).unwrap(), [0], "without payload");
        progress.record_result(put_result(&[], &[], &[0]));
        let failure = progress.outcomes().find_map(|(index, outcome)| match outcome {
            Outcome::Failed(failure) if index == 0 => Some(failure.clone()),
            Outcome::Predicted(_)
            | Outcome::Rejected(_)
            | Outcome::Failed(_)
            | Outcome::Delivered
            | Outcome::Skipped => None,
        });
        assert_eq!(failure, Some(Failure::DeadLetterRefused));
        assert_eq!(progress.take_ready(1, 9), None);
        assert_eq!(progress.finished_prefix(), 0);
    });
}
