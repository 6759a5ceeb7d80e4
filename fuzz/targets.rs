//! Properties that must hold for any untrusted bytes, one function for each fuzzer. `tests/corpora.rs` also runs the
//! functions, with the inputs that the fuzzers have found.

#![allow(dead_code, reason = "each fuzzer uses one of the functions")]

use std::iter::{from_fn, once};
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use flate2::{Compression, bufread::GzEncoder};
use instream::endpoint::Response;
use instream::event::{
    self, DecodeRules, DecompressOptions, KinesisRecord, Pace, SplitRules, UserRecord, decode,
    decompress::DecompressBudget, kpl,
};
use instream::inference::{describe_shape, read_prediction, split_response};
use instream::outcome::{Failure, ModelOutput, Outcome, RejectionKind};
use md5::{Digest as _, Md5};
use memchr::{memchr2, memmem::find};
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

const DECOMPRESS: DecompressOptions = DecompressOptions {
    enabled: true,
    limit_bytes: 65_536,
};
const GZIP: &[u8] = b"\x1F\x8B\x08";
const ZSTD: &[u8] = b"\x28\xB5\x2F\xFD";

/// Reads an event of any shape. Each of its Kinesis records must give its user records, in order.
pub(crate) fn event(data: &[u8]) {
    if let Ok(event::Event { records, .. }) = event::read(data) {
        let payload: &RawValue = serde_json::from_slice(data).expect("an event is JSON");
        assert!(
            payload.get().starts_with('{'),
            "serde also reads a struct from an array"
        );
        let rules = DecodeRules {
            decompress: DECOMPRESS,
            split: SplitRules::default(),
        };
        let decoded = block_on(decode(&records, &rules, Pace::start(Duration::from_hours(1))));
        check_each_record_is_decoded(&records, &decoded);
        check_with_a_broken_record(payload, records);
    }
}

/// Runs a future that waits for nothing, but may yield.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    let (mut future, mut context) = (pin!(future), Context::from_waker(Waker::noop()));
    loop {
        if let Poll::Ready(done) = future.as_mut().poll(&mut context) {
            return done;
        }
    }
}

