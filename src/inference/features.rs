//! `FEATURES`: the values of a JSON record that make up the row for the model.
//!
//! A feature is `PATH[:number][?DEFAULT]`. The features are a list, or an object that names them.

use std::borrow::Cow;
use std::collections::HashSet;
use std::str::FromStr;

use bytes::Bytes;
use serde_json::value::RawValue;

use super::model_input::{finds_nothing, wrong_shape};
use crate::format::csv;
use crate::format::json_path::{JsonPath, PathTree};
use crate::format::lazy_json::{elements, leading_value, text as string};
use crate::outcome::Rejection;

/// The maximum number of features. With the maximum number of steps of a path, it bounds the time for a record.
const FEATURES_MAX: usize = 1000;
/// The maximum length of a wrong part in an error, in characters.
const PART_SHOWN: usize = 100;

/// The features of a record.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Features {
    paths: PathTree,
    /// The rules for the value of each path.
    rules: Vec<Rule>,
    /// The name of each feature, as a JSON string. Empty if the features are a list.
    names: Vec<String>,
}

/// The value of each path, in the order of the paths. `None` if the path finds nothing.
pub(super) type Found<'j> = Vec<Option<&'j str>>;

/// The rules for the value of one path.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Rule {
    /// Whether the value must be a number, or a string that holds one.
    is_number: bool,
    /// The JSON scalar that replaces a missing value and null. `None` if the value is required.
    default: Option<String>,
}

/// A part of `FEATURES` is wrong.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{part:?} {problem}")]
pub struct FeaturesError {
    part: String,
    problem: &'static str,
}

impl Features {
    /// Returns true if there are no features.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Returns true if the features have names, so that a row is a JSON object.
    pub fn is_named(&self) -> bool {
        !self.names.is_empty()
    }

    /// Returns the number of values in each row. Returns `None` if it depends on the record, or if a row is an object.
    pub fn columns(&self) -> Option<usize> {
        let is_fixed = !self.is_empty() && !self.is_named() && !self.paths.paths().any(JsonPath::is_spread);
        is_fixed.then_some(self.rules.len())
    }

    /// Returns the value of each feature in a record, as far as it has one.
    pub(super) fn select<'j>(&self, record: &'j RawValue) -> Found<'j> {
        self.paths.select(record)
    }

    /// Does the same for a record that is not parsed yet. Returns `None` if it has to be parsed first.
    pub(super) fn select_members<'j>(&self, record: &'j [u8]) -> Option<Found<'j>> {
        self.paths.select_members(record)
    }

    /// Returns the values as a row: as CSV, or as a JSON array, or as an object if the features have names.
    ///
    /// # Errors
    ///
    /// Returns a rejection that names the path whose value is missing or of the wrong type.
    pub(super) fn row(&self, found: &Found<'_>, is_csv: bool) -> Result<Bytes, Rejection> {
        if is_csv {
            let mut row = csv::RowWriter::default();
            self.for_each(found, |path, value| {
                row.push(&column(path, value)?);
                Ok(())
            })?;
            return Ok(row.finish().into());
        }
        let (mut text, end) = if self.is_named() {
            ("{".to_owned(), '}')
        } else {
            ("[".to_owned(), ']')
        };
        let mut names = self.names.iter();
        self.for_each(found, |_, value| {
            if text.len() > 1 {
                text.push(',');
            }
            if let Some(name) = names.next() {
                text.extend([name, ":"]);
            }
            text.push_str(&value);
            Ok(())
        })?;
        text.push(end);
        Ok(text.into())
    }

    /// Calls `push` with each value of the row and its path. A spread array has many values, so they take no memory.
    fn for_each<'v>(
        &'v self,
        found: &Found<'v>,
        mut push: impl FnMut(&JsonPath, Cow<'v, str>) -> Result<(), Rejection>,
    ) -> Result<(), Rejection> {
        for ((path, found), rule) in self.paths.paths().zip(found).zip(&self.rules) {
            let missing = || finds_nothing("FEATURES", path);
            let value = rule.or_default(*found).ok_or_else(missing)?;
            if path.is_spread() {
                let mut elements = elements(value).peekable();
                elements.peek().ok_or_else(missing)?;
                for element in elements {
                    push(path, rule.convert(path, element)?)?;
                }
            } else {
                push(path, rule.convert(path, value)?)?;
            }
        }
        Ok(())
    }
}

