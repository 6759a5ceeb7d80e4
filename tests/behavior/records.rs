//! Decoding of records: every user record comes out as the producer wrote it, with any aggregation and compression.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use instream::event;
use instream::event::{DecodeRules, DecompressOptions, Pace, SplitRules, UserRecord, decode};
use instream::outcome::Outcome;
use instream_local::aggregate::{KplUserRecord, aggregate};
use instream_local::packing::gzip;
use md5::{Digest as _, Md5};
use proptest::collection::vec;
use proptest::prelude::*;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::support::{Scenario, entry, on_a_paused_clock};

const DECOMPRESS: DecompressOptions = DecompressOptions {
    enabled: true,
    limit_bytes: 10_000_000,
};

fn record(number: &str, data: &[u8]) -> Value {
    let mut record = entry(number);
    record["kinesis"]["data"] = BASE64.encode(data).into();
    record
}

/// Returns the user records in one Kinesis record.
async fn decoded(data: &[u8]) -> Vec<UserRecord> {
    let event = json!({ "Records": [record("7", data)] }).to_string();
    let event = event::read(event.as_bytes()).unwrap();
    let rules = DecodeRules {
        decompress: DECOMPRESS,
        split: SplitRules::default(),
    };
    decode(&event.records, &rules, Pace::start(Duration::from_mins(15))).await
}

