//! Response bytes in, predictions out, in the form in which the output line contains them.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::value::RawValue;

use super::not_json::{NotJson, check_json, non_finite_as_null};
use super::prediction_list::only_element;
use crate::endpoint::Response;
use crate::format::csv;
use crate::format::lazy_json::on_one_line;
use crate::format::media_type::MediaType;
use crate::format::without_byte_order_mark;
use crate::outcome::{AnswerDetails, ModelOutput, Prediction};

/// Reads a response as the prediction of one record: the whole body, or the only element of a known list of
/// predictions. A body that is neither JSON nor text stays bytes.
///
/// # Errors
///
/// [`NotJson`] if the content type is JSON and the body is not.
pub fn read_prediction(response: &Response) -> Result<Prediction, NotJson> {
    let content_type = response.content_type.as_deref().unwrap_or_default();
    let output = read_body(&response.body, content_type);
    if !matches!(output, ModelOutput::Json(_)) {
        check_json(&response.body, content_type, 1)?;
    }
    Ok(Prediction {
        details: details(response, matches!(output, ModelOutput::Bytes(_))),
        output,
        variant: response.variant.clone(),
        memory: None,
    })
}

/// Returns the parts of the response that are delivered besides the prediction.
pub(super) fn details(response: &Response, is_bytes: bool) -> Option<Arc<AnswerDetails>> {
    if response.custom_attributes.is_none() && !is_bytes {
        return None;
    }
    Some(Arc::new(AnswerDetails {
        custom_attributes: response.custom_attributes.clone(),
        content_type: response.content_type.clone().filter(|_| is_bytes),
    }))
}

fn read_body(body: &Bytes, content_type: &str) -> ModelOutput {
    let Some(text) = text(body) else {
        return ModelOutput::Bytes(body.clone());
    };
    json(text, content_type)
        .or_else(|| json(&non_finite_as_null(text)?, content_type))
        .unwrap_or_else(|| ModelOutput::Text(trim_line_break(text).to_owned()))
}

/// Returns the body as text. Returns `None` if it is not UTF-8.
pub(super) fn text(body: &[u8]) -> Option<&str> {
    std::str::from_utf8(without_byte_order_mark(body)).ok()
}

/// Returns the body if it is JSON. With the type `text/…`, an object or an array is JSON, because some servers call
/// everything HTML. A scalar is text, so that all predictions of a model have the same type. CSV is never JSON.
fn json(text: &str, content_type: &str) -> Option<ModelOutput> {
    let is_text = is_text(content_type);
    if is_text && MediaType::of(content_type) == Some(MediaType::Csv) {
        return None;
    }
    let json: &RawValue = serde_json::from_str(text).ok()?;
    if is_text && !is_object_or_array(json.get()) {
        return None;
    }
    // Most answers have neither an array nor a line break.
    if memchr::memchr3(b'[', b'\n', b'\r', json.get().as_bytes()).is_none() {
        return Some(ModelOutput::Json(json.to_owned()));
    }
    Some(ModelOutput::Json(on_one_line(only_element(json).unwrap_or(json))))
}

/// Returns true if this is the text of an object or an array, if it is JSON.
pub(super) fn is_object_or_array(json: &str) -> bool {
    json.trim_start().starts_with(['{', '['])
}

/// Returns true if the content type is `text/…`.
pub(super) fn is_text(content_type: &str) -> bool {
    content_type
        .trim_ascii_start()
        .get(..5)
        .is_some_and(|start| start.eq_ignore_ascii_case("text/"))
}

/// Returns the text without the line break at its end.
pub(super) fn trim_line_break(text: &str) -> &str {
    std::str::from_utf8(csv::trim_line_break(text.as_bytes())).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(body: &[u8], content_type: &str) -> String {
        match read_body(&Bytes::copy_from_slice(body), content_type) {
            ModelOutput::Json(json) => format!("json {json}"),
            ModelOutput::Text(text) => format!("text {text}"),
            ModelOutput::Bytes(bytes) => format!("bytes {bytes:?}"),
        }
    }

    #[test]
    fn a_response_is_json_else_text_else_bytes() {
        for (body, content_type, expected) in [
            (&b"{\"score\":0.90}"[..], "application/json", "json {\"score\":0.90}"),
            (
                b"{\n  \"score\": 1\r\n}\n",
                "application/json",
                "json {   \"score\": 1  }",
            ),
            (b"\"a\nb\"", "", "text \"a\nb\""),
            (b"0.5", "", "json 0.5"),
            (b"0.5\n", "text/csv; charset=utf-8", "text 0.5"),
            (b"{} {}", "", "text {} {}"),
            (b"", "", "text "),
            (b"\xff\x00", "", "bytes b\"\\xff\\0\""),
        ] {
            assert_eq!(shown(body, content_type), expected);
        }
    }

    #[test]
    fn an_object_or_an_array_is_json_whatever_its_type_except_csv() {
        for (body, content_type, expected) in [
            ("{\"score\":0.9}\n", "text/html; charset=utf-8", "json {\"score\":0.9}"),
            (" [0.1,NaN]", "TEXT/plain", "json [0.1,null]"),
            ("0.5", "text/plain", "text 0.5"),
            ("\"a\"", "text/html", "text \"a\""),
            ("NaN", "text/plain", "text NaN"),
            ("{\"score\":0.9}\r\n", "text/csv", "text {\"score\":0.9}"),
            ("[NaN]", "text/csv", "text [NaN]"),
            ("<p>{}</p>\n", "text/html", "text <p>{}</p>"),
        ] {
            assert_eq!(shown(body.as_bytes(), content_type), expected);
        }
    }

    #[test]
    fn a_number_that_is_not_finite_is_null() {
        for (body, expected) in [
            ("{\"score\":NaN}", "json {\"score\":null}"),
            (
                "[NaN, [-Infinity,{\"a\":Infinity}], 0.50]",
                "json [null, [null,{\"a\":null}], 0.50]",
            ),
            ("{\"NaN\":\"-Infinity\"}", "json {\"NaN\":\"-Infinity\"}"),
            ("{\"the \\\"NaN\\\"\":NaN}", "json {\"the \\\"NaN\\\"\":null}"),
            ("NaN", "json null"),
            ("NaN of them", "text NaN of them"),
            ("{\"score\":NaN", "text {\"score\":NaN"),
        ] {
            assert_eq!(shown(body.as_bytes(), ""), expected);
        }
    }

    #[test]
    fn the_only_element_of_a_known_list_is_the_prediction() {
        for (body, expected) in [
            ("{\"predictions\":[{\"score\":\n0.90}]}", "json {\"score\": 0.90}"),
            ("{\"scores\":[{\"score\":1}]}", "json {\"score\":1}"),
            ("{\"predictions\":[NaN]}", "json null"),
            ("{\"predictions\":[1,2]}", "json {\"predictions\":[1,2]}"),
            ("{\"scores\":[]}", "json {\"scores\":[]}"),
            ("[0.9]", "json [0.9]"),
            ("{\"score\":[0.9]}", "json {\"score\":[0.9]}"),
        ] {
            assert_eq!(shown(body.as_bytes(), ""), expected);
        }
    }
}
