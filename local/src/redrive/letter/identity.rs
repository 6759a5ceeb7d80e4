//! What tells a record from all others, the same in every run.

use md5::{Digest as _, Md5};

/// What tells a user record from all others: that of the envelope which has this `eventId` and `subSequenceNumber`. What
/// has no event identifier is known by its bytes.
pub(crate) fn key(event_id: Option<&str>, sub_sequence_number: u64, data: &[u8]) -> String {
    match event_id {
        Some(event_id) => {
            let (event_id, number) = without_number(event_id, sub_sequence_number);
            format!("{event_id}#{number}")
        }
        None => format!("content:{}#{sub_sequence_number}", hash(data)),
    }
}

/// A record that was put once more and rejected again has its number behind `#`.
pub(super) fn without_number(event_id: &str, sub_sequence_number: u64) -> (&str, u64) {
    let number = event_id.rsplit_once('#').filter(|_| sub_sequence_number == 0);
    let number = number.and_then(|(event_id, number)| Some((event_id, number.parse().ok()?)));
    number.unwrap_or((event_id, sub_sequence_number))
}

/// What dedupes and what the journal goes by. A file that is replayed gives its lines the identifiers of another
/// file's: only the bytes tell those apart.
pub(crate) fn id(key: &str, content: u64) -> String {
    format!("{key}@{content:016x}")
}

/// As [`id`] is made of it, without the bytes' hash, for a person.
pub(crate) fn without_content(id: &str) -> &str {
    id.rsplit_once('@').map_or(id, |(key, _)| key)
}

/// Enough to tell two records of one identifier apart.
pub(super) fn content(bytes: &[u8]) -> u64 {
    let digest: [u8; 16] = Md5::digest(bytes).into();
    let half = u128::from_be_bytes(digest) >> 64;
    u64::try_from(half).unwrap_or_default()
}

/// 32 hexadecimal digits.
pub(crate) fn hash(bytes: &[u8]) -> String {
    let digest: [u8; 16] = Md5::digest(bytes).into();
    format!("{:032x}", u128::from_be_bytes(digest))
}
