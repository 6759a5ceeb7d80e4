//! The table of the variables that the function reads.

/// A variable that the function reads.
#[derive(Debug, Clone, Copy)]
pub struct Variable {
    /// The variable's name, which includes the unit of its value.
    pub name: &'static str,
    /// The default value. `None` if the variable is required or optional.
    pub default: Option<&'static str>,
    /// A description of the allowed values.
    pub allowed: &'static str,
}

const fn variable(name: &'static str, default: Option<&'static str>, allowed: &'static str) -> Variable {
    Variable { name, default, allowed }
}

const RESOURCE_NAME: &str = "1–63 letters, digits and hyphens, a letter or digit at both ends";
const HEADER: &str = "1–1024 printable ASCII characters";
const JSON_PATH: &str = "a JSONPath of $ and up to 32 of .name, ['a','b'], [n,…], [a:b], [*]";
const URL: &str = "https://HOST[:PORT]/PATH[?QUERY], without a user name; http:// only to this machine; the path and \
                   query may have {$.path} in place of a value of the record";
const EVENT_PATTERN: &str = "an event pattern of EventBridge";
const DESTINATION: &str =
    "stdout:, kinesis:STREAM, firehose:STREAM, sqs:URL, s3:BUCKET/PREFIX, eventbridge:BUS or none:";

pub(super) const ENDPOINT_NAME: Variable = variable("ENDPOINT_NAME", None, RESOURCE_NAME);
pub(super) const ENDPOINT_URL: Variable = variable("ENDPOINT_URL", None, URL);
pub(super) const ENDPOINT_METHOD: Variable = variable("ENDPOINT_METHOD", Some("POST"), "POST, GET");
pub(super) const ENDPOINT_AUTH: Variable = variable("ENDPOINT_AUTH", Some("none"), "sigv4, none");
pub(super) const ENDPOINT_REGION: Variable = variable("ENDPOINT_REGION", None, "an AWS region, such as eu-central-1");
pub(super) const ENDPOINT_SERVICE: Variable =
    variable("ENDPOINT_SERVICE", None, "1–63 lower-case letters, digits and hyphens");
pub(super) const ENDPOINT_ROLE_ARN: Variable = variable("ENDPOINT_ROLE_ARN", None, "arn:aws:iam::ACCOUNT:role/NAME");
pub(super) const ENDPOINT_API_KEY: Variable = variable(
    "ENDPOINT_API_KEY",
    None,
    "secretsmanager:SECRET or secretsmanager:SECRET#MEMBER, where SECRET is a name or an ARN",
);
pub(super) const ENDPOINT_API_KEY_HEADER: Variable = variable(
    "ENDPOINT_API_KEY_HEADER",
    Some("x-api-key"),
    "a header name, optionally with a scheme, as in authorization: Bearer",
);
pub(super) const ENDPOINT_HEADERS: Variable = variable(
    "ENDPOINT_HEADERS",
    None,
    "a JSON object of 1–20 header names and values, without headers that another setting or HTTP sets",
);
pub(super) const ENDPOINT_ALLOW_HTTP: Variable = variable("ENDPOINT_ALLOW_HTTP", None, "1");
pub(super) const OUTPUT: Variable = variable("OUTPUT", None, DESTINATION);
pub(super) const DEAD_LETTER: Variable = variable("DEAD_LETTER", None, DESTINATION);
pub(super) const OUTPUT_FORMAT: Variable = variable("OUTPUT_FORMAT", Some("envelope"), "envelope, raw");
pub(super) const OUTPUT_MODE: Variable = variable("OUTPUT_MODE", Some("ordered"), "ordered, unordered");
pub(super) const ALERT: Variable = variable("ALERT", None, DESTINATION);
pub(super) const ALERT_PATTERN: Variable = variable("ALERT_PATTERN", None, EVENT_PATTERN);
pub(super) const GIVE_UP_AFTER_S: Variable = variable("GIVE_UP_AFTER_S", Some("10"), "a whole number, 0–604800");
pub(super) const PROBE: Variable = variable("PROBE", None, "a record as it is in the stream, decompressed");
pub(super) const MEMO_BYTES: Variable = variable("MEMO_BYTES", None, "a whole number, 0–(BUFFER_BYTES − 26214400) / 2");
pub(super) const BUFFER_BYTES: Variable = variable("BUFFER_BYTES", None, "a whole number, 33554432–8589934592");
pub(super) const CAPACITY: Variable = variable("CAPACITY", Some("20"), "a whole number, 1–1000");
pub(super) const ADAPTIVE_CAPACITY: Variable = variable("ADAPTIVE_CAPACITY", Some("on"), "on, off");
pub(super) const HEDGE: Variable = variable("HEDGE", Some("off"), "off, p95, p96, p97, p98, p99");
pub(super) const CALL_TIMEOUT_MS: Variable = variable("CALL_TIMEOUT_MS", Some("30000"), "a whole number, 1–70000");
pub(super) const MAX_ATTEMPTS: Variable = variable("MAX_ATTEMPTS", Some("3"), "a whole number, 1–10");
pub(super) const RETRY_BASE_MS: Variable = variable("RETRY_BASE_MS", Some("50"), "a whole number, 1–60000");
pub(super) const RETRY_CAP_MS: Variable = variable("RETRY_CAP_MS", Some("2000"), "a whole number, RETRY_BASE_MS–60000");
pub(super) const DEADLINE_RESERVE_MS: Variable =
    variable("DEADLINE_RESERVE_MS", Some("1000"), "a whole number, 300–60000");
