//! Aggregates user records into a Kinesis record, as the Kinesis Producer Library does:
//! <https://github.com/awslabs/amazon-kinesis-producer/blob/master/aggregation-format.md>.

use std::collections::HashMap;

use bytes::Bytes;
use md5::{Digest as _, Md5};
use prost::Message;

/// The first bytes of an aggregate.
const MAGIC: [u8; 4] = [0xF3, 0x89, 0x9A, 0xC2];
/// The size of the MD5 digest of the message, at the end of an aggregate.
const DIGEST_BYTES: usize = 16;

/// A user record that a producer puts into an aggregate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KplUserRecord<'p> {
    /// The producer's partition key.
    pub partition_key: &'p str,
    /// The hash key that the producer sets in place of the hash of the partition key: a number of up to 39 digits.
    pub explicit_hash_key: Option<&'p str>,
    /// The producer's data.
    pub data: &'p [u8],
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

/// A user record in the message. The format also has tags, but no producer writes them.
#[derive(Message)]
struct Entry {
    #[prost(uint64, required, tag = "1")]
    partition_key: u64,
    #[prost(uint64, optional, tag = "2")]
    explicit_hash_key: Option<u64>,
    #[prost(bytes = "bytes", required, tag = "3")]
    data: Bytes,
}

/// The distinct keys of an aggregate, in the order of their first use.
#[derive(Default)]
struct KeyTable<'p> {
    keys: Vec<String>,
    indexes: HashMap<&'p str, u64>,
}

impl<'p> KeyTable<'p> {
    /// Returns the index of a key. Adds the key if it is new.
    fn index_of(&mut self, key: &'p str) -> u64 {
        let next = self.keys.len() as u64;
        *self.indexes.entry(key).or_insert_with(|| {
            self.keys.push(key.to_owned());
            next
        })
    }
}

/// Returns the data of a Kinesis record that holds `records` in order. A key that several records share is stored once.
pub fn aggregate(records: &[KplUserRecord<'_>]) -> Bytes {
    let (mut keys, mut hash_keys) = (KeyTable::default(), KeyTable::default());
    let entries = records.iter().map(|put| Entry {
        partition_key: keys.index_of(put.partition_key),
        explicit_hash_key: put.explicit_hash_key.map(|key| hash_keys.index_of(key)),
        data: Bytes::copy_from_slice(put.data),
    });
    let entries = entries.collect();
    let message = Aggregate {
        partition_keys: keys.keys,
        explicit_hash_keys: hash_keys.keys,
        records: entries,
    };
    let message = message.encode_to_vec();
    Bytes::from([&MAGIC, message.as_slice(), Md5::digest(&message).as_slice()].concat())
}

/// Returns the number of user records in the data of a Kinesis record: one, unless the data is an aggregate.
pub fn count_user_records(data: &[u8]) -> usize {
    count_in_aggregate(data).unwrap_or(1)
}

fn count_in_aggregate(data: &[u8]) -> Option<usize> {
    let rest = data.strip_prefix(&MAGIC)?;
    let (message, digest) = rest.split_at_checked(rest.len().checked_sub(DIGEST_BYTES)?)?;
    let is_intact = Md5::digest(message).as_slice() == digest;
    let aggregate = is_intact.then(|| Aggregate::decode(message))?.ok()?;
    Some(aggregate.records.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put<'p>(partition_key: &'p str, explicit_hash_key: Option<&'p str>, data: &'p [u8]) -> KplUserRecord<'p> {
        KplUserRecord {
            partition_key,
            explicit_hash_key,
            data,
        }
    }

    #[test]
    fn an_aggregate_is_magic_message_and_digest_and_stores_shared_keys_once() {
        let aggregate = aggregate(&[
            put("k", None, b"a"),
            put("l", Some("7"), b""),
            put("k", Some("7"), b"bc"),
        ]);
        // Encoded by hand: field number × 8 + 2, the length, and the content; or field number × 8 + 0 and a number.
        let mut expected = vec![0xF3, 0x89, 0x9A, 0xC2];
        expected.extend(b"\x0A\x01k\x0A\x01l\x12\x017");
        expected.extend(b"\x1A\x05\x08\x00\x1A\x01a");
        expected.extend(b"\x1A\x06\x08\x01\x10\x00\x1A\x00");
        expected.extend(b"\x1A\x08\x08\x00\x10\x00\x1A\x02bc");
        let message_end = expected.len();
        expected.extend(Md5::digest(&expected[4..]));
        assert_eq!(aggregate, expected);
        // The digest is from `md5sum`.
        let digest = 0x87BE_69B6_6425_5422_429E_6E66_0E26_B9CA_u128;
        assert_eq!(aggregate[message_end..], digest.to_be_bytes());
    }

    #[test]
    fn a_damaged_aggregate_counts_as_one_record() {
        let two = aggregate(&[put("k", None, b"a"), put("l", None, b"b")]);
        assert_eq!(count_user_records(&two), 2);
        assert_eq!(count_user_records(&two[..two.len() - 1]), 1);
        for index in 0..two.len() {
            let mut other = two.to_vec();
            other[index] ^= 1;
            assert_eq!(count_user_records(&other), 1, "{index}");
        }
        assert_eq!(count_user_records(b""), 1);
    }
}
