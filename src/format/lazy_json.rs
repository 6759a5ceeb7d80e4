//! Reads a JSON document value by value, without a tree. So a document takes no memory but its text, and numbers and
//! strings stay exactly as they were written.
//!
//! The text must be JSON, as the text of a [`RawValue`] is. It was checked when it was read and is not checked again.

use std::borrow::Cow;
use std::iter;

use serde_json::value::RawValue;

/// Returns the members of an object, in their order, or nothing for any other value. Names are JSON strings, which
/// [`text`] reads. If several members have the same name, the last one is used, as most JSON parsers do.
pub fn members(json: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut values = Values::inside(json, '{');
    iter::from_fn(move || Some((values.next()?, values.next()?)))
}

/// Returns the elements of an array, or nothing for any other value.
pub fn elements(json: &str) -> impl Iterator<Item = &str> {
    Values::inside(json, '[')
}

/// Returns the values of the elements or members.
pub fn values(json: &str) -> impl Iterator<Item = &str> {
    elements(json).chain(members(json).map(|(_, value)| value))
}

/// Returns the value of the member with this name.
pub fn member<'j>(json: &'j str, name: &str) -> Option<&'j str> {
    let found = members(json).filter(|(own, _)| text(own).as_deref() == Some(name));
    found.last().map(|(_, value)| value)
}

/// Returns the text of a JSON string. Returns `None` for any other value, and for a string with half of a surrogate
/// pair, which is not Unicode.
pub fn text(json: &str) -> Option<Cow<'_, str>> {
    let written = json.strip_prefix('"')?.strip_suffix('"')?;
    if memchr::memchr(b'\\', written.as_bytes()).is_none() {
        return Some(Cow::Borrowed(written));
    }
    serde_json::from_str(json).ok().map(Cow::Owned)
}

/// The values in an object or array, one after the other. The names of an object's members are values too.
struct Values<'j>(&'j str);

impl<'j> Values<'j> {
    /// Returns the values of the object or array, or none if the value does not begin with `open`.
    fn inside(json: &'j str, open: char) -> Self {
        Self(json.trim_ascii_start().strip_prefix(open).unwrap_or_default())
    }
}

impl<'j> Iterator for Values<'j> {
    type Item = &'j str;

    fn next(&mut self) -> Option<&'j str> {
        let start = self.0.bytes().position(|byte| !is_between_values(byte))?;
        let rest = self.0.get(start..)?;
        let (value, rest) = rest.split_at_checked(end_of_value(rest.as_bytes()))?;
        self.0 = rest;
        (!value.is_empty()).then_some(value)
    }
}

fn is_between_values(byte: u8) -> bool {
    matches!(byte, b',' | b':' | b' ' | b'\t' | b'\n' | b'\r')
}

/// Returns the index after the value that the text begins with, or 0 if there is none before the end of the object or
/// array.
fn end_of_value(text: &[u8]) -> usize {
    let (mut depth, mut index) = (0_usize, 0);
    while let Some(byte) = text.get(index) {
        match byte {
            b'"' => index = end_of_string(text, index),
            b'[' | b'{' => depth += 1,
            b']' | b'}' if depth == 0 => return index,
            b']' | b'}' => depth -= 1,
            byte if depth == 0 && is_between_values(*byte) => return index,
            _ => {
                index += 1;
                continue;
            }
        }
        index += 1;
        if depth == 0 {
            return index;
        }
    }
    index
}

/// Returns the index of the quote that ends the string that begins at `start`.
fn end_of_string(text: &[u8], start: usize) -> usize {
    let mut index = start + 1;
    while let Some(found) = text.get(index..).and_then(|rest| memchr::memchr2(b'"', b'\\', rest)) {
        index += found;
        if text.get(index) == Some(&b'"') {
            return index;
        }
        index += 2;
    }
    text.len()
}

/// Returns the JSON value that a text begins with, and the text after it. Returns `None` if there is no such value.
pub fn leading_value(text: &str) -> Option<(&str, &str)> {
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<&RawValue>();
    let value = values.next()?.ok()?;
    Some((value.get(), text.get(values.byte_offset()..)?))
}

/// Returns an array of these values. Returns `None` if there are none.
pub fn array<'v>(values: impl Iterator<Item = Cow<'v, str>>) -> Option<String> {
    let mut text = String::new();
    for value in values {
        text.push(if text.is_empty() { '[' } else { ',' });
        text.push_str(&value);
    }
    (!text.is_empty()).then(|| text + "]")
}

/// Returns an object of these members, whose names are JSON strings. Returns `None` if there are none.
pub fn object<'v>(members: impl Iterator<Item = (&'v str, &'v str)>) -> Option<String> {
    let mut text = String::new();
    for (name, value) in members {
        text.push(if text.is_empty() { '{' } else { ',' });
        text.push_str(name);
        text.push(':');
        text.push_str(value);
    }
    (!text.is_empty()).then(|| text + "}")
}

/// Returns a text that consists of JSON values as a value.
pub fn raw_value(text: String) -> Box<RawValue> {
    RawValue::from_string(text).expect("the text consists of JSON values")
}

/// Returns the value on one line. Line breaks inside JSON strings are always escaped, so any other line break is white
/// space.
pub fn on_one_line(json: &RawValue) -> Box<RawValue> {
    if memchr::memchr2(b'\n', b'\r', json.get().as_bytes()).is_none() {
        return json.to_owned();
    }
    raw_value(json.get().replace(['\n', '\r'], " "))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    /// Rebuilds a document from its values.
    fn rebuild(json: &str) -> Value {
        match json.trim_start().as_bytes()[0] {
            b'[' => elements(json).map(rebuild).collect(),
            b'{' => members(json)
                .map(|(name, value)| (text(name).unwrap().into_owned(), rebuild(value)))
                .collect(),
            _ => serde_json::from_str(json).unwrap(),
        }
    }

    fn documents() -> impl Strategy<Value = Value> {
        let string = "[a\"\\\\\\[\\]{},: \n\u{e9}]{0,6}";
        let scalar = prop_oneof![
            string.prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            Just(Value::Null),
            Just(Value::Bool(true)),
        ];
        scalar.prop_recursive(4, 40, 4, move |value| {
            prop_oneof![
                prop::collection::vec(value.clone(), 0..4).prop_map(Value::from),
                prop::collection::hash_map(string, value, 0..4).prop_map(|members| members.into_iter().collect()),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn all_values_are_found_with_and_without_white_space(document in documents()) {
            prop_assert_eq!(&rebuild(&document.to_string()), &document);
            prop_assert_eq!(&rebuild(&serde_json::to_string_pretty(&document).unwrap()), &document);
        }
    }

    #[test]
    fn a_name_that_is_not_unicode_hides_no_other_member() {
        let json = r#"{"a":1,"\ud800":2,"\u0062":[3]}"#;
        assert_eq!(values(json).collect::<Vec<_>>(), ["1", "2", "[3]"]);
        assert_eq!((member(json, "a"), member(json, "b")), (Some("1"), Some("[3]")));
        assert_eq!(member("[1]", "a"), None);
    }
}
