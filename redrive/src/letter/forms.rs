//! The forms in which records are left: dead letters of the function, and batches that the mapping discarded. The
//! members of the JSON show the form.

use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::{Letter, Record};
use crate::source::Item;
use crate::stream::batch::BatchInfo;
use crate::stream::payload::Payload;

/// The content of an item.
#[derive(Debug)]
pub(crate) enum Form {
    /// Letters, and the number of further entries that cannot be read.
    Letters(Vec<Letter>, usize),
    /// A batch that the mapping discarded without its records, and the mapping's reason, such as
    /// `RetryAttemptsExhausted`. The records may still be in the stream.
    Batch(BatchInfo, String),
    /// A prediction. It can be among dead letters if `OUTPUT` and `DEAD_LETTER` share a place.
    Prediction,
}

/// The members that show the form. With a member of another JSON type, an item is not readable.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Members<'t> {
    #[serde(default)]
    sub_sequence_number: u64,
    reason: Option<Reason>,
    #[serde(borrow)]
    record: Option<&'t RawValue>,
    #[serde(borrow)]
    payload: Option<&'t RawValue>,
    #[serde(default)]
    request_context: RequestContext,
    #[serde(rename = "KinesisBatchInfo")]
    batch: Option<BatchInfo>,
    /// The model's output of a prediction, which can be `null`.
    #[serde(borrow, default, deserialize_with = "even_if_null")]
    output: Option<&'t RawValue>,
    /// `Type` and `Message` are the members of an SNS notification.
    #[serde(rename = "Type")]
    notification: Option<IgnoredAny>,
    #[serde(rename = "Message")]
    message: Option<String>,
}

#[derive(Deserialize)]
struct Reason {
    #[serde(default)]
    kind: String,
}

#[derive(Deserialize, Default)]
struct RequestContext {
    #[serde(default)]
    condition: String,
}

#[derive(Deserialize)]
struct Event<'t> {
    #[serde(borrow, rename = "Records")]
    records: Vec<&'t RawValue>,
}

fn even_if_null<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// Reads the text of `item`. An error is the reason why it is not readable, and quotes nothing of the text.
pub(crate) fn read(text: &str, item: &Item) -> Result<Form, String> {
    let members: Members<'_> = serde_json::from_str(text).map_err(|error| json_error(&error))?;
    if let (Some(_), Some(message)) = (&members.notification, &members.message) {
        return read(message, item);
    }
    let condition = members.request_context.condition;
    match (members.batch, members.payload, members.reason) {
        (Some(_), Some(payload), _) => read_event(payload, &condition, item),
        (Some(batch), None, _) => Ok(Form::Batch(batch, condition)),
        (None, payload, Some(Reason { kind })) => {
            let record: Record = serde_json::from_str(text).map_err(|error| json_error(&error))?;
            let letter = match (members.record, payload) {
                (Some(entry), _) if record.data.is_none() => Letter::from_entry(entry, &kind, item)
                    .ok_or("its record has no sequence number, or is not a Kinesis record")?,
                (_, payload) => {
                    let payload = payload.filter(|_| record.data.is_none());
                    let payload = payload.map(|payload| Payload::parse(payload.get())).transpose()?;
                    if record.data.is_none() && payload.is_none() {
                        return Err("it has no data, no record and no payload".to_owned());
                    }
                    Letter::new(record, payload, members.sub_sequence_number, &kind, item)
                }
            };
            Ok(Form::Letters(vec![letter], 0))
        }
        (None, _, None) if members.output.is_some() => Ok(Form::Prediction),
        (None, _, None) => Err("it is neither a dead letter nor a batch that the mapping discarded".to_owned()),
    }
}

/// Reads the payload of a discarded batch: the event, as a string or as an object.
fn read_event(payload: &RawValue, condition: &str, item: &Item) -> Result<Form, String> {
    let text = serde_json::from_str::<String>(payload.get());
    let event = serde_json::from_str::<Event<'_>>(text.as_deref().unwrap_or(payload.get()));
    let records = event.map_err(|_| "its payload is not a Kinesis event")?.records;
    if records.is_empty() {
        return Err("its payload has no records".to_owned());
    }
    let letters = records
        .iter()
        .filter_map(|entry| Letter::from_entry(entry, condition, item));
    let letters: Vec<_> = letters.collect();
    let unreadable = records.len() - letters.len();
    Ok(Form::Letters(letters, unreadable))
}

/// Describes a JSON error. The message of `serde_json` may quote the text.
fn json_error(error: &serde_json::Error) -> String {
    use serde_json::error::Category;
    let problem = match error.classify() {
        Category::Eof => "its JSON ends too early",
        Category::Syntax | Category::Io => "it is not JSON",
        Category::Data => "a member is not as in a dead letter",
    };
    format!("{problem} (column {})", error.column())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letters(text: &str) -> Vec<Letter> {
        match read(text, &Item::default()) {
            Ok(Form::Letters(letters, 0)) => letters,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn each_form_is_recognised_by_its_members() {
        let with_data = r#"{"eventId":"shardId-0:7","subSequenceNumber":2,"partitionKey":"k","approximateArrivalTimestamp":1.5,"endpoint":"e","reason":{"kind":"Refused","message":"m"},"data":"aGk="}"#;
        let letter = &letters(with_data)[0];
        assert_eq!(
            (&*letter.name, &*letter.kind, letter.arrival_ms),
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
            match read(&text, &Item::default()) {
                Ok(Form::Batch(batch, condition)) => {
                    assert_eq!((&*batch.end_sequence_number, &*condition), ("9", "RecordAgeExceeded"));
                }
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn an_envelope_with_an_output_and_without_a_reason_is_a_prediction() {
        let envelope = |members: &str| format!(r#"{{"eventId":"shardId-0:7","subSequenceNumber":0,{members}}}"#);
        for output in ["null", "0.5", r#"{"reason":{"kind":"Refused"}}"#, "\"aGk=\""] {
            let text = envelope(&format!(r#""input":{{"data":"aGk="}},"output":{output}"#));
            let form = read(&text, &Item::default());
            assert!(matches!(form, Ok(Form::Prediction)), "{text}: {form:?}");
        }
        letters(&envelope(r#""reason":{"kind":"Refused"},"data":"aGk=","output":1"#));
    }

    #[test]
    fn an_unreadable_text_is_reported_without_quoting_it() {
        let batch = r#"{"shardId":"secret","startSequenceNumber":"7","endSequenceNumber":"9","streamArn":"arn"}"#;
        let empty = format!(r#"{{"KinesisBatchInfo":{batch},"payload":"{{\"Records\":[]}}"}}"#);
        for (text, expected) in [
            ("", "ends too early"),
            (r#"{"eventId":"secret","#, "ends too early"),
            ("secret", "not JSON"),
            (r#"{"eventId":7,"reason":{"kind":"secret"}}"#, "not as in a dead letter"),
            (r#"{"reason":"secret"}"#, "not as in a dead letter"),
            (r#"{"reason":{"kind":"Refused"}}"#, "no data, no record and no payload"),
            (
                r#"{"reason":{"kind":"Refused"},"data":"secret!"}"#,
                "not as in a dead letter",
            ),
            (
                r#"{"reason":{"kind":"Refused"},"record":"secret"}"#,
                "no sequence number",
            ),
            (r#"{"eventId":"secret","data":"secret"}"#, "neither a dead letter"),
            (&empty, "has no records"),
        ] {
            let why = read(text, &Item::default()).unwrap_err();
            assert!(why.contains(expected) && !why.contains("secret"), "{text}: {why}");
        }
    }
}
