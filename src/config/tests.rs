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
    let Target::SageMaker(target) = &config.endpoint else {
        panic!("{config:?}")
    };
    assert_eq!((&*target.name, &target.region, &target.role), ("fraud", &None, &None));
    assert_eq!(config.parameters.content_type, "application/json");
    assert_eq!(config.parameters.accept, "application/json");
    assert_eq!(config.output, DestinationSetting::Stdout);
    assert_eq!(config.dead_letter, None);
    assert_eq!(config.capacity.get(), 20);
    assert_eq!(config.call_timeout, Duration::from_secs(30));
    assert_eq!(config.retry.max_attempts, 3);
    assert_eq!(
        (config.retry.backoff.base, config.retry.backoff.cap),
        (Duration::from_millis(50), Duration::from_secs(2))
    );
    assert_eq!(config.time_budget.reserve, Duration::from_secs(1));
    assert_eq!(config.time_budget.fallback_total, Duration::from_mins(1));
    assert_eq!(
        (config.requests.max_payload_bytes, config.requests.max_records),
        (6_291_456, 1)
    );
    assert!(config.requests.input.input_filter.is_identity() && config.projection.output_filter.is_identity());
    assert!(config.decode.decompress.enabled && config.decode.decompress.limit_bytes == 10_485_760);
    assert_eq!((config.give_up_after, config.memo_bytes), (None, 16_777_216));
    assert_eq!(
        (config.output_format, config.output_mode),
        (OutputFormat::Envelope, OutputMode::Ordered)
    );
}

#[test]
fn the_place_of_predictions_selects_one_value() {
    for path in ["$", "$.scores", "$['a b'].c", "$.outputs[0].data"] {
        let config = read_with("PREDICTIONS", path).unwrap();
        assert_eq!(config.predictions.unwrap().to_string(), path);
    }
    for path in ["scores", "$.scores[*]", "$[1:]", "$['a','b']"] {
        let error = read_with("PREDICTIONS", path).unwrap_err().to_string();
        assert!(error.contains("PREDICTIONS"), "{error}");
    }
    assert_eq!(read(&MINIMAL).unwrap().predictions, None);
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
         OUTPUT is not set; allowed: stdout:, kinesis:STREAM, firehose:STREAM, sqs:URL, s3:BUCKET/PREFIX, eventbridge:BUS or none:\n  \
         CAPACITY=\"zero\"; allowed: a whole number, 1–1000\n  \
         CALL_TIMEOUT_MS=\"70001\"; allowed: a whole number, 1–70000"
    );
}

#[test]
fn an_error_shows_a_default_that_another_variable_rules_out() {
    let error = read_with("RETRY_BASE_MS", "5000").unwrap_err().to_string();
    let expected = "RETRY_CAP_MS is not set and its default is 2000; allowed: a whole number, RETRY_BASE_MS–60000";
    assert!(error.contains(expected), "{error}");
}

#[test]
fn an_error_names_the_wrong_part_of_a_pattern() {
    let error = read_with("RECORD_PATTERN", r#"{"a":{"b":[{"contains":"x"}]}}"#)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("RECORD_PATTERN: a.b: \"contains\" is not a comparison"),
        "{error}"
    );
}

