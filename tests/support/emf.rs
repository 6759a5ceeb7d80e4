//! A parser for CloudWatch's embedded metric format, written from its specification:
//! <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html>.
//! It shares no code with the library that writes the lines, so both are unlikely to have the same mistake.
//!
//! A metric with many values is an object of `Values` and `Counts`, as AWS's own exporters write it. The specification
//! mentions only a number or an array of numbers.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

const UNITS: [&str; 27] = [
    "Seconds",
    "Microseconds",
    "Milliseconds",
    "Bytes",
    "Kilobytes",
    "Megabytes",
    "Gigabytes",
    "Terabytes",
    "Bits",
    "Kilobits",
    "Megabits",
    "Gigabits",
    "Terabits",
    "Percent",
    "Count",
    "Bytes/Second",
    "Kilobytes/Second",
    "Megabytes/Second",
    "Gigabytes/Second",
    "Terabytes/Second",
    "Bits/Second",
    "Kilobits/Second",
    "Megabits/Second",
    "Gigabits/Second",
    "Terabits/Second",
    "Count/Second",
    "None",
];
/// Maximum size of a log event.
const BYTES_MAX: usize = 1_048_576;
const METRICS_MAX: usize = 100;
const VALUES_MAX: usize = 100;
const DIMENSIONS_MAX: usize = 30;
const DIMENSION_CHARACTERS_MAX: usize = 1024;

/// A metric of a valid document.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Metric {
    pub(crate) unit: String,
    /// Each value with its count.
    pub(crate) values: Vec<(f64, u32)>,
}

impl Metric {
    pub(crate) fn sum(&self) -> f64 {
        self.values.iter().map(|(value, times)| value * f64::from(*times)).sum()
    }

    pub(crate) fn count(&self) -> u32 {
        self.values.iter().map(|(_, times)| times).sum()
    }
}

/// Parses one line. The error names the rule that the line breaks.
pub(crate) fn read(line: &str) -> Result<BTreeMap<String, Metric>, String> {
    check(line.len() <= BYTES_MAX, "a log event is too large")?;
    let root: Value = serde_json::from_str(line).map_err(|error| format!("not JSON: {error}"))?;
    let root = root.as_object().ok_or("not an object")?;
    let aws = object(root.get("_aws"), "_aws")?;
    has_only(aws, &["Timestamp", "CloudWatchMetrics", "LogGroupName"])?;
    let timestamp = aws.get("Timestamp").and_then(Value::as_u64).ok_or("no Timestamp")?;
    check(timestamp > 1_000_000_000_000, "the Timestamp is not in milliseconds")?;
    let directives = list(aws.get("CloudWatchMetrics"), "CloudWatchMetrics")?;
    let mut metrics = BTreeMap::new();
    for directive in directives {
        read_directive(root, object(Some(directive), "a directive")?, &mut metrics)?;
    }
    Ok(metrics)
}

fn read_directive(
    root: &Map<String, Value>,
    directive: &Map<String, Value>,
    metrics: &mut BTreeMap<String, Metric>,
) -> Result<(), String> {
    has_only(directive, &["Namespace", "Dimensions", "Metrics"])?;
    let namespace = text(directive.get("Namespace"), "Namespace")?;
    check((1..=1024).contains(&namespace.len()), "the Namespace's length")?;
    for set in list(directive.get("Dimensions"), "Dimensions")? {
        let set = list(Some(set), "a dimension set")?;
        check(set.len() <= DIMENSIONS_MAX, "too many dimensions")?;
        for name in set {
            let name = text(Some(name), "a dimension")?;
            let value = text(root.get(name), name)?;
            let length = value.chars().count();
            check((1..=DIMENSION_CHARACTERS_MAX).contains(&length), "a dimension's length")?;
        }
    }
    let definitions = list(directive.get("Metrics"), "Metrics")?;
    check(definitions.len() <= METRICS_MAX, "too many metrics")?;
    for definition in definitions {
        let definition = object(Some(definition), "a metric")?;
        has_only(definition, &["Name", "Unit", "StorageResolution"])?;
        let name = text(definition.get("Name"), "Name")?;
        let unit = text(definition.get("Unit"), "Unit")?;
        check(UNITS.contains(&unit), &format!("{name}: unknown unit {unit}"))?;
        let values = values(root.get(name)).ok_or_else(|| format!("{name}: no values"))?;
        check(
            (1..=VALUES_MAX).contains(&values.len()),
            &format!("{name}: {} values", values.len()),
        )?;
        check(
            values.iter().all(|(value, times)| value.is_finite() && *times > 0),
            name,
        )?;
        let unit = unit.to_owned();
        let before = metrics.insert(name.to_owned(), Metric { unit, values });
        check(before.is_none(), &format!("{name} is defined twice"))?;
    }
    Ok(())
}

fn values(target: Option<&Value>) -> Option<Vec<(f64, u32)>> {
    match target? {
        Value::Number(number) => Some(vec![(number.as_f64()?, 1)]),
        Value::Array(numbers) => numbers.iter().map(|number| Some((number.as_f64()?, 1))).collect(),
        Value::Object(members) => {
            let (values, counts) = (members.get("Values")?.as_array()?, members.get("Counts")?.as_array()?);
            let pairs = values.iter().zip(counts);
            let agree = members.len() == 2 && values.len() == counts.len();
            let pairs: Option<Vec<_>> = pairs
                .map(|(value, count)| Some((value.as_f64()?, count.as_u64()?.try_into().ok()?)))
                .collect();
            pairs.filter(|_| agree)
        }
        Value::Null | Value::Bool(_) | Value::String(_) => None,
    }
}

fn check(holds: bool, what: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what.to_owned()) }
}

fn has_only(object: &Map<String, Value>, allowed: &[&str]) -> Result<(), String> {
    let names: BTreeSet<_> = object.keys().map(String::as_str).collect();
    let unknown = names.iter().find(|name| !allowed.contains(name));
    unknown.map_or(Ok(()), |name| Err(format!("unknown member {name}")))
}

fn object<'v>(value: Option<&'v Value>, what: &str) -> Result<&'v Map<String, Value>, String> {
    value
        .and_then(Value::as_object)
        .ok_or_else(|| format!("{what} is not an object"))
}

fn list<'v>(value: Option<&'v Value>, what: &str) -> Result<&'v [Value], String> {
    let list = value
        .and_then(Value::as_array)
        .ok_or_else(|| format!("{what} is not an array"));
    list.map(Vec::as_slice)
}

fn text<'v>(value: Option<&'v Value>, what: &str) -> Result<&'v str, String> {
    value
        .and_then(Value::as_str)
        .ok_or_else(|| format!("{what} is not a string"))
}
