//! One response to several records in, one prediction for each record out. The shape of the response decides how it is
//! split.
//!
//! A response does not name the record of each prediction. Only the order assigns predictions to records. So the
//! response is used only if it has as many predictions as there are records.

use serde_json::value::RawValue;

use super::not_json::{NotJson, check_json, non_finite_as_null};
use super::prediction::{details, is_object_or_array, is_text, read_prediction, text, trim_line_break};
use super::prediction_list::{at_path, elements, member};
use crate::endpoint::Response;
use crate::format::json_path::JsonPath;
use crate::format::lazy_json::{self, on_one_line};
use crate::format::media_type::MediaType;
use crate::outcome::{ModelOutput, Prediction};

/// The predictions of a response, one for each record.
#[derive(Debug)]
pub struct Predictions {
    /// The predictions, in the order of the records.
    pub each: Vec<Prediction>,
    /// The form in which the response holds them.
    pub form: AnswerForm,
}

impl Predictions {
    /// Returns whether all predictions are the same, as those of one record are.
    pub fn are_equal(&self) -> bool {
        let mut outputs = self.each.iter().map(|prediction| match &prediction.output {
            ModelOutput::Json(json) => json.get().as_bytes(),
            ModelOutput::Text(text) => text.as_bytes(),
            ModelOutput::Bytes(bytes) => bytes,
        });
        let first = outputs.next();
        outputs.all(|output| Some(output) == first)
    }
}

/// The form in which a response holds predictions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnswerForm {
    /// The whole response is the prediction of the only record.
    Whole,
    /// A line for each record, or the list that the setting `PREDICTIONS` names.
    Records,
    /// A list, or two rows of CSV. It may be one prediction that has as many parts as there are records, such as the
    /// probabilities of classes, or a header and a row.
    List,
}

type Split = (Vec<ModelOutput>, AnswerForm);

/// Splits a response to `count` records into their predictions, in the order of the records.
///
/// Each prediction is a line of JSON or CSV, or an element of a JSON array. The array may be a member of an object: the
/// value at `path`, or without it a member with a common name. If the request was for one record, there is no `path`,
/// and no shape gives one prediction, the whole response is its prediction. Returns `None` if the number of predictions
/// is not `count`. Splitting stops after one prediction too many, so that a wrong response takes no more memory than
/// its body.
///
/// # Errors
///
/// [`NotJson`] if the content type is JSON and the body is not.
pub fn split_response(
    response: &Response,
    count: usize,
    path: Option<&JsonPath>,
) -> Result<Option<Predictions>, NotJson> {
    let content_type = response.content_type.as_deref().unwrap_or_default();
    if let Some((outputs, form)) = text(&response.body).and_then(|text| split(text, content_type, count, path)) {
        let details = details(response, false);
        let predictions = outputs.into_iter().map(|output| Prediction {
            output,
            variant: response.variant.clone(),
            details: details.clone(),
            memory: None,
        });
        let each = predictions.collect();
        return Ok(Some(Predictions { each, form }));
    }
    if count == 1 && path.is_none() {
        let each = vec![read_prediction(response)?];
        let form = AnswerForm::Whole;
        return Ok(Some(Predictions { each, form }));
    }
    check_json(&response.body, content_type, count).map(|()| None)
}

/// Describes the shape of a response without its content, for the log.
pub fn describe_shape(response: &Response) -> String {
    let Some(text) = text(&response.body) else {
        return "bytes".to_owned();
    };
    match serde_json::from_str::<&RawValue>(text).map(RawValue::get) {
        Ok(json) if json.starts_with('[') => {
            let elements = lazy_json::elements(json).count();
            format!("a JSON array of {elements} elements")
        }
        Ok(json) if json.starts_with('{') => {
            let members = lazy_json::members(json).count();
            format!("a JSON object of {members} members")
        }
        Ok(_) => "a JSON value that is no array".to_owned(),
        Err(_) => format!("{} lines of text", text.lines().count()),
    }
}

