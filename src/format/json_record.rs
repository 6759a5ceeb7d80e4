//! Reads a record as JSON, and says what a record that is not JSON seems to be.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

/// The first byte of the framing of Confluent's serializers, before the 4 bytes of a schema ID.
const CONFLUENT_MAGIC: u8 = 0;
/// The first byte of the framing of the AWS Glue Schema Registry's serializers: its version. The second one is 0, or 5
/// for compressed data.
const GLUE_VERSION: u8 = 3;

/// Reads a record as one JSON value.
///
/// # Errors
///
/// Returns a message that says why the record is not JSON, and what it seems to be instead.
pub fn read_record(record: &[u8]) -> Result<&RawValue, String> {
    serde_json::from_slice(record).map_err(|error| match appearance(record) {
        Some(appearance) => format!("the record is not JSON: {appearance}"),
        None => format!("the record is not JSON: {error}"),
    })
}

fn appearance(record: &[u8]) -> Option<&'static str> {
    match record {
        [CONFLUENT_MAGIC, _, _, _, _, ..] => {
            return Some(
                "it begins like a message of the Confluent Schema Registry, which the function does not decode",
            );
        }
        [GLUE_VERSION, 0 | 5, ..] => {
            return Some(
                "it begins like a message of the AWS Glue Schema Registry, which the function does not decode",
            );
        }
        _ => {}
    }
    let mut values = serde_json::Deserializer::from_slice(record).into_iter::<&RawValue>();
    if values.next().is_some_and(|first| first.is_ok()) && values.next().is_some_and(|second| second.is_ok()) {
        return Some("it holds several JSON values; with SPLIT_TYPE=Line, each line is a record");
    }
    if has_non_finite_number(record) {
        return Some("it has NaN or Infinity, which are not JSON");
    }
    let decoded = BASE64.decode(record.trim_ascii()).ok()?;
    let is_json = serde_json::from_slice::<&RawValue>(&decoded).is_ok();
    is_json.then_some("it is the base64 of JSON, so the producer encoded it twice")
}

/// Returns true if only `NaN`, `Infinity` and `-Infinity` keep the record from being JSON. Python writes them:
/// <https://docs.python.org/3/library/json.html#infinite-and-nan-number-values>.
fn has_non_finite_number(record: &[u8]) -> bool {
    // Inside of strings the replacements change nothing that matters here.
    std::str::from_utf8(record).is_ok_and(|text| {
        let finite = text
            .replace("NaN", "0")
            .replace("-Infinity", "0")
            .replace("Infinity", "0");
        serde_json::from_str::<IgnoredAny>(&finite).is_ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_that_is_not_json_is_described() {
        for (record, expected) in [
            (&b"{\"a\":1"[..], "EOF while parsing"),
            (b"{\"a\":1}\n{\"a\":2}\n", "several JSON values"),
            (b"1 2", "several JSON values"),
            (b"{\"a\":1} x", "trailing characters"),
            (b"{\"a\":NaN}", "NaN or Infinity, which are not JSON"),
            (b"{\"Infinity\":[-Infinity,Infinity],\"b\":\"NaN\"}", "NaN or Infinity"),
            (b"{\"a\":\"NaN\",}", "key must be a string"),
            (b"{\"a\":NaN,}", "expected value"),
            (b"eyJhIjoxfQ==", "base64 of JSON"),
            (b"eyJhIjoxfQ==\n", "base64 of JSON"),
            (b"YWJj", "expected value"),
            (b"\0\0\0\0\x07Hi", "Confluent Schema Registry"),
            (b"\x03\x00ABCDEFGHABCDEFGH", "AWS Glue Schema Registry"),
            (b"", "EOF while parsing"),
        ] {
            let message = read_record(record).unwrap_err();
            assert!(message.contains(expected), "{message}");
        }
        assert_eq!(read_record(b" {\"a\":1}\n").unwrap().get(), "{\"a\":1}");
    }
}
