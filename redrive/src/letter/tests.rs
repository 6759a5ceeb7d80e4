use super::*;

fn item() -> Item {
    Item::new("here".to_owned(), "", Ok(String::new()))
}

fn letter(event_id: Option<&str>, number: u64, explicit_hash_key: Option<&str>) -> Letter {
    let record = Record {
        event_id: event_id.map(str::to_owned),
        partition_key: Some("card-7".to_owned()),
        explicit_hash_key: explicit_hash_key.map(str::to_owned),
        arrival_s: Some(1_795_419_096.52),
        data: Some(Bytes::from_static(b"bytes")),
    };
    Letter::new(record, None, number, "Refused", &item())
}

fn data(entry: &Value) -> Vec<u8> {
    BASE64.decode(entry["kinesis"]["data"].as_str().unwrap()).unwrap()
}

#[test]
fn user_records_of_an_aggregate_get_numbered_identifiers_and_other_records_keep_theirs() {
    for (event_id, number, event_id_sent, sequence_number) in [
        ("shardId-0:7", 0, "shardId-0:7", "7"),
        ("shardId-0:7", 3, "shardId-0:7#3", "7#3"),
        // A record that was redriven and rejected again.
        ("shardId-0:7#3", 0, "shardId-0:7#3", "7#3"),
    ] {
        let letter = letter(Some(event_id), number, None);
        let entry: Value = serde_json::from_str(&letter.entry()).unwrap();
        assert_eq!(
            (&*letter.name, &entry["eventID"]),
            (event_id_sent, &json!(event_id_sent))
        );
        assert_eq!(entry["kinesis"]["sequenceNumber"], sequence_number);
        assert_eq!(data(&entry), b"bytes");
        assert_eq!(entry["kinesis"]["approximateArrivalTimestamp"], 1_795_419_096.52);
    }
}

#[test]
fn a_record_without_an_event_identifier_has_a_sequence_number_from_its_item() {
    let letter = letter(None, 0, None);
    let entry: Value = serde_json::from_str(&letter.entry()).unwrap();
    assert_eq!(entry.get("eventID"), None);
    assert_eq!(entry["kinesis"]["sequenceNumber"], format!("{:032x}", item().key));
}

#[test]
fn a_record_with_an_explicit_hash_key_becomes_an_aggregate_of_one() {
    let letter = letter(Some("shardId-0:7"), 2, Some("340282366920938463463374607431768211455"));
    let data = data(&serde_json::from_str(&letter.entry()).unwrap());
    assert_eq!(instream_local::aggregate::count_user_records(&data), 1);
    assert!(data.starts_with(&[0xF3, 0x89, 0x9A, 0xC2]));
}

#[test]
fn a_dead_letter_and_an_event_entry_of_one_record_have_one_identity() {
    let entry = |data: &[u8]| {
        let data = BASE64.encode(data);
        let raw = format!(r#"{{"eventID":"shardId-0:7","kinesis":{{"sequenceNumber":"7","data":"{data}"}}}}"#);
        Letter::from_entry(&RawValue::from_string(raw).unwrap(), "RetryAttemptsExhausted", &item()).unwrap()
    };
    let dead_letter = letter(Some("shardId-0:7"), 0, None);
    assert_eq!(entry(b"bytes").record_key, dead_letter.record_key);
    // The identifiers of a replayed file are those of another replayed file.
    assert_ne!(entry(b"other bytes").record_key, dead_letter.record_key);
}

#[test]
fn an_entry_without_a_sequence_number_is_no_letter() {
    for broken in [
        r#"{"kinesis":{"data":"aGk="}}"#,
        "42",
        r#"{"kinesis":{"sequenceNumber":""}}"#,
    ] {
        let raw = RawValue::from_string(broken.to_owned()).unwrap();
        assert!(Letter::from_entry(&raw, "", &item()).is_none(), "{broken}");
    }
}
