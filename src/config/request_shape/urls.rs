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

    /// Returns whether `ENDPOINT_METHOD` is GET.
    pub(super) fn is_get(&self) -> bool {
        let value = self.value(ENDPOINT_METHOD);
        value.and_then(|value| method(&value)) == Some(http::Method::GET)
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
