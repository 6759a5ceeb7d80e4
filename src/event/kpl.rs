//! Aggregated Kinesis records in, the user records in them out, as the Kinesis Producer Library and its like put them in:
//! <https://github.com/awslabs/amazon-kinesis-producer/blob/master/aggregation-format.md>.

use std::sync::Arc;

use bytes::Bytes;
use md5::{Digest as _, Md5};
use prost::encoding::{DecodeContext, decode_key, skip_field};
use prost::{DecodeError, Message};

use crate::outcome::{Rejection, RejectionKind};

/// What an aggregate begins with.
pub const MAGIC: [u8; 4] = [0xF3, 0x89, 0x9A, 0xC2];
/// An aggregate ends with the MD5 of its message.
const DIGEST_BYTES: usize = 16;
/// User records in one aggregate at most: a record of 1 MiB would hold as many of ten bytes each, and each of them
/// takes some hundred bytes more here.
pub const USER_RECORDS_MAX: usize = 100_000;
/// A record, its partition key and its explicit hash key.
const FIELDS_MAX: usize = 3 * USER_RECORDS_MAX;

/// A user record, as it was put in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Put {
    /// The producer's partition key.
    pub partition_key: Arc<str>,
    /// What the producer had in place of the key's hash, where it had that.
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
    records: Vec<Entry>,
}

/// What the format requires is optional here, so that its absence is seen.
#[derive(Message)]
struct Entry {
    #[prost(uint64, optional, tag = "1")]
    partition_key: Option<u64>,
    #[prost(uint64, optional, tag = "2")]
    explicit_hash_key: Option<u64>,
    #[prost(bytes = "bytes", optional, tag = "3")]
    data: Option<Bytes>,
}

/// The user records of an aggregate, in their order; `None` if `data` is none: too short, or without the magic bytes or the
/// right digest.
///
/// # Errors
///
/// A rejection of the whole if the digest is right, so that it is an aggregate, but its message is broken.
pub fn deaggregate(data: &Bytes) -> Result<Option<Vec<Put>>, Rejection> {
    let Some(message) = message(data) else {
        return Ok(None);
    };
    let broken = |reason: String| Rejection {
        kind: RejectionKind::BrokenRecord,
        message: format!("the KPL aggregate is broken: {reason}"),
    };
    if fields(&message).map_err(|error| broken(error.to_string()))? > FIELDS_MAX {
        return Err(Rejection {
            kind: RejectionKind::UnpackedTooLarge,
            message: format!("the KPL aggregate holds more than {USER_RECORDS_MAX} records"),
        });
    }
    let aggregate = Aggregate::decode(message).map_err(|error| broken(error.to_string()))?;
    let shared = |keys: Vec<String>| keys.into_iter().map(Arc::from).collect::<Vec<_>>();
    let (keys, hash_keys) = (shared(aggregate.partition_keys), shared(aggregate.explicit_hash_keys));
    let records = aggregate.records.into_iter().enumerate();
    let puts = records.map(|(number, entry)| {
        entry
            .put(&keys, &hash_keys)
            .map_err(|lacks| broken(format!("record {number} has no {lacks}")))
    });
    puts.collect::<Result<_, _>>().map(Some)
}

/// The message between magic and digest, if there is one.
fn message(data: &Bytes) -> Option<Bytes> {
    let length = data.strip_prefix(&MAGIC)?.len().checked_sub(DIGEST_BYTES)?;
    let end = MAGIC.len() + length;
    let message = data.slice(MAGIC.len()..end);
    let digest = Md5::digest(&message);
    (data.get(end..)? == digest.as_slice()).then_some(message)
}

/// How many fields there are, before each of them takes memory.
fn fields(mut message: &[u8]) -> Result<usize, DecodeError> {
    let mut count = 0;
    while !message.is_empty() {
        let (tag, wire_type) = decode_key(&mut message)?;
        skip_field(wire_type, tag, &mut message, DecodeContext::default())?;
        count += 1;
    }
    Ok(count)
}

