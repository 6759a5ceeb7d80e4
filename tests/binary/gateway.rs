//! An endpoint behind a URL: API Gateway with signed calls, an API key and a usage plan.

use std::fmt::Write as _;
use std::time::Duration;

use instream_local::function::{Function, InvocationResult, Line};
use instream_local::gateway::{Counts, Gateway, GatewayOptions};
use instream_local::sagemaker::SageMakerRuntime;
use instream_local::setup::{Options, Setup};
use instream_local::stream::{self, StreamRecord};
use serde_json::Value;
use tokio::sync::mpsc;

use crate::capacity::RECORD;
use crate::options;

const ROLE: (&str, &str) = ("ENDPOINT_ROLE_ARN", "arn:aws:iam::210987654321:role/scorer");
/// With one attempt per record, a record whose attempt is spent fails.
const ONE_ATTEMPT: (&str, &str) = ("MAX_ATTEMPTS", "1");
/// A part of each dead letter in the debug form of the function's lines.
const DEAD_LETTER: &str = "\\\"reason\\\"";
const ALL_FINISHED: &[u8] = br#"{"batchItemFailures":[]}"#;

/// A running function and its gateway.
struct Running {
    function: Function,
    endpoint: SageMakerRuntime,
    lines: mpsc::UnboundedReceiver<Line>,
}

fn behind_a_gateway(settings: &[(&str, &str)], gateway: GatewayOptions) -> Options {
    let mut options = options(settings);
    options.local_endpoint.gateway = Some(gateway);
    options
}

/// A gateway without a usage plan, which does not limit the rate of calls.
fn without_a_plan() -> GatewayOptions {
    GatewayOptions {
        usage_plan: None,
        ..GatewayOptions::default()
    }
}

impl Running {
    async fn start(options: Options) -> Self {
        let Setup {
            endpoint,
            launch,
            lines,
        } = Setup::new(options).await.unwrap();
        let function = Function::start(&launch).await.unwrap();
        let endpoint = endpoint.unwrap();
        Self {
            function,
            endpoint,
            lines,
        }
    }

    fn gateway(&self) -> &Gateway {
        self.endpoint.gateway().unwrap()
    }

    /// Invokes the function once with records of these numbers. Returns the number of the first unfinished record.
    async fn deliver(&self, numbers: std::ops::Range<u64>) -> Option<u64> {
        let record = |number| StreamRecord::from_line(number, RECORD, 0);
        let records: Vec<_> = numbers.clone().map(record).collect();
        let InvocationResult::Response(response) = self.function.invoke(stream::event(&records)).await else {
            panic!("the function responds");
        };
        if &response[..] == ALL_FINISHED {
            return None;
        }
        let response: Value = serde_json::from_slice(&response).unwrap();
        let named = response["batchItemFailures"][0]["itemIdentifier"].as_str().unwrap();
        let is_named = |number: &u64| record(*number).sequence_number == named;
        Some(numbers.into_iter().find(is_named).unwrap())
    }

    /// Stops the function. Returns its output and log, and the gateway's counts.
    async fn stop(self) -> (String, Counts) {
        let counts = self.gateway().counts();
        let key = self.gateway().key();
        self.function.stop().await;
        let mut lines = self.lines;
        let mut output = String::new();
        while let Ok(line) = lines.try_recv() {
            writeln!(output, "{line:?}").unwrap();
        }
        for secret in [key.as_str(), "X-Amz-Security-Token", "Signature="] {
            assert!(!output.contains(secret), "{output}");
        }
        (output, counts)
    }
}

#[tokio::test]
async fn signed_calls_with_the_key_are_answered() {
    for tls in [false, true] {
        let mut options = behind_a_gateway(&[ONE_ATTEMPT], without_a_plan());
        options.local_endpoint.tls = tls;
        let running = Running::start(options).await;
        assert_eq!(running.deliver(1..101).await, None);
        let (output, counts) = running.stop().await;
        assert_eq!(
            counts,
            Counts {
                keys_fetched: 1,
                ..Counts::default()
            }
        );
        assert!(
            output.contains("/prod/score"),
            "the envelope names the endpoint: {output}"
        );
    }
}

#[tokio::test]
async fn credentials_that_expire_during_a_run_fail_no_record() {
    let running = Running::start(behind_a_gateway(&[ONE_ATTEMPT, ROLE], without_a_plan())).await;
    for batch in 0..10 {
        let first = batch * 100 + 1;
        assert_eq!(running.deliver(first..first + 100).await, None, "batch {batch}");
        running.gateway().end_sessions();
    }
    let calls = running.endpoint.calls();
    let (_, counts) = running.stop().await;
    assert_eq!((counts.sessions, counts.signature), (10, 0));
    // Up to CAPACITY concurrent calls of a batch find that the session has expired.
    assert!((9..=180).contains(&counts.expired), "{counts:?}");
    assert_eq!(calls, 1000 + counts.expired);
}

