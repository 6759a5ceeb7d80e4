//! Recognises dead letters and discarded batches by the members of their JSON.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::dead_letter::{DeadLetter, Origin, Record};
use super::payload::Payload;

/// The meaning of one text.
#[derive(Debug)]
pub(super) enum Recognised {
    /// Dead letters, and the number of further entries that cannot be read.
    DeadLetters(Vec<DeadLetter>, usize),
    /// A batch that the mapping discarded, without its records. They may still be in the stream.
    DiscardedBatch(BatchInfo),
    /// A prediction. It can be among dead letters if `OUTPUT` and `DEAD_LETTER` share a place.
    Prediction,
    /// None of them, with the reason. The reason quotes nothing of the text.
    Unrecognised(String),
}

/// The position of a batch in its stream.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct BatchInfo {
    pub(crate) shard_id: String,
    pub(crate) start_sequence_number: String,
    pub(crate) end_sequence_number: String,
    #[serde(default)]
    pub(crate) batch_size: usize,
    pub(crate) stream_arn: String,
    /// The mapping's reason to discard it, such as `RetryAttemptsExhausted`.
    #[serde(skip)]
    pub(crate) condition: String,
}

/// The members of all recognised shapes. A member of another JSON type makes the text unrecognised.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shape<'t> {
    event_id: Option<String>,
    #[serde(default)]
    sub_sequence_number: u64,
    partition_key: Option<String>,
    explicit_hash_key: Option<String>,
    approximate_arrival_timestamp: Option<f64>,
    reason: Option<Reason>,
    #[serde(borrow)]
    data: Option<Cow<'t, str>>,
    #[serde(borrow)]
    record: Option<&'t RawValue>,
    request_context: Option<RequestContext>,
    #[serde(rename = "KinesisBatchInfo")]
    batch: Option<BatchInfo>,
    #[serde(borrow)]
    payload: Option<&'t RawValue>,
    /// Whether it has a model's output, which can be `null`.
    #[serde(rename = "output", default, deserialize_with = "is_present")]
    has_output: bool,
    /// `Type` and `Message` are the members of an SNS notification.
    #[serde(rename = "Type")]
    notification: Option<String>,
    #[serde(rename = "Message")]
    message: Option<String>,
}

fn is_present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(deserializer).map(|_| true)
}

#[derive(Deserialize)]
struct Reason {
    #[serde(default)]
    kind: String,
}

#[derive(Deserialize)]
struct RequestContext {
    #[serde(default)]
    condition: String,
}

#[derive(Deserialize)]
struct Event<'t> {
    #[serde(borrow, rename = "Records")]
    records: Vec<&'t RawValue>,
}

/// Recognises `text`. Reads an SNS notification as its message.
pub(super) fn recognise(text: &str, origin: &Origin) -> Recognised {
    let shape = match serde_json::from_str::<Shape<'_>>(text) {
        Ok(shape) => shape,
        Err(error) => return Recognised::Unrecognised(json_error(&error)),
    };
    match shape {
        Shape {
            notification: Some(_),
            message: Some(message),
            ..
        } => recognise(&message, origin),
        Shape {
            batch: Some(batch),
            payload,
            request_context,
            ..
        } => {
            let condition = request_context.map(|context| context.condition).unwrap_or_default();
            match payload {
                Some(payload) => discarded(payload, &condition, origin),
                None => Recognised::DiscardedBatch(BatchInfo { condition, ..batch }),
            }
        }
        shape if shape.reason.is_some() => dead_letter(shape, origin),
        shape if shape.has_output => Recognised::Prediction,
        _ => Recognised::Unrecognised("it is neither a dead letter nor a batch that the mapping discarded".to_owned()),
    }
}

fn dead_letter(shape: Shape<'_>, origin: &Origin) -> Recognised {
    let kind = shape.reason.map(|reason| reason.kind).unwrap_or_default();
    let record = Record {
        event_id: shape.event_id.filter(|id| !id.is_empty()),
        partition_key: shape.partition_key,
        explicit_hash_key: shape.explicit_hash_key,
        arrival_s: shape.approximate_arrival_timestamp,
        data: Bytes::new(),
    };
    let (number, origin) = (shape.sub_sequence_number, origin.clone());
    let letter = if let Some(data) = shape.data {
        let data = BASE64.decode(data.as_bytes()).map_err(|_| "its data is not base64");
        data.map(|data| {
            DeadLetter::with_data(
                Record {
                    data: data.into(),
                    ..record
                },
                number,
                kind,
                origin,
            )
        })
    } else if let Some(entry) = shape.record {
        DeadLetter::with_entry(entry, &kind, origin)
            .ok_or("its record has no sequence number, or is not a Kinesis record")
    } else if let Some(payload) = shape.payload {
        Payload::parse(payload.get()).map(|payload| DeadLetter::without_data(record, payload, number, kind, origin))
    } else {
        Err("it has no data, no record and no payload")
    };
    match letter {
        Ok(letter) => Recognised::DeadLetters(vec![letter], 0),
        Err(why) => Recognised::Unrecognised(why.to_owned()),
    }
}