impl Rule {
    /// Returns the value, or the default in place of a missing value or null.
    fn or_default<'v>(&'v self, found: Option<&'v str>) -> Option<&'v str> {
        match &self.default {
            Some(default) => found.filter(|value| *value != "null").or(Some(default)),
            None => found,
        }
    }

    fn convert<'v>(&self, path: &JsonPath, value: &'v str) -> Result<Cow<'v, str>, Rejection> {
        let is_default_null = value == "null" && self.default.is_some();
        if !self.is_number || is_default_null {
            return Ok(Cow::Borrowed(value));
        }
        number(value).ok_or_else(|| wrong_shape(format!("FEATURES {path}:number finds a value that is not a number")))
    }
}

/// Returns a JSON number, or the number that a JSON string holds in the same notation.
fn number(json: &str) -> Option<Cow<'_, str>> {
    let is_number = |text: &str| {
        text.starts_with(|first: char| first == '-' || first.is_ascii_digit())
            && serde_json::from_str::<&RawValue>(text).is_ok()
    };
    let written = if json.starts_with('"') {
        string(json)?
    } else {
        Cow::Borrowed(json)
    };
    let number = match written {
        Cow::Borrowed(written) => Cow::Borrowed(written.trim_ascii()),
        Cow::Owned(written) => Cow::Owned(written.trim_ascii().to_owned()),
    };
    is_number(&number).then_some(number)
}

/// Returns a value as a CSV column. Models read columns as numbers, so true and false become 1 and 0, and null is
/// empty.
fn column<'v>(path: &JsonPath, value: Cow<'v, str>) -> Result<csv::Column<'v>, Rejection> {
    let column = match value {
        Cow::Borrowed("null") => Cow::Borrowed(""),
        Cow::Borrowed("true") => Cow::Borrowed("1"),
        Cow::Borrowed("false") => Cow::Borrowed("0"),
        Cow::Borrowed(json) if json.starts_with(['{', '[']) => {
            return Err(wrong_shape(format!(
                "FEATURES {path} finds an object or an array, which cannot be a CSV column"
            )));
        }
        Cow::Borrowed(json) => string(json).unwrap_or(Cow::Borrowed(json)),
        Cow::Owned(number) => Cow::Owned(number),
    };
    Ok(match column {
        Cow::Borrowed(column) => Cow::Borrowed(column.as_bytes()),
        Cow::Owned(column) => Cow::Owned(column.into_bytes()),
    })
}

impl FromStr for Features {
    type Err = FeaturesError;

    /// Parses `PATH[:number][?DEFAULT],…` or `{"NAME":PATH[:number][?DEFAULT],…}`.
    fn from_str(text: &str) -> Result<Self, FeaturesError> {
        let text = text.trim();
        let (mut rest, end) = match text.strip_prefix('{') {
            Some(inside) => (inside, "}"),
            None => (text, ""),
        };
        let is_named = !end.is_empty();
        let (mut paths, mut rules, mut names) = (Vec::new(), Vec::new(), Vec::new());
        loop {
            if is_named {
                let (name, after) = name(rest)?;
                names.push(name.to_owned());
                rest = after;
            }
            let (path, rule, after) = feature(rest, is_named)?;
            paths.push(path);
            rules.push(rule);
            if let Some(more) = after.strip_prefix(',') {
                rest = more;
            } else if after == end {
                break;
            } else {
                return Err(error(rest, "has more than a path, :number and ?DEFAULT"));
            }
        }
        if rules.len() > FEATURES_MAX {
            return Err(error(text, "begins a list of more than 1000 features"));
        }
        let distinct: HashSet<_> = names.iter().map(|name| string(name)).collect();
        if distinct.len() < names.len() {
            return Err(error(text, "begins an object with two equal names"));
        }
        let paths = PathTree::new(paths);
        Ok(Self { paths, rules, names })
    }
}

/// Returns the name that `text` begins with, and the text after its colon.
fn name(text: &str) -> Result<(&str, &str), FeaturesError> {
    let name = leading_value(text).filter(|(name, _)| string(name).is_some());
    let (name, after) = name.ok_or_else(|| error(text, "does not begin with a name in double quotes"))?;
    let after = after.trim_start().strip_prefix(':');
    Ok((name, after.ok_or_else(|| error(text, "has no colon after the name"))?))
}

