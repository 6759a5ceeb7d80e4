//! Aggregated Kinesis records in, their user records out. The format is that of the Kinesis Producer Library (KPL) and
//! compatible libraries: <https://github.com/awslabs/amazon-kinesis-producer/blob/master/aggregation-format.md>.

use std::sync::Arc;

use bytes::Bytes;
use md5::{Digest as _, Md5};
use prost::encoding::{DecodeContext, decode_key, skip_field};
use prost::{DecodeError, Message};

use crate::outcome::{Rejection, RejectionKind};

/// The first bytes of an aggregate.
pub const MAGIC: [u8; 4] = [0xF3, 0x89, 0x9A, 0xC2];
/// An aggregate ends with the MD5 of its message.
const DIGEST_BYTES: usize = 16;
/// The maximum number of user records in one aggregate. A record of 1 MiB could hold that many of ten bytes each, and
/// each user record takes several hundred bytes more in memory.
pub const USER_RECORDS_MAX: usize = 100_000;
/// The maximum number of fields in one message: per user record its data, a partition key and an explicit hash key.
const FIELDS_MAX: usize = 3 * USER_RECORDS_MAX;
/// The maximum length of a partition key, in characters, as for a Kinesis record:
/// <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_PutRecord.html>. Many user records can refer to one key,
/// and the output line of each contains it. So a long key could make a small aggregate very large.
const PARTITION_KEY_CHARS_MAX: usize = 256;
/// The maximum length of an explicit hash key, in decimal digits. The source is the same.
const EXPLICIT_HASH_KEY_DIGITS_MAX: usize = 39;

/// A user record, as its producer wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KplUserRecord {
    /// The producer's partition key.
    pub partition_key: Arc<str>,
    /// The explicit hash key, if the producer set one instead of the hash of the partition key.
    pub explicit_hash_key: Option<Arc<str>>,
    /// The producer's bytes, which share the aggregate's memory.
    pub data: Bytes,
}

#[derive(Message)]
struct Aggregate {
    #[prost(string, repeated, tag = "1")]
    partition_keys: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    explicit_hash_keys: Vec<String>,
    #[prost(message, repeated, tag = "3")]
    records: Vec<EncodedUserRecord>,
}

/// One user record of the message. Required fields are optional here, so that a missing field can be detected.
#[derive(Clone, Message)]
struct EncodedUserRecord {
    #[prost(uint64, optional, tag = "1")]
    partition_key: Option<u64>,
    #[prost(uint64, optional, tag = "2")]
    explicit_hash_key: Option<u64>,
    #[prost(bytes = "bytes", optional, tag = "3")]
    data: Option<Bytes>,
}

/// Returns the user records of an aggregate, in their order. Returns `None` if `data` is not an aggregate: if it is too
/// short, or lacks the magic bytes or the correct digest.
///
/// # Errors
///
/// Returns a rejection of the whole record if the digest is correct, so that `data` is an aggregate, but its message is
/// broken or has a key that Kinesis would refuse.
pub fn deaggregate(data: &Bytes) -> Result<Option<Vec<KplUserRecord>>, Rejection> {
    let Some(message) = verified_message(data) else {
        return Ok(None);
    };
    let broken = |reason: String| Rejection {
        kind: RejectionKind::BrokenRecord,
        message: format!("the KPL aggregate is broken: {reason}"),
    };
    if count_fields(&message).map_err(|error| broken(error.to_string()))? > FIELDS_MAX {
        return Err(Rejection {
            kind: RejectionKind::UnpackedTooLarge,
            message: format!("the KPL aggregate holds more than {USER_RECORDS_MAX} records"),
        });
    }
    let aggregate = Aggregate::decode(message).map_err(|error| broken(error.to_string()))?;
    check_keys(&aggregate).map_err(broken)?;
    let shared = |keys: Vec<String>| keys.into_iter().map(Arc::from).collect::<Vec<_>>();
    let (keys, hash_keys) = (shared(aggregate.partition_keys), shared(aggregate.explicit_hash_keys));
    let records = aggregate.records.into_iter().enumerate();
    let user_records = records.map(|(number, record)| {
        record
            .into_user_record(&keys, &hash_keys)
            .map_err(|missing| broken(format!("record {number} has no {missing}")))
    });
    user_records.collect::<Result<_, _>>().map(Some)
}

