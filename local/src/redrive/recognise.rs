//! What a line, an object or a message is, by its shape.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::letter::{Letter, Origin, Record};

/// What was found.
#[derive(Debug)]
pub(super) enum Recognised {
    /// Records, and how many entries beside them cannot be read.
    Letters(Vec<Letter>, usize),
    /// A batch that the mapping gave up, without its records: they may still be in the stream.
    Batch(BatchInfo),
    /// No dead letter: why not. Nothing of it is quoted.
    Nothing(String),
}

/// Where a batch lies in its stream.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct BatchInfo {
    pub(crate) shard_id: String,
    pub(crate) start_sequence_number: String,
    pub(crate) end_sequence_number: String,
    #[serde(default)]
    pub(crate) batch_size: usize,
    pub(crate) stream_arn: String,
    /// Why the mapping gave it up.
    #[serde(skip)]
    pub(crate) condition: String,
}

/// All the shapes in one. What is JSON of another type makes it none of them.
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
    /// What SNS puts around a message.
    #[serde(rename = "Type")]
    notification: Option<String>,
    #[serde(rename = "Message")]
    message: Option<String>,
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

/// Says what `text` is.
pub(super) fn recognise(text: &str, origin: &Origin) -> Recognised {
    let shape = match serde_json::from_str::<Shape<'_>>(text) {
        Ok(shape) => shape,
        Err(error) => return Recognised::Nothing(broken(&error)),
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
                Some(payload) => given_up(payload, &condition, origin),
                None => Recognised::Batch(BatchInfo { condition, ..batch }),
            }
        }
        shape if shape.reason.is_some() => dead_letter(shape, origin),
        _ => Recognised::Nothing("it is neither a dead letter nor a batch that the mapping gave up".to_owned()),
    }
}

fn dead_letter(shape: Shape<'_>, origin: &Origin) -> Recognised {
    let kind = shape.reason.map(|reason| reason.kind).unwrap_or_default();
    if let Some(data) = shape.data {
        let Ok(data) = BASE64.decode(data.as_bytes()) else {
            return Recognised::Nothing("its data is not base64".to_owned());
        };
        let record = Record {
            event_id: shape.event_id.filter(|id| !id.is_empty()),
            partition_key: shape.partition_key,
            explicit_hash_key: shape.explicit_hash_key,
            arrival_s: shape.approximate_arrival_timestamp,
            data: data.into(),
        };
        let letter = Letter::with_data(record, shape.sub_sequence_number, kind, origin.clone());
        return Recognised::Letters(vec![letter], 0);
    }
    let Some(entry) = shape.record else {
        return Recognised::Nothing("it has neither data nor record".to_owned());
    };
    match Letter::with_entry(entry, &kind, origin.clone()) {
        Some(letter) => Recognised::Letters(vec![letter], 0),
        None => Recognised::Nothing("its record has no sequence number, or is none of Kinesis's".to_owned()),
    }
}

/// The payload is the event as a string; as an object it is taken, too.
fn given_up(payload: &RawValue, condition: &str, origin: &Origin) -> Recognised {
    let text = serde_json::from_str::<String>(payload.get());
    let event = serde_json::from_str::<Event<'_>>(text.as_deref().unwrap_or(payload.get()));
    let Ok(event) = event else {
        return Recognised::Nothing("its payload is no Kinesis event".to_owned());
    };
    if event.records.is_empty() {
        return Recognised::Nothing("its payload holds no record".to_owned());
    }
    let entries = event.records.iter();
    let letters: Vec<_> = entries
        .filter_map(|entry| Letter::with_entry(entry, condition, origin.clone()))
        .collect();
    let unreadable = event.records.len() - letters.len();
    Recognised::Letters(letters, unreadable)
}

/// The error's own words may quote the text.
fn broken(error: &serde_json::Error) -> String {
    use serde_json::error::Category;
    let what = match error.classify() {
        Category::Eof => "its JSON ends too early",
        Category::Syntax | Category::Io => "it is not JSON",
        Category::Data => "a member of it has another type than that of a dead letter",
    };
    format!("{what} (column {})", error.column())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letters(text: &str) -> Vec<Letter> {
        match recognise(text, &Origin::default()) {
            Recognised::Letters(letters, 0) => letters,
            other @ (Recognised::Letters(..) | Recognised::Batch(_) | Recognised::Nothing(_)) => panic!("{other:?}"),
        }
    }

    #[test]
    fn each_shape_is_told_by_its_members() {
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
            match recognise(&text, &Origin::default()) {
                Recognised::Batch(batch) => {
                    assert_eq!(
                        (&*batch.end_sequence_number, &*batch.condition),
                        ("9", "RecordAgeExceeded")
                    );
                }
                other @ (Recognised::Letters(..) | Recognised::Nothing(_)) => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn what_is_no_dead_letter_is_told_without_a_word_of_it() {
        let batch = r#"{"shardId":"secret","startSequenceNumber":"7","endSequenceNumber":"9","streamArn":"arn"}"#;
        let empty = format!(r#"{{"KinesisBatchInfo":{batch},"payload":"{{\"Records\":[]}}"}}"#);
        for (text, expected) in [
            ("", "ends too early"),
            (r#"{"eventId":"secret","#, "ends too early"),
            ("secret", "not JSON"),
            (r#"{"eventId":7,"reason":{"kind":"secret"}}"#, "another type"),
            (r#"{"reason":"secret"}"#, "another type"),
            (r#"{"reason":{"kind":"Refused"}}"#, "neither data nor record"),
            (r#"{"reason":{"kind":"Refused"},"data":"secret!"}"#, "not base64"),
            (
                r#"{"reason":{"kind":"Refused"},"record":"secret"}"#,
                "no sequence number",
            ),
            (r#"{"eventId":"secret","output":"secret"}"#, "neither a dead letter"),
            (&empty, "holds no record"),
        ] {
            match recognise(text, &Origin::default()) {
                Recognised::Nothing(why) => {
                    assert!(why.contains(expected) && !why.contains("secret"), "{text}: {why}");
                }
                other @ (Recognised::Letters(..) | Recognised::Batch(_)) => panic!("{text}: {other:?}"),
            }
        }
    }
}
