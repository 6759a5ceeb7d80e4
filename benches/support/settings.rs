//! The function's settings, as names and values of environment variables.

use instream::config::Config;

/// Settings in addition to `COMMON`.
pub(crate) type Settings = &'static [(&'static str, &'static str)];

/// One record per request.
pub(crate) const SINGLE: Settings = &[];
/// 100 JSON lines per request.
pub(crate) const PACKED: Settings = &[
    ("BATCH_STRATEGY", "MultiRecord"),
    ("MAX_RECORDS_PER_REQUEST", "100"),
    ("CONTENT_TYPE", "application/jsonlines"),
];
/// 100 CSV rows per request, from JSON records.
pub(crate) const FEATURES: Settings = &[
    ("BATCH_STRATEGY", "MultiRecord"),
    ("MAX_RECORDS_PER_REQUEST", "100"),
    ("CONTENT_TYPE", "text/csv"),
    (
        "FEATURES",
        "$.amount,$.hour,$.merchant_category,$.country,$.card_country",
    ),
];
/// The settings of every bench.
const COMMON: Settings = &[
    ("ENDPOINT_NAME", "fraud-detector"),
    ("OUTPUT", "none:"),
    ("DEAD_LETTER", "none:"),
];

pub(crate) fn config(settings: Settings) -> Config {
    let all = || settings.iter().chain(COMMON);
    let lookup = |name: &str| {
        all()
            .find(|(key, _)| *key == name)
            .map(|(_, value)| (*value).to_owned())
    };
    Config::from_lookup(lookup).expect("the settings are valid")
}
