//! Environment variables in, [`Config`] out: typed, in range, read once at start-up.
//!
//! Every variable is read and checked before the first event, and all that is wrong is told in one message. An empty
//! variable is an unset one.

use std::fmt;
use std::num::NonZeroUsize;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use crate::deadline::Limits;
use crate::endpoint::sagemaker::InvokeParameters;
use crate::retry::{Backoff, Retry};

mod destination;
mod variables;

pub use destination::Destination;
use variables::{
    ACCEPT, CALL_TIMEOUT_MS, CAPACITY, CONTENT_TYPE, CUSTOM_ATTRIBUTES, DEAD_LETTER, DEADLINE_RESERVE_MS,
    ENDPOINT_NAME, GIVE_UP_AFTER_S, INFERENCE_COMPONENT_NAME, INVOCATION_BUDGET_MS, MAX_ATTEMPTS, MAX_PAYLOAD_BYTES,
    MEMO_BYTES, OUTPUT, OUTPUT_FORMAT, OUTPUT_MODE, RETRY_BASE_MS, RETRY_CAP_MS, TARGET_CONTAINER_HOSTNAME,
    TARGET_MODEL, TARGET_VARIANT,
};
pub use variables::{VARIABLES, Variable};

/// How much of a wrong value an error shows, in characters.
const VALUE_SHOWN: usize = 100;

/// The function's settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// What every call of `InvokeEndpoint` says.
    pub parameters: InvokeParameters,
    /// Where predictions go.
    pub output: Destination,
    /// Where rejected records go. Without it, a rejected record counts as failed.
    pub dead_letter: Option<Destination>,
    /// What a prediction is delivered as.
    pub output_format: OutputFormat,
    /// What of a batch is delivered when.
    pub output_mode: OutputMode,
    /// Calls in flight in this process, 1–1000.
    pub capacity: NonZeroUsize,
    /// Time for one attempt, 1–70,000 ms: a model may take 60 s, and AWS advises a client timeout of 70 s then.
    pub call_timeout: Duration,
    /// When a call that failed is tried again.
    pub retry: Retry,
    /// What of an invocation's time is whose.
    pub limits: Limits,
    /// Largest request body in bytes, 1–26,214,400. The default is `InvokeEndpoint`'s long-standing limit.
    pub max_payload_bytes: usize,
    /// From which age on, 1–604,800 s, a record that keeps failing by what may be its own fault is rejected; never where
    /// unset.
    pub give_up_after: Option<Duration>,
    /// How much is remembered of records that will be delivered again, in bytes; 0 is nothing.
    pub memo_bytes: usize,
}

/// What a prediction is delivered as. A dead letter is always in its envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputFormat {
    /// With the record's place in the stream, as one JSON object.
    Envelope,
    /// The model's answer alone.
    Raw,
}

/// What of a batch is delivered when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputMode {
    /// The finished prefix, in the order of the batch.
    Ordered,
    /// Each record that is finished, though one before it is not.
    Unordered,
}

/// All that is wrong with the environment.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    faults: Vec<String>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the configuration is wrong:")?;
        self.faults.iter().try_for_each(|fault| write!(f, "\n  {fault}"))
    }
}

impl Config {
    /// Reads the settings by `lookup`, which is the process's environment or a test's table.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] names every variable that is wrong, its value and what is allowed.
    pub fn from_lookup(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let mut reader = Reader {
            lookup,
            faults: Vec::new(),
        };
        let endpoint_name = reader.required(ENDPOINT_NAME, resource_name);
        let output = reader.required(OUTPUT, Destination::read);
        let dead_letter = reader.optional(DEAD_LETTER, Destination::read);
        let output_format = reader.required(OUTPUT_FORMAT, output_format);
        let output_mode = reader.required(OUTPUT_MODE, output_mode);
        reader.check_is_built(OUTPUT, output.as_ref());
        reader.check_is_built(DEAD_LETTER, dead_letter.as_ref());
        reader.check_log_level(OUTPUT, output.as_ref());
        reader.check_log_level(DEAD_LETTER, dead_letter.as_ref());
        let capacity = reader.required(CAPACITY, |value| whole(value, 1..=1000).and_then(NonZeroUsize::new));
        let call_timeout_ms = reader.required(CALL_TIMEOUT_MS, |value| whole(value, 1..=70_000));
        let retry = reader.retry();
        let limits = reader.limits();
        let max_payload_bytes = reader.required(MAX_PAYLOAD_BYTES, |value| whole(value, 1..=26_214_400));
        let give_up_after_s = reader.optional(GIVE_UP_AFTER_S, |value| whole(value, 1..=604_800));
        let memo_bytes = reader.required(MEMO_BYTES, |value| whole(value, 0..=1_073_741_824));
        let content_type = reader.required(CONTENT_TYPE, header);
        let accept = reader.required(ACCEPT, header);
        let custom_attributes = reader.optional(CUSTOM_ATTRIBUTES, header);
        let target_model = reader.optional(TARGET_MODEL, target_model);
        let target_variant = reader.optional(TARGET_VARIANT, resource_name);
        let target_container_hostname = reader.optional(TARGET_CONTAINER_HOSTNAME, resource_name);
        let inference_component_name = reader.optional(INFERENCE_COMPONENT_NAME, resource_name);
        let assemble = || {
            let parameters = InvokeParameters {
                endpoint_name: endpoint_name?,
                content_type: content_type?,
                accept: accept?,
                custom_attributes,
                target_model,
                target_variant,
                target_container_hostname,
                inference_component_name,
            };
            Some(Self {
                parameters,
                output: output?,
                dead_letter,
                output_format: output_format?,
                output_mode: output_mode?,
                capacity: capacity?,
                call_timeout: Duration::from_millis(call_timeout_ms?),
                retry: retry?,
                limits: limits?,
                max_payload_bytes: max_payload_bytes?,
                give_up_after: give_up_after_s.map(Duration::from_secs),
                memo_bytes: memo_bytes?,
            })
        };
        let faults = reader.faults;
        assemble().filter(|_| faults.is_empty()).ok_or(ConfigError { faults })
    }
}

