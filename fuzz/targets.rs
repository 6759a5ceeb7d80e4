//! What must hold for whatever bytes come from outside, one function for each fuzzer. `tests/corpora.rs` runs them, too, on
//! what the fuzzers have found worth keeping.

#![allow(dead_code, reason = "each fuzzer runs one of them")]

use std::iter::{from_fn, once};

use bytes::Bytes;
use flate2::{Compression, bufread::GzEncoder};
use instream::decode::{Unpacking, UserRecord, compression::Allowance, decode, kpl};
use instream::endpoint::Response;
use instream::event::{self, KinesisRecord};
use instream::outcome::{Failure, Outcome, RejectionKind};
use instream::prediction::{ModelOutput, split::split};
use md5::{Digest as _, Md5};
use memchr::{memchr2, memmem::find};
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

const UNPACKING: Unpacking = Unpacking {
    decompress: true,
    limit_bytes: 65_536,
};
const GZIP: &[u8] = b"\x1F\x8B\x08";
const ZSTD: &[u8] = b"\x28\xB5\x2F\xFD";

/// An event of any shape: each of its records is told of in its place.
pub(crate) fn event(data: &[u8]) {
    if let Ok(event::Event { records, .. }) = event::read(data) {
        let payload: &RawValue = serde_json::from_slice(data).expect("an event is JSON");
        assert!(payload.get().starts_with('{'), "serde takes an array for a struct, too");
        all_are_told_of(&records, &decode(&records, UNPACKING));
        a_broken_neighbour_changes_nothing(payload, records);
    }
}

