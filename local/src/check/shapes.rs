//! The requests that the function can make of the sample records.

use bytes::Bytes;
use serde_json::Value;

use crate::environment::{Settings, is_set};

/// `BATCH_STRATEGY` with a request for each record.
const SINGLE_RECORD: &str = "SingleRecord";
/// `BATCH_STRATEGY` with a request for several records.
const MULTI_RECORD: &str = "MultiRecord";

const JSON: &str = "application/json";
const JSON_LINES: &str = "application/jsonlines";
const CSV: &str = "text/csv";

/// `REQUEST_TEMPLATE` of JSON for several records. The default is `instances`.
const TEMPLATES: [Option<&str>; 5] = [None, Some("array"), Some("huggingface"), Some("mlflow"), Some("v2")];

/// The settings that make the shape of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape {
    /// `BATCH_STRATEGY`.
    pub strategy: String,
    /// `CONTENT_TYPE`.
    pub content_type: String,
    /// `ACCEPT`.
    pub accept: String,
    /// `REQUEST_TEMPLATE`, or `None` for the default or the user's.
    pub request_template: Option<&'static str>,
}

impl Shape {
    /// Returns whether a request may hold several records.
    pub fn is_multi_record(&self) -> bool {
        self.strategy == MULTI_RECORD
    }

    /// Returns the settings.
    pub fn settings(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let always = [
            ("BATCH_STRATEGY", self.strategy.as_str()),
            ("CONTENT_TYPE", &self.content_type),
            ("ACCEPT", &self.accept),
        ];
        let template = self.request_template.map(|template| ("REQUEST_TEMPLATE", template));
        always.into_iter().chain(template)
    }
}

/// Returns the shapes to try. A setting that the user has made is not varied.
pub fn shapes(samples: &[Bytes], settings: &Settings) -> Vec<Shape> {
    let or_own = |name: &str, candidates: &[&str]| match settings.get(name) {
        Some(own) if is_set(settings, name) => vec![own.trim().to_owned()],
        _ => candidates.iter().map(|candidate| (*candidate).to_owned()).collect(),
    };
    let candidates: &[&str] = match (
        samples.iter().all(|record| json(record).is_some()),
        is_set(settings, "FEATURES"),
    ) {
        (true, false) => &[JSON, JSON_LINES],
        (true, true) => &[CSV, JSON, JSON_LINES],
        (false, _) => &[CSV],
    };
    let content_types = or_own("CONTENT_TYPE", candidates);
    let mut shapes = Vec::new();
    for strategy in or_own("BATCH_STRATEGY", &[SINGLE_RECORD, MULTI_RECORD]) {
        for content_type in &content_types {
            // One JSON line is the same as one JSON record.
            if strategy == SINGLE_RECORD && content_type == JSON_LINES && content_types.len() > 1 {
                continue;
            }
            let accepts: &[&str] = match content_type.split(';').next().unwrap_or_default() {
                CSV => &[CSV, JSON],
                JSON_LINES => &[JSON_LINES, JSON],
                _ => &[JSON],
            };
            let has_templates =
                strategy == MULTI_RECORD && content_type == JSON && !is_set(settings, "REQUEST_TEMPLATE");
            let templates = if has_templates { &TEMPLATES[..] } else { &[None] };
            for accept in or_own("ACCEPT", accepts) {
                shapes.extend(templates.iter().map(|request_template| Shape {
                    strategy: strategy.clone(),
                    content_type: content_type.clone(),
                    accept: accept.clone(),
                    request_template: *request_template,
                }));
            }
        }
    }
    shapes
}

/// Parses a record that is a JSON object or array.
fn json(record: &Bytes) -> Option<Value> {
    let value: Option<Value> = serde_json::from_slice(record).ok();
    value.filter(|value| value.is_object() || value.is_array())
}

/// Returns a record that is like `record`, but has words where it has numbers. If it has no numbers, it has null where
/// it has text.
pub fn broken_record(record: &Bytes) -> Bytes {
    let Some(mut value) = json(record) else {
        let text = String::from_utf8_lossy(record);
        let is_number = |column: &str| column.trim().parse::<f64>().is_ok();
        let columns = text.split(',');
        let words = columns.map(|column| if is_number(column) { "abc" } else { column });
        return words.collect::<Vec<_>>().join(",").into();
    };
    if !replace(&mut value, Value::is_number, &Value::from("abc")) {
        replace(&mut value, Value::is_string, &Value::Null);
    }
    value.to_string().into()
}

/// Replaces the values for which `is_meant` holds. Returns whether there was one.
fn replace(value: &mut Value, is_meant: fn(&Value) -> bool, by: &Value) -> bool {
    let mut is_replaced = false;
    match value {
        Value::Array(elements) => elements
            .iter_mut()
            .for_each(|it| is_replaced |= replace(it, is_meant, by)),
        Value::Object(members) => members
            .values_mut()
            .for_each(|it| is_replaced |= replace(it, is_meant, by)),
        _ if is_meant(value) => {
            *value = by.clone();
            is_replaced = true;
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
    is_replaced
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(records: &[&'static str], settings: &[(&str, &str)]) -> Vec<String> {
        let records: Vec<_> = records.iter().map(|record| Bytes::from(*record)).collect();
        let settings = settings
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let shapes = shapes(&records, &settings.collect());
        shapes
            .iter()
            .map(|it| it.settings().map(|(_, value)| value).collect::<Vec<_>>().join(" "))
            .collect()
    }

    #[test]
    fn json_records_are_tried_as_json_and_as_lines() {
        assert_eq!(
            shown(&[r#"{"a":1}"#, "[1]"], &[]),
            [
                "SingleRecord application/json application/json",
                "MultiRecord application/json application/json",
                "MultiRecord application/json application/json array",
                "MultiRecord application/json application/json huggingface",
                "MultiRecord application/json application/json mlflow",
                "MultiRecord application/json application/json v2",
                "MultiRecord application/jsonlines application/jsonlines",
                "MultiRecord application/jsonlines application/json",
            ]
        );
    }

    #[test]
    fn rows_and_features_are_tried_as_csv_and_own_settings_are_not_varied() {
        let csv = [
            "SingleRecord text/csv text/csv",
            "SingleRecord text/csv application/json",
            "MultiRecord text/csv text/csv",
            "MultiRecord text/csv application/json",
        ];
        assert_eq!(shown(&["1,2", "5"], &[("ACCEPT", "")]), csv);
        let features = ("FEATURES", "$.a");
        assert_eq!(shown(&[r#"{"a":1}"#], &[features]).len(), 12);
        let template = ("REQUEST_TEMPLATE", "array");
        assert_eq!(shown(&[r#"{"a":1}"#], &[features, template]).len(), 8);
        assert_eq!(shown(&[r#"{"a":1}"#], &[features, ("CONTENT_TYPE", "text/csv")]), csv);
        let own = [("ACCEPT", "text/plain"), ("BATCH_STRATEGY", "MultiRecord")];
        assert_eq!(shown(&["1,2"], &own), ["MultiRecord text/csv text/plain"]);
    }

    #[test]
    fn a_broken_record_has_words_for_numbers() {
        for (record, expected) in [
            (r#"{"a":1,"b":[2.5,"c"]}"#, r#"{"a":"abc","b":["abc","c"]}"#),
            (r#"{"text":"good"}"#, r#"{"text":null}"#),
            ("1.5,a,-2", "abc,a,abc"),
            ("7", "abc"),
        ] {
            assert_eq!(broken_record(&Bytes::from(record)), expected);
        }
    }
}