fn split(text: &str, content_type: &str, count: usize, path: Option<&JsonPath>) -> Option<Split> {
    let media = MediaType::of(content_type);
    if media == Some(MediaType::Csv) {
        // Two lines may be a header and one row.
        let form = if count == 2 {
            AnswerForm::List
        } else {
            AnswerForm::Records
        };
        let rows = rows(text, count).map(|rows| (rows, form));
        return rows.or_else(|| Some((columns(text, count)?, AnswerForm::List)));
    }
    let is_text = is_text(content_type);
    let json = |text: &str| match path {
        Some(path) => {
            let found = at_path(text, path, count)?;
            let outputs = found.iter().map(|element| as_json(element)).collect();
            Some((outputs, AnswerForm::Records))
        }
        None => split_json(text, media, is_text, count),
    };
    json(text)
        .or_else(|| json(&non_finite_as_null(text)?))
        .or_else(|| lines_of_text(text, count).filter(|_| is_text && path.is_none()))
}

fn split_json(text: &str, media: Option<MediaType>, is_text: bool, count: usize) -> Option<Split> {
    let list = |found: Vec<&RawValue>| (found.into_iter().map(as_json).collect(), AnswerForm::List);
    let lines = || json_lines(text, count, is_text).map(|lines| (lines, AnswerForm::Records));
    let member = || member(text, count).map(list);
    let elements = || elements(text, count).map(list);
    if media == Some(MediaType::JsonLines) {
        return member().or_else(lines).or_else(elements);
    }
    // A response to one record is not split by lines: it may be one JSON value that spans several lines.
    member().or_else(elements).or_else(|| lines().filter(|_| count > 1))
}

/// Splits lines of text that are not JSON.
fn lines_of_text(text: &str, count: usize) -> Option<Split> {
    let lines = as_texts(trim_line_break(text).lines(), count).filter(|_| count > 1)?;
    Some((lines, AnswerForm::List))
}

/// Splits one row of numbers by columns. The built-in `XGBoost` returns the predictions of a real-time request as the
/// columns of one row:
/// <https://github.com/aws/sagemaker-xgboost-container>.
fn columns(text: &str, count: usize) -> Option<Vec<ModelOutput>> {
    let row = trim_line_break(text);
    let is_single_row = row.contains(',') && !row.contains(['"', '\n', '\r']);
    is_single_row.then(|| as_texts(row.split(','), count))?
}

/// Splits lines of JSON. In a body that is called text, each must be an object or an array.
fn json_lines(text: &str, count: usize, is_text: bool) -> Option<Vec<ModelOutput>> {
    let lines = trim_line_break(text).split('\n').map(|line| {
        let is_allowed = !is_text || is_object_or_array(line);
        Some(as_json(serde_json::from_str(line).ok().filter(|_| is_allowed)?))
    });
    exactly(lines, count)
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

fn as_texts<'t>(parts: impl Iterator<Item = &'t str>, count: usize) -> Option<Vec<ModelOutput>> {
    exactly(parts.map(|part| Some(ModelOutput::Text(part.to_owned()))), count)
}

/// Returns the parts if there are exactly `count` and none is `None`. Reads at most one part more.
fn exactly<T>(parts: impl Iterator<Item = Option<T>>, count: usize) -> Option<Vec<T>> {
    let mut found = Vec::with_capacity(count);
    for part in parts.take(count + 1) {
        found.push(part?);
    }
    (found.len() == count).then_some(found)
}