#[test]
fn settings_that_need_or_exclude_each_other_are_named_together() {
    for (settings, expected) in [
        (&[("ALERT", "stdout:")][..], "ALERT and ALERT_PATTERN belong together"),
        (
            &[("ALERT_PATTERN", r#"{"a":[1]}"#)],
            "ALERT and ALERT_PATTERN belong together",
        ),
        (
            &[("SPLIT_TYPE", "Line"), ("SPLIT_PATH", "$.a")],
            "SPLIT_TYPE and SPLIT_PATH both split records",
        ),
    ] {
        let with_required = [&[("ENDPOINT_NAME", "e"), ("OUTPUT", "stdout:")][..], settings].concat();
        let error = read(&with_required).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    read(&[
        ("ENDPOINT_NAME", "e"),
        ("OUTPUT", "stdout:"),
        ("ALERT", "eventbridge:alerts"),
        ("ALERT_PATTERN", r#"{"output":{"score":[{"numeric":[">",0.9]}]}}"#),
    ])
    .unwrap();
}

#[test]
#[expect(clippy::too_many_lines, reason = "the table has a row for each setting")]
fn values_are_accepted_exactly_in_the_documented_range() {
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
        (
            "FEATURES",
            &["$.a,$['b']", "$.a:number?0,$.b[*]", r#"{"a":$.a?}"#],
            &["$.a,", "a", "$.a[*].b", "$['a','b']", "$.a?x", "{}"],
        ),
        ("RECORD_TEMPLATE", &["[$record]"], &["[", "[$records]", "{}"]),
        (
            "REQUEST_TEMPLATE",
            &["mlflow", "[$records,$n]", "$record"],
            &["MLflow", "[$n]", "{$records}"],
        ),
        ("INPUT_FILTER", &["$", "$.a"], &["a", "$..a"]),
        ("OUTPUT_FILTER", &["$", "$.a"], &["a", "$..a"]),
        ("JOIN_SOURCE", &["None", "Input"], &["input"]),
        ("COMPRESSION", &["auto", "none"], &["gzip"]),
        ("DECOMPRESS_LIMIT_BYTES", &["1", "268435456"], &["0", "268435457"]),
        ("SPLIT_TYPE", &["None", "Line"], &["line", "RecordIO"]),
        ("SPLIT_PATH", &["$", "$.a['b']"], &["$.a[0]", "$.a[*]", "a"]),
        ("RECORD_PATTERN", &[r#"{"a":[1]}"#], &["{}", "[]", r#"{"a":1}"#, "$.a"]),
        ("ADAPTIVE_CAPACITY", &["on", "off"], &["true", "ON"]),
        ("HEDGE", &["off", "p95", "p99"], &["on", "95", "p94", "p100", "p99.9"]),
        ("OUTPUT_FORMAT", &["envelope", "raw"], &["Raw", "json"]),
        ("OUTPUT_MODE", &["ordered", "unordered"], &["any"]),
        ("GIVE_UP_AFTER_S", &[], &["0", "604801", "1h"]),
        ("MEMO_BYTES", &["0", "54001664"], &["-1", "54001665"]),
        (
            "BUFFER_BYTES",
            &["33554432", "8589934592"],
            &["33554431", "8589934593", "0"],
        ),
        (
            "OUTPUT",
            &["stdout:", "none:", "eventbridge:scores", "eventbridge:a/b.c_d-e"],
            &["stdout", "nowhere:", "eventbridge:", "eventbridge:a b"],
        ),
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
fn unordered_output_without_a_memo_is_refused() {
    let read_with = |mode, bytes| read(&[MINIMAL[0], MINIMAL[1], ("OUTPUT_MODE", mode), ("MEMO_BYTES", bytes)]);
    let error = read_with("unordered", "0").unwrap_err().to_string();
    assert!(
        error.contains("OUTPUT_MODE=\"unordered\" with MEMO_BYTES=\"0\""),
        "{error}"
    );
    assert!(read_with("ordered", "0").is_ok() && read_with("unordered", "1").is_ok());
}

#[test]
fn the_memory_for_answers_is_a_quarter_of_the_functions() {
    const MIB: usize = 1024 * 1024;
    let read_with = |memory| {
        let config = read(&[MINIMAL[0], MINIMAL[1], ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", memory)]).unwrap();
        (config.buffer_bytes, config.memo_bytes)
    };
    assert_eq!(read_with("1024"), (256 * MIB, 16 * MIB));
    assert_eq!(read_with(""), (128 * MIB, 16 * MIB));
    // The smallest function has no room for a memo of the usual size.
    assert_eq!(read_with("128"), (32 * MIB, 7 * MIB / 2));
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
fn stdout_is_refused_if_lambda_would_drop_its_lines() {
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
fn an_empty_variable_counts_as_unset() {
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
fn a_wrong_value_is_shown_shortened_and_escaped() {
    let error = read_with("CAPACITY", &format!("1\n{}", "9".repeat(500)))
        .unwrap_err()
        .to_string();
    assert!(error.contains("1\\n9"), "{error}");
    assert!(error.len() < 300, "{error}");
}