impl Entry {
    fn put(self, keys: &[Arc<str>], hash_keys: &[Arc<str>]) -> Result<Put, &'static str> {
        let find = |keys: &[Arc<str>], number: u64| keys.get(usize::try_from(number).ok()?).cloned();
        let partition_key = self.partition_key.and_then(|number| find(keys, number));
        let explicit_hash_key = match self.explicit_hash_key {
            Some(number) => Some(find(hash_keys, number).ok_or("explicit hash key of its number")?),
            None => None,
        };
        Ok(Put {
            partition_key: partition_key.ok_or("partition key of its number")?,
            explicit_hash_key,
            data: self.data.ok_or("data")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An aggregate with this message, and the digest of it.
    fn aggregate(message: &[u8]) -> Bytes {
        Bytes::from([&MAGIC, message, Md5::digest(message).as_slice()].concat())
    }

    /// Two records: data `a` with the key `k`, and data `bc` with the key `l` and the hash key `7`.
    const TWO: &[u8] = b"\x0A\x01k\x0A\x01l\x12\x017\x1A\x05\x08\0\x1A\x01a\x1A\x08\x08\x01\x10\0\x1A\x02bc";

    #[test]
    fn each_user_record_has_its_keys_and_its_data() {
        let put = |key: &str, hash_key: Option<&str>, data: &'static [u8]| Put {
            partition_key: key.into(),
            explicit_hash_key: hash_key.map(Arc::from),
            data: Bytes::from_static(data),
        };
        let expected = vec![put("k", None, b"a"), put("l", Some("7"), b"bc")];
        assert_eq!(deaggregate(&aggregate(TWO)), Ok(Some(expected)));
        assert_eq!(deaggregate(&aggregate(b"")), Ok(Some(Vec::new())));
    }

    #[test]
    fn what_is_too_short_or_has_another_magic_or_digest_is_no_aggregate() {
        let whole = aggregate(TWO);
        for length in 0..whole.len() {
            assert_eq!(deaggregate(&whole.slice(..length)), Ok(None), "{length}");
        }
        for place in 0..whole.len() {
            let mut other = whole.to_vec();
            other[place] ^= 1;
            assert_eq!(deaggregate(&other.into()), Ok(None), "{place}");
        }
    }

    #[test]
    fn a_broken_message_with_the_right_digest_is_rejected_as_a_whole() {
        for (message, why) in [
            (&TWO[..TWO.len() - 1], "buffer"),
            (b"\x0A\x01k\x1A\x05\x08\x01\x1A\x01a", "record 0 has no partition key"),
            (
                b"\x0A\x01k\x1A\x07\x08\0\x10\0\x1A\x01a",
                "record 0 has no explicit hash key",
            ),
            (b"\x0A\x01k\x1A\x02\x08\0", "record 0 has no data"),
            (b"\x0A\x01k\x1A\x03\x1A\x01a", "record 0 has no partition key"),
            (b"\x0A\x01\xFF", "UTF-8"),
            (b"\x0B", "varint"),
        ] {
            let rejection = deaggregate(&aggregate(message)).unwrap_err();
            assert_eq!(rejection.kind, RejectionKind::BrokenRecord);
            assert!(rejection.message.contains(why), "{}", rejection.message);
        }
    }

    #[test]
    fn what_a_later_version_adds_is_passed_over() {
        let with_more = [TWO, b"\x22\x01x\x1A\x0A\x08\0\x1A\x01d\x22\x03\x0A\x01t"].concat();
        let puts = deaggregate(&aggregate(&with_more)).unwrap().unwrap();
        assert_eq!(puts[2].data, &b"d"[..], "its tag is no data of it");
    }

    #[test]
    fn more_records_than_can_be_held_are_rejected_before_they_take_memory() {
        let empty = b"\x1A\x04\x08\0\x1A\0";
        let with = |count| aggregate(&[&b"\x0A\x01k"[..], &empty.repeat(count)].concat());
        assert_eq!(deaggregate(&with(1000)).unwrap().unwrap().len(), 1000);
        let rejection = deaggregate(&with(FIELDS_MAX)).unwrap_err();
        assert_eq!(rejection.kind, RejectionKind::UnpackedTooLarge);
    }
}
