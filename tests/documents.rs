//! Checks that README.md, docs/, template.yaml and benches/COUNTS.md agree with the code.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

use std::fs;
use std::path::Path;
use std::time::Duration;

use instream::config::{Config, VARIABLES};
use instream::delivery::DestinationSetting;
use instream::telemetry::metric::{METRICS, Metric, When};

const BENCHES: &str = include_str!("../benches/stages.rs");
const COUNTS: &str = include_str!("../benches/COUNTS.md");
const METRICS_PAGE: &str = include_str!("../docs/metrics.md");
const README: &str = include_str!("../README.md");
const SETTINGS: &str = include_str!("../docs/settings.md");
const TEMPLATE: &str = include_str!("../template.yaml");

#[test]
fn the_settings_table_matches_the_code() {
    let table = SETTINGS.split("| name | default | allowed | meaning |").nth(1).unwrap();
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let documented: Vec<_> = rows
        .map(|row| {
            let cells: Vec<_> = row.split('|').map(str::trim).collect();
            (cells[1].to_owned(), cells[2].to_owned(), cells[3].to_owned())
        })
        .collect();
    let real: Vec<_> = VARIABLES
        .iter()
        .map(|variable| {
            let no_default = match variable.name {
                "ENDPOINT_NAME" | "ENDPOINT_URL" => "one of the two",
                "OUTPUT" => "required",
                _ => "unset",
            };
            (
                variable.name.to_owned(),
                variable.default.unwrap_or(no_default).to_owned(),
                variable.allowed.to_owned(),
            )
        })
        .collect();
    assert_eq!(documented, real);
    assert!(README.contains(&format!("lists all {}", VARIABLES.len())));
}

#[test]
fn the_metrics_table_matches_the_code() {
    let table = METRICS_PAGE
        .split("| metric | unit | when | meaning |\n|---|---|---|---|\n")
        .nth(1)
        .unwrap();
    let documented: Vec<_> = table.lines().take_while(|line| line.starts_with('|')).collect();
    let row = |metric: &Metric| {
        let when = match metric.when {
            When::Always => "always",
            When::NotZero => "if any",
        };
        let Metric { name, meaning, .. } = metric;
        format!("| `{name}` | {} | {when} | {meaning} |", metric.unit())
    };
    let real: Vec<_> = METRICS.iter().map(row).collect();
    assert_eq!(documented.join("\n"), real.join("\n"));
    assert!(README.contains(&format!("all {} metrics", METRICS.len())));
}

#[test]
fn the_readme_has_at_most_250_lines() {
    assert!(README.lines().count() <= 250);
}

/// Returns the default value of a template parameter.
fn default(parameter: &str) -> String {
    let parameter = TEMPLATE.split(&format!("\n  {parameter}:\n")).nth(1).unwrap();
    let default = parameter.lines().find_map(|line| line.strip_prefix("    Default: "));
    default.unwrap().trim_matches('"').to_owned()
}

/// Returns the value of a setting in the template, with the default parameters.
fn settings(name: &str) -> Option<String> {
    let value = TEMPLATE
        .lines()
        .find_map(|line| line.strip_prefix(&format!("          {name}: ")))?;
    Some(match value.strip_prefix("!Ref ") {
        Some("EndpointName") => "an-endpoint".to_owned(),
        Some(parameter) => default(parameter),
        None if value.starts_with("!If [DeadLettersToBucket, !Sub \"s3:${DeadLetterBucket}/dead-letters\"") => {
            "s3:a-bucket/dead-letters".to_owned()
        }
        // The setting is absent unless its parameter is set.
        None if value.starts_with("!If") => return None,
        None => value.trim_matches('"').to_owned(),
    })
}

#[test]
fn the_templates_ages_are_in_ascending_order() {
    let seconds = |parameter: &str| default(parameter).parse::<u64>().unwrap();
    let give_up = Config::from_lookup(settings).unwrap().give_up_after.unwrap().as_secs();
    let (record_age, retention) = (
        seconds("MaximumRecordAgeSeconds"),
        seconds("RetentionPeriodHours") * 3600,
    );
    assert_eq!(give_up, seconds("GiveUpAfterSeconds"));
    // A poison record is given up before the mapping discards its batch, and a batch is discarded before it expires.
    assert!(
        give_up < record_age && record_age < retention,
        "{give_up} {record_age} {retention}"
    );
}

#[test]
fn the_templates_mapping_retries_without_limit_and_saves_discarded_batches() {
    for line in [
        "MaximumRetryAttempts: -1",
        "MaximumRecordAgeInSeconds: !Ref MaximumRecordAgeSeconds",
        "Destination: !GetAtt DeadLetterBucket.Arn",
        "StartingPosition: !Ref StartingPosition",
        "Enabled: !Ref MappingEnabled",
        "- !If [MakesStream, !GetAtt Stream.Arn, !Ref StreamArn]",
    ] {
        assert!(TEMPLATE.lines().any(|it| it.trim() == line), "{line}");
    }
}