/// Reads variables one by one and collects what is wrong with them, so that the user mends all of it at once.
struct Reader<L> {
    lookup: L,
    faults: Vec<String>,
}

impl<L: Fn(&str) -> Option<String>> Reader<L> {
    /// The variable's value, or its default; a fault if there is neither.
    fn required<T>(&mut self, variable: Variable, parse: impl Fn(&str) -> Option<T>) -> Option<T> {
        let Some(value) = self.value(variable) else {
            let parsed = variable.default.and_then(parse);
            if parsed.is_none() {
                let default = variable.default.map(|value| format!(" and its default is {value}"));
                let default = default.unwrap_or_default();
                self.faults.push(format!(
                    "{} is not set{default}; allowed: {}",
                    variable.name, variable.allowed
                ));
            }
            return parsed;
        };
        self.parse(variable, &value, parse)
    }

    /// The variable's value, if it is set.
    fn optional<T>(&mut self, variable: Variable, parse: impl Fn(&str) -> Option<T>) -> Option<T> {
        let value = self.value(variable)?;
        self.parse(variable, &value, parse)
    }

    fn retry(&mut self) -> Option<Retry> {
        let max_attempts = self.required(MAX_ATTEMPTS, |value| whole(value, 1..=10));
        let base = self.required(RETRY_BASE_MS, |value| whole(value, 1..=60_000));
        let cap = self.required(RETRY_CAP_MS, |value| whole(value, base.unwrap_or(1)..=60_000));
        Some(Retry {
            max_attempts: max_attempts?,
            backoff: Backoff {
                base: Duration::from_millis(base?),
                cap: Duration::from_millis(cap?),
            },
        })
    }

    fn limits(&mut self) -> Option<Limits> {
        let reserve = self.required(DEADLINE_RESERVE_MS, |value| whole(value, 300..=60_000));
        let more_than_that = reserve.unwrap_or_default() + 1;
        let budget = self.required(INVOCATION_BUDGET_MS, |value| whole(value, more_than_that..=900_000));
        Some(Limits {
            reserve: Duration::from_millis(reserve?),
            budget: Duration::from_millis(budget?),
        })
    }

    /// Lambda takes a line on standard output without a level for one of level INFO, and drops it where its JSON log
    /// format is on with a higher level:
    /// <https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs-log-level.html>.
    fn check_log_level(&mut self, variable: Variable, destination: Option<&Destination>) {
        let set_to = |name: &str, values: &[&str]| {
            let value = (self.lookup)(name).unwrap_or_default();
            values.iter().any(|it| value.eq_ignore_ascii_case(it))
        };
        let dropped =
            set_to("AWS_LAMBDA_LOG_FORMAT", &["json"]) && set_to("AWS_LAMBDA_LOG_LEVEL", &["warn", "error", "fatal"]);
        if dropped && destination == Some(&Destination::Stdout) {
            self.faults.push(format!(
                "{}=\"stdout:\" with AWS_LAMBDA_LOG_FORMAT=JSON and AWS_LAMBDA_LOG_LEVEL above INFO, which drops its \
                 lines; allowed: a level of INFO or below, or {}",
                variable.name, variable.allowed
            ));
        }
    }

