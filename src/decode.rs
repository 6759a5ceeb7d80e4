//! Kinesis records in, user records out: what the producers put in.
//!
//! A plain Kinesis record holds one user record, its data as it is.

use bytes::Bytes;

use crate::event::KinesisRecord;
use crate::outcome::Rejection;

/// What a producer put into the stream.
#[derive(Debug)]
pub struct UserRecord {
    /// Position of the Kinesis record that held it.
    pub position: usize,
    /// Tells apart the user records of one Kinesis record, from 0.
    pub sub_sequence_number: u64,
    /// Its bytes, or why there are none.
    pub data: Result<Bytes, Rejection>,
}

/// Unpacks each Kinesis record into its user records, in batch order. A record that cannot be read becomes one user
/// record that says so: it, too, needs an outcome.
pub fn decode(records: &[KinesisRecord<'_>]) -> Vec<UserRecord> {
    records
        .iter()
        .enumerate()
        .map(|(position, record)| UserRecord {
            position,
            sub_sequence_number: 0,
            data: record.data.clone(),
        })
        .collect()
}