/// Checks the length of each key in the tables, also of keys that no user record refers to.
fn check_keys(aggregate: &Aggregate) -> Result<(), String> {
    let is_partition_key = |key: &String| (1..=PARTITION_KEY_CHARS_MAX).contains(&key.chars().count());
    let is_hash_key = |key: &String| {
        (1..=EXPLICIT_HASH_KEY_DIGITS_MAX).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_digit())
    };
    if let Some(number) = aggregate.partition_keys.iter().position(|key| !is_partition_key(key)) {
        return Err(format!(
            "partition key {number} does not have 1–{PARTITION_KEY_CHARS_MAX} characters"
        ));
    }
    if let Some(number) = aggregate.explicit_hash_keys.iter().position(|key| !is_hash_key(key)) {
        return Err(format!(
            "explicit hash key {number} does not have 1–{EXPLICIT_HASH_KEY_DIGITS_MAX} digits"
        ));
    }
    Ok(())
}

/// Returns the message between the magic bytes and the digest. Returns `None` if `data` is not an aggregate.
fn verified_message(data: &Bytes) -> Option<Bytes> {
    let length = data.strip_prefix(&MAGIC)?.len().checked_sub(DIGEST_BYTES)?;
    let end = MAGIC.len() + length;
    let message = data.slice(MAGIC.len()..end);
    let digest = Md5::digest(&message);
    (data.get(end..)? == digest.as_slice()).then_some(message)
}

/// Counts the fields of a message without decoding them, so that they take no memory yet.
fn count_fields(mut message: &[u8]) -> Result<usize, DecodeError> {
    let mut count = 0;
    while !message.is_empty() {
        let (tag, wire_type) = decode_key(&mut message)?;
        skip_field(wire_type, tag, &mut message, DecodeContext::default())?;
        count += 1;
    }
    Ok(count)
}