fn all_are_told_of(records: &[KinesisRecord<'_>], user_records: &[UserRecord]) {
    let mut rest = user_records.iter().peekable();
    for (position, record) in records.iter().enumerate() {
        assert_ne!(record.sequence_number.as_deref(), Some(""));
        assert!(record.raw.is_some() || record.data.is_ok());
        let own: Vec<_> = from_fn(|| rest.next_if(|it| it.position == position)).collect();
        for (number, it) in (0..).zip(&own) {
            assert!(it.sub_sequence_number == number && is_expected(record, it), "{it:?}");
        }
        match &record.data {
            Ok(data) => assert!(!own.is_empty() || is_an_aggregate_of_none(data)),
            Err(_) => assert_eq!(own.len(), 1),
        }
    }
    assert!(rest.next().is_none(), "out of order");
}

fn is_an_aggregate_of_none(data: &Bytes) -> bool {
    let unpacked = Allowance::new(UNPACKING.limit_bytes).unpack(data).unwrap();
    kpl::deaggregate(&unpacked.unwrap_or_else(|| data.clone())) == Ok(Some(Vec::new()))
}

/// A panic, which is kept from the other records, would be a failure of another sort.
fn is_expected(record: &KinesisRecord<'_>, user_record: &UserRecord) -> bool {
    match (&user_record.data, &record.data) {
        (Err(Outcome::Failed(failure)), _) => *failure == Failure::TooMuchAtOnce,
        (Err(Outcome::Rejected(why)), Err(broken)) => why == broken,
        (Ok(_) | Err(Outcome::Rejected(_)), Ok(_)) => user_record.original.is_some(),
        (Ok(_), Err(_)) | (Err(Outcome::Predicted(_) | Outcome::Delivered), _) => false,
    }
}

/// A broken record at the end has the others read one by one, and yet the same.
fn a_broken_neighbour_changes_nothing(payload: &RawValue, records: Vec<KinesisRecord<'_>>) {
    #[derive(serde::Deserialize)]
    struct Shell<'e> {
        #[serde(borrow, rename = "Records")]
        records: Vec<&'e RawValue>,
    }
    let shell: Shell<'_> = serde_json::from_str(payload.get()).unwrap();
    let entries = shell.records.iter().map(|entry| format!("{entry},"));
    let longer = format!(r#"{{"Records":[{}{{"kinesis":{{}}}}]}}"#, entries.collect::<String>());
    let mut one_by_one = event::read(longer.as_bytes()).unwrap().records;
    assert!(one_by_one.pop().unwrap().data.is_err());
    let shown = |record| format!("{:?}", KinesisRecord { raw: None, ..record });
    assert!(one_by_one.into_iter().map(shown).eq(records.into_iter().map(shown)));
}

/// Any bytes, or an aggregate of any message: what comes out of one lies in it.
pub(crate) fn kpl(data: &[u8]) {
    let (how, data) = data.split_first().unwrap_or((&0, data));
    let data = Bytes::from(match how % 2 {
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
        left = left.checked_sub(put.data.len()).expect("no more than there is");
        assert!(put.data.is_empty() || message.as_ptr_range().contains(&put.data.as_ptr()));
        for key in once(put.partition_key).chain(put.explicit_hash_key) {
            assert!(find(message, key.as_bytes()).is_some());
        }
    }
}

/// Any bytes, what begins like gzip or zstd, or what is: no more comes out than may, and what was packed does.
pub(crate) fn compression(data: &[u8]) {
    let (how, data) = data.split_first().unwrap_or((&0, data));
    let mut gzip = Vec::new();
    let unpacked = match how % 5 {
        0 => return drop(unpack(data)),
        1 => return drop(unpack(&[GZIP, data].concat())),
        2 => return drop(unpack(&[ZSTD, data].concat())),
        3 => std::io::copy(&mut GzEncoder::new(data, Compression::fast()), &mut gzip).map(|_| gzip),
        _ => zstd::encode_all(data, 1),
    };
    assert!(data.len() > UNPACKING.limit_bytes || unpack(&unpacked.unwrap()).unwrap() == data);
}

fn unpack(data: &[u8]) -> Option<Bytes> {
    let with = |limit| Allowance::new(limit).unpack(data);
    let unpacked = with(UNPACKING.limit_bytes);
    assert_eq!(unpacked == Ok(None), !data.starts_with(GZIP) && !data.starts_with(ZSTD));
    let all = unpacked.ok().flatten()?;
    assert!(all.len() <= UNPACKING.limit_bytes);
    assert_eq!(with(all.len()), Ok(Some(all.clone())));
    if let Some(less) = all.len().checked_sub(1) {
        assert_eq!(with(less).unwrap_err().kind, RejectionKind::UnpackedTooLarge);
    }
    Some(all)
}

/// An answer to some records: a prediction for each of them or none, as the model wrote it, in its order.
pub(crate) fn answer(data: &[u8]) {
    let types = "application/json,application/jsonlines,text/csv,text/plain,TEXT/é,";
    let (&[how, count], mut rest) = data.split_first_chunk().unwrap_or((&[0; 2], data));
    let response = Response {
        body: Bytes::copy_from_slice(rest),
        content_type: types.split(',').cycle().nth(how.into()).map(str::to_owned),
        variant: None,
    };
    let count = usize::from(count) % 8 + 1;
    let predictions = split(response, count);
    assert!(predictions.as_ref().map_or(count > 1, |them| them.len() == count));
    for prediction in predictions.unwrap_or_default() {
        rest = match prediction.output {
            ModelOutput::Json(json) => behind(rest, json.get().as_bytes(), true),
            ModelOutput::Text(text) => behind(rest, text.as_bytes(), false),
            ModelOutput::Bytes(bytes) => behind(rest, &bytes, false),
        };
    }
}

/// What follows a prediction in a body. One in JSON is on one line, wherever it had its line breaks.
fn behind<'b>(body: &'b [u8], prediction: &[u8], json: bool) -> &'b [u8] {
    let flat = |byte: &u8| if json && b"\r\n".contains(byte) { b' ' } else { *byte };
    let flat: Vec<_> = body.iter().map(flat).collect();
    let start = find(&flat, prediction).expect("it is in the body");
    let (written, rest) = body[start..].split_at(prediction.len());
    assert!(!json || serde_json::from_slice::<IgnoredAny>(written).is_ok());
    assert!(!json || memchr2(b'\n', b'\r', prediction).is_none());
    rest
}
