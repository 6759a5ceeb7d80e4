//! The forms in which records are left: dead letters of the function, and batches that the mapping discarded. The
//! members of the JSON show the form.

use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_json::value::RawValue;

use super::{Letter, Record};
use crate::source::Item;
use crate::stream::batch::BatchInfo;

/// The content of an item.
#[derive(Debug)]
pub(crate) enum Form {
    Letters(Vec<Letter>),
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
    reason: Option<Value>,
    #[serde(borrow)]
    record: Option<&'t RawValue>,
    #[serde(borrow)]
    payload: Option<&'t RawValue>,
    #[serde(default)]
    request_context: Value,
    #[serde(rename = "KinesisBatchInfo")]
    batch: Option<BatchInfo>,
    /// The model's output of a prediction, which can be `null`.
    #[serde(borrow, default, deserialize_with = "even_if_null")]
    output: Option<&'t RawValue>,
    /// The message of an SNS notification.
    #[serde(rename = "Message")]
    message: Option<String>,
}

#[derive(Deserialize)]
struct Event<'t> {
    #[serde(borrow, rename = "Records")]
    records: Vec<&'t RawValue>,
}

fn even_if_null<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// Reads an item. An error is the reason why it is not readable, and quotes nothing of it.
pub(crate) fn read(item: &Item) -> Result<Form, String> {
    read_text(item.text.as_deref().map_err(Clone::clone)?, item)
}

fn read_text(text: &str, item: &Item) -> Result<Form, String> {
    let members: Members<'_> = serde_json::from_str(text).map_err(|error| json_error(&error))?;
    if let Some(message) = &members.message {
        return read_text(message, item);
    }
    let condition = members
        .request_context
        .get("condition")
        .and_then(Value::as_str)
        .unwrap_or("unknown");
    match (members.batch, members.payload, members.reason) {
        (Some(_), Some(payload), _) => read_event(payload, condition, item),
        (Some(batch), None, _) => Ok(Form::Batch(batch, condition.to_owned())),
        (None, payload, Some(reason)) => {
            let record: Record = serde_json::from_str(text).map_err(|error| json_error(&error))?;
            let (number, kind) = (
                members.sub_sequence_number,
                reason.get("kind").and_then(Value::as_str).unwrap_or("unknown"),
            );
            let letter = match (record.data.is_some(), members.record, payload) {
                (true, ..) => Letter::new(record, None, number, kind, item),
                (false, Some(entry), _) => {
                    Letter::from_entry(entry, kind, item).ok_or("its record has no sequence number")?
                }
                (false, None, Some(payload)) => {
                    let payload = serde_json::from_str(payload.get());
                    let payload =
                        payload.map_err(|_| "it has no payload, and its size, hash or position is unknown")?;
                    Letter::new(record, Some(payload), number, kind, item)
                }
                (false, None, None) => return Err("it has no data, no record and no payload".to_owned()),
            };
            Ok(Form::Letters(vec![letter]))
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
    let letters = records.iter().map(|entry| Letter::from_entry(entry, condition, item));
    let letters = letters.collect::<Option<_>>().map(Form::Letters);
    letters.ok_or_else(|| "an entry of its payload has no sequence number".to_owned())
}

/// Describes a JSON error. The message of `serde_json` may quote the text.
fn json_error(error: &serde_json::Error) -> String {
    format!(
        "no dead letter: {:?} error in column {}",
        error.classify(),
        error.column()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_item(text: &str) -> Result<Form, String> {
        read(&Item::new("here".to_owned(), "", Ok(text.to_owned())))
    }

    fn letters(text: &str) -> Vec<Letter> {
        match read_item(text) {
            Ok(Form::Letters(letters)) => letters,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn each_form_is_recognised_by_its_members() {
        let with_data = r#"{"eventId":"shardId-0:7","subSequenceNumber":2,"partitionKey":"k","approximateArrivalTimestamp":1.5,"endpoint":"e","reason":{"kind":"Refused","message":"m"},"data":"aGk="}"#;
        let letter = &letters(with_data)[0];
        assert_eq!(
            (&*letter.name, &*letter.kind, letter.record.arrival_s),
            ("shardId-0:7#2", "Refused", Some(1.5))
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
            match read_item(&text) {
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
            let form = read_item(&text);
            assert!(matches!(form, Ok(Form::Prediction)), "{text}: {form:?}");
        }
        letters(&envelope(r#""reason":{"kind":"Refused"},"data":"aGk=","output":1"#));
    }

    #[test]
    fn an_unreadable_text_is_reported_without_quoting_it() {
        let batch = r#"{"shardId":"secret","startSequenceNumber":"7","endSequenceNumber":"9","streamArn":"arn"}"#;
        let empty = format!(r#"{{"KinesisBatchInfo":{batch},"payload":"{{\"Records\":[]}}"}}"#);
        for (text, expected) in [
            ("", "Eof error"),
            (r#"{"eventId":"secret","#, "Eof error"),
            ("secret", "Syntax error"),
            (r#"{"eventId":7,"reason":{"kind":"secret"}}"#, "Data error"),
            (r#"{"reason":"secret"}"#, "no data, no record"),
            (r#"{"reason":{"kind":"Refused"}}"#, "no data, no record and no payload"),
            (r#"{"reason":{"kind":"Refused"},"data":"secret!"}"#, "Data error"),
            (
                r#"{"reason":{"kind":"Refused"},"record":"secret"}"#,
                "no sequence number",
            ),
            (r#"{"eventId":"secret","data":"secret"}"#, "neither a dead letter"),
            (&empty, "has no records"),
            (
                r#"{"reason":{},"payload":{"bytes":1,"sha256":"secret","streamArn":null}}"#,
                "position is unknown",
            ),
        ] {
            let why = read_item(text).unwrap_err();
            assert!(why.contains(expected) && !why.contains("secret"), "{text}: {why}");
        }
    }
}
