//! Reads a JSON document one level at a time. Numbers and strings stay exactly as they were written.

use std::borrow::Cow;
use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// A JSON value of which only the top level is parsed.
#[derive(Debug)]
pub enum LazyJson<'j> {
    /// An object and its members, in their order. If several members have the same name, the last one is used, as most
    /// JSON parsers do.
    Object(&'j RawValue, Vec<(Cow<'j, str>, &'j RawValue)>),
    /// An array and its elements.
    Array(&'j RawValue, Vec<&'j RawValue>),
    /// A string, a number, a boolean or null.
    Scalar(&'j RawValue),
}

impl<'j> LazyJson<'j> {
    /// Parses the top level of a value.
    pub fn open(raw: &'j RawValue) -> Self {
        let text = raw.get();
        let opened = match text.trim_start().as_bytes().first() {
            Some(b'{') => serde_json::from_str(text).map(|Members(members)| Self::Object(raw, members)),
            Some(b'[') => serde_json::from_str(text).map(|elements| Self::Array(raw, elements)),
            _ => Ok(Self::Scalar(raw)),
        };
        // Parsing fails only if a name has half of a surrogate pair, which is not Unicode.
        opened.unwrap_or(Self::Scalar(raw))
    }

    /// Returns the value itself.
    pub fn raw(&self) -> &'j RawValue {
        match self {
            Self::Object(raw, _) | Self::Array(raw, _) | Self::Scalar(raw) => raw,
        }
    }

    /// Returns the value of the member with this name.
    pub fn member(&self, name: &str) -> Option<&'j RawValue> {
        let Self::Object(_, members) = self else {
            return None;
        };
        let found = members.iter().rev().find(|(member, _)| member == name);
        found.map(|(_, value)| *value)
    }

    /// Returns the values of the members or elements.
    pub fn values(&self) -> impl Iterator<Item = &'j RawValue> {
        let (members, elements) = match self {
            Self::Object(_, members) => (members.as_slice(), [].as_slice()),
            Self::Array(_, elements) => ([].as_slice(), elements.as_slice()),
            Self::Scalar(_) => Default::default(),
        };
        members.iter().map(|(_, value)| *value).chain(elements.iter().copied())
    }
}

struct Members<'j>(Vec<(Cow<'j, str>, &'j RawValue)>);

impl<'de: 'j, 'j> Deserialize<'de> for Members<'j> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;

        #[derive(Deserialize)]
        struct Name<'n>(#[serde(borrow)] Cow<'n, str>);

        impl<'de> Visitor<'de> for InOrder {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some((Name(name), value)) = map.next_entry()? {
                    members.push((name, value));
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(InOrder)
    }
}

/// Returns an array of these values. Returns `None` if there are none.
pub fn array<'v>(values: impl Iterator<Item = Cow<'v, RawValue>>) -> Option<Box<RawValue>> {
    let mut text = String::new();
    for value in values {
        text.push(if text.is_empty() { '[' } else { ',' });
        text.push_str(value.get());
    }
    (!text.is_empty()).then(|| value(text + "]"))
}

/// Returns an object of these members. Returns `None` if there are none.
pub fn object<'v>(members: impl Iterator<Item = (&'v str, &'v RawValue)>) -> Option<Box<RawValue>> {
    let quoted = |name: &str| serde_json::Value::from(name).to_string();
    let texts: Vec<_> = members
        .map(|(name, value)| format!("{}:{value}", quoted(name)))
        .collect();
    (!texts.is_empty()).then(|| value(format!("{{{}}}", texts.join(","))))
}

fn value(text: String) -> Box<RawValue> {
    RawValue::from_string(text).expect("the text consists of JSON values")
}

/// Returns the value on one line. Line breaks inside JSON strings are always escaped, so any other line break is white
/// space.
pub fn on_one_line(json: &RawValue) -> Box<RawValue> {
    if memchr::memchr2(b'\n', b'\r', json.get().as_bytes()).is_none() {
        return json.to_owned();
    }
    value(json.get().replace(['\n', '\r'], " "))
}
