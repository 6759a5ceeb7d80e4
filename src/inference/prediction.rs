//! Response bytes in, predictions out, in the form in which the output line contains them.

use std::sync::Arc;

use bytes::Bytes;

use super::not_json::{NotJson, check_json};
use crate::endpoint::Response;
use crate::format::lazy_json::on_one_line;
use crate::outcome::{ModelOutput, Prediction};

/// Reads a response as the prediction of one record. A body that is neither JSON nor text stays bytes.
///
/// # Errors
///
/// [`NotJson`] if the content type is JSON and the body is not.
pub fn read_prediction(response: Response) -> Result<Prediction, NotJson> {
    let Response {
        body,
        content_type,
        variant,
    } = response;
    let content_type = content_type.as_deref().unwrap_or_default();
    let output = read_body(body, content_type);
    match &output {
        ModelOutput::Json(_) => {}
        ModelOutput::Text(text) => check_json(text.as_bytes(), content_type, 1)?,
        ModelOutput::Bytes(bytes) => check_json(bytes, content_type, 1)?,
    }
    Ok(Prediction {
        output,
        variant: variant.map(Arc::from),
        memory: None,
    })
}

/// Reads a body by its content type. A `text/…` body is text even if it is valid JSON by chance, as a line of CSV can
/// be, so that all predictions of a model have the same type.
pub(crate) fn read_body(body: Bytes, content_type: &str) -> ModelOutput {
    let Ok(text) = std::str::from_utf8(&body) else {
        return ModelOutput::Bytes(body);
    };
    if !is_text(content_type)
        && let Ok(json) = serde_json::from_str(text)
    {
        return ModelOutput::Json(on_one_line(json));
    }
    ModelOutput::Text(text.to_owned())
}

/// Returns true if the content type is `text/…`.
pub(super) fn is_text(content_type: &str) -> bool {
    content_type
        .trim_start()
        .get(..5)
        .is_some_and(|start| start.eq_ignore_ascii_case("text/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(body: &[u8], content_type: &str) -> String {
        match read_body(Bytes::copy_from_slice(body), content_type) {
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
            (b"0.5\n", "text/csv; charset=utf-8", "text 0.5\n"),
            (b"{\"score\":NaN}", "application/json", "text {\"score\":NaN}"),
            (b"{} {}", "", "text {} {}"),
            (b"", "", "text "),
            (b"\xff\x00", "", "bytes b\"\\xff\\0\""),
        ] {
            assert_eq!(shown(body, content_type), expected);
        }
    }
}
