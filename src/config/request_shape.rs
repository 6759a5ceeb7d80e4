//! The settings that say what records, requests and predictions look like, which must fit one another.

use std::sync::Arc;

use super::header;
use super::reader::{Reader, whole};
use super::variables::{
    BATCH_STRATEGY, COMPRESSION, CONTENT_TYPE, CSV_HEADER, DECOMPRESS_LIMIT_BYTES, FEATURES, INPUT_FILTER, JOIN_SOURCE,
    MAX_PAYLOAD_BYTES, MAX_RECORDS_PER_REQUEST, OUTPUT_FILTER, TARGET_MODEL, Variable,
};
use crate::event::DecompressOptions;
use crate::inference::format::json_path::JsonPath;
use crate::inference::format::media_type::MediaType;
use crate::inference::projection::Projection;
use crate::inference::{BodyTemplate, InputSpec, RequestSpec};

const KNOWN: &str = "application/json, application/jsonlines or text/csv";

/// The model of a multi-model endpoint.
enum TargetModel {
    Named(String),
    InTheRecord(JsonPath),
}

impl<L: Fn(&str) -> Option<String>> Reader<L> {
    pub(super) fn decompress(&mut self) -> Option<DecompressOptions> {
        let enabled = self.required(COMPRESSION, |value| either(value, "none", "auto"));
        let limit_bytes = self.required(DECOMPRESS_LIMIT_BYTES, |value| whole(value, 1..=268_435_456));
        Some(DecompressOptions {
            enabled: enabled?,
            limit_bytes: limit_bytes?,
        })
    }

    /// What the records, requests and predictions look like, as far as the settings are right.
    pub(super) fn shape(&mut self, content_type: Option<&str>) -> Shape {
        let requests = content_type.and_then(MediaType::of);
        let features = self.optional(FEATURES, features).unwrap_or_default();
        let records = if features.is_empty() {
            requests
        } else {
            Some(MediaType::Json)
        };
        let (target_model, model_path) = match self.optional(TARGET_MODEL, target_model) {
            Some(TargetModel::InTheRecord(path)) => (None, Some(path)),
            Some(TargetModel::Named(name)) => (Some(name), None),
            None => (None, None),
        };
        let shape = Shape {
            records,
            requests,
            features,
            target_model,
            model_path,
            is_multi: self.required(BATCH_STRATEGY, |value| either(value, "SingleRecord", "MultiRecord")),
            max_records: self.required(MAX_RECORDS_PER_REQUEST, |value| whole(value, 1..=10_000)),
            max_payload_bytes: self.required(MAX_PAYLOAD_BYTES, |value| whole(value, 1..=26_214_400)),
            csv_header: self.optional(CSV_HEADER, header),
            input_filter: self.required(INPUT_FILTER, JsonPath::parse),
            join_input: self.required(JOIN_SOURCE, |value| either(value, "None", "Input")),
            output_filter: self.required(OUTPUT_FILTER, JsonPath::parse),
        };
        if let Some(content_type) = content_type {
            let faults = shape.faults();
            let with_its_value =
                |fault: String| fault.replace(CONTENT_TYPE.name, &format!("{}={content_type:?}", CONTENT_TYPE.name));
            self.faults.extend(faults.into_iter().map(with_its_value));
        }
        shape
    }
}

/// What was read of the settings.
pub(super) struct Shape {
    records: Option<MediaType>,
    requests: Option<MediaType>,
    features: Vec<JsonPath>,
    /// The model that all calls name.
    pub(super) target_model: Option<String>,
    model_path: Option<JsonPath>,
    is_multi: Option<bool>,
    max_records: Option<usize>,
    max_payload_bytes: Option<usize>,
    csv_header: Option<String>,
    input_filter: Option<JsonPath>,
    join_input: Option<bool>,
    output_filter: Option<JsonPath>,
}

impl Shape {
    /// How requests are made and what is shown of predictions.
    pub(super) fn assemble(self) -> Option<(RequestSpec, Projection)> {
        let is_multi = self.is_multi?;
        let header = self.csv_header.as_deref();
        let body_template = match self.requests.filter(|_| is_multi) {
            Some(media) => BodyTemplate::multi_record(media, header),
            None => BodyTemplate::single_record(header),
        };
        let input = InputSpec {
            record_type: self.records,
            request_type: self.requests,
            features: self.features,
            input_filter: self.input_filter?,
            target_model: self.model_path,
            is_multi_record: is_multi,
        };
        let request_spec = RequestSpec {
            input,
            body_template: Arc::new(body_template),
            max_records: if is_multi { self.max_records? } else { 1 },
            max_payload_bytes: self.max_payload_bytes?,
        };
        let projection = Projection {
            join_input: self.join_input?,
            output_filter: self.output_filter?,
            record_type: self.records,
        };
        Some((request_spec, projection))
    }

