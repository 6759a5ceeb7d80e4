//! Events of any shape.

use std::iter::from_fn;
use std::time::Duration;

use bytes::Bytes;
use instream::event::{
    self, DecodeRules, KinesisRecord, Pace, SplitRules, UserRecord, decode, decompress::DecompressBudget, kpl,
};
use instream::outcome::{Failure, Outcome};
use serde_json::value::RawValue;

use super::{DECOMPRESS, block_on};

/// Reads an event of any shape. Each of its Kinesis records must give its user records, in order.
pub(crate) fn check(data: &[u8]) {
    if let Ok(event::Event { records, .. }) = event::read(data) {
        let payload: &RawValue = serde_json::from_slice(data).expect("an event is JSON");
        assert!(
            payload.get().starts_with('{'),
            "serde also reads a struct from an array"
        );
        let rules = DecodeRules {
            decompress: DECOMPRESS,
            split: SplitRules::default(),
        };
        let decoded = block_on(decode(&records, &rules, Pace::start(Duration::from_hours(1))));
        check_each_record_is_decoded(&records, &decoded);
        check_with_a_broken_record(payload, records);
    }
}

fn check_each_record_is_decoded(records: &[KinesisRecord<'_>], user_records: &[UserRecord]) {
    let mut rest = user_records.iter().peekable();
    for (record_index, record) in records.iter().enumerate() {
        assert_ne!(record.sequence_number.as_deref(), Some(""));
        assert!(record.raw.is_some() || record.data.is_ok());
        let own: Vec<_> = from_fn(|| rest.next_if(|it| it.record_index == record_index)).collect();
        for (number, it) in (0..).zip(&own) {
            assert!(it.sub_sequence_number == number && is_expected(record, it), "{it:?}");
        }
        match &record.data {
            Ok(data) => assert!(!own.is_empty() || is_empty_aggregate(data)),
            Err(_) => assert_eq!(own.len(), 1),
        }
    }
    assert!(rest.next().is_none(), "user records are out of order");
}

fn is_empty_aggregate(data: &Bytes) -> bool {
    let unpacked = DecompressBudget::new(DECOMPRESS.limit_bytes).decompress(data).unwrap();
    kpl::deaggregate(&unpacked.unwrap_or_else(|| data.clone())) == Ok(Some(Vec::new()))
}

/// Returns true if the outcome fits the record. A caught panic does not: it is another kind of failure.
fn is_expected(record: &KinesisRecord<'_>, user_record: &UserRecord) -> bool {
    match (&user_record.data, &record.data) {
        (Err(Outcome::Failed(failure)), _) => *failure == Failure::BatchTooLarge,
        (Err(Outcome::Rejected(why)), Err(broken)) => why == broken,
        (Ok(_) | Err(Outcome::Rejected(_) | Outcome::Skipped), Ok(_)) => user_record.original.is_some(),
        (Ok(_), Err(_)) | (Err(Outcome::Predicted(_) | Outcome::Delivered | Outcome::Skipped), _) => false,
    }
}

/// Appends a broken record, so that the other records are read one by one. They must be read as before.
fn check_with_a_broken_record(payload: &RawValue, records: Vec<KinesisRecord<'_>>) {
    #[derive(serde::Deserialize)]
    struct EventEnvelope<'e> {
        #[serde(borrow, rename = "Records")]
        records: Vec<&'e RawValue>,
    }
    let event: EventEnvelope<'_> = serde_json::from_str(payload.get()).unwrap();
    let entries = event.records.iter().map(|entry| format!("{entry},"));
    let longer = format!(r#"{{"Records":[{}{{"kinesis":{{}}}}]}}"#, entries.collect::<String>());
    let mut one_by_one = event::read(longer.as_bytes()).unwrap().records;
    assert!(one_by_one.pop().unwrap().data.is_err());
    let shown = |record| format!("{:?}", KinesisRecord { raw: None, ..record });
    assert!(one_by_one.into_iter().map(shown).eq(records.into_iter().map(shown)));
}