fn as_json(raw: &RawValue) -> ModelOutput {
    ModelOutput::Json(on_one_line(raw))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn response(body: &[u8], content_type: &str) -> Response {
        Response {
            body: Bytes::copy_from_slice(body),
            content_type: Some(content_type.to_owned()),
            variant: Some("blue".into()),
            custom_attributes: None,
        }
    }

    fn shown(body: &[u8], content_type: &str, count: usize) -> Option<Vec<String>> {
        let split = split_response(&response(body, content_type), count, None);
        let predictions = split.expect("it is not called JSON, or it is JSON")?;
        let shown = |prediction: &Prediction| {
            assert_eq!(prediction.variant.as_deref(), Some("blue"));
            match &prediction.output {
                ModelOutput::Json(json) => format!("json {json}"),
                ModelOutput::Text(text) => format!("text {text}"),
                ModelOutput::Bytes(bytes) => format!("bytes {bytes:?}"),
            }
        };
        Some(predictions.each.iter().map(shown).collect())
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
            ("{\"scores\":[1,2]}", "application/json", ["json 1", "json 2"]),
            ("[0.1,0.2]", "text/html", ["json 0.1", "json 0.2"]),
            (
                "{\"a\":NaN}\n{\"a\":2}\n",
                "text/plain",
                ["json {\"a\":null}", "json {\"a\":2}"],
            ),
            ("1\nNaN\n", "text/plain", ["text 1", "text NaN"]),
            ("NaN\n0.2", "application/json", ["json null", "json 0.2"]),
            (
                "{\"predictions\": [-Infinity, \"NaN\"]}",
                "application/json",
                ["json null", "json \"NaN\""],
            ),
            ("NaN,1", "text/csv", ["text NaN", "text 1"]),
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
            ("{\"scores\":[1,2],\"labels\":[1,2]}", "application/json"),
            ("[1,2,3]", "application/json"),
            ("{\"a\":1}", "text/html"),
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
        let lines = "1\n2\n3\n4\n5".split('\n').map(Some).inspect(|_| read += 1);
        assert_eq!(exactly(lines, 2), None);
        assert_eq!(read, 3);
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
                let split = split_response(&response(body.as_bytes(), content_type), count, None);
                assert_eq!(split.unwrap_err(), NotJson, "{body:?} {count}");
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
            ("0.1\n0.9\n", "text/csv", "text 0.1\n0.9"),
            ("[NaN]", "text/html", "json null"),
            ("two\nlines\n", "text/plain", "text two\nlines"),
            ("one\n", "text/plain", "text one"),
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
    #[test]
    fn only_a_list_may_be_one_prediction_with_many_parts() {
        for (body, content_type, expected) in [
            ("[1,2]", "", AnswerForm::List),
            ("{\"predictions\":[1,2]}", "", AnswerForm::List),
            ("1,2", "text/csv", AnswerForm::List),
            ("two\nlines", "text/plain", AnswerForm::List),
            ("score\n2", "text/csv", AnswerForm::List),
            ("1\n2", "", AnswerForm::Records),
        ] {
            let split = split_response(&response(body.as_bytes(), content_type), 2, None).unwrap();
            assert_eq!(split.unwrap().form, expected, "{body:?}");
        }
    }

    #[test]
    fn a_path_names_the_only_place_of_predictions() {
        let path = JsonPath::parse("$.y").unwrap();
        for (body, count, expected) in [
            ("{\"y\":[1,NaN],\"predictions\":[0,0]}", 2, Some("json 1 json null")),
            ("{\"y\":[[1,2]]}", 1, Some("json [1,2]")),
            ("{\"y\":[1,2]}", 1, None),
            ("{\"predictions\":[1,2]}", 2, None),
            ("1\n2\n", 2, None),
        ] {
            let split = split_response(&response(body.as_bytes(), "text/html"), count, Some(&path)).unwrap();
            let shown = split.map(|split| {
                assert_eq!(split.form, AnswerForm::Records);
                let outputs = split.each.iter().map(|it| match &it.output {
                    ModelOutput::Json(json) => format!("json {json}"),
                    ModelOutput::Text(_) | ModelOutput::Bytes(_) => panic!("not JSON"),
                });
                outputs.collect::<Vec<_>>().join(" ")
            });
            assert_eq!(shown.as_deref(), expected, "{body}");
        }
        let csv = split_response(&response(b"1\n2\n", "text/csv"), 2, Some(&path)).unwrap();
        assert_eq!(csv.unwrap().each.len(), 2, "a path is for JSON");
    }

    #[test]
    fn the_description_of_an_answer_has_no_content() {
        for (body, expected) in [
            (&b"[\"secret\",\"application/json\"]"[..], "a JSON array of 2 elements"),
            (b"{\"secret\":1}\n", "a JSON object of 1 members"),
            (b"\"secret\"", "a JSON value that is no array"),
            (b"secret\nsecret", "2 lines of text"),
            (b"\xFF", "bytes"),
        ] {
            assert_eq!(describe_shape(&response(body, "")), expected);
        }
    }
}
