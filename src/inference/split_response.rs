//! One response to several records in, one prediction for each record out. The shape of the response decides how it is
//! split.
//!
//! A response does not name the record of each prediction. Only the order assigns predictions to records. So the
//! response is used only if it has as many predictions as there are records.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::de::StrRead;
use serde_json::value::RawValue;

use super::not_json::{NotJson, check_json};
use super::prediction::{is_text, read_prediction};
use crate::endpoint::Response;
use crate::format::csv;
use crate::format::lazy_json::on_one_line;
use crate::format::media_type::MediaType;
use crate::outcome::{ModelOutput, Prediction};

/// Splits a response to `count` records into their predictions, in the order of the records.
///
/// Each prediction is a line of JSON or CSV, or an element of a JSON array. The array may be the member `predictions`
/// of an object. If the request was for one record and no shape gives one prediction, the whole response is its
/// prediction. Returns `None` if the number of predictions is not `count`. Splitting stops after one prediction too
/// many, so that a wrong response takes no more memory than its body.
///
/// # Errors
///
/// [`NotJson`] if the content type is JSON and the body is not.
pub fn split_response(response: Response, count: usize) -> Result<Option<Vec<Prediction>>, NotJson> {
    let variant: Option<Arc<str>> = response.variant.as_deref().map(Arc::from);
    let content_type = response.content_type.as_deref().unwrap_or_default();
    let outputs = outputs(&response.body, content_type, count);
    match outputs {
        Some(outputs) => {
            let predictions = outputs.into_iter().map(|output| Prediction {
                output,
                variant: variant.clone(),
                memory: None,
            });
            Ok(Some(predictions.collect()))
        }
        None if count == 1 => read_prediction(response).map(|prediction| Some(vec![prediction])),
        None => check_json(&response.body, content_type, count).map(|()| None),
    }
}

fn outputs(body: &Bytes, content_type: &str, count: usize) -> Option<Vec<ModelOutput>> {
    let text = std::str::from_utf8(body).ok()?;
    match MediaType::of(content_type) {
        Some(MediaType::Csv) => rows(text, count).or_else(|| columns(text, count)),
        _ if is_text(content_type) => as_texts(trim_line_break(text).lines(), count),
        Some(MediaType::JsonLines) => member(text, count)
            .or_else(|| json_lines(text, count))
            .or_else(|| elements(text, count)),
        Some(MediaType::Json) | None => member(text, count)
            .or_else(|| elements(text, count))
            // A response to one record is not split by lines: it may be one JSON value that spans several lines.
            .or_else(|| json_lines(text, count).filter(|_| count > 1)),
    }
}

/// Splits the member `predictions` of a JSON object.
fn member(text: &str, count: usize) -> Option<Vec<ModelOutput>> {
    split_json(text, count, |json, elements| json.deserialize_map(elements))
}

/// Splits a JSON array.
fn elements(text: &str, count: usize) -> Option<Vec<ModelOutput>> {
    split_json(text, count, |json, elements| json.deserialize_seq(elements))
}

fn split_json<'t>(
    text: &'t str,
    count: usize,
    read: impl FnOnce(&mut serde_json::Deserializer<StrRead<'t>>, Elements) -> serde_json::Result<Vec<&'t RawValue>>,
) -> Option<Vec<ModelOutput>> {
    let mut json = serde_json::Deserializer::from_str(text);
    let elements = read(&mut json, Elements { max: count + 1 }).ok()?;
    json.end().ok()?;
    (elements.len() == count).then(|| elements.into_iter().map(as_json).collect())
}

/// Reads an array of up to `max` elements, or the array that is the member `predictions` of an object. A longer array
/// is an error.
#[derive(Clone, Copy)]
struct Elements {
    max: usize,
}

impl<'de> Visitor<'de> for Elements {
    type Value = Vec<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an array of up to {} elements", self.max)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Self::Value, A::Error> {
        let mut elements = Vec::new();
        while elements.len() < self.max
            && let Some(element) = array.next_element()?
        {
            elements.push(element);
        }
        Ok(elements)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(name) = object.next_key::<String>()? {
            if name == "predictions" {
                found = Some(object.next_value_seed(self)?);
            } else {
                object.next_value::<IgnoredAny>()?;
            }
        }
        found.ok_or_else(|| de::Error::missing_field("predictions"))
    }
}

