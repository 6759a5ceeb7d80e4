use super::*;

mod aws_types;

fn record(inner: &str) -> String {
    format!(r#"{{"eventSource":"aws:kinesis","eventID":"shardId-000000000000:7","kinesis":{inner}}}"#)
}

/// Reads one record and passes it to `check`.
fn with_record(inner: &str, check: impl FnOnce(&KinesisRecord<'_>)) {
    let payload = format!(r#"{{"Records":[{}]}}"#, record(inner));
    check(&read(payload.as_bytes()).unwrap().records[0]);
}

#[test]
fn arrival_times_are_exact_to_the_millisecond() {
    for (written, expected) in [
        ("1545084650.987", 1_545_084_650_987),
        ("1545084650.5", 1_545_084_650_500),
        ("1545084650.005", 1_545_084_650_005),
        ("1545084650.987654", 1_545_084_650_988),
        ("1545084650", 1_545_084_650_000),
        ("1.545084650987E9", 1_545_084_650_987),
    ] {
        let inner = format!(
            r#"{{"sequenceNumber":"7","partitionKey":"k","data":"aGk=","approximateArrivalTimestamp":{written}}}"#
        );
        with_record(&inner, |record| {
            assert_eq!(record.approximate_arrival_ms, Some(expected), "{written}");
            assert_eq!(record.data.as_deref(), Ok(&b"hi"[..]));
        });
    }
}

#[test]
fn a_record_with_another_arrival_time_has_none() {
    for written in [
        "1545084650987",
        "-1",
        "1e999",
        "1e300",
        "null",
        "\"now\"",
        "\"1545084650\"",
        "[]",
        "true",
    ] {
        let inner = format!(r#"{{"sequenceNumber":"7","data":"aGk=","approximateArrivalTimestamp":{written}}}"#);
        with_record(&inner, |record| {
            assert_eq!(record.approximate_arrival_ms, None, "{written}");
            assert_eq!(record.data.as_deref(), Ok(&b"hi"[..]));
        });
    }
}

#[test]
fn a_broken_record_keeps_its_identity_and_the_reason() {
    for (inner, expected) in [
        (r#"{"sequenceNumber":"7","data":"!"}"#, "not base64"),
        (r#"{"sequenceNumber":"7","data":"aGk"}"#, "not base64"),
        (r#"{"sequenceNumber":"7","data":7}"#, "expected a string"),
        (r#"{"sequenceNumber":"7"}"#, "missing field `data`"),
        (
            r#"{"sequenceNumber":"7","data":"","partitionKey":"\ud800"}"#,
            "hex escape",
        ),
    ] {
        with_record(inner, |record| {
            let rejection = record.data.as_ref().unwrap_err();
            assert_eq!(rejection.kind, RejectionKind::BrokenRecord);
            assert!(rejection.message.contains(expected), "{inner}: {}", rejection.message);
            assert_eq!(record.sequence_number.as_deref(), Some("7"), "{inner}");
            assert_eq!(record.event_id.as_deref(), Some("shardId-000000000000:7"), "{inner}");
        });
    }
}

#[test]
fn a_record_without_a_sequence_number_is_broken() {
    for inner in [r#"{"data":"aGk="}"#, r#"{"sequenceNumber":"","data":"aGk="}"#] {
        with_record(inner, |record| {
            assert_eq!(record.sequence_number, None);
            assert!(
                record
                    .data
                    .as_ref()
                    .unwrap_err()
                    .message
                    .contains("sequenceNumber is missing")
            );
        });
    }
}

#[test]
fn a_well_formed_event_reads_the_same_on_the_fast_path_and_one_by_one() {
    for event in [
        include_str!("../../events/five.json"),
        include_str!("../../events/tumbling-window.json"),
    ] {
        let payload = event;
        let mut one_by_one = read_one_by_one(payload).unwrap();
        one_by_one.records.iter_mut().for_each(|record| record.raw = None);
        let fast = fast_path::read(payload).unwrap();
        assert_eq!(format!("{fast:?}"), format!("{one_by_one:?}"));
    }
    for malformed in [
        include_str!("../../events/broken-envelope.json"),
        include_str!("../../events/not-kinesis.json"),
    ] {
        assert!(fast_path::read(malformed).is_none());
    }
}

#[test]
fn a_broken_record_leaves_its_neighbours_readable() {
    let good = record(r#"{"sequenceNumber":"7","data":"aGk="}"#);
    let payload = format!(r#"{{"Records":[{good},42,"text",null,{{"kinesis":[]}},{good}]}}"#);
    let event = read(payload.as_bytes()).unwrap();
    let readable: Vec<_> = event.records.iter().map(|record| record.data.is_ok()).collect();
    assert_eq!(readable, [true, false, false, false, false, true]);
    assert_eq!(event.records[1].raw.unwrap().get(), "42");
}

#[test]
fn an_event_from_another_source_is_described_in_the_error() {
    for (payload, expected) in [
        (r#"{"key1":"secret","key2":"v","key3":"v"}"#, "the console's test event"),
        (
            r#"{"version":"0","detail-type":"secret","source":"secret","detail":{}}"#,
            "an event of EventBridge",
        ),
        (r#"{"secret":1}"#, "an object without \"Records\""),
        (
            r#"{"Records":[{"eventSource":"aws:sqs","body":"secret"}]}"#,
            "from aws:sqs",
        ),
        (
            r#"{"Records":[{"eventSource":"aws:dynamodb","dynamodb":{}}]}"#,
            "from aws:dynamodb",
        ),
        (
            r#"{"Records":[{"EventSource":"aws:sns","Sns":{"Message":"secret"}}]}"#,
            "from aws:sns",
        ),
        (r#"{"Records":[{"eventSource":"secret"}]}"#, "from another source"),
        (r#"{"Records":[{"secret":1}]}"#, "without \"eventSource\""),
        (r#"{"Records":"secret"}"#, "are not a list"),
        (r"[1]", "an array"),
        ("{\"secret", "invalid JSON"),
        ("\"secret\"", "a string"),
    ] {
        let error = read(payload.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(expected), "{payload}: {error}");
        assert!(!error.contains("secret"), "{error}");
    }
}

#[test]
fn an_event_that_is_not_text_is_reported_as_such() {
    let error = read(b"{\"Records\":[\xff]}").unwrap_err().to_string();
    assert!(error.contains("not UTF-8"), "{error}");
}

#[test]
fn a_window_event_has_a_state_and_others_have_none() {
    for (payload, expected) in [
        (r#"{"Records":[]}"#, None),
        (
            r#"{"Records":[],"window":{"start":"a","end":"b"},"state":{"n":1}}"#,
            Some(r#"{"n":1}"#),
        ),
        (r#"{"Records":[],"window":{"start":"a","end":"b"}}"#, Some("{}")),
        (r#"{"Records":[],"state":{}}"#, Some("{}")),
    ] {
        let state = read(payload.as_bytes()).unwrap().window_state;
        assert_eq!(state.as_ref().map(|state| state.get()), expected);
    }
}
