//! Environment variables in, [`Config`] out: typed, in range, read once at start-up.
//!
//! Every variable is read and checked before the first event, and all that is wrong is told in one message. An empty
//! variable is an unset one.

use std::fmt;
use std::num::NonZeroUsize;
use std::time::Duration;

use crate::deadline::Limits;
use crate::decode::Unpacking;
use crate::endpoint::sagemaker::InvokeParameters;
use crate::prediction::shown::View;
use crate::request::Rules;
use crate::retry::Retry;

mod destination;
mod reader;
mod shape;
mod variables;

pub use destination::Destination;
use reader::{Reader, whole};
use variables::{
    ACCEPT, ADAPTIVE_CAPACITY, CALL_TIMEOUT_MS, CAPACITY, CONTENT_TYPE, CUSTOM_ATTRIBUTES, DEAD_LETTER, ENDPOINT_NAME,
    GIVE_UP_AFTER_S, HEDGE, INFERENCE_COMPONENT_NAME, MEMO_BYTES, METRICS, METRICS_NAMESPACE, OUTPUT, OUTPUT_FORMAT,
    OUTPUT_MODE, TARGET_CONTAINER_HOSTNAME, TARGET_VARIANT,
};
pub use variables::{VARIABLES, Variable};

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
    /// Whether fewer calls are in flight where the endpoint takes fewer.
    pub adaptive_capacity: bool,
    /// The percentile of latencies, 95–99, after which a slow call has a second one; none where unset.
    pub hedge: Option<u8>,
    /// Time for one attempt, 1–70,000 ms: a model may take 60 s, and AWS advises a client timeout of 70 s then.
    pub call_timeout: Duration,
    /// When a call that failed is tried again.
    pub retry: Retry,
    /// What of an invocation's time is whose.
    pub limits: Limits,
    /// How Kinesis records are unpacked.
    pub unpacking: Unpacking,
    /// How requests are made of records.
    pub requests: Rules,
    /// What of a prediction and its record is delivered.
    pub view: View,
    /// From which age on, 1–604,800 s, a record that keeps failing by what may be its own fault is rejected; never where
    /// unset.
    pub give_up_after: Option<Duration>,
    /// How much is remembered of records that will be delivered again, in bytes; 0 is nothing.
    pub memo_bytes: usize,
    /// The `CloudWatch` namespace of each invocation's metrics; none where they are off.
    pub metrics: Option<String>,
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
    /// How many calls a first batch may well have in flight: with several records a call, few.
    pub fn calls_at_first(&self) -> usize {
        const FEW: usize = 4;
        let capacity = self.capacity.get();
        if self.requests.max_records > 1 {
            capacity.min(FEW)
        } else {
            capacity
        }
    }

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
        let adaptive_capacity = reader.required(ADAPTIVE_CAPACITY, on_off);
        let hedge = reader.required(HEDGE, percentile);
        let call_timeout_ms = reader.required(CALL_TIMEOUT_MS, |value| whole(value, 1..=70_000));
        let retry = reader.retry();
        let limits = reader.limits();
        let give_up_after_s = reader.optional(GIVE_UP_AFTER_S, |value| whole(value, 1..=604_800));
        let memo_bytes = reader.required(MEMO_BYTES, |value| whole(value, 0..=1_073_741_824));
        reader.check_memory(output_mode, memo_bytes);
        reader.check_give_up(give_up_after_s, dead_letter.as_ref());
        let content_type = reader.required(CONTENT_TYPE, header);
        let accept = reader.required(ACCEPT, header);
        let custom_attributes = reader.optional(CUSTOM_ATTRIBUTES, header);
        let unpacking = reader.unpacking();
        let shape = reader.shape(content_type.as_deref());
        let target_variant = reader.optional(TARGET_VARIANT, resource_name);
        let target_container_hostname = reader.optional(TARGET_CONTAINER_HOSTNAME, resource_name);
        let inference_component_name = reader.optional(INFERENCE_COMPONENT_NAME, resource_name);
        let metrics = reader.required(METRICS, on_off);
        let namespace = reader.required(METRICS_NAMESPACE, namespace);
        let assemble = || {
            let target_model = shape.target_model.clone();
            let (requests, view) = shape.assemble()?;
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
                adaptive_capacity: adaptive_capacity?,
                hedge: hedge?,
                call_timeout: Duration::from_millis(call_timeout_ms?),
                retry: retry?,
                limits: limits?,
                unpacking: unpacking?,
                requests,
                view,
                give_up_after: give_up_after_s.map(Duration::from_secs),
                memo_bytes: memo_bytes?,
                metrics: namespace.filter(|_| metrics == Some(true)),
            })
        };
        let faults = reader.faults;
        assemble().filter(|_| faults.is_empty()).ok_or(ConfigError { faults })
    }
}