/// Returns the data of a user record. A record without data is skipped.
fn data(user_record: &UserRecord) -> Bytes {
    match &user_record.data {
        Ok(data) => data.clone(),
        Err(Outcome::Skipped) => Bytes::new(),
        Err(other) => panic!("{other:?}"),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Fixture {
    put_in: Vec<PutIn>,
    aggregated: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PutIn {
    partition_key: String,
    explicit_hash_key: Option<String>,
    data: String,
}

#[test]
fn records_aggregated_by_another_implementation_decode_to_the_originals() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/aggregated");
    let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    let files: Vec<_> = files
        .filter(|path| path.extension().is_some_and(|it| it == "json"))
        .collect();
    assert!(files.len() >= 8, "{files:?}");
    for file in files {
        let fixture: Fixture = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        let aggregated = BASE64.decode(fixture.aggregated).unwrap();
        let user_records = on_a_paused_clock(decoded(&aggregated));
        assert_eq!(user_records.len(), fixture.put_in.len(), "{}", file.display());
        for ((number, put), user_record) in (0..).zip(&fixture.put_in).zip(&user_records) {
            assert_eq!(user_record.sub_sequence_number, number);
            assert_eq!(user_record.partition_key.as_deref(), Some(&*put.partition_key));
            assert_eq!(
                user_record.explicit_hash_key.as_deref(),
                put.explicit_hash_key.as_deref()
            );
            assert_eq!(BASE64.encode(data(user_record)), put.data);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_user_record_of_an_aggregated_record_has_its_own_keys_and_number() {
    let running = Scenario::of(0).start();
    let put = |partition_key, explicit_hash_key, data| KplUserRecord {
        partition_key,
        explicit_hash_key,
        data,
    };
    let data = aggregate(&[put("a", None, b"1"), put("b", Some("77"), b"2")]);
    let response = running
        .invoke_event(&json!({ "Records": [record("7", &data)] }))
        .await
        .unwrap();
    assert_eq!(response, json!({ "batchItemFailures": [] }));
    let (predictions, _) = running.lines();
    let position = |line: &Value| {
        ["eventId", "subSequenceNumber", "partitionKey", "explicitHashKey"].map(|name| line[name].clone())
    };
    assert_eq!(
        position(&predictions[0]),
        [json!("shard:7"), json!(0), json!("a"), Value::Null]
    );
    assert_eq!(
        position(&predictions[1]),
        [json!("shard:7"), json!(1), json!("b"), json!("77")]
    );
}

#[tokio::test(start_paused = true)]
async fn a_records_compression_or_aggregation_is_broken() {
    let running = Scenario::of(0).start();
    let truncated = &gzip(b"1")[..15];
    let not_aggregated = [&[0xF3, 0x89, 0x9A, 0xC2][..], &[b'x'; 20]].concat();
    let broken = {
        let message = b"\x1A\x02\x08\x07";
        [&[0xF3, 0x89, 0x9A, 0xC2][..], message, &Md5::digest(message)].concat()
    };
    let records = [
        record("0", b"0"),
        record("1", truncated),
        record("2", &broken),
        record("3", &gzip(&vec![b'x'; 11_000_000])),
        record("4", b"4"),
    ];
    let response = running.invoke_event(&json!({ "Records": records })).await.unwrap();
    let (_, dead_letters) = running.lines();
    let ran = running.finish(response);
    ran.assert_finished();
    assert_eq!((ran.predicted, ran.dead_lettered), (vec![0, 4], vec![1, 2, 3]));
    let kinds: Vec<_> = dead_letters
        .iter()
        .map(|line| line["reason"]["kind"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, ["BrokenRecord", "BrokenRecord", "UnpackedTooLarge"]);
    assert_eq!(dead_letters[0]["data"], BASE64.encode(truncated), "the original bytes");
    assert_eq!(dead_letters[1]["data"], BASE64.encode(&broken));
    let ordinary = decoded(&not_aggregated).await;
    assert_eq!(ordinary[0].data.as_ref().unwrap(), &not_aggregated);
}

#[tokio::test(start_paused = true)]
async fn a_batch_unpacks_to_too_much() {
    let running = Scenario::of(0).with("DECOMPRESS_LIMIT_BYTES", "1000").start();
    let compressed = gzip(&[b'7'; 1000]);
    let records: Vec<_> = (0..6).map(|number| record(&number.to_string(), &compressed)).collect();
    let response = running.invoke_event(&json!({ "Records": records })).await.unwrap();
    assert_eq!(response, json!({ "batchItemFailures": [{ "itemIdentifier": "4" }] }));
    let rest = running.invoke_event(&json!({ "Records": records[4..] })).await.unwrap();
    let ran = running.finish(rest);
    ran.assert_finished();
    assert_eq!(ran.predicted, [0, 1, 2, 3, 4, 5]);
}

/// Generates the user records of producers. The keys are from a small set, so that some are shared. The data does not
/// begin like compressed data, which would be decompressed.
fn puts() -> impl Strategy<Value = Vec<(String, Option<String>, Vec<u8>)>> {
    let is_plain = |data: &Vec<u8>| !matches!(data.first(), Some(0x1F | 0x28));
    let data = vec(any::<u8>(), 0..100).prop_filter("begins like gzip or zstd", is_plain);
    let hash_key = proptest::option::of((0..4_u8).prop_map(|number| number.to_string()));
    vec(("[a-cé]{1,3}", hash_key, data), 0..60)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn aggregating_and_decoding_is_identity(
        puts in puts(),
        compressed in any::<bool>(),
        each_compressed in any::<bool>(),
    ) {
        let data = puts.iter().map(|(_, _, data)| if each_compressed { gzip(data) } else { data.clone() });
        let data: Vec<Vec<u8>> = data.collect();
        let as_puts: Vec<_> = puts.iter().zip(&data).map(|((key, hash_key, _), data)| KplUserRecord {
            partition_key: key,
            explicit_hash_key: hash_key.as_deref(),
            data,
        }).collect();
        let aggregate = aggregate(&as_puts);
        let data = if compressed { Bytes::from(gzip(&aggregate)) } else { aggregate };
        let user_records = on_a_paused_clock(decoded(&data));
        prop_assert_eq!(user_records.len(), puts.len());
        for ((number, (key, hash_key, data)), user_record) in (0..).zip(&puts).zip(&user_records) {
            prop_assert_eq!(user_record.sub_sequence_number, number);
            prop_assert_eq!(user_record.partition_key.as_deref(), Some(&**key));
            prop_assert_eq!(user_record.explicit_hash_key.as_deref(), hash_key.as_deref());
            prop_assert_eq!(&self::data(user_record)[..], &data[..]);
        }
    }
}