pub(super) const INVOCATION_BUDGET_MS: Variable = variable(
    "INVOCATION_BUDGET_MS",
    Some("60000"),
    "a whole number, more than DEADLINE_RESERVE_MS, up to 900000",
);
pub(super) const MAX_PAYLOAD_BYTES: Variable =
    variable("MAX_PAYLOAD_BYTES", Some("6291456"), "a whole number, 1–26214400");
pub(super) const CONTENT_TYPE: Variable = variable("CONTENT_TYPE", Some("application/json"), HEADER);
pub(super) const ACCEPT: Variable = variable("ACCEPT", Some("application/json"), HEADER);
pub(super) const BATCH_STRATEGY: Variable =
    variable("BATCH_STRATEGY", Some("SingleRecord"), "SingleRecord, MultiRecord");
pub(super) const MAX_RECORDS_PER_REQUEST: Variable =
    variable("MAX_RECORDS_PER_REQUEST", Some("100"), "a whole number, 1–10000");
pub(super) const FEATURES: Variable = variable(
    "FEATURES",
    None,
    "1–1000 JSONPaths of up to 32 steps, separated by commas, each as PATH[:number][?DEFAULT] or ARRAY[*][:number]; or \
     a JSON object of them",
);
pub(super) const CSV_HEADER: Variable = variable("CSV_HEADER", None, "1–1024 printable ASCII characters");
pub(super) const RECORD_TEMPLATE: Variable = variable("RECORD_TEMPLATE", None, "JSON with $record or $row");
pub(super) const REQUEST_TEMPLATE: Variable = variable(
    "REQUEST_TEMPLATE",
    None,
    "instances, array, huggingface, mlflow, v2, or JSON with $records or $rows, and $n; with SingleRecord also with \
     $record or $row",
);
pub(super) const INPUT_FILTER: Variable = variable("INPUT_FILTER", Some("$"), JSON_PATH);
pub(super) const JOIN_SOURCE: Variable = variable("JOIN_SOURCE", Some("None"), "None, Input");
pub(super) const OUTPUT_FILTER: Variable = variable("OUTPUT_FILTER", Some("$"), JSON_PATH);
pub(super) const PREDICTIONS: Variable = variable(
    "PREDICTIONS",
    None,
    "$ or a JSONPath of up to 32 of .name, ['name'], [n]",
);
pub(super) const COMPRESSION: Variable = variable("COMPRESSION", Some("auto"), "auto, none");
pub(super) const DECOMPRESS_LIMIT_BYTES: Variable = variable(
    "DECOMPRESS_LIMIT_BYTES",
    Some("10485760"),
    "a whole number, 1–268435456",
);
pub(super) const SPLIT_TYPE: Variable = variable("SPLIT_TYPE", Some("None"), "None, Line");
pub(super) const SPLIT_PATH: Variable = variable("SPLIT_PATH", None, "$ or a JSONPath of up to 32 names");
pub(super) const RECORD_PATTERN: Variable = variable("RECORD_PATTERN", None, EVENT_PATTERN);
pub(super) const CUSTOM_ATTRIBUTES: Variable = variable("CUSTOM_ATTRIBUTES", None, HEADER);
pub(super) const TARGET_MODEL: Variable = variable(
    "TARGET_MODEL",
    None,
    "1–1024 printable ASCII characters, or a JSONPath of up to 32 steps into the record",
);
pub(super) const TARGET_VARIANT: Variable = variable("TARGET_VARIANT", None, RESOURCE_NAME);
pub(super) const TARGET_CONTAINER_HOSTNAME: Variable = variable("TARGET_CONTAINER_HOSTNAME", None, RESOURCE_NAME);
pub(super) const INFERENCE_COMPONENT_NAME: Variable = variable("INFERENCE_COMPONENT_NAME", None, RESOURCE_NAME);
pub(super) const METRICS: Variable = variable("METRICS", Some("on"), "on, off");
pub(super) const METRICS_NAMESPACE: Variable = variable(
    "METRICS_NAMESPACE",
    Some("instream"),
    "1–255 letters, digits and . - _ / # :, not beginning with AWS/",
);

