//! The identity of a record: the same in every run, and different for different records.

use md5::{Digest as _, Md5};

/// Returns the key of the user record with this `eventId` and `subSequenceNumber`. Without an event identifier, the key
/// is a hash of the bytes.
pub(crate) fn record_key(event_id: Option<&str>, sub_sequence_number: u64, data: &[u8]) -> String {
    match event_id {
        Some(event_id) => {
            let (event_id, number) = split_number(event_id, sub_sequence_number);
            format!("{event_id}#{number}")
        }
        None => format!("content:{}#{sub_sequence_number}", md5_hex(data)),
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
pub(crate) fn record_id(key: &str, content: u64) -> String {
    format!("{key}@{content:016x}")
}

/// Returns the key in a [`record_id`], which is shorter, for people.
pub(crate) fn key_of(id: &str) -> &str {
    id.rsplit_once('@').map_or(id, |(key, _)| key)
}

/// Returns a hash that distinguishes records with the same event identifier.
pub(super) fn content_hash(bytes: &[u8]) -> u64 {
    let digest: [u8; 16] = Md5::digest(bytes).into();
    let half = u128::from_be_bytes(digest) >> 64;
    u64::try_from(half).unwrap_or_default()
}

/// Returns the MD5 hash as 32 hexadecimal digits.
pub(crate) fn md5_hex(bytes: &[u8]) -> String {
    let digest: [u8; 16] = Md5::digest(bytes).into();
    format!("{:032x}", u128::from_be_bytes(digest))
}
