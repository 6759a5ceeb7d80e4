//! Reads the settings for the shape of records, requests and predictions, and checks that they fit each other.

use std::sync::Arc;

use super::header;
use super::reader::{Reader, parse_whole_number};
use super::variables::{
    BATCH_STRATEGY, COMPRESSION, CONTENT_TYPE, CSV_HEADER, DECOMPRESS_LIMIT_BYTES, ENDPOINT_URL, FEATURES,
    INPUT_FILTER, JOIN_SOURCE, MAX_PAYLOAD_BYTES, MAX_RECORDS_PER_REQUEST, OUTPUT_FILTER, RECORD_PATTERN,
    RECORD_TEMPLATE, REQUEST_TEMPLATE, SPLIT_PATH, SPLIT_TYPE, TARGET_MODEL, Variable,
};
use crate::delivery::projection::Projection;
use crate::event::{DecodeRules, DecompressOptions, Split, SplitRules};
use crate::format::json_path::JsonPath;
use crate::format::media_type::MediaType;
use crate::inference::{BodyTemplate, Features, InputSpec, JsonTemplate, RequestSpec, UrlTemplate};

mod templates;
mod urls;

/// The content types that the function can parse.
const PARSED_TYPES: &str = "application/json, application/jsonlines or text/csv";

/// The values of `COMPRESSION`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Compression {
    Auto,
    None,
}

impl Compression {
    fn parse(value: &str) -> Option<Self> {
        match value {
            "auto" => Some(Self::Auto),
            "none" => Some(Self::None),
            _ => None,
        }
    }
}

/// The values of `BATCH_STRATEGY`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BatchStrategy {
    SingleRecord,
    MultiRecord,
}

impl BatchStrategy {
    fn parse(value: &str) -> Option<Self> {
        match value {
            "SingleRecord" => Some(Self::SingleRecord),
            "MultiRecord" => Some(Self::MultiRecord),
            _ => None,
        }
    }
}

/// The values of `JOIN_SOURCE`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum JoinSource {
    None,
    Input,
}

impl JoinSource {
    fn parse(value: &str) -> Option<Self> {
        match value {
            "None" => Some(Self::None),
            "Input" => Some(Self::Input),
            _ => None,
        }
    }
}

/// The model of a multi-model endpoint: one name for all calls, or the `JSONPath` at which each record names its model.
enum TargetModel {
    Named(String),
    InTheRecord(JsonPath),
}

impl<L: Fn(&str) -> Option<String>> Reader<L> {
    pub(super) fn decode(&mut self) -> Option<DecodeRules> {
        let compression = self.required(COMPRESSION, Compression::parse);
        let limit_bytes = self.required(DECOMPRESS_LIMIT_BYTES, |value| {
            parse_whole_number(value, 1..=268_435_456)
        });
        let lines = self.required(SPLIT_TYPE, split_type);
        let path = self.optional(SPLIT_PATH, |value| {
            JsonPath::parse(value).filter(|path| path.names().is_some())
        });
        let pattern = self.pattern(RECORD_PATTERN);
        if lines == Some(Some(Split::Lines)) && path.is_some() {
            self.faults
                .push("SPLIT_TYPE and SPLIT_PATH both split records; allowed: one of them".to_owned());
        }
        Some(DecodeRules {
            decompress: DecompressOptions {
                enabled: compression? == Compression::Auto,
                limit_bytes: limit_bytes?,
            },
            split: SplitRules::new(path.map(Split::Elements).or(lines?), pattern),
        })
    }

    /// Reads the shape of records, requests and predictions, as far as the settings are valid. Adds a fault for each
    /// pair of settings that do not fit.
    pub(super) fn shape(&mut self, content_type: Option<&str>) -> Shape {
        let requests = content_type.and_then(MediaType::of);
        let features = self.explained(FEATURES, str::parse::<Features>).unwrap_or_default();
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
        let request_template = self.explained(REQUEST_TEMPLATE, |value| {
            JsonTemplate::of_request(value, features.columns())
        });
        let shape = Shape {
            records,
            requests,
            record_template: self.explained(RECORD_TEMPLATE, JsonTemplate::of_record),
            request_template,
            features,
            target_model,
            model_path,
            batch_strategy: self.required(BATCH_STRATEGY, BatchStrategy::parse),
            max_records: self.required(MAX_RECORDS_PER_REQUEST, |value| parse_whole_number(value, 1..=10_000)),
            max_payload_bytes: self.required(MAX_PAYLOAD_BYTES, |value| parse_whole_number(value, 1..=26_214_400)),
            csv_header: self.optional(CSV_HEADER, header),
            input_filter: self.required(INPUT_FILTER, JsonPath::parse),
            join_source: self.required(JOIN_SOURCE, JoinSource::parse),
            output_filter: self.required(OUTPUT_FILTER, JsonPath::parse),
            url_template: self.url_template(),
            is_get: self.is_get(),
        };
        if let Some(content_type) = content_type {
            let faults = shape.faults();
            let with_content_type =
                |fault: String| fault.replace(CONTENT_TYPE.name, &format!("{}={content_type:?}", CONTENT_TYPE.name));
            self.faults.extend(faults.into_iter().map(with_content_type));
        }
        shape
    }
}

