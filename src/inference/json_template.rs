//! JSON with placeholders: `RECORD_TEMPLATE` and `REQUEST_TEMPLATE`.

use bytes::Bytes;
use serde::de::IgnoredAny;

use crate::outcome::Rejection;

/// The maximum length of a wrong template in an error, in characters.
const TEMPLATE_SHOWN: usize = 200;

/// The values of `REQUEST_TEMPLATE` that name a template for common servers. `COLUMNS` is the number of `FEATURES`.
const PRESETS: [(&str, &str); 5] = [
    ("instances", "{\"instances\":$records}"),
    ("array", "$records"),
    ("huggingface", "{\"inputs\":$records}"),
    ("mlflow", "{\"dataframe_records\":$records}"),
    (
        "v2",
        "{\"inputs\":[{\"name\":\"input-0\",\"shape\":[$n,COLUMNS],\"datatype\":\"FP64\",\"data\":$rows}]}",
    ),
];

/// A part of a template that differs between records or requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placeholder {
    /// A record after `INPUT_FILTER`; in a request, after `RECORD_TEMPLATE`.
    Record,
    /// The `FEATURES` of a record.
    Row,
    /// The array of all records, each after `RECORD_TEMPLATE`.
    Records,
    /// The array of the `FEATURES` of all records.
    Rows,
    /// The number of records.
    Count,
}

impl Placeholder {
    const IN_RECORD: [Self; 2] = [Self::Record, Self::Row];
    const IN_REQUEST: [Self; 5] = [Self::Record, Self::Row, Self::Records, Self::Rows, Self::Count];

    /// Returns the placeholder as it is written in a template.
    pub fn text(self) -> &'static str {
        match self {
            Self::Record => "$record",
            Self::Row => "$row",
            Self::Records => "$records",
            Self::Rows => "$rows",
            Self::Count => "$n",
        }
    }

    /// Returns true for the `FEATURES` of one or all records.
    pub fn is_features(self) -> bool {
        matches!(self, Self::Row | Self::Rows)
    }

    /// Returns true for the value of a single record.
    pub fn is_single(self) -> bool {
        matches!(self, Self::Record | Self::Row)
    }
}

/// A piece of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece {
    Text(String),
    Value(Placeholder),
}

/// JSON with placeholders, at least one of them for records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonTemplate {
    pieces: Vec<Piece>,
}

/// A template is wrong.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// A `$` outside of strings does not begin a placeholder of this template.
    #[error("{0:?} is not a placeholder here")]
    Unknown(String),
    /// The template is not JSON.
    #[error("with null for its placeholders it is {0}, which is not JSON: {1}")]
    NotJson(String, String),
    /// The template has no placeholder for records.
    #[error("it has no placeholder for the records")]
    WithoutRecords,
    /// The template has several kinds of placeholders for records.
    #[error("it has both {0} and {1}")]
    SeveralKinds(&'static str, &'static str),
    /// The preset needs rows of a known size.
    #[error("v2 needs FEATURES, without names and without [*]")]
    UnknownColumns,
}

impl JsonTemplate {
    /// Creates the template that consists of this placeholder.
    pub fn of(placeholder: Placeholder) -> Self {
        Self {
            pieces: vec![Piece::Value(placeholder)],
        }
    }

    /// Returns true if the template consists of this placeholder.
    pub fn is(&self, placeholder: Placeholder) -> bool {
        matches!(self.pieces.as_slice(), [Piece::Value(only)] if *only == placeholder)
    }

    /// Parses a `RECORD_TEMPLATE`.
    ///
    /// # Errors
    ///
    /// [`TemplateError`] says what is wrong.
    pub fn of_record(text: &str) -> Result<Self, TemplateError> {
        Self::parse(text, &Placeholder::IN_RECORD)
    }

    /// Parses a `REQUEST_TEMPLATE`, or the name of a preset. `columns` is the number of `FEATURES`, if it is known.
    ///
    /// # Errors
    ///
    /// [`TemplateError`] says what is wrong.
    pub fn of_request(text: &str, columns: Option<usize>) -> Result<Self, TemplateError> {
        let preset = PRESETS.iter().find(|(name, _)| *name == text.trim());
        let template = match preset {
            Some((_, preset)) if preset.contains("COLUMNS") => {
                let columns = columns.ok_or(TemplateError::UnknownColumns)?;
                Self::parse(
                    &preset.replace("COLUMNS", &columns.to_string()),
                    &Placeholder::IN_REQUEST,
                )?
            }
            Some((_, preset)) => Self::parse(preset, &Placeholder::IN_REQUEST)?,
            None => Self::parse(text, &Placeholder::IN_REQUEST)?,
        };
        template.check_one_kind()?;
        Ok(template)
    }

    fn check_one_kind(&self) -> Result<(), TemplateError> {
        let mut kinds = self.placeholders().filter(|it| *it != Placeholder::Count);
        let first = kinds.next().ok_or(TemplateError::WithoutRecords)?;
        match kinds.find(|it| *it != first) {
            Some(other) => Err(TemplateError::SeveralKinds(first.text(), other.text())),
            None => Ok(()),
        }
    }