/// All variables, in the order of the table in `docs/settings.md`.
pub const VARIABLES: [Variable; 55] = [
    ENDPOINT_NAME,
    ENDPOINT_URL,
    ENDPOINT_METHOD,
    ENDPOINT_AUTH,
    ENDPOINT_REGION,
    ENDPOINT_SERVICE,
    ENDPOINT_ROLE_ARN,
    ENDPOINT_API_KEY,
    ENDPOINT_API_KEY_HEADER,
    ENDPOINT_HEADERS,
    ENDPOINT_ALLOW_HTTP,
    OUTPUT,
    OUTPUT_FORMAT,
    OUTPUT_MODE,
    DEAD_LETTER,
    ALERT,
    ALERT_PATTERN,
    GIVE_UP_AFTER_S,
    PROBE,
    MEMO_BYTES,
    BUFFER_BYTES,
    CAPACITY,
    ADAPTIVE_CAPACITY,
    HEDGE,
    CALL_TIMEOUT_MS,
    MAX_ATTEMPTS,
    RETRY_BASE_MS,
    RETRY_CAP_MS,
    DEADLINE_RESERVE_MS,
    INVOCATION_BUDGET_MS,
    MAX_PAYLOAD_BYTES,
    CONTENT_TYPE,
    ACCEPT,
    BATCH_STRATEGY,
    MAX_RECORDS_PER_REQUEST,
    FEATURES,
    CSV_HEADER,
    RECORD_TEMPLATE,
    REQUEST_TEMPLATE,
    INPUT_FILTER,
    JOIN_SOURCE,
    OUTPUT_FILTER,
    PREDICTIONS,
    COMPRESSION,
    DECOMPRESS_LIMIT_BYTES,
    SPLIT_TYPE,
    SPLIT_PATH,
    RECORD_PATTERN,
    CUSTOM_ATTRIBUTES,
    TARGET_MODEL,
    TARGET_VARIANT,
    TARGET_CONTAINER_HOSTNAME,
    INFERENCE_COMPONENT_NAME,
    METRICS,
    METRICS_NAMESPACE,
];