fn check_each_record_is_decoded(records: &[KinesisRecord<'_>], user_records: &[UserRecord]) {
    let mut rest = user_records.iter().peekable();
    for (record_index, record) in records.iter().enumerate() {
        assert_ne!(record.sequence_number.as_deref(), Some(""));
        assert!(record.raw.is_some() || record.data.is_ok());
        let own: Vec<_> = from_fn(|| rest.next_if(|it| it.record_index == record_index)).collect();
        for (number, it) in (0..).zip(&own) {
            assert!(it.sub_sequence_number == number && is_expected(record, it), "{it:?}");
        }
        match &record.data {
            Ok(data) => assert!(!own.is_empty() || is_empty_aggregate(data)),
            Err(_) => assert_eq!(own.len(), 1),
        }
    }
    assert!(rest.next().is_none(), "user records are out of order");
}

fn is_empty_aggregate(data: &Bytes) -> bool {
    let unpacked = DecompressBudget::new(DECOMPRESS.limit_bytes).decompress(data).unwrap();
    kpl::deaggregate(&unpacked.unwrap_or_else(|| data.clone())) == Ok(Some(Vec::new()))
}

/// Returns true if the outcome fits the record. A caught panic does not: it is another kind of failure.
fn is_expected(record: &KinesisRecord<'_>, user_record: &UserRecord) -> bool {
    match (&user_record.data, &record.data) {
        (Err(Outcome::Failed(failure)), _) => *failure == Failure::BatchTooLarge,
        (Err(Outcome::Rejected(why)), Err(broken)) => why == broken,
        (Ok(_) | Err(Outcome::Rejected(_) | Outcome::Skipped), Ok(_)) => user_record.original.is_some(),
        (Ok(_), Err(_)) | (Err(Outcome::Predicted(_) | Outcome::Delivered | Outcome::Skipped), _) => false,
    }
}

/// Appends a broken record, so that the other records are read one by one. They must be read as before.
fn check_with_a_broken_record(payload: &RawValue, records: Vec<KinesisRecord<'_>>) {
    #[derive(serde::Deserialize)]
    struct EventEnvelope<'e> {
        #[serde(borrow, rename = "Records")]
        records: Vec<&'e RawValue>,
    }
    let event: EventEnvelope<'_> = serde_json::from_str(payload.get()).unwrap();
    let entries = event.records.iter().map(|entry| format!("{entry},"));
    let longer = format!(r#"{{"Records":[{}{{"kinesis":{{}}}}]}}"#, entries.collect::<String>());
    let mut one_by_one = event::read(longer.as_bytes()).unwrap().records;
    assert!(one_by_one.pop().unwrap().data.is_err());
    let shown = |record| format!("{:?}", KinesisRecord { raw: None, ..record });
    assert!(one_by_one.into_iter().map(shown).eq(records.into_iter().map(shown)));
}

/// De-aggregates any bytes, or an aggregate of any message. All user records must be parts of the message.
pub(crate) fn kpl(data: &[u8]) {
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

/// Decompresses any bytes, bytes with the first bytes of gzip or zstd, and compressed bytes. The result must not exceed
/// the limit, and compressed bytes must give the original bytes.
pub(crate) fn compression(data: &[u8]) {
    let (mode, data) = data.split_first().unwrap_or((&0, data));
    let mut gzip = Vec::new();
    let unpacked = match mode % 5 {
        0 => return drop(unpack(data)),
        1 => return drop(unpack(&[GZIP, data].concat())),
        2 => return drop(unpack(&[ZSTD, data].concat())),
        3 => std::io::copy(&mut GzEncoder::new(data, Compression::fast()), &mut gzip).map(|_| gzip),
        _ => zstd::encode_all(data, 1),
    };
    assert!(data.len() > DECOMPRESS.limit_bytes || unpack(&unpacked.unwrap()).unwrap() == data);
}

fn unpack(data: &[u8]) -> Option<Bytes> {
    let decompress = |limit| DecompressBudget::new(limit).decompress(data);
    let unpacked = decompress(DECOMPRESS.limit_bytes);
    assert_eq!(unpacked == Ok(None), !data.starts_with(GZIP) && !data.starts_with(ZSTD));
    let all = unpacked.ok().flatten()?;
    assert!(all.len() <= DECOMPRESS.limit_bytes);
    assert_eq!(decompress(all.len()), Ok(Some(all.clone())));
    if let Some(less) = all.len().checked_sub(1) {
        assert_eq!(decompress(less).unwrap_err().kind, RejectionKind::UnpackedTooLarge);
    }
    Some(all)
}

/// Splits a response to several records. It must give one prediction for each record, unchanged and in order, or none.
/// A response that is called JSON and is not has no predictions.
pub(crate) fn answer(data: &[u8]) {
    let types = "application/json,application/jsonlines,text/csv,text/plain,TEXT/é,";
    let (&[content_type, count], mut rest) = data.split_first_chunk().unwrap_or((&[0; 2], data));
    let response = Response {
        body: Bytes::copy_from_slice(rest),
        content_type: types.split(',').cycle().nth(content_type.into()).map(str::to_owned),
        variant: None,
        custom_attributes: None,
    };
    let count = usize::from(count) % 8 + 1;
    let Ok(predictions) = split_response(&response, count, None) else {
        assert!(serde_json::from_slice::<IgnoredAny>(rest).is_err());
        return;
    };
    let predictions = predictions.map(|predictions| predictions.each);
    assert!(
        predictions
            .as_ref()
            .map_or(count > 1, |predictions| predictions.len() == count)
    );
    assert!(describe_shape(&response).len() < 60, "the description has no content");
    // These are delivered as null.
    let is_changed = find(rest, b"NaN").or(find(rest, b"Infinity")).is_some();
    let alone = read_prediction(&response).ok();
    for prediction in alone.iter().filter(|_| !is_changed) {
        check_is_in(rest, &prediction.output);
    }
    for prediction in predictions.unwrap_or_default() {
        if is_changed {
            continue;
        }
        rest = check_is_in(rest, &prediction.output);
    }
}

/// Returns the part of the body after the output, which must be in it.
fn check_is_in<'b>(rest: &'b [u8], output: &ModelOutput) -> &'b [u8] {
    match output {
        ModelOutput::Json(json) => after(rest, json.get().as_bytes(), true),
        ModelOutput::Text(text) => after(rest, text.as_bytes(), false),
        ModelOutput::Bytes(bytes) => after(rest, bytes, false),
    }
}

/// Returns the part of the body after the prediction. A JSON prediction is on one line, even if it has line breaks in
/// the body.
fn after<'b>(body: &'b [u8], prediction: &[u8], json: bool) -> &'b [u8] {
    let flat = |byte: &u8| if json && b"\r\n".contains(byte) { b' ' } else { *byte };
    let flat: Vec<_> = body.iter().map(flat).collect();
    let start = find(&flat, prediction).expect("the prediction is in the body");
    let (written, rest) = body[start..].split_at(prediction.len());
    assert!(!json || serde_json::from_slice::<IgnoredAny>(written).is_ok());
    assert!(!json || memchr2(b'\n', b'\r', prediction).is_none());
    rest
}
