//! Checks that `ENDPOINT_METHOD` and the placeholders of `ENDPOINT_URL` fit the settings for requests.

use super::{BatchStrategy, Shape};
use crate::config::endpoint::method;
use crate::config::reader::Reader;
use crate::config::variables::{
    CSV_HEADER, ENDPOINT_METHOD, ENDPOINT_URL, FEATURES, INPUT_FILTER, RECORD_TEMPLATE, REQUEST_TEMPLATE,
};
use crate::inference::UrlTemplate;

impl<L: Fn(&str) -> Option<String>> Reader<L> {
    /// Returns the placeholders of `ENDPOINT_URL`. The endpoint's own reader adds a fault if they are wrong.
    pub(super) fn url_template(&self) -> Option<UrlTemplate> {
        UrlTemplate::split(&self.value(ENDPOINT_URL)?)?.1
    }

    /// Returns whether `ENDPOINT_METHOD` is GET, for a valid `ENDPOINT_URL`.
    pub(super) fn is_get(&self) -> bool {
        let url = self.value(ENDPOINT_URL).and_then(|url| UrlTemplate::split(&url));
        let method = url.and(self.value(ENDPOINT_METHOD)).and_then(|value| method(&value));
        method == Some(http::Method::GET)
    }
}

impl Shape {
    pub(super) fn url_faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if self.is_get && self.url_template.is_none() {
            faults.push(
                "ENDPOINT_METHOD=\"GET\" with an ENDPOINT_URL without placeholders sends nothing of the record; allowed: \
                 with a placeholder such as ?id={$.id}"
                    .to_owned(),
            );
        }
        if self.url_template.is_some() && self.batch_strategy == Some(BatchStrategy::MultiRecord) {
            faults.push(
                "ENDPOINT_URL has placeholders, but BATCH_STRATEGY is MultiRecord; allowed: SingleRecord, because each \
                 record has its own URL"
                    .to_owned(),
            );
        }
        let of_body = [
            (FEATURES, !self.features.is_empty()),
            (
                INPUT_FILTER,
                self.input_filter.as_ref().is_some_and(|path| !path.is_identity()),
            ),
            (RECORD_TEMPLATE, self.record_template.is_some()),
            (REQUEST_TEMPLATE, self.request_template.is_some()),
            (CSV_HEADER, self.csv_header.is_some()),
        ];
        for (variable, _) in of_body.iter().filter(|(_, is_set)| self.is_get && *is_set) {
            faults.push(format!(
                "{} with ENDPOINT_METHOD=\"GET\", whose requests have no body; allowed: one of them",
                variable.name
            ));
        }
        faults
    }
}

#[cfg(test)]
mod tests {
    use crate::config::request_shape::tests::read;

    #[test]
    fn settings_that_do_not_fit_a_url_with_placeholders_or_a_get_request_are_refused() {
        const BY_ID: (&str, &str) = ("ENDPOINT_URL", "https://api.example.com/?id={$.id}");
        const COLUMN: (&str, &str) = ("ENDPOINT_URL", "https://api.example.com/?id={$[0]}");
        const GET: (&str, &str) = ("ENDPOINT_METHOD", "GET");
        for (settings, expected) in [
            (
                vec![GET, ("ENDPOINT_URL", "https://api.example.com/")],
                "without placeholders",
            ),
            (
                vec![BY_ID, ("BATCH_STRATEGY", "MultiRecord")],
                "BATCH_STRATEGY is MultiRecord",
            ),
            (
                vec![BY_ID, ("CONTENT_TYPE", "image/png")],
                "ENDPOINT_URL with CONTENT_TYPE",
            ),
            (
                vec![BY_ID, ("CONTENT_TYPE", "text/csv")],
                "ENDPOINT_URL selects by name",
            ),
            (vec![BY_ID, GET, ("FEATURES", "$.a")], "FEATURES with ENDPOINT_METHOD"),
            (
                vec![BY_ID, GET, ("INPUT_FILTER", "$.a")],
                "INPUT_FILTER with ENDPOINT_METHOD",
            ),
            (
                vec![BY_ID, GET, ("RECORD_TEMPLATE", "[$record]")],
                "RECORD_TEMPLATE with ENDPOINT_METHOD",
            ),
            (
                vec![BY_ID, GET, ("REQUEST_TEMPLATE", "array")],
                "REQUEST_TEMPLATE with ENDPOINT_METHOD",
            ),
        ] {
            let settings = [vec![("ENDPOINT_NAME", "")], settings].concat();
            let error = read(&settings).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
            assert_eq!(error.lines().count(), 2, "{error}");
        }
        for settings in [
            vec![BY_ID, ("FEATURES", "$.a")],
            vec![COLUMN, GET, ("CONTENT_TYPE", "text/csv")],
        ] {
            read(&[vec![("ENDPOINT_NAME", "")], settings].concat()).unwrap();
        }
    }
}
