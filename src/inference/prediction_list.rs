//! Finds the list of predictions in a JSON answer.

use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::de::StrRead;
use serde_json::value::RawValue;

use crate::format::json_path::JsonPath;
use crate::format::lazy_json;

/// The member that holds the predictions, whatever else the object has.
const PREDICTIONS: &str = "predictions";
/// The members that hold the predictions if they are the only array of the object. Two arrays, such as `labels` and
/// `scores`, may together be one prediction.
const OTHER_NAMES: [&str; 6] = ["scores", "outputs", "data", "embedding", "embeddings", "results"];

/// Returns the prediction in an object whose list of predictions has exactly one element.
pub(super) fn only_element(json: &RawValue) -> Option<&RawValue> {
    member(json.get(), 1)?.pop()
}

/// Returns the `count` elements of the list of predictions that is a member of a JSON object.
pub(super) fn member(text: &str, count: usize) -> Option<Vec<&RawValue>> {
    list(text, count, |json, elements| json.deserialize_map(elements))
}

/// Returns the `count` elements of a JSON array.
pub(super) fn elements(text: &str, count: usize) -> Option<Vec<&RawValue>> {
    list(text, count, |json, elements| json.deserialize_seq(elements))
}

/// Returns the `count` elements of the array at this path, which selects a single value.
pub(super) fn at_path(text: &str, path: &JsonPath, count: usize) -> Option<Vec<Box<RawValue>>> {
    let found = path.select(serde_json::from_str(text).ok()?)?;
    let found = elements(&found, count)?.into_iter();
    Some(found.map(ToOwned::to_owned).collect())
}

fn list<'t>(
    text: &'t str,
    count: usize,
    read: impl FnOnce(&mut serde_json::Deserializer<StrRead<'t>>, Elements) -> serde_json::Result<Vec<&'t RawValue>>,
) -> Option<Vec<&'t RawValue>> {
    let mut json = serde_json::Deserializer::from_str(text);
    let elements = read(&mut json, Elements { max: count + 1 }).ok()?;
    json.end().ok()?;
    (elements.len() == count).then_some(elements)
}

/// Reads an array of up to `max` elements, or the list of predictions that is a member of an object. A longer array is
/// an error.
#[derive(Clone, Copy)]
struct Elements {
    max: usize,
}

impl<'de> Visitor<'de> for Elements {
    type Value = Vec<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an array of up to {} elements", self.max)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Self::Value, A::Error> {
        let mut elements = Vec::with_capacity(self.max);
        while elements.len() < self.max
            && let Some(element) = array.next_element()?
        {
            elements.push(element);
        }
        Ok(elements)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Self::Value, A::Error> {
        let (mut predictions, mut arrays, mut other) = (None, 0, None);
        while let Some(name) = object.next_key::<String>()? {
            if name == PREDICTIONS {
                predictions = Some(object.next_value_seed(self)?);
            } else if predictions.is_some() {
                object.next_value::<IgnoredAny>()?;
            } else {
                let value = object.next_value::<&RawValue>()?.get();
                if value.starts_with('[') {
                    arrays += 1;
                    let is_known = OTHER_NAMES.contains(&&*name);
                    other = is_known.then(|| tensor_data(&name, value).unwrap_or(value));
                }
            }
        }
        if let Some(predictions) = predictions {
            return Ok(predictions);
        }
        let other = other.filter(|_| arrays == 1);
        let other = other.ok_or_else(|| de::Error::missing_field(PREDICTIONS))?;
        elements_up_to(self, other).map_err(de::Error::custom)
    }
}

fn elements_up_to(elements: Elements, array: &str) -> serde_json::Result<Vec<&RawValue>> {
    let mut json = serde_json::Deserializer::from_str(array);
    let elements = json.deserialize_seq(elements)?;
    json.end().map(|()| elements)
}

/// Returns the data of the only tensor, if `outputs` is a list of tensors as in version 2 of the inference protocol:
/// <https://kserve.github.io/website/docs/concepts/architecture/data-plane/v2-protocol>.
fn tensor_data<'v>(name: &str, outputs: &'v str) -> Option<&'v str> {
    let mut tensors = lazy_json::elements(outputs).filter(|_| name == "outputs");
    let data = lazy_json::member(tensors.next()?, "data")?;
    (tensors.next().is_none() && data.starts_with('[')).then_some(data)
}

