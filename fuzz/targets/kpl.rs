//! Aggregates of the Kinesis Producer Library.

use std::iter::once;

use bytes::Bytes;
use instream::event::kpl;
use md5::{Digest as _, Md5};
use memchr::memmem::find;

/// De-aggregates any bytes, or an aggregate of any message. All user records must be parts of the message.
pub(crate) fn check(data: &[u8]) {
    let (mode, data) = data.split_first().unwrap_or((&0, data));
    let data = Bytes::from(match mode % 2 {
        0 => data.to_vec(),
        _ => [&kpl::MAGIC, data, Md5::digest(data).as_slice()].concat(),
    });
    let parts = data.strip_prefix(&kpl::MAGIC).and_then(<[u8]>::split_last_chunk::<16>);
    let message = parts.filter(|(message, digest)| Md5::digest(message).as_slice() == *digest);
    let puts = kpl::deaggregate(&data);
    assert_eq!(puts == Ok(None), message.is_none());
    let message = message.map_or(&[][..], |(message, _)| message);
    let mut left = message.len();
    for put in puts.ok().flatten().unwrap_or_default() {
        left = left
            .checked_sub(put.data.len())
            .expect("the user records are not longer than the message");
        assert!(put.data.is_empty() || message.as_ptr_range().contains(&put.data.as_ptr()));
        for key in once(put.partition_key).chain(put.explicit_hash_key) {
            assert!(find(message, key.as_bytes()).is_some());
        }
    }
}