#[tokio::test]
async fn an_api_key_that_is_replaced_during_a_run_fails_no_record() {
    let running = Running::start(behind_a_gateway(&[ONE_ATTEMPT], without_a_plan())).await;
    for batch in 0..5 {
        let first = batch * 100 + 1;
        assert_eq!(running.deliver(first..first + 100).await, None, "batch {batch}");
        running.gateway().replace_key();
    }
    let (_, counts) = running.stop().await;
    assert_eq!(counts.keys_fetched, 5);
    assert!((4..=80).contains(&counts.key), "{counts:?}");
}

#[tokio::test]
async fn calls_that_the_gateway_refuses_dead_letter_nothing_and_are_logged() {
    for (setting, expected) in [
        (("ENDPOINT_AUTH", "none"), "MissingAuthenticationTokenException"),
        (
            ("ENDPOINT_REGION", "eu-west-1"),
            "InvalidSignatureException; check ENDPOINT_REGION",
        ),
        (
            ("ENDPOINT_SERVICE", "lambda"),
            "InvalidSignatureException; check ENDPOINT_REGION",
        ),
        (("ENDPOINT_API_KEY", ""), "ForbiddenException; check ENDPOINT_API_KEY"),
        (
            ("ENDPOINT_API_KEY_HEADER", "x-key"),
            "ForbiddenException; check ENDPOINT_API_KEY",
        ),
        (
            ("ENDPOINT_API_KEY", "secretsmanager:nowhere"),
            "ResourceNotFoundException",
        ),
        (
            ("ENDPOINT_ROLE_ARN", "arn:aws:iam::210987654321:role/not-allowed"),
            "STS answered AccessDenied with status 403; check the function's credentials, and ENDPOINT_ROLE_ARN",
        ),
    ] {
        let running = Running::start(behind_a_gateway(&[setting], without_a_plan())).await;
        assert_eq!(running.deliver(1..51).await, Some(1), "{setting:?}");
        let calls = running.endpoint.calls();
        let (output, counts) = running.stop().await;
        assert!(output.contains(expected), "{setting:?}: {output}");
        assert!(!output.contains("Unhandled"), "no raw error of the SDK: {output}");
        assert!(!output.contains(DEAD_LETTER), "{output}");
        // Only the calls in flight when the first response arrived. They are made once more after a check of the key,
        // which may be the cause of a 403.
        assert!(calls <= 40 && counts.refused() == calls, "{calls}: {counts:?}");
    }
}

#[tokio::test]
async fn no_record_is_sent_to_an_endpoint_whose_certificate_is_not_trusted() {
    let mut options = behind_a_gateway(&[ONE_ATTEMPT], without_a_plan());
    options.local_endpoint.tls = true;
    let mut setup = Setup::new(options).await.unwrap();
    setup.launch.environment.remove("SSL_CERT_FILE");
    // Otherwise the calls would already fail for the API key, which cannot be fetched.
    setup.launch.environment.remove("ENDPOINT_API_KEY");
    let function = Function::start(&setup.launch).await.unwrap();
    let endpoint = setup.endpoint.unwrap();
    let record = StreamRecord::from_line(1, RECORD, 0);
    let result = function.invoke(stream::event([&record])).await;
    function.stop().await;
    let expected = format!(
        r#"{{"batchItemFailures":[{{"itemIdentifier":"{}"}}]}}"#,
        record.sequence_number
    );
    assert_eq!(result, InvocationResult::Response(expected.into()));
    assert_eq!(endpoint.calls(), 0);
    assert!(endpoint.connections() > 0, "the function tried to connect");
}

#[tokio::test]
async fn a_usage_plan_of_twenty_calls_a_second_answers_a_thousand_records() {
    let mut options = behind_a_gateway(&[], GatewayOptions::default());
    options.local_endpoint.latency = Duration::from_millis(20);
    let running = Running::start(options).await;
    let so_far = || (running.endpoint.calls(), running.gateway().counts().throttled);
    let mut warm = (0, 0);
    for batch in 0..10 {
        if batch == 3 {
            warm = so_far();
        }
        let (mut from, end) = (batch * 100 + 1, batch * 100 + 101);
        while let Some(unfinished) = running.deliver(from..end).await {
            from = unfinished;
        }
    }
    let (calls, throttled) = so_far();
    let (output, counts) = running.stop().await;
    assert_eq!(counts.refused(), throttled, "no call was refused for another reason");
    assert_eq!(output.matches("\\\"output\\\"").count(), 1000, "each record once");
    assert!(!output.contains(DEAD_LETTER));
    // With a fixed capacity, the gateway refuses 94 % of the calls.
    let (calls, throttled) = (calls - warm.0, throttled - warm.1);
    println!("of {calls} calls after the first 300 records, {throttled} were refused");
    assert!(throttled * 20 <= calls, "{throttled} of {calls}");
}
