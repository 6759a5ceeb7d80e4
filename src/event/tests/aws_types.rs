//! Compares the reading of well-formed events with the types that AWS publishes for them.

use std::fs;
use std::path::Path;

use aws_lambda_events::kinesis::KinesisEvent;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::*;

/// Checks that both read the same from each field.
fn assert_same(payload: &str) {
    let own = read(payload.as_bytes()).unwrap();
    let other: KinesisEvent = serde_json::from_str(payload).unwrap();
    assert_eq!(own.records.len(), other.records.len());
    let arn = other
        .records
        .iter()
        .find_map(|record| record.event_source_arn.as_deref());
    assert_eq!(own.stream_arn.as_deref(), arn);
    for (own, other) in own.records.iter().zip(&other.records) {
        assert_eq!(own.event_id.as_deref(), other.event_id.as_deref());
        assert_eq!(own.sequence_number.as_deref(), Some(&*other.kinesis.sequence_number));
        assert_eq!(
            own.partition_key.as_deref().unwrap_or_default(),
            other.kinesis.partition_key
        );
        assert_eq!(own.data.as_deref(), Ok(&*other.kinesis.data.0));
        let milliseconds = other.kinesis.approximate_arrival_timestamp.timestamp_millis();
        assert_eq!(
            own.approximate_arrival_ms.map(misread),
            u64::try_from(milliseconds).ok()
        );
    }
}

/// Returns the arrival time as those types read it: they take all digits after the point for a number of milliseconds,
/// so that `.5` becomes 5 instead of 500.
fn misread(milliseconds: u64) -> u64 {
    let mut fraction = milliseconds % 1000;
    while fraction > 0 && fraction.is_multiple_of(10) {
        fraction /= 10;
    }
    milliseconds / 1000 * 1000 + fraction
}

#[test]
fn the_sample_events_are_read_as_the_types_of_aws_read_them() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("events");
    let mut compared = 0;
    for file in fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()) {
        let text = fs::read_to_string(&file).unwrap();
        // The samples of broken and foreign events cannot be compared: those types have no form for them.
        if file.extension().is_some_and(|extension| extension == "json")
            && serde_json::from_str::<KinesisEvent>(&text).is_ok_and(|event| !event.records.is_empty())
            && read(text.as_bytes()).is_ok()
        {
            assert_same(&text);
            compared += 1;
        }
    }
    assert!(compared >= 15, "{compared}");
}

/// An entry with its members in any order, and with members that are not known.
fn entries() -> impl Strategy<Value = String> {
    let data = prop::collection::vec(any::<u8>(), 0..50);
    let kinesis = ("[0-9]{1,60}", ".{0,20}", data, 0_u64..4_000_000_000_000, any::<bool>());
    let kinesis = kinesis.prop_flat_map(|(number, key, data, time, is_encrypted)| {
        let members = vec![
            member("kinesisSchemaVersion", &json!("1.0")),
            member("sequenceNumber", &json!(number)),
            member("partitionKey", &json!(key)),
            member("data", &json!(BASE64.encode(data))),
            format!("\"approximateArrivalTimestamp\": {}.{:03}", time / 1000, time % 1000),
            member("encryptionType", &json!(if is_encrypted { "KMS" } else { "NONE" })),
            member("new", &json!([{"data": key}])),
        ];
        Just(members).prop_shuffle().prop_map(|members| object(&members))
    });
    (kinesis, ".{1,20}", any::<bool>()).prop_flat_map(|(kinesis, id, has_arn)| {
        let mut members = vec![
            format!("\"kinesis\" :{kinesis}"),
            member("eventID", &json!(id)),
            member("eventSource", &json!("aws:kinesis")),
            member("awsRegion", &json!("eu-central-1")),
            member("new", &json!({"eventID": id})),
        ];
        if has_arn {
            members.push(member(
                "eventSourceARN",
                &json!("arn:aws:kinesis:eu-central-1:123456789012:stream/s"),
            ));
        }
        Just(members).prop_shuffle().prop_map(|members| object(&members))
    })
}

fn member(name: &str, value: &Value) -> String {
    format!("\"{name}\":{value}")
}

fn object(members: &[String]) -> String {
    format!("{{{}}}", members.join(",\n "))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn events_are_read_as_the_types_of_aws_read_them(entries in prop::collection::vec(entries(), 1..6)) {
        assert_same(&object(&[format!("\"Records\":[{}]", entries.join(","))]));
    }
}
