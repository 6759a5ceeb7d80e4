//! One level of a JSON document at a time, its numbers and strings just as they were written.

use std::borrow::Cow;
use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// A JSON value, opened by one level.
#[derive(Debug)]
pub enum Level<'j> {
    /// Its members, in their order. Of several with one name the last one counts, as it does for most readers.
    Object(&'j RawValue, Vec<(Cow<'j, str>, &'j RawValue)>),
    /// Its elements.
    Array(&'j RawValue, Vec<&'j RawValue>),
    /// A string, a number, a boolean or null.
    Scalar(&'j RawValue),
}

impl<'j> Level<'j> {
    /// Opens a value.
    pub fn of(raw: &'j RawValue) -> Self {
        let text = raw.get();
        let opened = match text.trim_start().as_bytes().first() {
            Some(b'{') => serde_json::from_str(text).map(|Members(members)| Self::Object(raw, members)),
            Some(b'[') => serde_json::from_str(text).map(|elements| Self::Array(raw, elements)),
            _ => Ok(Self::Scalar(raw)),
        };
        // A name that is no Unicode, by half of a surrogate pair, is all that this can fall over.
        opened.unwrap_or(Self::Scalar(raw))
    }

    /// The value itself.
    pub fn raw(&self) -> &'j RawValue {
        match self {
            Self::Object(raw, _) | Self::Array(raw, _) | Self::Scalar(raw) => raw,
        }
    }

    /// The member of this name.
    pub fn member(&self, name: &str) -> Option<&'j RawValue> {
        let Self::Object(_, members) = self else {
            return None;
        };
        let found = members.iter().rev().find(|(member, _)| member == name);
        found.map(|(_, value)| *value)
    }

    /// The values in it, without their names.
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

/// An array of these; `None` if there are none.
pub fn array<'v>(values: impl Iterator<Item = Cow<'v, RawValue>>) -> Option<Box<RawValue>> {
    let values: Vec<_> = values.collect();
    let texts: Vec<_> = values.iter().map(|value| value.get()).collect();
    (!texts.is_empty()).then(|| value(format!("[{}]", texts.join(","))))
}

/// An object of these members; `None` if there are none.
pub fn object<'v>(members: impl Iterator<Item = (&'v str, &'v RawValue)>) -> Option<Box<RawValue>> {
    let quoted = |name: &str| serde_json::Value::from(name).to_string();
    let texts: Vec<_> = members
        .map(|(name, value)| format!("{}:{value}", quoted(name)))
        .collect();
    (!texts.is_empty()).then(|| value(format!("{{{}}}", texts.join(","))))
}

fn value(text: String) -> Box<RawValue> {
    RawValue::from_string(text).expect("it is made of JSON values")
}

/// The value on one line: inside a JSON string a line break is always escaped, so the bare ones are only white space.
pub fn on_one_line(json: &RawValue) -> Box<RawValue> {
    if memchr::memchr2(b'\n', b'\r', json.get().as_bytes()).is_none() {
        return json.to_owned();
    }
    value(json.get().replace(['\n', '\r'], " "))
}