/// The settings for the shape of records, requests and predictions. `None` if a setting is invalid, unset or of an
/// unknown type.
pub(super) struct Shape {
    records: Option<MediaType>,
    requests: Option<MediaType>,
    features: Features,
    record_template: Option<JsonTemplate>,
    request_template: Option<JsonTemplate>,
    /// The model that all calls name.
    pub(super) target_model: Option<String>,
    model_path: Option<JsonPath>,
    batch_strategy: Option<BatchStrategy>,
    max_records: Option<usize>,
    max_payload_bytes: Option<usize>,
    csv_header: Option<String>,
    input_filter: Option<JsonPath>,
    join_source: Option<JoinSource>,
    output_filter: Option<JsonPath>,
    url_template: Option<UrlTemplate>,
    /// Whether a request has no body.
    is_get: bool,
}

impl Shape {
    /// Returns the specification of requests and the projection of predictions, or `None` if a setting is invalid.
    pub(super) fn assemble(self) -> Option<(RequestSpec, Projection)> {
        let is_multi_record = self.batch_strategy? == BatchStrategy::MultiRecord;
        let header = self.csv_header.as_deref();
        let body_template = match (&self.request_template, self.requests) {
            (Some(template), _) => BodyTemplate::json(template),
            (None, Some(media)) if is_multi_record => BodyTemplate::multi_record(media, header),
            (None, _) => BodyTemplate::single_record(header),
        };
        let record_template = self.record_template();
        let input = InputSpec {
            record_type: self.records,
            request_type: self.requests,
            features: Arc::new(self.features),
            input_filter: self.input_filter?,
            target_model: self.model_path,
            record_template,
            is_embedded: is_multi_record || self.request_template.is_some(),
            url_template: self.url_template,
            has_body: !self.is_get,
        };
        let request_spec = RequestSpec {
            input,
            body_template: Arc::new(body_template),
            max_records: if is_multi_record { self.max_records? } else { 1 },
            max_payload_bytes: self.max_payload_bytes?,
        };
        let projection = Projection {
            join_input: self.join_source? == JoinSource::Input,
            output_filter: self.output_filter?,
            record_type: self.records,
        };
        Some((request_spec, projection))
    }

    /// Returns a fault for each pair of settings that do not fit. Settings that look into a record, or that pack
    /// records together, need a known content type.
    fn faults(&self) -> Vec<String> {
        let is_joined = self.join_source == Some(JoinSource::Input);
        let unparsed = |variable: Variable, value: &str| {
            let (name, content_type) = (variable.name, CONTENT_TYPE.name);
            format!(
                "{name}{value} with {content_type}, whose records the function cannot parse; allowed: {PARSED_TYPES}"
            )
        };
        let output_filter = self.output_filter.as_ref().filter(|_| is_joined);
        let in_url = self.url_template.iter().flat_map(UrlTemplate::paths);
        let paths = [
            (INPUT_FILTER, self.input_filter.as_ref()),
            (TARGET_MODEL, self.model_path.as_ref()),
            (OUTPUT_FILTER, output_filter),
        ];
        let paths = paths.into_iter().filter_map(|(variable, path)| Some((variable, path?)));
        let mut faults = Vec::new();
        for (variable, path) in paths.chain(in_url.map(|path| (ENDPOINT_URL, path))) {
            if self.records.is_none() && !path.is_identity() {
                faults.push(unparsed(variable, ""));
            }
            if self.records == Some(MediaType::Csv) && !path.is_column_path() {
                let name = variable.name;
                let allowed = if name == ENDPOINT_URL.name {
                    "{$[n]}"
                } else {
                    "$, [n,…] or [a:b]"
                };
                faults.push(format!(
                    "{name} selects by name, but CSV rows have only columns; allowed: {allowed}"
                ));
            }
        }
        // A URL may have several placeholders.
        faults.dedup();
        if self.requests.is_none() {
            let is_multi_record = self.batch_strategy == Some(BatchStrategy::MultiRecord);
            faults.extend(is_multi_record.then(|| unparsed(BATCH_STRATEGY, "=\"MultiRecord\"")));
            faults.extend((!self.features.is_empty()).then(|| unparsed(FEATURES, "")));
        }
        if self.features.is_named() && self.requests == Some(MediaType::Csv) {
            let content_type = CONTENT_TYPE.name;
            faults.push(format!(
                "FEATURES has names, but {content_type} makes rows without names; allowed: PATH,… or a JSON type"
            ));
        }
        if is_joined && self.records.is_none() {
            faults.push(unparsed(JOIN_SOURCE, "=\"Input\""));
        }
        faults.extend(self.template_faults());
        faults.extend(self.url_faults());
        if self.csv_header.is_some() && self.requests != Some(MediaType::Csv) {
            faults.push(format!(
                "{} with {}; allowed: text/csv",
                CSV_HEADER.name, CONTENT_TYPE.name
            ));
        }
        faults
    }
}

