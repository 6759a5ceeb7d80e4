//! Request shapes: `FEATURES`, `RECORD_TEMPLATE` and `REQUEST_TEMPLATE`, with the records of real producers and the
//! bodies that real servers take.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use crate::support::{Behavior, Scenario, entry};

/// Sends a batch of records with this data to a model that gives each call this answer. Returns the bodies of the
/// calls, and the reasons in `DEAD_LETTER`.
async fn run(settings: &[(&'static str, &str)], data: &[&str], answer: &'static str) -> (Vec<String>, Vec<String>) {
    let with = |scenario: Scenario, (name, value): &(&'static str, &str)| scenario.with(name, value);
    let mut scenario = settings.iter().fold(Scenario::of(0), with);
    if settings.contains(&MULTI_RECORD) {
        // A list that a setting names needs no confirmation.
        scenario = scenario.with("PREDICTIONS", "$");
    }
    let running = scenario.start();
    running.seen.lock().unwrap().outage = Some(Behavior::PredictText(answer));
    let records = data.iter().enumerate().map(|(number, data)| {
        let mut record = entry(&number.to_string());
        record["kinesis"]["data"] = BASE64.encode(data).into();
        record
    });
    let event = json!({ "Records": records.collect::<Vec<_>>() });
    let response = running.invoke_event(&event).await.unwrap();
    assert_eq!(response, json!({ "batchItemFailures": [] }));
    let (_, dead_letters) = running.lines();
    let reason = |line: &Value| line["reason"]["message"].as_str().unwrap().to_owned();
    let calls = running.seen.lock().unwrap().calls.clone();
    (calls, dead_letters.iter().map(reason).collect())
}

const MULTI_RECORD: (&str, &str) = ("BATCH_STRATEGY", "MultiRecord");

#[tokio::test(start_paused = true)]
async fn an_optional_feature_may_be_missing_or_null() {
    // Amazon Connect writes null for a contact without an agent.
    let contacts = [
        r#"{"Agent":{"AgentInteractionDuration":42,"NumberOfHolds":0},"Channel":"VOICE","Queue":null}"#,
        r#"{"Agent":null,"Channel":"CHAT"}"#,
        r#"{"Channel":"VOICE"}"#,
    ];
    let features = ("FEATURES", "$.Agent.AgentInteractionDuration?,$.Channel");
    let csv = [features, ("CONTENT_TYPE", "text/csv"), MULTI_RECORD];
    assert_eq!(
        run(&csv, &contacts, "[1,2,3]").await,
        (vec!["42,VOICE\n,CHAT\n,VOICE".to_owned()], vec![])
    );
    let body = r#"{"instances":[[42,"VOICE"],[null,"CHAT"],[null,"VOICE"]]}"#;
    assert_eq!(
        run(&[features, MULTI_RECORD], &contacts, "[1,2,3]").await,
        (vec![body.to_owned()], vec![])
    );
}

#[tokio::test(start_paused = true)]
async fn a_numeric_string_becomes_a_number_or_its_record_is_rejected() {
    // DynamoDB writes numbers as strings.
    let changes = [
        r#"{"dynamodb":{"NewImage":{"id":{"S":"o-1"},"price":{"N":"429.99"}}}}"#,
        r#"{"dynamodb":{"OldImage":{"id":{"S":"o-2"},"price":{"N":"7"}}}}"#,
        r#"{"dynamodb":{"NewImage":{"id":{"S":"o-3"},"price":{"N":"free"}}}}"#,
    ];
    let features = ("FEATURES", "$.dynamodb.NewImage.price.N:number");
    let (calls, reasons) = run(&[features], &changes, "1").await;
    assert_eq!(calls, ["[429.99]"]);
    let path = "FEATURES $.dynamodb.NewImage.price.N";
    assert_eq!(
        reasons,
        [
            format!("{path} finds nothing in the record"),
            format!("{path}:number finds a value that is not a number"),
        ]
    );
    let optional = ("FEATURES", "$.dynamodb.NewImage.price.N:number?-1");
    let (calls, _) = run(
        &[optional, ("CONTENT_TYPE", "text/csv"), MULTI_RECORD],
        &changes[..2],
        "[1,2]",
    )
    .await;
    assert_eq!(calls, ["429.99\n-1"]);
}

#[tokio::test(start_paused = true)]
async fn a_request_has_the_shape_that_the_server_takes() {
    const RECORDS: [&str; 2] = [
        r#"{"text":"\"$n\"","tx":{"amount":1.50},"v":[0.1,2]}"#,
        r#"{"text":"b","tx":{"amount":20},"v":[3,4]}"#,
    ];
    let row = ("FEATURES", "$.tx.amount,$.v[*]");
    let text = ("INPUT_FILTER", "$.text");
    for (settings, body) in [
        (
            vec![("REQUEST_TEMPLATE", "huggingface"), text],
            r#"{"inputs":["\"$n\"","b"]}"#,
        ),
        (vec![("REQUEST_TEMPLATE", "array"), row], "[[1.50,0.1,2],[20,3,4]]"),
        (
            vec![
                ("REQUEST_TEMPLATE", "mlflow"),
                ("FEATURES", r#"{"amount":$.tx.amount,"country":$.country?"DE"}"#),
            ],
            r#"{"dataframe_records":[{"amount":1.50,"country":"DE"},{"amount":20,"country":"DE"}]}"#,
        ),
        (
            vec![("REQUEST_TEMPLATE", "v2"), ("FEATURES", "$.tx.amount,$.v[0]")],
            r#"{"inputs":[{"name":"input-0","shape":[2,2],"datatype":"FP64","data":[[1.50,0.1],[20,3]]}]}"#,
        ),
        (
            vec![("RECORD_TEMPLATE", r#"{"features":$row}"#), row],
            r#"{"instances":[{"features":[1.50,0.1,2]},{"features":[20,3,4]}]}"#,
        ),
        (
            vec![
                ("REQUEST_TEMPLATE", r#"{"n":$n,"x":[{"$records":$records}]}"#),
                ("RECORD_TEMPLATE", r#"{"text":$record,"row":$row}"#),
                ("FEATURES", "$.v[-1]"),
                text,
            ],
            r#"{"n":2,"x":[{"$records":[{"text":"\"$n\"","row":[2]},{"text":"b","row":[4]}]}]}"#,
        ),
    ] {
        let settings = [settings, vec![MULTI_RECORD]].concat();
        assert_eq!(run(&settings, &RECORDS, "[1,2]").await, (vec![body.to_owned()], vec![]));
    }
}

#[tokio::test(start_paused = true)]
async fn a_single_record_has_the_same_templates() {
    const RECORD: &str = r#"{"amount":1.50}"#;
    for (settings, body) in [
        (
            vec![("REQUEST_TEMPLATE", "instances")],
            r#"{"instances":[{"amount":1.50}]}"#,
        ),
        (
            vec![("RECORD_TEMPLATE", r#"{"data":$record}"#)],
            r#"{"data":{"amount":1.50}}"#,
        ),
        (
            vec![
                ("REQUEST_TEMPLATE", r#"{"inputs":$row,"n":$n}"#),
                ("FEATURES", "$.amount"),
            ],
            r#"{"inputs":[1.50],"n":1}"#,
        ),
    ] {
        assert_eq!(run(&settings, &[RECORD], "1").await, (vec![body.to_owned()], vec![]));
    }
}

#[tokio::test(start_paused = true)]
async fn a_record_that_is_not_json_cannot_be_in_a_template() {
    for template in [("REQUEST_TEMPLATE", "huggingface"), ("RECORD_TEMPLATE", "[$record]")] {
        let (calls, reasons) = run(&[template], &["{\"a\":NaN}", "1],[2", "{\"a\":1}\n{\"a\":2}"], "1").await;
        assert_eq!(calls, Vec::<String>::new());
        assert_eq!(
            reasons[0],
            "the record is not JSON: it has NaN or Infinity, which are not JSON"
        );
        assert!(reasons[1].starts_with("the record is not JSON"), "{reasons:?}");
        assert!(reasons[2].contains("it holds several JSON values"), "{reasons:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_empty_record_is_in_no_request() {
    let instances = r#"{"instances":[1,2]}"#.to_owned();
    let data = ["", "1", "\u{FEFF}", "2"];
    assert_eq!(run(&[MULTI_RECORD], &data, "[1,2]").await, (vec![instances], vec![]));
    assert_eq!(run(&[MULTI_RECORD], &["", ""], "").await, (vec![], vec![]));
}

#[tokio::test(start_paused = true)]
async fn a_record_that_was_encoded_twice_is_rejected_with_this_reason() {
    let (calls, reasons) = run(&[("FEATURES", "$.amount")], &[&BASE64.encode(r#"{"amount":1}"#)], "1").await;
    assert_eq!(calls, Vec::<String>::new());
    assert!(
        reasons[0].ends_with("it is the base64 of JSON, so the producer encoded it twice"),
        "{reasons:?}"
    );
}