/// Returns the feature that `text` begins with, and the text after it.
fn feature(text: &str, is_named: bool) -> Result<(JsonPath, Rule, &str), FeaturesError> {
    let ends: &[char] = if is_named {
        &[',', ':', '?', '}']
    } else {
        &[',', ':', '?']
    };
    let (path, after) = JsonPath::split_text(text, ends);
    let path = JsonPath::parse(path.trim()).filter(|path| path.is_singular() || path.is_spread());
    let path = path.ok_or_else(|| {
        error(
            text,
            "is not a JSONPath to one value or, with [*] at the end, to an array",
        )
    })?;
    let (is_number, after) = match after.strip_prefix(":number") {
        Some(after) => (true, after),
        None => (false, after),
    };
    let (default, after) = match after.strip_prefix('?').map(str::trim_start) {
        None => (None, after),
        Some(after) if after.is_empty() || after.starts_with([',', '}']) => (Some("null"), after),
        Some(after) => {
            let default = leading_value(after).filter(|(value, _)| !value.starts_with(['{', '[']));
            let (default, after) = default.ok_or_else(|| error(text, "has a default that is not a JSON scalar"))?;
            (Some(default), after)
        }
    };
    if path.is_spread() && (is_named || default.is_some()) {
        let problem = "has [*], which makes several values, so it can have neither a name nor a default";
        return Err(error(text, problem));
    }
    if is_number && default.is_some_and(|default| default != "null" && number(default).is_none()) {
        return Err(error(text, "has a default that is not a number"));
    }
    let default = default.map(str::to_owned);
    Ok((path, Rule { is_number, default }, after.trim_start()))
}

