//! The envelope: one JSON object per line, with the record's position in the stream and its prediction or rejection.
//!
//! `eventId` and `subSequenceNumber` are the same for every delivery of a record, so that a consumer can detect
//! duplicates.

use std::io::{self, Write};

use base64::Engine as _;
use base64::display::Base64Display;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use super::projection::Projected;
use crate::event::{KinesisRecord, UserRecord};
use crate::format::lazy_json::on_one_line;
use crate::inference::sha256;
use crate::outcome::{ModelOutput, Prediction, Rejection};

/// The maximum length of the reason in a dead letter without the record's bytes, in characters. The line then fits into
/// the smallest message that a queue can be configured for, 1,024 bytes, unless keys or names are long.
const SHORT_MESSAGE_MAX: usize = 200;
/// The initial capacity of a line. It fits a line with a short model output, so that most lines need no reallocation.
const LINE_CAPACITY_BYTES: usize = 448;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Envelope<'a, B> {
    event_id: Option<&'a str>,
    sub_sequence_number: u64,
    partition_key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    explicit_hash_key: Option<&'a str>,
    approximate_arrival_timestamp: Option<f64>,
    endpoint: &'a str,
    #[serde(flatten)]
    body: B,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PredictionBody<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    variant: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    custom_attributes: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    input: Option<OutputValue<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    input_encoding: Option<&'static str>,
    output: OutputValue<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_encoding: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_type: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum OutputValue<'a> {
    Json(&'a RawValue),
    Text(&'a str),
    Base64(Base64<'a>),
}

/// Bytes that serialize as base64.
struct Base64<'a>(&'a [u8]);

impl Serialize for Base64<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // Base64 is written in pieces, because a second copy could take ten megabytes.
        serializer.collect_str(&Base64Display::new(self.0, &BASE64))
    }
}

#[derive(Serialize)]
struct DeadLetterBody<'a> {
    reason: &'a Rejection,
    /// The original bytes, in base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Base64<'a>>,
    /// The record's entry in the event as received, if its bytes cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    record: Option<Box<RawValue>>,
}

/// The body of a dead letter without the record's bytes.
#[derive(Serialize)]
struct PayloadReferenceBody<'a> {
    reason: &'a Rejection,
    payload: PayloadReference<'a>,
}

/// Describes the bytes that a dead letter leaves out, and the place where the stream has them.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PayloadReference<'a> {
    /// The number of bytes.
    bytes: usize,
    /// The SHA-256 of the bytes, in hexadecimal.
    sha256: String,
    stream_arn: Option<&'a str>,
    shard_id: Option<&'a str>,
    sequence_number: Option<&'a str>,
}

/// A writer to memory that fails if it would hold more than `bytes_max` bytes.
struct LimitedWriter {
    text: Vec<u8>,
    bytes_max: usize,
}

impl Write for LimitedWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.text.len() + bytes.len() > self.bytes_max {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> OutputValue<'a> {
    /// Returns the value, and its encoding if it has one.
    fn of(value: &'a ModelOutput) -> (Self, Option<&'static str>) {
        match value {
            ModelOutput::Json(json) => (Self::Json(json), None),
            ModelOutput::Text(text) => (Self::Text(text), None),
            ModelOutput::Bytes(bytes) => (Self::Base64(Base64(bytes)), Some("base64")),
        }
    }
}

/// Returns the OUTPUT line for a predicted record, in the `envelope` format, with the `projected` part of its
/// `prediction`. Returns `None` if the line would have more than `bytes_max` bytes.
pub fn prediction(
    record: &KinesisRecord<'_>,
    user_record: &UserRecord,
    endpoint: &str,
    projected: &Projected<'_>,
    prediction: &Prediction,
    bytes_max: usize,
) -> Option<String> {
    let (output, output_encoding) = OutputValue::of(&projected.output);
    let details = prediction.details.as_deref();
    let content_type = details.and_then(|it| it.content_type.as_deref());
    let (input, input_encoding) = projected.input.as_ref().map(OutputValue::of).unzip();
    line(
        record,
        user_record,
        endpoint,
        PredictionBody {
            variant: prediction.variant.as_deref(),
            custom_attributes: details.and_then(|it| it.custom_attributes.as_deref()),
            input,
            input_encoding: input_encoding.flatten(),
            output,
            output_encoding,
            content_type: content_type.filter(|_| output_encoding.is_some()),
        },
        bytes_max,
    )
}

/// Returns the OUTPUT line in the `raw` format: the model's output alone. Text loses the line breaks at its end, and
/// bytes are in base64.
pub fn raw(output: &ModelOutput) -> String {
    match output {
        ModelOutput::Json(json) => json.get().to_owned(),
        ModelOutput::Text(text) => text.trim_end_matches(['\n', '\r']).to_owned(),
        ModelOutput::Bytes(bytes) => BASE64.encode(bytes),
    }
}