impl<'de> DeserializeSeed<'de> for Elements {
    type Value = Vec<&'de RawValue>;

    fn deserialize<D: Deserializer<'de>>(self, array: D) -> Result<Self::Value, D::Error> {
        array.deserialize_seq(self)
    }
}

/// Splits one row of numbers by columns. The built-in `XGBoost` returns the predictions of a real-time request as the
/// columns of one row:
/// <https://github.com/aws/sagemaker-xgboost-container>.
fn columns(text: &str, count: usize) -> Option<Vec<ModelOutput>> {
    let row = trim_line_break(text);
    let is_single_row = row.contains(',') && !row.contains(['"', '\n', '\r']);
    is_single_row.then(|| as_texts(row.split(','), count))?
}

/// Splits lines of JSON.
fn json_lines(text: &str, count: usize) -> Option<Vec<ModelOutput>> {
    let lines = exactly(trim_line_break(text).split('\n'), count)?;
    let lines = lines.into_iter();
    lines
        .map(|line| Some(as_json(serde_json::from_str(line).ok()?)))
        .collect()
}

/// Splits CSV rows. A row may have line breaks in quotes.
fn rows(text: &str, count: usize) -> Option<Vec<ModelOutput>> {
    let mut in_quotes = false;
    let rows = trim_line_break(text).split(|character| {
        in_quotes ^= character == '"';
        character == '\n' && !in_quotes
    });
    as_texts(rows.map(|row| row.strip_suffix('\r').unwrap_or(row)), count)
}

fn trim_line_break(text: &str) -> &str {
    std::str::from_utf8(csv::trim_line_break(text.as_bytes())).unwrap_or(text)
}

fn as_texts<'t>(parts: impl Iterator<Item = &'t str>, count: usize) -> Option<Vec<ModelOutput>> {
    let parts = exactly(parts, count)?.into_iter();
    Some(parts.map(|part| ModelOutput::Text(part.to_owned())).collect())
}

/// Returns the parts if there are exactly `count`. Reads at most one part more.
fn exactly<'t>(parts: impl Iterator<Item = &'t str>, count: usize) -> Option<Vec<&'t str>> {
    let parts: Vec<_> = parts.take(count + 1).collect();
    (parts.len() == count).then_some(parts)
}