#[test]
fn the_template_reports_partial_failures() {
    assert!(TEMPLATE.contains("FunctionResponseTypes: [ReportBatchItemFailures]"));
}

#[test]
fn the_templates_settings_start_the_function() {
    let config = Config::from_lookup(settings).unwrap();
    assert!(matches!(config.dead_letter, Some(DestinationSetting::S3 { .. })));
}

#[test]
fn the_templates_timeout_leaves_room_for_all_attempts_at_a_record() {
    let config = Config::from_lookup(settings).unwrap();
    let attempts = config.retry.max_attempts;
    let longest =
        config.call_timeout * attempts + config.retry.backoff.cap * (attempts - 1) + config.time_budget.reserve;
    let timeout = default("TimeoutSeconds").parse().unwrap();
    assert!(longest < Duration::from_secs(timeout), "{longest:?}");
}

/// Returns the test name of each row of the README's "when" tables.
fn readme_test_names() -> Vec<String> {
    let tables = README.split("| when | then |").skip(1);
    let rows = tables.flat_map(|table| table.lines().skip(2).take_while(|line| line.starts_with('|')));
    rows.map(|row| test_name(row.split('|').nth(1).unwrap())).collect()
}

#[test]
fn every_when_row_of_the_readme_has_a_test() {
    let names = readme_test_names();
    assert!(names.len() > 20, "{names:?}");
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let files = ["behavior", "binary"].map(|folder| fs::read_dir(tests.join(folder)).unwrap());
    let source: String = files
        .into_iter()
        .flatten()
        .map(|file| file.unwrap().path())
        .filter(|path| path.is_file())
        .map(|path| fs::read_to_string(path).unwrap())
        .collect();
    for name in names {
        assert!(source.contains(&format!("async fn {name}()")), "{name}");
    }
}

#[test]
fn every_when_row_is_also_tested_over_http() {
    let behavior = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/behavior");
    let source = |file: &str| fs::read_to_string(behavior.join(file)).unwrap();
    let modules = |root: &str| -> Vec<_> {
        let lines = source(root);
        let names = lines
            .lines()
            .filter_map(|line| line.strip_prefix("mod ")?.strip_suffix(';'));
        names.map(ToOwned::to_owned).collect()
    };
    let over_http = modules("main_over_http.rs");
    for module in modules("main.rs") {
        // main_over_http.rs also lists the support modules.
        if over_http.contains(&module) || ["sagemaker", "emf", "logs"].contains(&&*module) {
            continue;
        }
        let tests = source(&format!("{module}.rs"));
        for row in readme_test_names() {
            assert!(!tests.contains(&format!("async fn {row}()")), "{row} in {module}.rs");
        }
    }
}

#[test]
fn the_readme_lists_every_alarm() {
    let table = README.split("| alarm | it means | do |").nth(1).unwrap();
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let mut documented: Vec<_> = rows.map(|row| row.split('|').nth(1).unwrap().trim()).collect();
    let alarm = |line: &'static str| {
        line.strip_prefix("  ")?
            .strip_suffix("Alarm:")
            .filter(|name| !name.contains(' '))
    };
    let mut real: Vec<_> = TEMPLATE
        .lines()
        .filter_map(alarm)
        .map(|name| format!("{name}Alarm"))
        .collect();
    documented.sort_unstable();
    real.sort_unstable();
    assert_eq!(documented, real);
    assert!(real.len() > 5, "{real:?}");
}

/// Returns the test name of a README row: `the endpoint's answer` becomes `the_endpoints_answer`.
fn test_name(row: &str) -> String {
    row.trim().to_lowercase().replace('\'', "").replace([' ', '-'], "_")
}

#[test]
fn the_counts_table_matches_the_benches() {
    let (mut real, mut ids, mut comment) = (Vec::new(), Vec::new(), "");
    for line in BENCHES.lines() {
        if let Some(text) = line.strip_prefix("// ") {
            comment = text;
        } else if let Some(bench) = line.strip_prefix("#[bench::") {
            ids.push((bench.split('(').next().unwrap(), comment));
        } else if let Some(function) = line.strip_prefix("fn ") {
            let function = function.split('(').next().unwrap();
            real.extend(ids.drain(..).map(|(id, comment)| (format!("{function}.{id}"), comment)));
        }
    }
    let rows = COUNTS.lines().filter(|line| line.starts_with("| ")).skip(1);
    let documented: Vec<_> = rows
        .map(|row| {
            let cells: Vec<_> = row.split('|').map(str::trim).collect();
            (cells[1].to_owned(), cells[2])
        })
        .collect();
    assert!(!real.is_empty());
    assert_eq!(documented, real, "run benches/count to update the table");
}