/// Returns the `DEAD_LETTER` line for a rejected record. It holds the record's bytes or, if they cannot be read, its
/// entry in the event. Returns `None` if the line would have more than `bytes_max` bytes.
pub fn dead_letter(
    record: &KinesisRecord<'_>,
    user_record: &UserRecord,
    endpoint: &str,
    reason: &Rejection,
    bytes_max: usize,
) -> Option<String> {
    let payload = user_record.payload();
    let data = payload.as_deref().map(Base64);
    let record_json = record.raw.filter(|_| data.is_none()).map(on_one_line);
    let body = DeadLetterBody {
        reason,
        data,
        record: record_json,
    };
    line(record, user_record, endpoint, body, bytes_max)
}

/// Returns the `DEAD_LETTER` line for a rejected record whose bytes the destination cannot carry. It has their number,
/// their hash and their place in the stream `stream_arn` instead. Returns `None` if the line would have more than
/// `bytes_max` bytes.
pub fn dead_letter_without_payload(
    record: &KinesisRecord<'_>,
    user_record: &UserRecord,
    endpoint: &str,
    reason: &Rejection,
    stream_arn: &str,
    bytes_max: usize,
) -> Option<String> {
    let entry = || record.raw.map_or("", RawValue::get).as_bytes();
    let payload = user_record.payload();
    let payload = payload.as_deref().unwrap_or_else(entry);
    let reason = &Rejection {
        kind: reason.kind,
        message: reason.message.chars().take(SHORT_MESSAGE_MAX).collect(),
    };
    let shard_id = record.event_id.as_deref().and_then(|id| id.split_once(':'));
    let payload = PayloadReference {
        bytes: payload.len(),
        sha256: sha256(payload),
        stream_arn: Some(stream_arn).filter(|arn| !arn.is_empty()),
        shard_id: shard_id.map(|(shard_id, _)| shard_id),
        sequence_number: record.sequence_number.as_deref(),
    };
    let body = PayloadReferenceBody { reason, payload };
    line(record, user_record, endpoint, body, bytes_max)
}

/// Returns the partition key of an aggregated user record, otherwise the partition key of its Kinesis record.
pub fn partition_key<'r>(record: &'r KinesisRecord<'_>, user_record: &'r UserRecord) -> Option<&'r str> {
    let own = user_record.partition_key.as_deref();
    own.or(record.partition_key.as_deref())
}

fn line(
    record: &KinesisRecord<'_>,
    user_record: &UserRecord,
    endpoint: &str,
    body: impl Serialize,
    bytes_max: usize,
) -> Option<String> {
    let envelope = Envelope {
        event_id: record.event_id.as_deref(),
        sub_sequence_number: user_record.sub_sequence_number,
        partition_key: partition_key(record, user_record),
        explicit_hash_key: user_record.explicit_hash_key.as_deref(),
        approximate_arrival_timestamp: record.approximate_arrival_ms.map(seconds),
        endpoint,
        body,
    };
    let mut writer = LimitedWriter {
        text: Vec::with_capacity(LINE_CAPACITY_BYTES),
        bytes_max,
    };
    // Strings, numbers and JSON always serialize, so an error means that the line is too long.
    serde_json::to_writer(&mut writer, &envelope).ok()?;
    Some(String::from_utf8(writer.text).expect("JSON is UTF-8"))
}

