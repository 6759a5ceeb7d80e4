//! The function's settings, as its environment would have them.

use instream::config::Config;

/// Beside those that every bench has.
pub(crate) type Settings = &'static [(&'static str, &'static str)];

/// A record a request.
pub(crate) const SINGLE: Settings = &[];
/// A hundred lines of JSON a request.
pub(crate) const PACKED: Settings = &[
    ("BATCH_STRATEGY", "MultiRecord"),
    ("MAX_RECORDS_PER_REQUEST", "100"),
    ("CONTENT_TYPE", "application/jsonlines"),
];
/// A hundred rows of CSV a request, made of JSON records.
pub(crate) const FEATURES: Settings = &[
    ("BATCH_STRATEGY", "MultiRecord"),
    ("MAX_RECORDS_PER_REQUEST", "100"),
    ("CONTENT_TYPE", "text/csv"),
    (
        "FEATURES",
        "$.amount,$.hour,$.merchant_category,$.country,$.card_country",
    ),
];
const ALWAYS: Settings = &[
    ("ENDPOINT_NAME", "fraud-detector"),
    ("OUTPUT", "none:"),
    ("DEAD_LETTER", "none:"),
];

pub(crate) fn config(settings: Settings) -> Config {
    let all = || settings.iter().chain(ALWAYS);
    let lookup = |name: &str| {
        all()
            .find(|(key, _)| *key == name)
            .map(|(_, value)| (*value).to_owned())
    };
    Config::from_lookup(lookup).expect("the settings are right")
}