/// Returns the error for the feature that `text` begins with.
fn error(text: &str, problem: &'static str) -> FeaturesError {
    let part = JsonPath::split_text(text, &[',']).0.trim();
    FeaturesError {
        part: part.chars().take(PART_SHOWN).collect(),
        problem,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn features(text: &str) -> Features {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    fn csv(text: &str, record: &str) -> Result<String, String> {
        shown(text, record, true)
    }

    fn json(text: &str, record: &str) -> Result<String, String> {
        shown(text, record, false)
    }

    fn shown(text: &str, record: &str, is_csv: bool) -> Result<String, String> {
        let features = features(text);
        let found = features.select(serde_json::from_str(record).unwrap());
        if let Some(members) = features.select_members(record.as_bytes()) {
            assert_eq!(members, found);
        }
        let row = features.row(&found, is_csv);
        let text = |row: Bytes| String::from_utf8(row.to_vec()).unwrap();
        row.map(text).map_err(|rejection| rejection.message)
    }

    #[test]
    fn a_feature_may_be_optional_or_have_a_default() {
        const FEATURES: &str = r#"$.a?, $.a.b?0 ,$['c?,:']?"x, \"y\"",$.d?true,$.e?-1.50"#;
        for (record, row, array) in [
            ("{}", r#",0,"x, ""y""",1,-1.50"#, r#"[null,0,"x, \"y\"",true,-1.50]"#),
            (
                r#"{"a":null,"c?,:":null,"d":null,"e":null}"#,
                r#",0,"x, ""y""",1,-1.50"#,
                r#"[null,0,"x, \"y\"",true,-1.50]"#,
            ),
            (
                r#"{"a":{"b":7},"c?,:":"","d":false,"e":2}"#,
                "",
                r#"[{"b":7},7,"",false,2]"#,
            ),
        ] {
            assert_eq!(json(FEATURES, record).unwrap(), array);
            if !row.is_empty() {
                assert_eq!(csv(FEATURES, record).unwrap(), row);
            }
        }
        assert_eq!(csv("$.a?", "{}").unwrap(), "\"\"", "a lone empty column");
    }

    #[test]
    fn a_numeric_string_is_written_as_a_number() {
        const FEATURES: &str = "$.n.N:number";
        for (value, number) in [
            ("\"429.990\"", "429.990"),
            ("\"-1E+5\"", "-1E+5"),
            ("\" 7 \"", "7"),
            (r#""\u0037""#, "7"),
            ("0.10", "0.10"),
        ] {
            let record = format!("{{\"n\":{{\"N\":{value}}}}}");
            assert_eq!(json(FEATURES, &record).unwrap(), format!("[{number}]"));
            assert_eq!(csv(FEATURES, &record).unwrap(), number);
        }
        for value in [
            "\"\"", "\"4 2\"", "\"NaN\"", "\"1,5\"", "\"0x1\"", "true", "null", "[1]", "{}", "\"[1]\"",
        ] {
            let record = format!("{{\"n\":{{\"N\":{value}}}}}");
            let message = "FEATURES $.n.N:number finds a value that is not a number";
            assert_eq!(json(FEATURES, &record).unwrap_err(), message, "{value}");
            assert_eq!(csv(FEATURES, &record).unwrap_err(), message, "{value}");
        }
        assert_eq!(
            json("$.a:number?,$.b:number?\"5\",$.c:number?0", "{\"a\":null}").unwrap(),
            "[null,5,0]"
        );
        assert_eq!(
            json(FEATURES, "{}").unwrap_err(),
            "FEATURES $.n.N finds nothing in the record"
        );
    }

    #[test]
    fn an_array_is_spread() {
        const FEATURES: &str = "$.id,$.embedding[*]:number,$.hour";
        let record = r#"{"id":7,"embedding":[0.10, "2",3],"hour":5}"#;
        assert_eq!(csv(FEATURES, record).unwrap(), "7,0.10,2,3,5");
        assert_eq!(json(FEATURES, record).unwrap(), "[7,0.10,2,3,5]");
        assert_eq!(json("$[*]", "[1,[2]]").unwrap(), "[1,[2]]");
        for record in [
            "{}",
            r#"{"embedding":[]}"#,
            r#"{"embedding":{"a":1}}"#,
            r#"{"embedding":null}"#,
        ] {
            let message = json("$.embedding[*]", record).unwrap_err();
            assert_eq!(message, "FEATURES $.embedding[*] finds nothing in the record");
        }
    }

    #[test]
    fn named_features_make_an_object() {
        const FEATURES: &str = r#"{"amount": $.tx.amount , "a\"b,}":$['c}']?"}",":":$.d:number?}"#;
        let named = features(FEATURES);
        assert!(named.is_named());
        assert_eq!(named.columns(), None);
        assert_eq!(
            json(FEATURES, r#"{"tx":{"amount":1.0},"d":"4"}"#).unwrap(),
            r#"{"amount":1.0,"a\"b,}":"}",":":4}"#
        );
        assert_eq!(features("$.a,$.b?").columns(), Some(2));
        assert_eq!(features("$.a,$.b[*]").columns(), None);
    }

    #[test]
    fn a_wrong_part_is_named() {
        let many = vec!["$.a"; 1001].join(",");
        assert!(vec!["$.a"; 1000].join(",").parse::<Features>().is_ok());
        for (text, part, problem) in [
            (&*many, "$.a", "more than 1000"),
            ("$.a,b", "b", "not a JSONPath"),
            ("$.a,", "", "not a JSONPath"),
            ("$.a,$.b[*].c", "$.b[*].c", "not a JSONPath"),
            ("$['a','b']", "$['a','b']", "not a JSONPath"),
            ("$[1:]", "$[1:]", "not a JSONPath"),
            ("$.a?0:number", "$.a?0:number", "more than a path"),
            ("$.a:int", "$.a:int", "more than a path"),
            ("$.a;$.b", "$.a;$.b", "not a JSONPath"),
            ("$.a?x", "$.a?x", "not a JSON scalar"),
            ("$.a?[1]", "$.a?[1]", "not a JSON scalar"),
            ("$.a:number?\"x\"", "$.a:number?\"x\"", "not a number"),
            ("$.a[*]?0", "$.a[*]?0", "several values"),
            (r#"{"a":$.b[*]}"#, "$.b[*]}", "several values"),
            (r#"{"a":$.b,"\u0061":$.c}"#, r#"{"a":$.b"#, "two equal names"),
            ("{a:$.b}", "a:$.b}", "double quotes"),
            (r#"{"a" $.b}"#, r#""a" $.b}"#, "no colon"),
            (r#"{"a":$.b"#, "$.b", "more than a path"),
            (r#"{"a":$.b} x"#, "$.b} x", "more than a path"),
        ] {
            let error = text.parse::<Features>().unwrap_err();
            assert_eq!(error.part, part, "{text}");
            assert!(error.to_string().contains(problem), "{error}");
        }
    }
}