    fn parse(text: &str, allowed: &[Placeholder]) -> Result<Self, TemplateError> {
        let mut pieces = Vec::new();
        let mut rest = text.trim();
        while let Some((before, from)) = next_dollar(rest).and_then(|index| rest.split_at_checked(index)) {
            let is_end = |character: char| character != '$' && !character.is_ascii_alphanumeric() && character != '_';
            let (name, after) = from.split_at(from.find(is_end).unwrap_or(from.len()));
            let placeholder = allowed.iter().find(|placeholder| placeholder.text() == name);
            let placeholder = placeholder.ok_or_else(|| TemplateError::Unknown(shown(name)))?;
            pieces.push(Piece::Text(before.to_owned()));
            pieces.push(Piece::Value(*placeholder));
            rest = after;
        }
        pieces.push(Piece::Text(rest.to_owned()));
        pieces.retain(|piece| *piece != Piece::Text(String::new()));
        let template = Self { pieces };
        let sample = template.sample();
        if let Err(error) = serde_json::from_str::<IgnoredAny>(&sample) {
            return Err(TemplateError::NotJson(shown(&sample), error.to_string()));
        }
        if template.placeholders().all(|it| it == Placeholder::Count) {
            return Err(TemplateError::WithoutRecords);
        }
        Ok(template)
    }

    /// Returns the template with null for each placeholder. Next to another value, null is not JSON.
    fn sample(&self) -> String {
        let pieces = self.pieces.iter().map(|piece| match piece {
            Piece::Text(text) => text.as_str(),
            Piece::Value(_) => "null",
        });
        pieces.collect()
    }

    pub(super) fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    /// Returns the placeholders, in the order of the template.
    pub fn placeholders(&self) -> impl Iterator<Item = Placeholder> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Value(placeholder) => Some(*placeholder),
            Piece::Text(_) => None,
        })
    }

    /// Returns the text of the template with a value for each placeholder, or the first rejection.
    pub(super) fn fill(&self, value: impl Fn(Placeholder) -> Result<Bytes, Rejection>) -> Result<Bytes, Rejection> {
        if let [Piece::Value(placeholder)] = self.pieces.as_slice() {
            return value(*placeholder);
        }
        let mut filled = Vec::new();
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => filled.extend_from_slice(text.as_bytes()),
                Piece::Value(placeholder) => filled.extend_from_slice(&value(*placeholder)?),
            }
        }
        Ok(filled.into())
    }
}

/// Returns the index of the first `$` outside of JSON strings.
fn next_dollar(text: &str) -> Option<usize> {
    let (mut is_in_string, mut is_escaped) = (false, false);
    text.bytes().position(|byte| {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = is_in_string,
            b'"' => is_in_string = !is_in_string,
            _ => return byte == b'$' && !is_in_string,
        }
        false
    })
}

fn shown(text: &str) -> String {
    text.chars().take(TEMPLATE_SHOWN).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn placeholders(template: &JsonTemplate) -> Vec<&'static str> {
        template.placeholders().map(Placeholder::text).collect()
    }

    #[test]
    fn a_dollar_in_a_string_is_text() {
        let template = JsonTemplate::of_record(r#" {"$row":"$record \" $row","a":$record,"b":[$row]} "#).unwrap();
        assert_eq!(placeholders(&template), ["$record", "$row"]);
        let value =
            |placeholder: Placeholder| Ok(Bytes::from(if placeholder == Placeholder::Row { "[1]" } else { "2" }));
        let filled = template.fill(value).unwrap();
        assert_eq!(filled, r#"{"$row":"$record \" $row","a":2,"b":[[1]]}"#);
    }

    #[test]
    fn presets_are_templates() {
        for (name, _) in PRESETS {
            let template = JsonTemplate::of_request(name, Some(4)).unwrap();
            let expected = if name == "v2" {
                &["$n", "$rows"][..]
            } else {
                &["$records"]
            };
            assert_eq!(placeholders(&template), expected);
        }
        let v2 = JsonTemplate::of_request("v2", Some(4)).unwrap();
        assert!(v2.sample().contains("\"shape\":[null,4]"), "{}", v2.sample());
        assert_eq!(JsonTemplate::of_request("v2", None), Err(TemplateError::UnknownColumns));
    }

    #[test]
    fn a_wrong_template_is_described() {
        for (text, expected) in [
            (
                "tensorflow",
                "with null for its placeholders it is tensorflow, which is not JSON",
            ),
            ("{\"a\":$records", "is not JSON: EOF"),
            ("{\"a\":$records$n}", "\"$records$n\" is not a placeholder"),
            ("[$n $records]", "is not JSON"),
            ("[1$records]", "is not JSON"),
            ("{$records:1}", "is not JSON"),
            ("{\"a\":$.b}", "\"$\" is not a placeholder"),
            ("[$n5,$records]", "\"$n5\" is not a placeholder"),
            ("{\"a\":\"$records\"}", "no placeholder for the records"),
            ("[$n]", "no placeholder for the records"),
            ("[$records,$rows]", "both $records and $rows"),
            ("[$row,$rows]", "both $row and $rows"),
        ] {
            let error = JsonTemplate::of_request(text, None).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        let error = JsonTemplate::of_record("[$records]").unwrap_err();
        assert_eq!(error.to_string(), "\"$records\" is not a placeholder here");
        assert!(JsonTemplate::of_request("[$n,$records,$records]", None).is_ok());
    }
}