/// Returns seconds with a fraction, as AWS writes times. The nearest double prints with the exact milliseconds.
#[expect(
    clippy::cast_precision_loss,
    reason = "times before the year 9999 are far below 2^53 ms"
)]
fn seconds(milliseconds: u64) -> f64 {
    milliseconds as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;
    use std::time::Duration;

    use bytes::Bytes;

    use super::*;
    use crate::endpoint::Response;
    use crate::event::{self, DecodeRules, DecompressOptions, Pace, SplitRules, decode, on_a_paused_clock};
    use crate::inference::read_prediction;

    const EVENT: &str = r#"{"Records":[
        {"eventID":"shardId-0:7","kinesis":{"sequenceNumber":"7","partitionKey":"a \"key\"","data":"aGk=",
            "approximateArrivalTimestamp":1545084650.987}},
        {"eventID":"shardId-0:8",
         "kinesis":{"sequenceNumber":"8","data":"!"}}]}"#;

    fn with_records(check: impl Fn(&[KinesisRecord<'_>], &[UserRecord])) {
        let payload = EVENT.to_owned();
        let event = event::read(payload.as_bytes()).unwrap();
        let rules = DecodeRules {
            decompress: DecompressOptions {
                enabled: true,
                limit_bytes: 1000,
            },
            split: SplitRules::default(),
        };
        let decode = async { decode(&event.records, &rules, Pace::start(Duration::from_mins(15))).await };
        check(&event.records, &on_a_paused_clock(decode));
    }

    #[test]
    fn a_prediction_is_one_line_with_the_records_position() {
        with_records(|records, user_records| {
            let predict = |body: &'static [u8], custom_attributes: Option<&str>| {
                let predicted = read_prediction(&Response {
                    body: Bytes::from_static(body),
                    content_type: Some("image/png".to_owned()),
                    variant: Some("AllTraffic".into()),
                    custom_attributes: custom_attributes.map(str::to_owned),
                });
                let predicted = predicted.unwrap();
                let projected = Projected {
                    input: None,
                    output: Cow::Borrowed(&predicted.output),
                };
                prediction(&records[0], &user_records[0], "fraud", &projected, &predicted, 1000).unwrap()
            };
            let position = r#"{"eventId":"shardId-0:7","subSequenceNumber":0,"partitionKey":"a \"key\"","approximateArrivalTimestamp":1545084650.987,"endpoint":"fraud","variant":"AllTraffic","#;
            assert_eq!(
                predict(b"{\"score\":\n0.90}", None),
                format!("{position}\"output\":{{\"score\": 0.90}}}}")
            );
            assert_eq!(
                predict(b"fraud\n", Some("v=2")),
                format!("{position}\"customAttributes\":\"v=2\",\"output\":\"fraud\"}}")
            );
            assert_eq!(
                predict(b"\xff", None),
                format!("{position}\"output\":\"/w==\",\"outputEncoding\":\"base64\",\"contentType\":\"image/png\"}}")
            );
        });
    }

    #[test]
    fn a_raw_prediction_is_the_models_output_alone() {
        for (body, expected) in [
            (&b"{\"score\":\n0.90}"[..], r#"{"score": 0.90}"#),
            (b"fraud,high\r\n", "fraud,high"),
            (b"one\ntwo\n", "one\ntwo"),
            (b"\xff", "/w=="),
        ] {
            let response = Response {
                body: Bytes::from_static(body),
                content_type: None,
                variant: None,
                custom_attributes: None,
            };
            assert_eq!(raw(&read_prediction(&response).unwrap().output), expected);
        }
    }

    #[test]
    fn a_dead_letter_has_the_bytes_or_otherwise_the_entry_as_received() {
        with_records(|records, user_records| {
            let reason = Rejection {
                kind: crate::outcome::RejectionKind::Refused,
                message: "no".to_owned(),
            };
            let with_bytes = dead_letter(&records[0], &user_records[0], "fraud", &reason, 1000).unwrap();
            assert!(
                with_bytes.ends_with(r#""reason":{"kind":"Refused","message":"no"},"data":"aGk="}"#),
                "{with_bytes}"
            );
            let without = dead_letter(&records[1], &user_records[1], "fraud", &reason, 1000).unwrap();
            assert!(!without.contains('\n'), "{without}");
            assert!(
                without.ends_with(r#""kinesis":{"sequenceNumber":"8","data":"!"}}}"#),
                "{without}"
            );
        });
    }

    #[test]
    fn a_dead_letter_without_payload_says_where_the_payload_is() {
        with_records(|records, user_records| {
            let reason = Rejection {
                kind: crate::outcome::RejectionKind::Refused,
                message: "no".repeat(1000),
            };
            let line = |index: usize, arn, bytes_max| {
                let line = dead_letter_without_payload(
                    &records[index],
                    &user_records[index],
                    "fraud",
                    &reason,
                    arn,
                    bytes_max,
                );
                line.map(|line| serde_json::from_str::<serde_json::Value>(&line).unwrap())
            };
            let with_bytes = line(0, "arn:aws:kinesis:::stream/a", 1024).unwrap();
            let expected = serde_json::json!({
                "bytes": 2,
                "sha256": "8f434346648f6b96df89dda901c5176b10a6d83961dd3c1ac88b59b2dc327aa4",
                "streamArn": "arn:aws:kinesis:::stream/a",
                "shardId": "shardId-0",
                "sequenceNumber": "7",
            });
            assert_eq!(with_bytes["payload"], expected);
            assert_eq!(with_bytes["partitionKey"], "a \"key\"");
            let without = line(1, "", 1024).unwrap();
            assert_eq!(without["payload"]["bytes"], records[1].raw.unwrap().get().len());
            assert_eq!(without["payload"]["streamArn"], serde_json::Value::Null);
            assert_eq!(line(0, "", 100), None);
        });
    }
}
