//! The settings that say what records, requests and predictions look like, which must fit one another.

use std::sync::Arc;

use super::header;
use super::reader::{Reader, whole};
use super::variables::{
    BATCH_STRATEGY, COMPRESSION, CONTENT_TYPE, CSV_HEADER, DECOMPRESS_LIMIT_BYTES, FEATURES, INPUT_FILTER, JOIN_SOURCE,
    MAX_PAYLOAD_BYTES, MAX_RECORDS_PER_REQUEST, OUTPUT_FILTER, TARGET_MODEL, Variable,
};
use crate::decode::Unpacking;
use crate::media::Media;
use crate::path::Path;
use crate::prediction::shown::View;
use crate::request::{Frame, Rows, Rules};

const KNOWN: &str = "application/json, application/jsonlines or text/csv";

/// The model of a multi-model endpoint.
enum TargetModel {
    Named(String),
    InTheRecord(Path),
}

impl<L: Fn(&str) -> Option<String>> Reader<L> {
    pub(super) fn unpacking(&mut self) -> Option<Unpacking> {
        let decompress = self.required(COMPRESSION, |value| match value {
            "auto" => Some(true),
            "none" => Some(false),
            _ => None,
        });
        let limit_bytes = self.required(DECOMPRESS_LIMIT_BYTES, |value| whole(value, 1..=268_435_456));
        Some(Unpacking {
            decompress: decompress?,
            limit_bytes: limit_bytes?,
        })
    }

    /// The model that all calls name, and what the rest says.
    pub(super) fn shape(&mut self, content_type: Option<&str>) -> (Option<String>, Option<(Rules, View)>) {
        let requests = content_type.and_then(Media::of);
        let is_multi = self.required(BATCH_STRATEGY, |value| match value {
            "SingleRecord" => Some(false),
            "MultiRecord" => Some(true),
            _ => None,
        });
        let most = self.required(MAX_RECORDS_PER_REQUEST, |value| whole(value, 1..=10_000));
        let max_payload_bytes = self.required(MAX_PAYLOAD_BYTES, |value| whole(value, 1..=26_214_400));
        let features = self.optional(FEATURES, features).unwrap_or_default();
        let records = if features.is_empty() {
            requests
        } else {
            Some(Media::Json)
        };
        let csv_header = self.optional(CSV_HEADER, header);
        let input_filter = self.required(INPUT_FILTER, Path::read);
        let join_input = self.required(JOIN_SOURCE, |value| match value {
            "None" => Some(false),
            "Input" => Some(true),
            _ => None,
        });
        let output_filter = self.required(OUTPUT_FILTER, Path::read);
        let (target_model, path) = match self.optional(TARGET_MODEL, target_model) {
            Some(TargetModel::InTheRecord(path)) => (None, Some(path)),
            Some(TargetModel::Named(name)) => (Some(name), None),
            None => (None, None),
        };

        let looks_in = |path: Option<&Path>| path.is_some_and(|path| !path.is_whole());
        let of_records = [
            (INPUT_FILTER, input_filter.as_ref()),
            (TARGET_MODEL, path.as_ref()),
            (
                OUTPUT_FILTER,
                output_filter.as_ref().filter(|_| join_input == Some(true)),
            ),
        ];
        for (variable, path) in of_records.into_iter().filter(|(_, path)| looks_in(*path)) {
            self.needs_known(variable, records, "", content_type);
            let by_name = path.is_some_and(|path| !path.is_by_column());
            if records == Some(Media::Csv) && by_name {
                let name = variable.name;
                let fault = format!("{name} is a path by name, but CSV has columns; allowed: $, [n,…] or [a:b]");
                self.faults.push(fault);
            }
        }
        let is_packed = is_multi == Some(true);
        if is_packed {
            self.needs_known(BATCH_STRATEGY, requests, "=\"MultiRecord\"", content_type);
        }
        if join_input == Some(true) {
            self.needs_known(JOIN_SOURCE, records, "=\"Input\"", content_type);
        }
        if !features.is_empty() {
            self.needs_known(FEATURES, requests, "", content_type);
            if looks_in(input_filter.as_ref()) {
                let fault = "FEATURES and INPUT_FILTER both say what the model gets; allowed: one of them".to_owned();
                self.faults.push(fault);
            }
        }
        if csv_header.is_some() && requests != Some(Media::Csv) {
            let shown = content_type.unwrap_or_default();
            let fault = format!(
                "{} with {}={shown:?}; allowed: text/csv",
                CSV_HEADER.name, CONTENT_TYPE.name
            );
            self.faults.push(fault);
        }

        let frame = match requests.filter(|_| is_packed) {
            Some(media) => Frame::of_many(media, csv_header.as_deref()),
            None => Frame::of_one(csv_header.as_deref()),
        };
        let assemble = || {
            let rows = Rows {
                records,
                requests,
                features,
                input_filter: input_filter?,
                target_model: path,
                are_packed: is_multi?,
            };
            let rules = Rules {
                rows,
                frame: Arc::new(frame),
                max_records: if is_packed { most? } else { 1 },
                max_payload_bytes: max_payload_bytes?,
            };
            let view = View {
                join_input: join_input?,
                output_filter: output_filter?,
                records,
            };
            Some((rules, view))
        };
        (target_model, assemble())
    }

    /// What looks into a record or packs it takes its shape for known.
    fn needs_known(&mut self, variable: Variable, media: Option<Media>, value: &str, content_type: Option<&str>) {
        if let (None, Some(content_type)) = (media, content_type) {
            self.faults.push(format!(
                "{}{value} with {}={content_type:?}, whose records the function cannot look into; allowed: {KNOWN}",
                variable.name, CONTENT_TYPE.name
            ));
        }
    }
}

fn features(value: &str) -> Option<Vec<Path>> {
    Path::read_list(value).filter(|paths| paths.iter().all(Path::is_of_one_value))
}

fn target_model(value: &str) -> Option<TargetModel> {
    if value.starts_with('$') {
        let path = Path::read(value).filter(Path::is_of_one_value);
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
    }
}
