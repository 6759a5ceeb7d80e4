//! Checks that `RECORD_TEMPLATE`, `REQUEST_TEMPLATE` and the settings that they use fit each other.

use super::{BatchStrategy, Shape};
use crate::config::variables::{CONTENT_TYPE, RECORD_TEMPLATE, REQUEST_TEMPLATE};
use crate::format::media_type::MediaType;
use crate::inference::{JsonTemplate, Placeholder};

impl Shape {
    /// Returns the template of a record in a request.
    pub(super) fn record_template(&self) -> JsonTemplate {
        let mut in_requests = self.request_template.iter().flat_map(JsonTemplate::placeholders);
        let is_row = in_requests.any(Placeholder::is_features) || !self.features.is_empty();
        let default = if is_row { Placeholder::Row } else { Placeholder::Record };
        self.record_template
            .clone()
            .unwrap_or_else(|| JsonTemplate::of(default))
    }

    /// Returns the faults of `RECORD_TEMPLATE` and `REQUEST_TEMPLATE`, and of settings that they do not use.
    pub(super) fn template_faults(&self) -> Vec<String> {
        let content_type = CONTENT_TYPE.name;
        let is_multi_record = self.batch_strategy == Some(BatchStrategy::MultiRecord);
        let has = |template: &Option<JsonTemplate>, is: fn(Placeholder) -> bool| {
            template
                .as_ref()
                .and_then(|template| template.placeholders().find(|it| is(*it)))
        };
        let mut faults = Vec::new();
        if self.record_template.is_some() && !matches!(self.requests, Some(MediaType::Json | MediaType::JsonLines)) {
            faults.push(format!(
                "RECORD_TEMPLATE with {content_type}; allowed: application/json or application/jsonlines"
            ));
        }
        if self.request_template.is_some() && self.requests != Some(MediaType::Json) {
            faults.push(format!(
                "REQUEST_TEMPLATE with {content_type}; allowed: application/json"
            ));
        }
        for (name, template) in [
            (RECORD_TEMPLATE.name, &self.record_template),
            (REQUEST_TEMPLATE.name, &self.request_template),
        ] {
            if let Some(row) = has(template, Placeholder::is_features).filter(|_| self.features.is_empty()) {
                faults.push(format!(
                    "{name} has {}, but FEATURES is not set; allowed: both or neither",
                    row.text()
                ));
            }
        }
        if let Some(single) = has(&self.request_template, Placeholder::is_single).filter(|_| is_multi_record) {
            let single = single.text();
            faults.push(format!(
                "REQUEST_TEMPLATE has {single}, but BATCH_STRATEGY is MultiRecord; allowed: {single}s"
            ));
        }
        if let Some(rows) = has(&self.request_template, Placeholder::is_features)
            && self.record_template.is_some()
        {
            faults.push(format!(
                "REQUEST_TEMPLATE has {}, so RECORD_TEMPLATE has no effect; allowed: one of them, or $records",
                rows.text()
            ));
        }
        let has_features = !self.features.is_empty();
        if has_features
            && self.record_template.is_some()
            && has(&self.record_template, Placeholder::is_features).is_none()
        {
            faults.push("RECORD_TEMPLATE has no $row, so FEATURES has no effect; allowed: both or neither".to_owned());
        }
        let is_filtered = self.input_filter.as_ref().is_some_and(|path| !path.is_identity());
        let uses_record = self
            .record_template()
            .placeholders()
            .any(|it| it == Placeholder::Record);
        if has_features && is_filtered && !uses_record {
            faults.push(
                "FEATURES and INPUT_FILTER both set the model's input; allowed: one of them, or both with \
                 RECORD_TEMPLATE"
                    .to_owned(),
            );
        }
        faults
    }
}

#[cfg(test)]
mod tests {
    use crate::config::request_shape::tests::read;

    #[test]
    fn templates_that_do_not_fit_are_refused() {
        const FEATURES: (&str, &str) = ("FEATURES", "$.a");
        for (settings, expected) in [
            (
                vec![("REQUEST_TEMPLATE", "tensorflow")],
                "it is tensorflow, which is not JSON: expected ident at line 1 column 2; allowed: instances, array",
            ),
            (
                vec![("REQUEST_TEMPLATE", "array"), ("CONTENT_TYPE", "application/jsonlines")],
                "REQUEST_TEMPLATE with CONTENT_TYPE=\"application/jsonlines\"; allowed: application/json",
            ),
            (
                vec![("RECORD_TEMPLATE", "[$record]"), ("CONTENT_TYPE", "text/csv")],
                "RECORD_TEMPLATE with CONTENT_TYPE=\"text/csv\"",
            ),
            (
                vec![("REQUEST_TEMPLATE", "[$rows]")],
                "REQUEST_TEMPLATE has $rows, but FEATURES is not set",
            ),
            (
                vec![("RECORD_TEMPLATE", "[$row]")],
                "RECORD_TEMPLATE has $row, but FEATURES is not set",
            ),
            (
                vec![("REQUEST_TEMPLATE", "[$record]"), ("BATCH_STRATEGY", "MultiRecord")],
                "REQUEST_TEMPLATE has $record, but BATCH_STRATEGY is MultiRecord; allowed: $records",
            ),
            (
                vec![("REQUEST_TEMPLATE", "$rows"), ("RECORD_TEMPLATE", "[$row]"), FEATURES],
                "REQUEST_TEMPLATE has $rows, so RECORD_TEMPLATE has no effect",
            ),
            (
                vec![("RECORD_TEMPLATE", "[$record]"), FEATURES],
                "RECORD_TEMPLATE has no $row, so FEATURES has no effect",
            ),
            (
                vec![("RECORD_TEMPLATE", "[$row]"), ("INPUT_FILTER", "$.b"), FEATURES],
                "FEATURES and INPUT_FILTER",
            ),
            (vec![("REQUEST_TEMPLATE", "v2")], "v2 needs FEATURES"),
        ] {
            let error = read(&settings).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
            assert_eq!(error.lines().count(), 2, "{error}");
        }
    }
}