    /// Each destination in AWS is a cargo feature, which a build may leave out.
    fn check_is_built(&mut self, variable: Variable, destination: Option<&Destination>) {
        if let Some(feature) = destination.and_then(Destination::missing_feature) {
            self.faults.push(format!(
                "{} is a destination that this build of the function leaves out; build it with the feature {feature}",
                variable.name
            ));
        }
    }

    fn value(&self, variable: Variable) -> Option<String> {
        (self.lookup)(variable.name).filter(|value| !value.is_empty())
    }

    fn parse<T>(&mut self, variable: Variable, value: &str, parse: impl Fn(&str) -> Option<T>) -> Option<T> {
        let parsed = parse(value);
        if parsed.is_none() {
            let shown: String = value.chars().take(VALUE_SHOWN).collect();
            self.faults
                .push(format!("{}={shown:?}; allowed: {}", variable.name, variable.allowed));
        }
        parsed
    }
}

fn whole<T: FromStr + PartialOrd>(value: &str, range: RangeInclusive<T>) -> Option<T> {
    value.parse().ok().filter(|number| range.contains(number))
}

/// As `SageMaker` names endpoints, variants, containers and components.
fn resource_name(value: &str) -> Option<String> {
    let fits = (1..=63).contains(&value.len())
        && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        && !value.starts_with('-')
        && !value.ends_with('-');
    fits.then(|| value.to_owned())
}

/// What `InvokeEndpoint` carries in a header.
fn header(value: &str) -> Option<String> {
    let printable = value.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
    (printable && (1..=1024).contains(&value.len())).then(|| value.to_owned())
}

/// A leading `$` is kept free for a path into the record, which a later version takes.
fn target_model(value: &str) -> Option<String> {
    header(value).filter(|value| !value.starts_with('$'))
}

fn output_format(value: &str) -> Option<OutputFormat> {
    match value {
        "envelope" => Some(OutputFormat::Envelope),
        "raw" => Some(OutputFormat::Raw),
        _ => None,
    }
}