/// Parses the values of `SPLIT_TYPE`. `None` gives `Some(None)`.
#[expect(clippy::option_option, reason = "the outer `None` is a value that is not allowed")]
fn split_type(value: &str) -> Option<Option<Split>> {
    match value {
        "None" => Some(None),
        "Line" => Some(Some(Split::Lines)),
        _ => None,
    }
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

    pub(super) fn read(settings: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let minimal = [("ENDPOINT_NAME", "fraud"), ("OUTPUT", "stdout:")];
        let all: Vec<_> = minimal.iter().chain(settings).copied().collect();
        let value = |name: &str| {
            all.iter()
                .rev()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| (*value).to_owned())
        };
        Config::from_lookup(value)
    }

    #[test]
    fn settings_that_do_not_fit_are_refused_with_the_names_of_both() {
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
            (vec![("INPUT_FILTER", "$.a"), CSV], "INPUT_FILTER selects by name"),
            (vec![("TARGET_MODEL", "$.a"), CSV], "TARGET_MODEL selects by name"),
            (
                vec![("OUTPUT_FILTER", "$.a"), ("JOIN_SOURCE", "Input"), CSV],
                "OUTPUT_FILTER selects by name",
            ),
            (
                vec![("FEATURES", "$.a"), ("INPUT_FILTER", "$.b")],
                "FEATURES and INPUT_FILTER",
            ),
            (
                vec![("FEATURES", r#"{"a":$.a}"#), CSV],
                "FEATURES has names, but CONTENT_TYPE=\"text/csv; charset=utf-8\"",
            ),
            (vec![("FEATURES", "$.a,$.b?x")], "FEATURES: \"$.b?x\" has a default"),
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
    fn a_path_or_a_list_over_its_limit_is_refused_with_the_limit() {
        let long = format!("${}", ".a".repeat(33));
        let many = vec!["$.a"; 1001].join(",");
        for (name, value, limit) in [
            ("FEATURES", &long, "up to 32 steps"),
            ("FEATURES", &many, "1–1000 JSONPaths"),
            ("INPUT_FILTER", &long, "up to 32"),
            ("TARGET_MODEL", &long, "up to 32 steps"),
        ] {
            let error = read(&[(name, value)]).unwrap_err().to_string();
            assert!(error.contains(name) && error.contains(limit), "{error}");
        }
    }

    #[test]
    fn settings_that_fit_are_accepted() {
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
            vec![
                ("FEATURES", "$.a"),
                ("INPUT_FILTER", "$.id"),
                ("RECORD_TEMPLATE", r#"{"id":$record,"row":$row}"#),
            ],
            vec![
                ("FEATURES", "$.a"),
                ("REQUEST_TEMPLATE", "v2"),
                ("BATCH_STRATEGY", "MultiRecord"),
            ],
            vec![
                ("RECORD_TEMPLATE", "[$record]"),
                ("CONTENT_TYPE", "application/jsonlines"),
            ],
        ] {
            read(&settings).unwrap();
        }
        let config = read(&[("TARGET_MODEL", "a.tar.gz")]).unwrap();
        assert_eq!(config.parameters.target_model.as_deref(), Some("a.tar.gz"));
        let multi = read(&[("BATCH_STRATEGY", "MultiRecord"), ("MAX_RECORDS_PER_REQUEST", "7")]).unwrap();
        assert_eq!(multi.requests.max_records, 7);
        assert!(!read(&[("COMPRESSION", "none")]).unwrap().decode.decompress.enabled);
    }
}
