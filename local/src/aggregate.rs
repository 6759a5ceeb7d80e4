//! User records, put into a Kinesis record together as the Kinesis Producer Library does:
//! <https://github.com/awslabs/amazon-kinesis-producer/blob/master/aggregation-format.md>.

use std::collections::HashMap;

use bytes::Bytes;
use md5::{Digest as _, Md5};
use prost::Message;

/// What an aggregate begins with.
const MAGIC: [u8; 4] = [0xF3, 0x89, 0x9A, 0xC2];
/// An aggregate ends with the MD5 of its message.
const DIGEST_BYTES: usize = 16;

/// A user record, as a producer puts it in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Put<'p> {
    /// The producer's partition key.
    pub partition_key: &'p str,
    /// What the producer has in place of the key's hash: a number of up to 39 digits.
    pub explicit_hash_key: Option<&'p str>,
    /// The producer's bytes.
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

/// The format also has tags, which no producer writes.
#[derive(Message)]
struct Entry {
    #[prost(uint64, required, tag = "1")]
    partition_key: u64,
    #[prost(uint64, optional, tag = "2")]
    explicit_hash_key: Option<u64>,
    #[prost(bytes = "bytes", required, tag = "3")]
    data: Bytes,
}

/// Keys in the order in which they first come, each once.
#[derive(Default)]
struct Table<'p> {
    keys: Vec<String>,
    places: HashMap<&'p str, u64>,
}

impl<'p> Table<'p> {
    fn place(&mut self, key: &'p str) -> u64 {
        let next = self.keys.len() as u64;
        *self.places.entry(key).or_insert_with(|| {
            self.keys.push(key.to_owned());
            next
        })
    }
}

/// The data of the Kinesis record that holds `records`, in their order. Keys that they share are in it once.
pub fn aggregate(records: &[Put<'_>]) -> Bytes {
    let (mut keys, mut hash_keys) = (Table::default(), Table::default());
    let entries = records.iter().map(|put| Entry {
        partition_key: keys.place(put.partition_key),
        explicit_hash_key: put.explicit_hash_key.map(|key| hash_keys.place(key)),
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

/// How many user records the data of a Kinesis record stand for: one, unless they are an aggregate.
pub fn user_records(data: &[u8]) -> usize {
    count(data).unwrap_or(1)
}

fn count(data: &[u8]) -> Option<usize> {
    let rest = data.strip_prefix(&MAGIC)?;
    let (message, digest) = rest.split_at_checked(rest.len().checked_sub(DIGEST_BYTES)?)?;
    let is_whole = Md5::digest(message).as_slice() == digest;
    let aggregate = is_whole.then(|| Aggregate::decode(message))?.ok()?;
    Some(aggregate.records.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put<'p>(partition_key: &'p str, explicit_hash_key: Option<&'p str>, data: &'p [u8]) -> Put<'p> {
        Put {
            partition_key,
            explicit_hash_key,
            data,
        }
    }

    #[test]
    fn an_aggregate_is_magic_message_and_digest_with_shared_keys_once() {
        let aggregate = aggregate(&[
            put("k", None, b"a"),
            put("l", Some("7"), b""),
            put("k", Some("7"), b"bc"),
        ]);
        // By hand: field number × 8 + 2 for what has a length, or + 0 for a number; then the length; then what it is.
        let mut expected = vec![0xF3, 0x89, 0x9A, 0xC2];
        expected.extend(b"\x0A\x01k\x0A\x01l\x12\x017");
        expected.extend(b"\x1A\x05\x08\x00\x1A\x01a");
        expected.extend(b"\x1A\x06\x08\x01\x10\x00\x1A\x00");
        expected.extend(b"\x1A\x08\x08\x00\x10\x00\x1A\x02bc");
        let message_end = expected.len();
        expected.extend(Md5::digest(&expected[4..]));
        assert_eq!(aggregate, expected);
        // From `md5sum`.
        let digest = 0x87BE_69B6_6425_5422_429E_6E66_0E26_B9CA_u128;
        assert_eq!(aggregate[message_end..], digest.to_be_bytes());
    }

    #[test]
    fn only_a_whole_aggregate_is_more_than_one_record() {
        let two = aggregate(&[put("k", None, b"a"), put("l", None, b"b")]);
        assert_eq!(user_records(&two), 2);
        assert_eq!(user_records(&two[..two.len() - 1]), 1);
        for place in 0..two.len() {
            let mut other = two.to_vec();
            other[place] ^= 1;
            assert_eq!(user_records(&other), 1, "{place}");
        }
        assert_eq!(user_records(b""), 1);
    }
}