/// Reads the payload of a discarded batch: the event, as a string or as an object.
fn discarded(payload: &RawValue, condition: &str, origin: &Origin) -> Recognised {
    let text = serde_json::from_str::<String>(payload.get());
    let event = serde_json::from_str::<Event<'_>>(text.as_deref().unwrap_or(payload.get()));
    let Ok(event) = event else {
        return Recognised::Unrecognised("its payload is not a Kinesis event".to_owned());
    };
    if event.records.is_empty() {
        return Recognised::Unrecognised("its payload has no records".to_owned());
    }
    let entries = event.records.iter();
    let letters: Vec<_> = entries
        .filter_map(|entry| DeadLetter::with_entry(entry, condition, origin.clone()))
        .collect();
    let unreadable = event.records.len() - letters.len();
    Recognised::DeadLetters(letters, unreadable)
}

/// Describes a JSON error. The message of `serde_json` may quote the text.
fn json_error(error: &serde_json::Error) -> String {
    use serde_json::error::Category;
    let problem = match error.classify() {
        Category::Eof => "its JSON ends too early",
        Category::Syntax | Category::Io => "it is not JSON",
        Category::Data => "a member has another type than in a dead letter",
    };
    format!("{problem} (column {})", error.column())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letters(text: &str) -> Vec<DeadLetter> {
        let recognised = recognise(text, &Origin::default());
        let Recognised::DeadLetters(letters, 0) = &recognised else {
            panic!("{recognised:?}")
        };
        letters.clone()
    }

    #[test]
    fn each_shape_is_recognised_by_its_members() {
        let with_data = r#"{"eventId":"shardId-0:7","subSequenceNumber":2,"partitionKey":"k","approximateArrivalTimestamp":1.5,"endpoint":"e","reason":{"kind":"Refused","message":"m"},"data":"aGk="}"#;
        let letter = &letters(with_data)[0];
        assert_eq!(
            (&*letter.key, &*letter.kind, letter.arrival_ms),
            ("shardId-0:7#2", "Refused", Some(1500))
        );
        let entry = r#"{"eventID":"shardId-0:8","kinesis":{"sequenceNumber":"8","data":"!"}}"#;
        let with_record = format!(r#"{{"eventId":"shardId-0:8","reason":{{"kind":"BrokenRecord"}},"record":{entry}}}"#);
        assert_eq!(letters(&with_record)[0].entry(), entry);
        let batch = r#""KinesisBatchInfo":{"shardId":"shardId-0","startSequenceNumber":"7","endSequenceNumber":"9","batchSize":2,"streamArn":"arn"}"#;
        let context = r#""requestContext":{"condition":"RecordAgeExceeded"}"#;
        let event = format!(r#"{{"Records":[{entry},{entry}]}}"#);
        let payload = serde_json::to_string(&event).unwrap();
        for payload in [&payload, &event] {
            let found = letters(&format!("{{{context},{batch},\"payload\":{payload}}}"));
            assert_eq!((found.len(), &*found[0].kind), (2, "RecordAgeExceeded"));
        }
        let message = format!("{{{context},{batch}}}");
        let notification = serde_json::json!({"Type": "Notification", "Message": message}).to_string();
        for text in [message, notification] {
            let recognised = recognise(&text, &Origin::default());
            let Recognised::DiscardedBatch(batch) = &recognised else {
                panic!("{recognised:?}")
            };
            assert_eq!(
                (&*batch.end_sequence_number, &*batch.condition),
                ("9", "RecordAgeExceeded")
            );
        }
    }

    #[test]
    fn an_envelope_with_an_output_and_without_a_reason_is_a_prediction() {
        let envelope = |members: &str| format!(r#"{{"eventId":"shardId-0:7","subSequenceNumber":0,{members}}}"#);
        for output in ["null", "0.5", r#"{"reason":{"kind":"Refused"}}"#, "\"aGk=\""] {
            let text = envelope(&format!(r#""input":{{"data":"aGk="}},"output":{output}"#));
            let recognised = recognise(&text, &Origin::default());
            assert!(matches!(recognised, Recognised::Prediction), "{text}: {recognised:?}");
        }
        letters(&envelope(r#""reason":{"kind":"Refused"},"data":"aGk=","output":1"#));
    }

    #[test]
    fn an_unrecognised_text_is_reported_without_quoting_it() {
        let batch = r#"{"shardId":"secret","startSequenceNumber":"7","endSequenceNumber":"9","streamArn":"arn"}"#;
        let empty = format!(r#"{{"KinesisBatchInfo":{batch},"payload":"{{\"Records\":[]}}"}}"#);
        for (text, expected) in [
            ("", "ends too early"),
            (r#"{"eventId":"secret","#, "ends too early"),
            ("secret", "not JSON"),
            (r#"{"eventId":7,"reason":{"kind":"secret"}}"#, "another type"),
            (r#"{"reason":"secret"}"#, "another type"),
            (r#"{"reason":{"kind":"Refused"}}"#, "no data, no record and no payload"),
            (r#"{"reason":{"kind":"Refused"},"data":"secret!"}"#, "not base64"),
            (
                r#"{"reason":{"kind":"Refused"},"record":"secret"}"#,
                "no sequence number",
            ),
            (r#"{"eventId":"secret","data":"secret"}"#, "neither a dead letter"),
            (&empty, "has no records"),
        ] {
            let recognised = recognise(text, &Origin::default());
            let Recognised::Unrecognised(why) = &recognised else {
                panic!("{text}: {recognised:?}")
            };
            assert!(why.contains(expected) && !why.contains("secret"), "{text}: {why}");
        }
    }
}
