//! `ENDPOINT_URL` with placeholders for values of a record: `https://HOST/rides/{$.id}?distance={$.distance}`.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::model_input::wrong_shape;
use crate::format::json_path::JsonPath;
use crate::outcome::Rejection;

/// The maximum length of a path and query, in bytes. Every server should take a URL of this length:
/// <https://www.rfc-editor.org/rfc/rfc9110#section-4.1-5>.
const TARGET_BYTES_MAX: usize = 8_000;

/// The characters that a value keeps. All others are percent-encoded, as a signature requires.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// The value of each placeholder in the sample of a template.
const SAMPLE: &str = "x";

/// The path and query of a URL with placeholders, at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UrlTemplate {
    /// Each placeholder, with the text before it.
    pieces: Vec<(String, JsonPath)>,
    /// The text after the last placeholder.
    end: String,
}

impl UrlTemplate {
    /// Splits a URL into a sample URL, which has an `x` in place of each placeholder, and the template of its path and
    /// query, if there is a placeholder. Returns `None` if braces enclose anything but a path to one value, or are
    /// before the path and query.
    pub fn split(url: &str) -> Option<(String, Option<Self>)> {
        let host = url.find("://")? + 3;
        let start = url[host..].find(['/', '?']).map_or(url.len(), |length| host + length);
        let (origin, mut rest) = url.split_at(start);
        let (mut sample, mut pieces) = (origin.to_owned(), Vec::new());
        while let Some((before, after)) = rest.split_once('{') {
            let (path, after) = placeholder(after)?;
            sample.extend([before, SAMPLE]);
            pieces.push((before.to_owned(), path));
            rest = after;
        }
        sample.push_str(rest);
        let end = rest.to_owned();
        let template = (!pieces.is_empty()).then_some(Self { pieces, end });
        (!sample.contains(['{', '}'])).then_some((sample, template))
    }

    /// Returns the paths of the placeholders.
    pub fn paths(&self) -> impl Iterator<Item = &JsonPath> {
        self.pieces.iter().map(|(_, path)| path)
    }

    /// Returns the path and query with the `value` of each placeholder, percent-encoded.
    ///
    /// # Errors
    ///
    /// Returns a rejection if a placeholder has no value, or if the values would name another resource: a value in the
    /// path is empty, `.`, `..` or has a slash, which many servers decode.
    pub(super) fn fill(&self, value: impl Fn(&JsonPath) -> Option<String>) -> Result<String, Rejection> {
        let mut filled = String::new();
        for (before, path) in &self.pieces {
            filled.push_str(before);
            let value = value(path).ok_or_else(|| {
                wrong_shape(format!(
                    "ENDPOINT_URL {{{path}}} finds no string, number or truth value in the record"
                ))
            })?;
            if !filled.contains('?') && !is_segment(&value) {
                return Err(wrong_shape(format!(
                    "ENDPOINT_URL {{{path}}} finds a string that is empty, . or .., or has a slash, so the path would name \
                     another resource"
                )));
            }
            filled.extend(utf8_percent_encode(&value, ENCODED));
            if filled.len() > TARGET_BYTES_MAX {
                break;
            }
        }
        filled.push_str(&self.end);
        if filled.len() > TARGET_BYTES_MAX {
            return Err(wrong_shape(format!(
                "the values for ENDPOINT_URL make a path and query of more than {TARGET_BYTES_MAX} bytes"
            )));
        }
        Ok(filled)
    }
}

/// Splits the text after an opening brace into the path that the placeholder holds, and the text after it. A quoted
/// name in the path may hold a closing brace.
fn placeholder(text: &str) -> Option<(JsonPath, &str)> {
    let mut ends = text.match_indices('}').map(|(end, _)| text.split_at(end));
    ends.find_map(|(path, rest)| {
        let path = JsonPath::parse(path)?;
        (path.is_singular() && !path.is_identity()).then_some((path, &rest[1..]))
    })
}

/// Returns whether a value can be a segment of a path, or a part of one.
fn is_segment(value: &str) -> bool {
    !matches!(value, "" | "." | "..") && !value.contains(['/', '\\'])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(url: &str) -> Option<(String, bool)> {
        UrlTemplate::split(url).map(|(sample, template)| (sample, template.is_some()))
    }

    /// Fills the template with one value for all placeholders.
    fn fill(url: &str, value: &str) -> Result<String, String> {
        let (_, template) = UrlTemplate::split(url).unwrap();
        let filled = template.unwrap().fill(|_| Some(value.to_owned()));
        filled.map_err(|rejection| rejection.message)
    }

    #[test]
    fn placeholders_are_in_the_path_and_query_only() {
        for (url, sample, has_placeholders) in [
            ("https://h/a?b=c", "https://h/a?b=c", false),
            ("https://h/a/{$.id}", "https://h/a/x", true),
            ("https://h?a={$.id}&b={$['a}b'][0]}", "https://h?a=x&b=x", true),
        ] {
            assert_eq!(split(url), Some((sample.to_owned(), has_placeholders)), "{url}");
        }
        for url in [
            "https://{$.host}/a",
            "https://h{$.port}?a={$.id}",
            "{$.scheme}://h/a",
            "https://h/{id}",
            "https://h/{$}",
            "https://h/{$.a[*]}",
            "https://h/{$.a",
            "https://h/a}",
        ] {
            assert_eq!(split(url), None, "{url}");
        }
    }

    #[test]
    fn a_value_is_encoded_and_cannot_change_the_url() {
        for (value, encoded) in [
            ("42.5", "42.5"),
            ("a b&c=d?e#f", "a%20b%26c%3Dd%3Fe%23f"),
            ("50%;ü{$.x}", "50%25%3B%C3%BC%7B%24.x%7D"),
            ("...", "..."),
        ] {
            let filled = fill("https://h/a/{$.x}/b?c={$.x}&d", value).unwrap();
            assert_eq!(filled, format!("/a/{encoded}/b?c={encoded}&d"));
        }
        assert_eq!(fill("https://h/a?b={$.x}&c=1", "").unwrap(), "/a?b=&c=1");
        assert_eq!(fill("https://h/a?b={$.x}", "../c\\").unwrap(), "/a?b=..%2Fc%5C");
        assert_eq!(fill("https://h/a/b{$.x}/", ".c").unwrap(), "/a/b.c/");
    }

    #[test]
    fn a_value_that_would_name_another_resource_is_rejected() {
        for (url, values) in [
            ("https://h/a/{$.x}/b?c", &["", ".", "..", "/", "7/cancel", "\\.."][..]),
            ("https://h/a/b{$.x}", &["/../c"]),
            ("https://h/a/{$.x}.", &["", "."]),
        ] {
            for value in values {
                let reason = fill(url, value).unwrap_err();
                assert!(reason.contains("another resource"), "{reason}");
            }
        }
        let reason = fill("https://h/a?b={$.x}", &" ".repeat(3_000)).unwrap_err();
        assert!(reason.contains("more than 8000 bytes"), "{reason}");
    }
}
