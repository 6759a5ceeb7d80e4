use super::*;
use crate::deliveries::Reasons;

fn summary(gateway: Option<gateway::Counts>) -> Summary {
    Summary {
        nothing_predicted: None,
        records: 10,
        predicted: Some(10),
        rejected: Some(0),
        redelivered: 0,
        discarded: 0,
        repeated: 0,
        alerted: 0,
        skipped: 0,
        batches: 1,
        last_failure: None,
        processes: None,
        calls: Some(20),
        most_in_flight: Some(2),
        connections: Some(2),
        faults: Counts::default(),
        gateway,
        batch_latency_ms: Percentiles::default(),
        seconds: 1.0,
        interrupted: false,
        highest_scores: Vec::new(),
        files: Files {
            predictions: "predictions".into(),
            alerts: "alerts".into(),
            dead_letters: "dead-letters".into(),
            on_failure: "on-failure".into(),
            log: "log".into(),
        },
    }
}

#[test]
fn the_gateway_row_is_shown_only_if_the_gateway_refused_calls() {
    let counts = gateway::Counts {
        signature: 1,
        expired: 2,
        key: 3,
        throttled: 4,
        too_large: 5,
        ..gateway::Counts::default()
    };
    let refused = "4 throttled, 3 without a valid API key, 1 without a valid signature, \
                   2 with expired credentials, 5 too large, of these calls";
    let shown = summary(Some(counts)).to_string();
    assert!(shown.contains(&format!("\ngateway         {refused}\n")), "{shown}");
    let asked = gateway::Counts {
        sessions: 1,
        keys_fetched: 1,
        ..gateway::Counts::default()
    };
    for none in [None, Some(asked)] {
        let shown = summary(none).to_string();
        assert!(!shown.contains("gateway"), "{shown}");
    }
}

#[test]
fn json_has_all_counts_of_the_gateway_or_null_without_a_gateway() {
    let json = |gateway| serde_json::to_value(summary(gateway)).unwrap()["gateway"].clone();
    assert!(json(None).is_null());
    let counts = json(Some(gateway::Counts {
        keys_fetched: 7,
        ..gateway::Counts::default()
    }));
    let expected = serde_json::json!({
        "signature": 0, "expired": 0, "key": 0, "throttled": 0, "tooLarge": 0, "sessions": 0, "keysFetched": 7,
    });
    assert_eq!(counts, expected);
}

fn counts(rejected: u64, rejection: &str, failure: &str) -> DeliveryCounts {
    let reasons = |reason: &str| {
        let mut reasons = Reasons::default();
        reasons.add(reason);
        reasons
    };
    let mut counts = DeliveryCounts::default();
    counts.rejected = rejected;
    counts.rejections = reasons(rejection);
    counts.failures = reasons(failure);
    counts
}

#[test]
fn a_run_without_any_prediction_is_not_complete_and_its_first_line_says_why() {
    let rejected = counts(40, "Refused: status 400", "");
    let why = why_nothing_was_predicted(40, Some(0), &rejected, None);
    let summary = Summary {
        nothing_predicted: why,
        ..summary(None)
    };
    assert!(!summary.is_complete());
    let first = "nothing was predicted: 40 of 40 records were rejected: Refused: status 400\nrecords ";
    assert!(summary.to_string().starts_with(first), "{summary}");
    let failed = counts(1, "Refused: status 400", "Suspect: status 500");
    assert_eq!(
        why_nothing_was_predicted(40, Some(0), &failed, None).unwrap(),
        "39 of 40 records were not finished: Suspect: status 500"
    );
    assert_eq!(
        why_nothing_was_predicted(40, Some(0), &DeliveryCounts::default(), Some("out of memory")).unwrap(),
        "40 of 40 records were not finished: out of memory"
    );
}

#[test]
fn a_prediction_an_unknown_number_of_predictions_and_no_records_are_no_reason() {
    let rejected = counts(40, "Refused", "");
    assert_eq!(why_nothing_was_predicted(41, Some(1), &rejected, None), None);
    assert_eq!(
        why_nothing_was_predicted(0, Some(0), &DeliveryCounts::default(), None),
        None
    );
    assert_eq!(why_nothing_was_predicted(41, None, &rejected, None), None);
    let all = why_nothing_was_predicted(40, None, &rejected, None);
    assert_eq!(
        all.unwrap(),
        "40 of 40 records were rejected: Refused",
        "OUTPUT is elsewhere"
    );
}

#[test]
fn a_long_score_and_a_long_key_are_followed_by_a_space() {
    let highest_scores = vec![HighScore {
        score: 0.086_735_990_782_542,
        partition_key: "line-1000000".to_owned(),
        record: "the record".to_owned(),
    }];
    let shown = Summary {
        highest_scores,
        ..summary(None)
    }
    .to_string();
    assert!(
        shown.contains("\nhighest scores  0.086735990782542 line-1000000 the record\n"),
        "{shown}"
    );
}
