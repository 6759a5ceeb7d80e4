//! The identity of a record: the same in every run, and different for different records.

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

/// Returns the key of the user record with this `eventId` and `subSequenceNumber`. Without an event identifier, the key
/// is the hash of the content.
pub(crate) fn record_key(event_id: Option<&str>, sub_sequence_number: u64, content_hash: u128) -> String {
    match event_id {
        Some(event_id) => {
            let (event_id, number) = split_number(event_id, sub_sequence_number);
            format!("{event_id}#{number}")
        }
        None => format!("content:{content_hash:032x}#{sub_sequence_number}"),
    }
}

/// Splits the user record's number from an event identifier. The identifier of a record that was redriven and rejected
/// again ends with `#` and the number.
pub(super) fn split_number(event_id: &str, sub_sequence_number: u64) -> (&str, u64) {
    let number = event_id.rsplit_once('#').filter(|_| sub_sequence_number == 0);
    let number = number.and_then(|(event_id, number)| Some((event_id, number.parse().ok()?)));
    number.unwrap_or((event_id, sub_sequence_number))
}

/// Returns the identity by which the journal and the deduplication distinguish records. It adds a hash of the bytes to
/// the key, because two replayed files give their lines the same event identifiers.
pub(crate) fn record_id(key: &str, content_hash: u128) -> String {
    format!("{key}@{content_hash:032x}")
}

/// Returns the key in a [`record_id`], which is shorter, for people.
pub(crate) fn key_of(id: &str) -> &str {
    id.rsplit_once('@').map_or(id, |(key, _)| key)
}

/// Returns the first half of the SHA-256. A dead letter without its payload contains the SHA-256, so that its identity
/// is known before the payload is read.
pub(crate) fn hash(bytes: &[u8]) -> u128 {
    let digest: [u8; 32] = Sha256::digest(bytes).into();
    digest
        .iter()
        .take(16)
        .fold(0, |hash, byte| hash << 8 | u128::from(*byte))
}

/// Returns the SHA-256 as 64 hexadecimal digits.
pub(crate) fn sha256_hex(bytes: &[u8]) -> String {
    format!("{:x}", Bytes::copy_from_slice(&Sha256::digest(bytes)))
}