/// As `SageMaker` names endpoints, variants, containers and components.
fn resource_name(value: &str) -> Option<String> {
    let fits = (1..=63).contains(&value.len())
        && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        && !value.starts_with('-')
        && !value.ends_with('-');
    fits.then(|| value.to_owned())
}

/// As `CloudWatch` names them, without spaces:
/// <https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_MetricDatum.html>.
fn namespace(value: &str) -> Option<String> {
    let fits = (1..=255).contains(&value.len())
        && value
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b".-_/#:".contains(&byte))
        && !value.starts_with("AWS/");
    fits.then(|| value.to_owned())
}

/// What `InvokeEndpoint` carries in a header.
fn header(value: &str) -> Option<String> {
    let printable = value.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
    (printable && (1..=1024).contains(&value.len())).then(|| value.to_owned())
}

fn output_format(value: &str) -> Option<OutputFormat> {
    match value {
        "envelope" => Some(OutputFormat::Envelope),
        "raw" => Some(OutputFormat::Raw),
        _ => None,
    }
}

fn on_off(value: &str) -> Option<bool> {
    match value {
        "on" => Some(true),
        "off" => Some(false),
        _ => None,
    }
}

/// `off` is none.
#[expect(clippy::option_option, reason = "the outer one is a value that is not allowed")]
fn percentile(value: &str) -> Option<Option<u8>> {
    if value == "off" {
        return Some(None);
    }
    let percentile = value.strip_prefix('p').and_then(|number| whole(number, 95..=99))?;
    Some(Some(percentile))
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
        assert_eq!(
            (config.requests.max_payload_bytes, config.requests.max_records),
            (6_291_456, 1)
        );
        assert!(config.requests.rows.input_filter.is_whole() && config.view.output_filter.is_whole());
        assert!(config.unpacking.decompress && config.unpacking.limit_bytes == 10_485_760);
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
            (
                "TARGET_MODEL",
                &["models/a.tar.gz", "$.model"],
                &["$", "$..model", "$['a','b']", "$[*]"],
            ),
            ("BATCH_STRATEGY", &["SingleRecord", "MultiRecord"], &["multi"]),
            ("MAX_RECORDS_PER_REQUEST", &["1", "10000"], &["0", "10001"]),
            ("FEATURES", &["$.a,$['b']"], &["$.a,", "a", "$.a[*]", "$['a','b']"]),
            ("INPUT_FILTER", &["$", "$.a"], &["a", "$..a"]),
            ("OUTPUT_FILTER", &["$", "$.a"], &["a", "$..a"]),
            ("JOIN_SOURCE", &["None", "Input"], &["input"]),
            ("COMPRESSION", &["auto", "none"], &["gzip"]),
            ("DECOMPRESS_LIMIT_BYTES", &["1", "268435456"], &["0", "268435457"]),
            ("ADAPTIVE_CAPACITY", &["on", "off"], &["true", "ON"]),
            ("HEDGE", &["off", "p95", "p99"], &["on", "95", "p94", "p100", "p99.9"]),
            ("OUTPUT_FORMAT", &["envelope", "raw"], &["Raw", "json"]),
            ("OUTPUT_MODE", &["ordered", "unordered"], &["any"]),
            ("GIVE_UP_AFTER_S", &[], &["0", "604801", "1h"]),
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
    fn unordered_output_without_a_memory_is_refused() {
        let read_with = |mode, bytes| read(&[MINIMAL[0], MINIMAL[1], ("OUTPUT_MODE", mode), ("MEMO_BYTES", bytes)]);
        let error = read_with("unordered", "0").unwrap_err().to_string();
        assert!(
            error.contains("OUTPUT_MODE=\"unordered\" with MEMO_BYTES=\"0\""),
            "{error}"
        );
        assert!(read_with("ordered", "0").is_ok() && read_with("unordered", "1").is_ok());
    }

    #[test]
    fn giving_up_without_dead_letters_is_refused() {
        let read_with = |seconds, dead_letter| {
            let settings = [("GIVE_UP_AFTER_S", seconds), ("DEAD_LETTER", dead_letter)];
            read(&[MINIMAL[0], MINIMAL[1], settings[0], settings[1]])
        };
        for seconds in ["1", "604800"] {
            let error = read_with(seconds, "").unwrap_err().to_string();
            assert!(error.contains("without DEAD_LETTER"), "{error}");
            let config = read_with(seconds, "none:").unwrap();
            assert_eq!(
                config.give_up_after,
                Some(Duration::from_secs(seconds.parse().unwrap()))
            );
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
