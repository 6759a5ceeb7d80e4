use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::json;

use super::event_entry::PACKED_PREFIXES;
use super::*;

fn letter(event_id: Option<&str>, sub_sequence_number: u64, explicit_hash_key: Option<&str>) -> DeadLetter {
    let record = Record {
        event_id: event_id.map(str::to_owned),
        partition_key: Some("card-7".to_owned()),
        explicit_hash_key: explicit_hash_key.map(str::to_owned),
        arrival_s: Some(1_795_419_096.52),
        data: Bytes::from_static(b"bytes"),
    };
    DeadLetter::with_data(record, sub_sequence_number, "Refused".to_owned(), Origin::default())
}

#[test]
fn user_records_of_an_aggregate_get_numbered_identifiers_and_other_records_keep_theirs() {
    for (event_id, number, key, event_id_sent, sequence_number) in [
        ("shardId-0:7", 0, "shardId-0:7#0", "shardId-0:7", "7"),
        ("shardId-0:7", 3, "shardId-0:7#3", "shardId-0:7#3", "7#3"),
        // A record that was redriven and rejected again.
        ("shardId-0:7#3", 0, "shardId-0:7#3", "shardId-0:7#3", "7#3"),
    ] {
        let letter = letter(Some(event_id), number, None);
        let entry: Value = serde_json::from_str(&letter.entry()).unwrap();
        assert_eq!((&*letter.key, &entry["eventID"]), (key, &json!(event_id_sent)));
        assert_eq!(entry["kinesis"]["sequenceNumber"], sequence_number);
        assert_eq!(entry["kinesis"]["data"], BASE64.encode("bytes"));
        assert_eq!(entry["kinesis"]["approximateArrivalTimestamp"], 1_795_419_096.52);
        assert!(letter.entry().len() <= letter.size_in_event());
    }
}

#[test]
fn a_record_without_an_event_identifier_is_identified_by_its_bytes() {
    let letter = letter(None, 0, None);
    let entry: Value = serde_json::from_str(&letter.entry()).unwrap();
    assert_eq!(entry.get("eventID"), None);
    assert_eq!(entry["kinesis"]["sequenceNumber"], *letter.key);
    assert!(letter.key.starts_with("content:"));
}

#[test]
fn a_record_with_an_explicit_hash_key_becomes_an_aggregate_of_one() {
    let letter = letter(Some("shardId-0:7"), 2, Some("340282366920938463463374607431768211455"));
    let entry: Entry = serde_json::from_str(&letter.entry()).unwrap();
    let data = entry.data().unwrap();
    assert_eq!(instream_local::aggregate::count_user_records(&data), 1);
    assert!(data.starts_with(PACKED_PREFIXES[0]));
    let plain = letter.stream_entry().unwrap();
    assert_eq!(
        (&*plain.data, plain.partition_key),
        (&b"bytes"[..], "card-7".to_owned())
    );
    assert!(plain.explicit_hash_key.is_some());
}

#[test]
fn an_entry_that_may_be_packed_has_a_key_without_a_number() {
    let entry = |data: &[u8]| {
        let data = BASE64.encode(data);
        let raw = format!(r#"{{"eventID":"shardId-0:7","kinesis":{{"sequenceNumber":"7","data":"{data}"}}}}"#);
        let raw = RawValue::from_string(raw).unwrap();
        DeadLetter::with_entry(&raw, "RetryAttemptsExhausted", Origin::default()).unwrap()
    };
    let as_a_dead_letter = letter(Some("shardId-0:7"), 0, None).id();
    assert_eq!(entry(b"bytes").id(), as_a_dead_letter);
    assert_ne!(
        entry(b"other bytes").id(),
        as_a_dead_letter,
        "the same identifier in another replayed file"
    );
    assert_eq!(
        entry(b"plain").key,
        "shardId-0:7#0",
        "the key of a dead letter of the same record"
    );
    assert_eq!(entry(&[0xF3, 0x89, 0x9A, 0xC2, 1]).key, "shardId-0:7");
    assert_eq!(entry(&[0x1F, 0x8B, 8]).key, "shardId-0:7");
    for broken in [
        r#"{"kinesis":{"data":"aGk="}}"#,
        "42",
        r#"{"kinesis":{"sequenceNumber":""}}"#,
    ] {
        let raw = RawValue::from_string(broken.to_owned()).unwrap();
        assert!(
            DeadLetter::with_entry(&raw, "", Origin::default()).is_none(),
            "{broken}"
        );
    }
}
