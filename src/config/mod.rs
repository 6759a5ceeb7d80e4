//! Reads the settings. Environment variables enter, and a typed and validated [`Config`] leaves. Never reads a variable
//! after start-up.
//!
//! All variables are checked before the first event, and all faults are reported in one message. An empty variable
//! counts as unset.

use std::fmt;
use std::num::NonZeroUsize;
use std::time::Duration;

use crate::delivery::projection::Projection;
use crate::delivery::{DestinationSetting, OutputFormat, OutputMode};
use crate::dispatch::retry::RetryPolicy;
use crate::endpoint::InvokeParameters;
use crate::endpoint::target::Target;
use crate::event::DecodeRules;
use crate::format::json_path::JsonPath;
use crate::format::pattern::EventPattern;
use crate::inference::{InferenceRequest, RequestSpec};
use crate::lambda::time_budget::TimeBudget;

mod endpoint;
mod reader;
mod request_shape;
mod variables;

use reader::{Reader, parse_whole_number};
use variables::{
    ACCEPT, ADAPTIVE_CAPACITY, CALL_TIMEOUT_MS, CAPACITY, CONTENT_TYPE, CUSTOM_ATTRIBUTES, HEDGE,
    INFERENCE_COMPONENT_NAME, METRICS, METRICS_NAMESPACE, OUTPUT_FORMAT, OUTPUT_MODE, PREDICTIONS,
    TARGET_CONTAINER_HOSTNAME, TARGET_VARIANT,
};
pub use variables::{VARIABLES, Variable};

/// The function's settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The endpoint to call, and the identity to call it with.
    pub endpoint: Target,
    /// The parameters that all calls share.
    pub parameters: InvokeParameters,
    /// The destination for predictions.
    pub output: DestinationSetting,
    /// The destination for rejected records. Without it, a rejected record counts as failed.
    pub dead_letter: Option<DestinationSetting>,
    /// The destination of alerts, and the pattern of the lines that are alerts.
    pub alert: Option<(DestinationSetting, EventPattern)>,
    /// The format of a delivered prediction.
    pub output_format: OutputFormat,
    /// The order in which the records of a batch are delivered.
    pub output_mode: OutputMode,
    /// The maximum number of calls in flight in this process, 1–1000.
    pub capacity: NonZeroUsize,
    /// Whether the limit of calls in flight adapts to an endpoint that accepts fewer.
    pub adaptive_capacity: bool,
    /// The percentile of latencies, 95–99, after which a slow call is hedged. `None` if calls are not hedged.
    pub hedge: Option<u8>,
    /// The timeout of one attempt, 1–70,000 ms. A model may take 60 s, and for this case AWS recommends a client
    /// timeout of 70 s.
    pub call_timeout: Duration,
    /// The number of attempts and the delays between them.
    pub retry: RetryPolicy,
    /// The division of an invocation's time.
    pub time_budget: TimeBudget,
    /// The rules by which Kinesis records become user records.
    pub decode: DecodeRules,
    /// The form of requests and the way to build them from records.
    pub requests: RequestSpec,
    /// The place of the list of predictions in an answer. If `None`, lists with common names are found.
    pub predictions: Option<JsonPath>,
    /// The parts of a prediction and its record that are delivered.
    pub projection: Projection,
    /// The age, 0–604,800 s, from which a record is rejected if it keeps failing and may itself be the cause. With 0,
    /// its first delivery may reject it. `None` if records are never given up, because there is no `DEAD_LETTER`.
    pub give_up_after: Option<Duration>,
    /// The request that shows whether the endpoint works before another one was answered.
    pub probe: Option<InferenceRequest>,
    /// The maximum size of the memo for records that will be redelivered, in bytes. 0 turns the memo off.
    pub memo_bytes: usize,
    /// The memory for answers, in bytes: those that are read, wait for delivery or are in the memo. 32 MiB to 8 GiB.
    pub buffer_bytes: usize,
    /// The `CloudWatch` namespace of the metrics. `None` if metrics are off.
    pub metrics: Option<String>,
}