fn output_mode(value: &str) -> Option<OutputMode> {
    match value {
        "ordered" => Some(OutputMode::Ordered),
        "unordered" => Some(OutputMode::Unordered),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(settings: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let value = |name: &str| {
            settings
                .iter()
                .rev()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| (*value).to_owned())
        };
        Config::from_lookup(value)
    }

    const MINIMAL: [(&str, &str); 2] = [("ENDPOINT_NAME", "fraud"), ("OUTPUT", "stdout:")];

    fn read_with(name: &str, value: &str) -> Result<Config, ConfigError> {
        read(&[MINIMAL[0], MINIMAL[1], (name, value)])
    }

    #[test]
    fn two_settings_are_enough() {
        let config = read(&MINIMAL).unwrap();
        assert_eq!(config.parameters.endpoint_name, "fraud");
        assert_eq!(config.parameters.content_type, "application/json");
        assert_eq!(config.parameters.accept, "application/json");
        assert_eq!(config.output, Destination::Stdout);
        assert_eq!(config.dead_letter, None);
        assert_eq!(config.capacity.get(), 20);
        assert_eq!(config.call_timeout, Duration::from_secs(30));
        assert_eq!(config.retry.max_attempts, 3);
        assert_eq!(
            (config.retry.backoff.base, config.retry.backoff.cap),
            (Duration::from_millis(50), Duration::from_secs(2))
        );
        assert_eq!(config.limits.reserve, Duration::from_secs(1));
        assert_eq!(config.limits.budget, Duration::from_mins(1));
        assert_eq!(config.max_payload_bytes, 6_291_456);
        assert_eq!((config.give_up_after, config.memo_bytes), (None, 16_777_216));
        assert_eq!(
            (config.output_format, config.output_mode),
            (OutputFormat::Envelope, OutputMode::Ordered)
        );
    }

    #[test]
    fn every_wrong_variable_is_named_in_one_message() {
        let error = read(&[
            ("ENDPOINT_NAME", "-x"),
            ("CAPACITY", "zero"),
            ("CALL_TIMEOUT_MS", "70001"),
        ])
        .unwrap_err();
        assert_eq!(
            error.to_string(),
            "the configuration is wrong:\n  \
             ENDPOINT_NAME=\"-x\"; allowed: 1–63 letters, digits and hyphens, a letter or digit at both ends\n  \
             OUTPUT is not set; allowed: stdout:, kinesis:STREAM, firehose:STREAM, sqs:URL, s3:BUCKET/PREFIX or none:\n  \
             CAPACITY=\"zero\"; allowed: a whole number, 1–1000\n  \
             CALL_TIMEOUT_MS=\"70001\"; allowed: a whole number, 1–70000"
        );
    }

    #[test]
    fn a_default_that_another_variable_rules_out_is_called_so() {
        let error = read_with("RETRY_BASE_MS", "5000").unwrap_err().to_string();
        let expected = "RETRY_CAP_MS is not set and its default is 2000; allowed: a whole number, RETRY_BASE_MS–60000";
        assert!(error.contains(expected), "{error}");
    }

    #[test]
    fn ranges_end_where_they_say() {
        for (name, allowed, refused) in [
            (
                "CAPACITY",
                &["1", "1000"][..],
                &["0", "1001", "-1", "1.5", " 1", "99999999999999999999"][..],
            ),
            ("CALL_TIMEOUT_MS", &["1", "70000"], &["0", "70001"]),
            ("MAX_ATTEMPTS", &["1", "10"], &["0", "11"]),
            ("RETRY_BASE_MS", &["1", "2000"], &["0", "60001"]),
            ("RETRY_CAP_MS", &["50", "60000"], &["49", "60001"]),
            ("DEADLINE_RESERVE_MS", &["300", "59999"], &["299", "60000", "60001"]),
            ("INVOCATION_BUDGET_MS", &["1001", "900000"], &["1000", "900001"]),
            ("MAX_PAYLOAD_BYTES", &["1", "26214400"], &["0", "26214401"]),
            (
                "TARGET_VARIANT",
                &["a", &"a".repeat(63)],
                &["-a", "a-", "a_b", &"a".repeat(64)],
            ),
            (
                "ACCEPT",
                &["text/csv; charset=utf-8"],
                &["text\n", "é", &"a".repeat(1025)],
            ),
            ("TARGET_MODEL", &["models/a.tar.gz"], &["$.model"]),
            ("OUTPUT_FORMAT", &["envelope", "raw"], &["Raw", "json"]),
            ("OUTPUT_MODE", &["ordered", "unordered"], &["any"]),
            ("GIVE_UP_AFTER_S", &["1", "604800"], &["0", "604801", "1h"]),
            ("MEMO_BYTES", &["0", "1073741824"], &["-1", "1073741825"]),
            ("OUTPUT", &["stdout:", "none:"], &["stdout", "nowhere:"]),
            ("DEAD_LETTER", &["stdout:", "none:"], &["stderr:"]),
        ] {
            for value in allowed {
                read_with(name, value).unwrap_or_else(|error| panic!("{name}={value:?}: {error}"));
            }
            for value in refused {
                let error = read_with(name, value).unwrap_err().to_string();
                assert!(error.contains(name), "{error}");
            }
        }
    }

    #[test]
    fn stdout_is_refused_where_lambda_would_drop_its_lines() {
        let read_at = |format: &str, level: &str, output: &str| {
            let settings = [("AWS_LAMBDA_LOG_FORMAT", format), ("AWS_LAMBDA_LOG_LEVEL", level)];
            read(&[MINIMAL[0], ("OUTPUT", output), settings[0], settings[1]])
        };
        for level in ["WARN", "ERROR", "FATAL"] {
            let error = read_at("JSON", level, "stdout:").unwrap_err().to_string();
            assert!(
                error.contains("OUTPUT=\"stdout:\"") && error.contains("INFO or below"),
                "{error}"
            );
            let both = [("AWS_LAMBDA_LOG_FORMAT", "JSON"), ("AWS_LAMBDA_LOG_LEVEL", level)];
            let elsewhere = [
                MINIMAL[0],
                ("OUTPUT", "none:"),
                ("DEAD_LETTER", "stdout:"),
                both[0],
                both[1],
            ];
            assert!(
                read(&elsewhere)
                    .unwrap_err()
                    .to_string()
                    .contains("DEAD_LETTER=\"stdout:\"")
            );
            assert!(read_at("Text", level, "stdout:").is_ok());
            assert!(read_at("JSON", level, "none:").is_ok());
        }
        assert!(read_at("JSON", "INFO", "stdout:").is_ok());
    }

    #[test]
    fn an_empty_variable_is_an_unset_one() {
        assert_eq!(read_with("CAPACITY", "").unwrap().capacity.get(), 20);
        assert_eq!(read_with("DEAD_LETTER", "").unwrap().dead_letter, None);
        assert!(
            read_with("OUTPUT", "")
                .unwrap_err()
                .to_string()
                .contains("OUTPUT is not set")
        );
    }

    #[test]
    fn a_wrong_value_is_shown_cut_and_escaped() {
        let error = read_with("CAPACITY", &format!("1\n{}", "9".repeat(500)))
            .unwrap_err()
            .to_string();
        assert!(error.contains("1\\n9"), "{error}");
        assert!(error.len() < 300, "{error}");
    }
}