impl<'de> DeserializeSeed<'de> for Elements {
    type Value = Vec<&'de RawValue>;

    fn deserialize<D: Deserializer<'de>>(self, array: D) -> Result<Self::Value, D::Error> {
        array.deserialize_seq(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts<T: AsRef<RawValue>>(found: Option<Vec<T>>) -> Option<Vec<String>> {
        Some(found?.iter().map(|it| it.as_ref().get().to_owned()).collect())
    }

    #[test]
    fn the_list_is_a_member_with_a_common_name() {
        for (json, expected) in [
            (
                r#"{"model":"m","predictions":[1,2],"labels":["a","b"]}"#,
                Some(["1", "2"]),
            ),
            (r#"{"labels":["a","b"],"predictions":[1,2]}"#, Some(["1", "2"])),
            (r#"{"scores":[{"score":1},2.50]}"#, Some([r#"{"score":1}"#, "2.50"])),
            (
                r#"{"object":"list","data":[[0.1],[0.2]],"usage":{"n":[1]}}"#,
                Some(["[0.1]", "[0.2]"]),
            ),
            (r#"{"outputs":["a","b"]}"#, Some([r#""a""#, r#""b""#])),
            (
                r#"{"outputs":[{"name":"y","shape":[2],"data":[3,4]}],"id":"7"}"#,
                Some(["3", "4"]),
            ),
            (
                r#"{"outputs":[{"data":[3,4]},{"data":[5,6]}]}"#,
                Some([r#"{"data":[3,4]}"#, r#"{"data":[5,6]}"#]),
            ),
            (r#"{"results":[1,2]}"#, Some(["1", "2"])),
            // Two arrays may be one prediction.
            (r#"{"labels":["a","b"],"scores":[0.1,0.9]}"#, None),
            (r#"{"scores":[0.1,0.9],"labels":["a","b"]}"#, None),
            (r#"{"outputs":[{"data":[1,2,3,4]}]}"#, None),
            (r#"{"outputs":[{"data":[1,2]},{"data":[3]},{"data":[3]}]}"#, None),
            (r#"{"predictions":[1],"scores":[1,2]}"#, None),
            (r#"{"classes":[1,2]}"#, None),
            (r#"{"scores":[1,2,3]}"#, None),
            (r#"{"scores":"[1,2]"}"#, None),
            (r#"{"scores":[1,2]} x"#, None),
        ] {
            let expected = expected.map(|it| it.map(str::to_owned).to_vec());
            assert_eq!(
                member(json, 2).map(|it| it.iter().map(|it| it.get().to_owned()).collect()),
                expected,
                "{json}"
            );
        }
    }

    #[test]
    fn a_path_names_the_list() {
        let at = |json, path| texts(at_path(json, &JsonPath::parse(path).unwrap(), 2));
        let expected = Some(vec!["1".to_owned(), "2".to_owned()]);
        assert_eq!(at(r#"{"a":{"b":[1, 2]},"predictions":[0,0]}"#, "$.a.b"), expected);
        assert_eq!(at("[1,2]", "$"), expected);
        assert_eq!(at(r#"{"a":[{"b":[1,2]}]}"#, "$.a[0].b"), expected);
        for json in [r#"{"a":[1]}"#, r#"{"a":{}}"#, r#"{"predictions":[1,2]}"#, "[1,2]", "no"] {
            assert_eq!(at(json, "$.a"), None, "{json}");
        }
    }

    #[test]
    fn reading_stops_after_one_element_too_many() {
        // Whatever follows the third prediction of two is not read.
        let visitor = Elements { max: 3 };
        let read = |json| serde_json::Deserializer::from_str(json);
        let array = read("[1,2,3,4,no JSON").deserialize_seq(visitor);
        assert_eq!(array.unwrap_err().to_string(), "trailing characters at line 1 column 8");
        let member = read("{\"predictions\":[1,2,3,4,no JSON").deserialize_map(visitor);
        assert_eq!(member.unwrap_err().column(), 23);
    }
}
