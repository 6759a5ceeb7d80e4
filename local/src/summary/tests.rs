use super::*;

fn summary(gateway: Option<gateway::Counts>) -> Summary {
    Summary {
        records: 10,
        predicted: Some(10),
        rejected: Some(0),
        redelivered: 0,
        discarded: 0,
        repeated: 0,
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