/// All faults of the settings.
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
    /// Returns the expected number of calls in flight for the first batch. With several records per request, it is
    /// small.
    pub fn initial_concurrency(&self) -> usize {
        const INITIAL_MULTI_RECORD_CALLS: usize = 4;
        let capacity = self.capacity.get();
        if self.requests.max_records > 1 {
            capacity.min(INITIAL_MULTI_RECORD_CALLS)
        } else {
            capacity
        }
    }

    /// Reads the settings with `lookup`, which returns the value of a variable.
    ///
    /// # Errors
    ///
    /// Returns a [`ConfigError`] that lists every wrong variable with its value and the allowed values.
    pub fn from_lookup(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let mut reader = Reader {
            lookup,
            faults: Vec::new(),
        };
        let endpoint = reader.target();
        let (output, dead_letter) = reader.destinations();
        let alert = reader.alert();
        let output_format = reader.required(OUTPUT_FORMAT, output_format);
        let output_mode = reader.required(OUTPUT_MODE, output_mode);
        let capacity = reader.required(CAPACITY, capacity);
        let adaptive_capacity = reader.required(ADAPTIVE_CAPACITY, on_off);
        let hedge = reader.required(HEDGE, percentile);
        let call_timeout_ms = reader.required(CALL_TIMEOUT_MS, |value| parse_whole_number(value, 1..=70_000));
        let retry = reader.retry();
        let time_budget = reader.time_budget();
        let give_up_after = reader.give_up_after(dead_letter.as_ref());
        let (buffer_bytes, memo_bytes) = reader.memory(output_mode);
        let content_type = reader.required(CONTENT_TYPE, header);
        let accept = reader.required(ACCEPT, header);
        let custom_attributes = reader.optional(CUSTOM_ATTRIBUTES, header);
        let decode = reader.decode();
        let predictions = reader.optional(PREDICTIONS, singular_path);
        let shape = reader.shape(content_type.as_deref());
        let target_model = shape.target_model.clone();
        let shape = shape.assemble();
        let probe = reader.probe(shape.as_ref().map(|(requests, _)| requests));
        let target_variant = reader.optional(TARGET_VARIANT, resource_name);
        let target_container_hostname = reader.optional(TARGET_CONTAINER_HOSTNAME, resource_name);
        let inference_component_name = reader.optional(INFERENCE_COMPONENT_NAME, resource_name);
        let metrics = reader.required(METRICS, on_off);
        let namespace = reader.required(METRICS_NAMESPACE, namespace);
        let assemble = || {
            let (requests, projection) = shape?;
            let parameters = InvokeParameters {
                content_type: content_type?,
                accept: accept?,
                custom_attributes,
                target_model,
                target_variant,
                target_container_hostname,
                inference_component_name,
            };
            Some(Self {
                endpoint: endpoint?,
                parameters,
                output: output?,
                give_up_after,
                probe,
                dead_letter,
                alert,
                output_format: output_format?,
                output_mode: output_mode?,
                capacity: capacity?,
                adaptive_capacity: adaptive_capacity?,
                hedge: hedge?,
                call_timeout: Duration::from_millis(call_timeout_ms?),
                retry: retry?,
                time_budget: time_budget?,
                decode: decode?,
                requests,
                predictions,
                projection,
                memo_bytes: memo_bytes?,
                buffer_bytes: buffer_bytes?,
                metrics: namespace.filter(|_| metrics == Some(true)),
            })
        };
        let faults = reader.faults;
        assemble().filter(|_| faults.is_empty()).ok_or(ConfigError { faults })
    }
}

/// Parses a name in `SageMaker`'s format for endpoints, variants, containers and components.
fn resource_name(value: &str) -> Option<String> {
    let fits = (1..=63).contains(&value.len())
        && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        && !value.starts_with('-')
        && !value.ends_with('-');
    fits.then(|| value.to_owned())
}

/// Parses a namespace in `CloudWatch`'s format, without spaces:
/// <https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_MetricDatum.html>.
fn namespace(value: &str) -> Option<String> {
    let fits = (1..=255).contains(&value.len())
        && value
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b".-_/#:".contains(&byte))
        && !value.starts_with("AWS/");
    fits.then(|| value.to_owned())
}

/// Parses a value that `InvokeEndpoint` accepts in a header.
fn header(value: &str) -> Option<String> {
    let printable = value.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
    (printable && (1..=1024).contains(&value.len())).then(|| value.to_owned())
}

/// Returns whether Lambda drops lines on standard output. In the JSON log format, Lambda treats a line without a level
/// as level INFO, and drops it if the log level is higher.
pub fn is_stdout_dropped(lookup: impl Fn(&str) -> Option<String>) -> bool {
    let set_to = |name: &str, values: &[&str]| {
        let value = lookup(name).unwrap_or_default();
        values.iter().any(|it| value.eq_ignore_ascii_case(it))
    };
    set_to("AWS_LAMBDA_LOG_FORMAT", &["json"]) && set_to("AWS_LAMBDA_LOG_LEVEL", &["warn", "error", "fatal"])
}

fn output_format(value: &str) -> Option<OutputFormat> {
    match value {
        "envelope" => Some(OutputFormat::Envelope),
        "raw" => Some(OutputFormat::Raw),
        _ => None,
    }
}

fn capacity(value: &str) -> Option<NonZeroUsize> {
    parse_whole_number(value, 1..=1000).and_then(NonZeroUsize::new)
}

fn singular_path(value: &str) -> Option<JsonPath> {
    JsonPath::parse(value).filter(JsonPath::is_singular)
}

fn on_off(value: &str) -> Option<bool> {
    match value {
        "on" => Some(true),
        "off" => Some(false),
        _ => None,
    }
}

/// Parses a percentile from `p95` to `p99`. `off` gives `Some(None)`.
#[expect(clippy::option_option, reason = "the outer `None` is a value that is not allowed")]
fn percentile(value: &str) -> Option<Option<u8>> {
    if value == "off" {
        return Some(None);
    }
    let percentile = value
        .strip_prefix('p')
        .and_then(|number| parse_whole_number(number, 95..=99))?;
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
mod tests;