    /// What does not fit together. What looks into a record or packs it takes its shape for known.
    fn faults(&self) -> Vec<String> {
        let is_joined = self.join_input == Some(true);
        let looks_in = |path: &Option<JsonPath>| path.as_ref().is_some_and(|path| !path.is_identity());
        let by_name = |path: &Option<JsonPath>| path.as_ref().is_some_and(|path| !path.is_column_path());
        let unknown = |variable: Variable, value: &str| {
            let (name, content_type) = (variable.name, CONTENT_TYPE.name);
            format!("{name}{value} with {content_type}, whose records the function cannot look into; allowed: {KNOWN}")
        };
        let paths = [
            (INPUT_FILTER, &self.input_filter),
            (TARGET_MODEL, &self.model_path),
            (OUTPUT_FILTER, if is_joined { &self.output_filter } else { &None }),
        ];
        let mut faults = Vec::new();
        for (variable, _) in paths
            .iter()
            .filter(|(_, path)| self.records.is_none() && looks_in(path))
        {
            faults.push(unknown(*variable, ""));
        }
        for (Variable { name, .. }, _) in paths
            .iter()
            .filter(|(_, path)| self.records == Some(MediaType::Csv) && by_name(path))
        {
            faults.push(format!(
                "{name} is a path by name, but CSV has columns; allowed: $, [n,…] or [a:b]"
            ));
        }
        if self.requests.is_none() {
            let is_multi = self.is_multi == Some(true);
            faults.extend(is_multi.then(|| unknown(BATCH_STRATEGY, "=\"MultiRecord\"")));
            faults.extend((!self.features.is_empty()).then(|| unknown(FEATURES, "")));
        }
        if is_joined && self.records.is_none() {
            faults.push(unknown(JOIN_SOURCE, "=\"Input\""));
        }
        if !self.features.is_empty() && looks_in(&self.input_filter) {
            faults.push("FEATURES and INPUT_FILTER both say what the model gets; allowed: one of them".to_owned());
        }
        if self.csv_header.is_some() && self.requests != Some(MediaType::Csv) {
            faults.push(format!(
                "{} with {}; allowed: text/csv",
                CSV_HEADER.name, CONTENT_TYPE.name
            ));
        }
        faults
    }
}

/// False for the first of two words, true for the second.
fn either(value: &str, first: &str, second: &str) -> Option<bool> {
    (value == first || value == second).then(|| value == second)
}

fn features(value: &str) -> Option<Vec<JsonPath>> {
    JsonPath::parse_list(value).filter(|paths| paths.iter().all(JsonPath::is_singular))
}

fn target_model(value: &str) -> Option<TargetModel> {
    if value.starts_with('$') {
        let path = JsonPath::parse(value).filter(|path| path.is_singular() && !path.is_identity());
        return path.map(TargetModel::InTheRecord);
    }
    header(value).map(TargetModel::Named)
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, ConfigError};

    fn read(settings: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let minimal = [("ENDPOINT_NAME", "fraud"), ("OUTPUT", "stdout:")];
        let all: Vec<_> = minimal.iter().chain(settings).copied().collect();
        let value = |name: &str| {
            all.iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| (*value).to_owned())
        };
        Config::from_lookup(value)
    }

    #[test]
    fn what_does_not_fit_together_is_refused_with_the_names_of_both() {
        const IMAGE: (&str, &str) = ("CONTENT_TYPE", "image/png");
        const CSV: (&str, &str) = ("CONTENT_TYPE", "text/csv; charset=utf-8");
        for (settings, expected) in [
            (
                vec![("BATCH_STRATEGY", "MultiRecord"), IMAGE],
                "BATCH_STRATEGY=\"MultiRecord\" with CONTENT_TYPE=\"image/png\"",
            ),
            (
                vec![("JOIN_SOURCE", "Input"), IMAGE],
                "JOIN_SOURCE=\"Input\" with CONTENT_TYPE",
            ),
            (vec![("INPUT_FILTER", "$.a"), IMAGE], "INPUT_FILTER with CONTENT_TYPE"),
            (vec![("TARGET_MODEL", "$.a"), IMAGE], "TARGET_MODEL with CONTENT_TYPE"),
            (vec![("FEATURES", "$.a"), IMAGE], "FEATURES with CONTENT_TYPE"),
            (vec![("INPUT_FILTER", "$.a"), CSV], "INPUT_FILTER is a path by name"),
            (vec![("TARGET_MODEL", "$.a"), CSV], "TARGET_MODEL is a path by name"),
            (
                vec![("OUTPUT_FILTER", "$.a"), ("JOIN_SOURCE", "Input"), CSV],
                "OUTPUT_FILTER is a path by name",
            ),
            (
                vec![("FEATURES", "$.a"), ("INPUT_FILTER", "$.b")],
                "FEATURES and INPUT_FILTER",
            ),
            (
                vec![("CSV_HEADER", "a,b")],
                "CSV_HEADER with CONTENT_TYPE=\"application/json\"",
            ),
        ] {
            let error = read(&settings).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
            assert_eq!(error.lines().count(), 2, "{error}");
        }
    }

    #[test]
    fn what_fits_together_is_taken() {
        for settings in [
            vec![("BATCH_STRATEGY", "MultiRecord")],
            vec![
                ("FEATURES", "$.a"),
                ("CONTENT_TYPE", "text/csv"),
                ("TARGET_MODEL", "$.m"),
                ("CSV_HEADER", "a"),
            ],
            vec![
                ("CONTENT_TYPE", "text/csv"),
                ("INPUT_FILTER", "$[1:]"),
                ("OUTPUT_FILTER", "$[0,-1]"),
            ],
            vec![("CONTENT_TYPE", "image/png"), ("OUTPUT_FILTER", "$.label")],
        ] {
            read(&settings).unwrap();
        }
        let config = read(&[("TARGET_MODEL", "a.tar.gz")]).unwrap();
        assert_eq!(config.parameters.target_model.as_deref(), Some("a.tar.gz"));
        let multi = read(&[("BATCH_STRATEGY", "MultiRecord"), ("MAX_RECORDS_PER_REQUEST", "7")]).unwrap();
        assert_eq!(multi.requests.max_records, 7);
        assert!(!read(&[("COMPRESSION", "none")]).unwrap().decompress.enabled);
    }
}