fn as_json(raw: &RawValue) -> ModelOutput {
    ModelOutput::Json(on_one_line(raw))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(body: &[u8], content_type: &str, count: usize) -> Option<Vec<String>> {
        let response = Response {
            body: Bytes::copy_from_slice(body),
            content_type: Some(content_type.to_owned()),
            variant: Some("blue".to_owned()),
        };
        let predictions = split_response(response, count).expect("it is not called JSON, or it is JSON")?;
        let shown = |prediction: &Prediction| {
            assert_eq!(prediction.variant.as_deref(), Some("blue"));
            match &prediction.output {
                ModelOutput::Json(json) => format!("json {json}"),
                ModelOutput::Text(text) => format!("text {text}"),
                ModelOutput::Bytes(bytes) => format!("bytes {bytes:?}"),
            }
        };
        Some(predictions.iter().map(shown).collect())
    }

    #[test]
    fn a_response_is_split_by_its_shape() {
        for (body, content_type, expected) in [
            (
                "{\"score\":0.90}\n{\"score\":1}\n",
                "application/jsonlines",
                ["json {\"score\":0.90}", "json {\"score\":1}"],
            ),
            ("0.90\r\n1", "application/x-ndjson", ["json 0.90", "json 1"]),
            (
                "{\"a\":1}\n{\"a\":2}",
                "application/json",
                ["json {\"a\":1}", "json {\"a\":2}"],
            ),
            ("0.90,x\n1,y\r\n", "text/csv", ["text 0.90,x", "text 1,y"]),
            (
                "\"two\nlines\",1\n2,\"a \"\"b\"\"\"",
                "text/csv",
                ["text \"two\nlines\",1", "text 2,\"a \"\"b\"\"\""],
            ),
            ("0.90,1\n", "text/csv", ["text 0.90", "text 1"]),
            ("yes\nno\n", "text/plain; charset=utf-8", ["text yes", "text no"]),
            (
                "{\"predictions\": [0.90, {\n\"a\":1}],\"model\":\"m\"}",
                "application/json",
                ["json 0.90", "json { \"a\":1}"],
            ),
            (" [[0.1,0.9],\n[1,0]]\n", "", ["json [0.1,0.9]", "json [1,0]"]),
            ("[1,2]", "application/jsonlines", ["json 1", "json 2"]),
        ] {
            let expected = expected.map(str::to_owned).to_vec();
            assert_eq!(
                shown(body.as_bytes(), content_type, 2),
                Some(expected),
                "{body:?} {content_type}"
            );
        }
    }

    #[test]
    fn a_response_with_a_wrong_number_of_predictions_is_not_used() {
        for (body, content_type) in [
            ("0.1,0.2,0.3", "text/csv"),
            ("0.1\n0.2\n0.3\n", "text/csv"),
            ("0.1\n\n", "application/jsonlines"),
            ("0.1\n0.2\n0.3\n", "application/jsonlines"),
            ("{\"predictions\":[1]}", "application/json"),
            ("{\"scores\":[1,2]}", "application/json"),
            ("[1,2,3]", "application/json"),
            ("NaN\n0.2", "application/json"),
            ("", ""),
            ("", "text/csv"),
            ("1\nnone", ""),
        ] {
            assert_eq!(shown(body.as_bytes(), content_type, 2), None, "{body:?}");
        }
        assert_eq!(shown(b"\xFF\n\xFF", "text/csv", 2), None);
    }

    #[test]
    fn splitting_stops_after_one_prediction_too_many() {
        // Whatever follows the third prediction of two is not read.
        let mut read = 0;
        let lines = "1\n2\n3\n4\n5".split('\n').inspect(|_| read += 1);
        assert_eq!(exactly(lines, 2), None);
        assert_eq!(read, 3);
        let visitor = Elements { max: 3 };
        let read = |json| serde_json::Deserializer::from_str(json);
        let array = read("[1,2,3,4,no JSON").deserialize_seq(visitor);
        assert_eq!(array.unwrap_err().to_string(), "trailing characters at line 1 column 8");
        let member = read("{\"predictions\":[1,2,3,4,no JSON").deserialize_map(visitor);
        assert_eq!(member.unwrap_err().column(), 23);
    }

    #[test]
    fn a_response_that_is_called_json_has_to_be_json() {
        for (body, content_type) in [
            ("0.1\n0.", "application/jsonlines"),
            ("0.1\n\n0.2", "application/jsonlines"),
            ("[0.1,0.", "application/json"),
            ("0.1,0.2", "application/json"),
            ("", "application/json"),
            ("1\nnone", "application/json"),
        ] {
            for count in 1..=2 {
                let response = Response {
                    body: Bytes::from_static(body.as_bytes()),
                    content_type: Some(content_type.to_owned()),
                    variant: None,
                };
                assert_eq!(
                    split_response(response, count).unwrap_err(),
                    NotJson,
                    "{body:?} {count}"
                );
            }
        }
    }

    #[test]
    fn a_single_record_gets_its_prediction_or_the_whole_response() {
        for (body, content_type, expected) in [
            ("{\"predictions\":[0.90]}", "application/json", "json 0.90"),
            ("[0.90]", "application/json", "json 0.90"),
            ("[0.1,0.9]", "application/json", "json [0.1,0.9]"),
            ("{\"score\":\n1}", "application/json", "json {\"score\": 1}"),
            ("0.90\n", "text/csv", "text 0.90"),
            ("0.1\n0.9\n", "text/csv", "text 0.1\n0.9\n"),
            ("{\"score\":1}\n", "application/jsonlines", "json {\"score\":1}"),
            ("{\"predictions\":[0.90]}", "application/jsonlines", "json 0.90"),
            ("[0.90]", "application/jsonlines", "json [0.90]"),
            ("0.1,0.9\n", "text/csv", "text 0.1,0.9"),
        ] {
            assert_eq!(
                shown(body.as_bytes(), content_type, 1),
                Some(vec![expected.to_owned()]),
                "{body:?}"
            );
        }
    }
}
