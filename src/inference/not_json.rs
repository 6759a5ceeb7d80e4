//! Finds responses whose content type is JSON and whose body is not, such as a truncated answer or a page of HTML.

use serde::de::IgnoredAny;

use super::prediction::{is_text, text};
use crate::format::media_type::MediaType;

/// The content type of a response is JSON, but its body is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotJson;

/// Checks the body of a response to `count` records that gave no JSON predictions. If its content type is JSON, it has
/// to be one JSON value. With JSON lines or several records, it may also have one value per line. `NaN` and `Infinity`
/// count as JSON, because Python writes them:
/// <https://docs.python.org/3/library/json.html#infinite-and-nan-number-values>.
///
/// # Errors
///
/// [`NotJson`] if the content type is JSON and the body is not.
pub(super) fn check_json(body: &[u8], content_type: &str, count: usize) -> Result<(), NotJson> {
    let may_be_lines = match MediaType::of(content_type) {
        Some(MediaType::JsonLines) => true,
        Some(MediaType::Json) => count > 1,
        None if is_json_suffixed(content_type) => count > 1,
        Some(MediaType::Csv) | None => return Ok(()),
    };
    let text = text(body).ok_or(NotJson)?;
    let is_json =
        is_json(text, may_be_lines) || non_finite_as_null(text).is_some_and(|finite| is_json(&finite, may_be_lines));
    is_json.then_some(()).ok_or(NotJson)
}

/// Returns whether a content type has the suffix `+json`: <https://www.rfc-editor.org/rfc/rfc6839#section-3.1>.
fn is_json_suffixed(content_type: &str) -> bool {
    let name = content_type.split(';').next().unwrap_or_default().trim_end();
    let suffix = name
        .len()
        .checked_sub("+json".len())
        .and_then(|start| name.get(start..));
    suffix.is_some_and(|suffix| suffix.eq_ignore_ascii_case("+json")) && !is_text(name)
}

fn is_json(text: &str, may_be_lines: bool) -> bool {
    let is_value = |text: &str| serde_json::from_str::<IgnoredAny>(text).is_ok();
    is_value(text) || may_be_lines && text.strip_suffix('\n').unwrap_or(text).split('\n').all(is_value)
}

/// Returns the text with `null` for `NaN`, `Infinity` and `-Infinity` outside of strings. Returns `None` if it has none
/// of them.
pub(super) fn non_finite_as_null(text: &str) -> Option<String> {
    if !text.contains("NaN") && !text.contains("Infinity") {
        return None;
    }
    let (mut finite, mut is_in_string) = (String::with_capacity(text.len()), false);
    for part in text.split_inclusive('"') {
        if is_in_string {
            finite.push_str(part);
            // After an odd number of backslashes, the quote is part of the string.
            let content = part.trim_end_matches('"');
            is_in_string = (content.len() - content.trim_end_matches('\\').len()) % 2 == 1;
        } else {
            let part = part.replace("-Infinity", "null").replace("Infinity", "null");
            finite.push_str(&part.replace("NaN", "null"));
            is_in_string = true;
        }
    }
    Some(finite)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_that_is_called_json_has_to_be_json() {
        for (body, content_type, count, is_json) in [
            (r#"{"score":0.9}"#, "application/json", 1, true),
            (r#"{"score":0.9"#, "application/json", 1, false),
            (r#"{"score":0.9"#, "Application/JSON; charset=utf-8", 1, false),
            (r#"{"score":0.9"#, "application/vnd.model+JSON; v=1", 1, false),
            ("<html>", "application/problem+json", 1, false),
            ("{} {}", "application/json", 1, false),
            ("", "application/json", 1, false),
            ("", "application/jsonlines", 1, false),
            ("1\n2\n", "application/json", 1, false),
            ("1\n2\n", "application/json", 3, true),
            ("1\n2\n", "application/x+json", 3, true),
            ("1\r\n2\r\n", "application/jsonlines", 1, true),
            ("1\n\n2\n", "application/jsonlines", 1, false),
            ("[1,\n2]", "application/jsonlines", 3, true),
            ("1\nnone", "application/jsonlines", 3, false),
            // The same bodies under other names.
            ("<html>", "", 1, true),
            ("<html>", "text/html", 1, true),
            ("<html>", "text/x+json", 1, true),
            ("0.1,", "text/csv", 1, true),
            ("<html>", "application/json-seq", 1, true),
        ] {
            let checked = check_json(body.as_bytes(), content_type, count);
            assert_eq!(checked.is_ok(), is_json, "{body} {content_type} {count}");
        }
        assert_eq!(check_json(b"\"\xFF\"", "application/json", 1), Err(NotJson));
        assert_eq!(check_json(b"\xFF", "application/octet-stream", 1), Ok(()));
    }

    #[test]
    fn numbers_that_are_not_finite_count_as_json() {
        for (body, is_json) in [
            ("NaN", true),
            (r#"{"a":[NaN, Infinity,-Infinity]}"#, true),
            (r#"{"a\\":NaN,"\"NaN\\\"":"-Infinity"}"#, true),
            (r#"{"a":NaN"#, false),
            (r#"{"NaN":1"#, false),
            (r#"{"a":"NaN}"#, false),
            ("nan", false),
            ("--Infinity", false),
            ("NaNNaN", false),
        ] {
            assert_eq!(
                check_json(body.as_bytes(), "application/json", 1).is_ok(),
                is_json,
                "{body}"
            );
        }
        assert_eq!(non_finite_as_null(r#""NaN\"NaN":NaN"#).unwrap(), r#""NaN\"NaN":null"#);
        assert_eq!(check_json(b"NaN\n-Infinity\n", "application/jsonlines", 3), Ok(()));
    }
}