impl EncodedUserRecord {
    fn into_user_record(self, keys: &[Arc<str>], hash_keys: &[Arc<str>]) -> Result<KplUserRecord, &'static str> {
        let find = |keys: &[Arc<str>], number: u64| keys.get(usize::try_from(number).ok()?).cloned();
        let partition_key = self.partition_key.and_then(|number| find(keys, number));
        let explicit_hash_key = match self.explicit_hash_key {
            Some(number) => Some(find(hash_keys, number).ok_or("valid explicit hash key")?),
            None => None,
        };
        Ok(KplUserRecord {
            partition_key: partition_key.ok_or("valid partition key")?,
            explicit_hash_key,
            data: self.data.ok_or("data")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns an aggregate of this message, with its digest.
    fn aggregate(message: &[u8]) -> Bytes {
        Bytes::from([&MAGIC, message, Md5::digest(message).as_slice()].concat())
    }

    /// Two records: data `a` with the key `k`, and data `bc` with the key `l` and the hash key `7`.
    const TWO: &[u8] = b"\x0A\x01k\x0A\x01l\x12\x017\x1A\x05\x08\0\x1A\x01a\x1A\x08\x08\x01\x10\0\x1A\x02bc";

    #[test]
    fn each_user_record_has_its_keys_and_its_data() {
        let user_record = |key: &str, hash_key: Option<&str>, data: &'static [u8]| KplUserRecord {
            partition_key: key.into(),
            explicit_hash_key: hash_key.map(Arc::from),
            data: Bytes::from_static(data),
        };
        let expected = vec![user_record("k", None, b"a"), user_record("l", Some("7"), b"bc")];
        assert_eq!(deaggregate(&aggregate(TWO)), Ok(Some(expected)));
        assert_eq!(deaggregate(&aggregate(b"")), Ok(Some(Vec::new())));
    }

    #[test]
    fn data_that_is_too_short_or_has_a_wrong_magic_or_digest_is_not_an_aggregate() {
        let whole = aggregate(TWO);
        for length in 0..whole.len() {
            assert_eq!(deaggregate(&whole.slice(..length)), Ok(None), "{length}");
        }
        for index in 0..whole.len() {
            let mut other = whole.to_vec();
            other[index] ^= 1;
            assert_eq!(deaggregate(&other.into()), Ok(None), "{index}");
        }
    }

    #[test]
    fn a_broken_message_with_the_right_digest_is_rejected_as_a_whole() {
        for (message, why) in [
            (&TWO[..TWO.len() - 1], "buffer"),
            (
                b"\x0A\x01k\x1A\x05\x08\x01\x1A\x01a",
                "record 0 has no valid partition key",
            ),
            (
                b"\x0A\x01k\x1A\x07\x08\0\x10\0\x1A\x01a",
                "record 0 has no valid explicit hash key",
            ),
            (b"\x0A\x01k\x1A\x02\x08\0", "record 0 has no data"),
            (b"\x0A\x01k\x1A\x03\x1A\x01a", "record 0 has no valid partition key"),
            (b"\x0A\x01\xFF", "UTF-8"),
            (b"\x0B", "varint"),
        ] {
            let rejection = deaggregate(&aggregate(message)).unwrap_err();
            assert_eq!(rejection.kind, RejectionKind::BrokenRecord);
            assert!(rejection.message.contains(why), "{}", rejection.message);
        }
    }

    /// Returns an aggregate of two empty records that refer to these keys.
    fn with_keys(partition_key: &str, explicit_hash_key: &str) -> Bytes {
        let record = EncodedUserRecord {
            partition_key: Some(0),
            explicit_hash_key: Some(0),
            data: Some(Bytes::new()),
        };
        let message = Aggregate {
            partition_keys: vec![partition_key.to_owned()],
            explicit_hash_keys: vec![explicit_hash_key.to_owned()],
            records: vec![record.clone(), record],
        };
        aggregate(&message.encode_to_vec())
    }

    #[test]
    fn the_limits_of_kinesis_hold_for_the_keys_of_an_aggregate() {
        let (longest, longest_hash) = ("é".repeat(256), "9".repeat(39));
        let user_records = deaggregate(&with_keys(&longest, &longest_hash)).unwrap().unwrap();
        assert_eq!(&*user_records[1].partition_key, longest);
        let [first, second] = [0, 1].map(|index: usize| &user_records[index].partition_key);
        assert!(Arc::ptr_eq(first, second), "a key is in memory once");
        for (partition_key, hash_key, why) in [
            ("", "0", "partition key 0 does not have 1–256 characters"),
            (&*"k".repeat(257), "0", "partition key 0 does not have 1–256 characters"),
            ("k", "", "explicit hash key 0 does not have 1–39 digits"),
            ("k", "-1", "explicit hash key 0 does not have 1–39 digits"),
            ("k", &*"9".repeat(40), "explicit hash key 0 does not have 1–39 digits"),
        ] {
            let rejection = deaggregate(&with_keys(partition_key, hash_key)).unwrap_err();
            assert_eq!(rejection.kind, RejectionKind::BrokenRecord);
            assert_eq!(rejection.message, format!("the KPL aggregate is broken: {why}"));
        }
    }

    #[test]
    fn unknown_fields_of_a_later_version_are_ignored() {
        let with_more = [TWO, b"\x22\x01x\x1A\x0A\x08\0\x1A\x01d\x22\x03\x0A\x01t"].concat();
        let user_records = deaggregate(&aggregate(&with_more)).unwrap().unwrap();
        assert_eq!(user_records[2].data, &b"d"[..], "its tag is not part of its data");
    }

    #[test]
    fn an_aggregate_of_too_many_records_is_rejected_before_it_is_decoded() {
        let empty = b"\x1A\x04\x08\0\x1A\0";
        let with = |count| aggregate(&[&b"\x0A\x01k"[..], &empty.repeat(count)].concat());
        assert_eq!(deaggregate(&with(1000)).unwrap().unwrap().len(), 1000);
        let rejection = deaggregate(&with(FIELDS_MAX)).unwrap_err();
        assert_eq!(rejection.kind, RejectionKind::UnpackedTooLarge);
    }
}
