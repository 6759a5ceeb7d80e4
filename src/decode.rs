//! Kinesis records in, user records out: what the producers put in.
//!
//! A plain Kinesis record holds one user record, its data as it is.

use bytes::Bytes;

use crate::event::KinesisRecord;
use crate::outcome::{Outcome, Rejection, contain};

/// What a producer put into the stream.
#[derive(Debug)]
pub struct UserRecord {
    /// Position of the Kinesis record that held it.
    pub position: usize,
    /// Tells apart the user records of one Kinesis record, from 0.
    pub sub_sequence_number: u64,
    /// Its bytes, or what became of the record because there are none.
    pub data: Result<Bytes, Outcome>,
}

/// A batch, unpacked.
#[derive(Debug, Clone, Copy)]
pub struct Batch<'b> {
    /// Its Kinesis records, in its order.
    pub records: &'b [KinesisRecord<'b>],
    /// Their user records, in the same order.
    pub user_records: &'b [UserRecord],
    /// The ARN of the stream that they come from; empty where the event does not tell.
    pub stream_arn: &'b str,
}

impl Batch<'_> {
    /// What tells the user record of this index from all others of its stream: `shardId-000000000000:4959…-0`. `None` for
    /// a record without any identity.
    pub fn id(&self, index: usize) -> Option<String> {
        let user_record = self.user_records.get(index)?;
        let record = self.records.get(user_record.position)?;
        let place = record.event_id.as_deref().or(record.sequence_number.as_deref())?;
        Some(format!("{place}-{}", user_record.sub_sequence_number))
    }
}

/// Unpacks each Kinesis record into its user records, in batch order. A record that cannot be read becomes one user
/// record that says so: it, too, needs an outcome.
pub fn decode(records: &[KinesisRecord<'_>]) -> Vec<UserRecord> {
    decode_by(records, |record| record.data.clone())
}

fn decode_by(
    records: &[KinesisRecord<'_>],
    unpack: impl Fn(&KinesisRecord<'_>) -> Result<Bytes, Rejection>,
) -> Vec<UserRecord> {
    let decode_one = |record| contain(|| unpack(record)).and_then(|data| data.map_err(Outcome::from));
    let numbered = records.iter().enumerate();
    numbered
        .map(|(position, record)| UserRecord {
            position,
            sub_sequence_number: 0,
            data: decode_one(record),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use super::*;
    use crate::event;

    #[test]
    fn a_panic_while_unpacking_fails_that_record_alone() {
        let entry = |number| format!(r#"{{"kinesis":{{"sequenceNumber":"{number}","data":"aGk="}}}}"#);
        let entries = [1, 2, 3].map(entry).join(",");
        let payload = RawValue::from_string(format!(r#"{{"Records":[{entries}]}}"#)).unwrap();
        let event = event::read(&payload).unwrap();
        let user_records = decode_by(&event.records, |record| {
            assert_ne!(record.sequence_number.as_deref(), Some("2"), "a defect in unpacking");
            record.data.clone()
        });
        let failed: Vec<_> = user_records
            .iter()
            .map(|user_record| matches!(user_record.data, Err(Outcome::Failed(_))))
            .collect();
        assert_eq!(failed, [false, true, false]);
    }
}
