//! The identity of the caller of an endpoint: an API key from a secret, and a role of another account.

use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use instream::config::Config;
use instream::delivery::destination::Destination;
use instream::delivery::destination::stdout::StdoutLines;
use instream::dispatch::attempt::{CallStats, Invoker, RecordOutputs};
use instream::dispatch::capacity::Capacity;
use instream::endpoint::target::AnyEndpoint;
use instream::handler::Handler;
use instream::lambda::time_budget::Invocation;
use instream::outcome::{AnswerMemory, Fault, FaultKind, LoadSignal};
use serde_json::json;
use tokio::time::{Instant, advance, sleep};

use crate::aws_stub::{AwsStub, ROLE, SECRET, Secret, State};
use crate::replay::{invoke, request};
use crate::support::entry;

const URL: (&str, &str) = (
    "ENDPOINT_URL",
    "https://a1.execute-api.eu-central-1.amazonaws.com/prod/score",
);
const SIGNED: (&str, &str) = ("ENDPOINT_AUTH", "sigv4");
const KEY: (&str, &str) = ("ENDPOINT_API_KEY", SECRET);
const AS_ROLE: (&str, &str) = ("ENDPOINT_ROLE_ARN", ROLE);

fn with_key(key: &'static str) -> AwsStub {
    let aws = AwsStub::default();
    aws.state(|state| {
        state.expected_key = Some(key.to_owned());
        state.secret = Secret::Text(key);
    });
    aws
}

#[tokio::test]
async fn a_key_is_fetched_once() {
    let aws = with_key("first");
    let endpoint = aws.endpoint(&[URL, SIGNED, KEY]).await;
    let request = request();
    let (one, other) = tokio::join!(invoke(&endpoint, &request), invoke(&endpoint, &request));
    assert!(one.is_ok() && other.is_ok(), "{one:?} {other:?}");
    invoke(&endpoint, &request).await.unwrap();
    aws.state(|state| {
        assert_eq!(state.secret_requests, [r#"{"SecretId":"gateway-key"}"#]);
        assert_eq!(state.secret_region, "eu-central-1");
        assert_eq!(
            state.keys,
            [const { Some("first") }; 3].map(|key| key.map(ToOwned::to_owned))
        );
    });
}

#[tokio::test]
async fn the_key_of_an_endpoint_is_rejected() {
    for is_unauthorized in [false, true] {
        Box::pin(a_key_is_replaced(is_unauthorized)).await;
    }
}

async fn a_key_is_replaced(is_unauthorized: bool) {
    let aws = with_key("first");
    aws.state(|state| state.is_unauthorized = is_unauthorized);
    let endpoint = aws.endpoint(&[URL, KEY]).await;
    invoke(&endpoint, &request()).await.unwrap();
    aws.state(|state| {
        state.expected_key = Some("second".to_owned());
        state.secret = Secret::Text("second\n");
    });
    let request = request();
    let (one, other) = tokio::join!(invoke(&endpoint, &request), invoke(&endpoint, &request));
    for refused in [one, other] {
        assert_eq!(refused.unwrap_err().load, LoadSignal::Unprepared);
    }
    let (one, other) = tokio::join!(invoke(&endpoint, &request), invoke(&endpoint, &request));
    assert!(one.is_ok() && other.is_ok(), "{one:?} {other:?}");
    aws.state(|state| {
        assert_eq!(state.secret_requests.len(), 2, "both calls share one fetch");
        let keys: Vec<_> = state.keys.iter().flatten().map(String::as_str).collect();
        assert_eq!(keys, ["first", "first", "first", "second", "second"]);
    });
}

#[tokio::test(start_paused = true)]
async fn a_key_that_is_still_rejected_is_a_misconfiguration() {
    let aws = with_key("first");
    aws.state(|state| state.expected_key = Some("another".to_owned()));
    let endpoint = aws.endpoint(&[URL, KEY]).await;
    for fetches in [2, 3] {
        let fault = invoke(&endpoint, &request()).await.unwrap_err();
        assert_eq!(fault.load, LoadSignal::Unprepared);
        for _ in 0..3 {
            let fault = invoke(&endpoint, &request()).await.unwrap_err();
            assert_eq!(
                (fault.kind, fault.load),
                (FaultKind::Misconfigured, LoadSignal::FromKind)
            );
            assert!(
                fault.summary_with_remedy().contains("check ENDPOINT_API_KEY"),
                "{fault}"
            );
        }
        aws.state(|state| {
            assert_eq!(state.secret_requests.len(), fetches);
            assert_eq!(state.keys.len(), (fetches - 1) * 4);
        });
        advance(Duration::from_secs(10)).await;
    }
}

#[tokio::test]
async fn a_key_may_be_a_member_of_the_secret_and_have_its_own_header_and_scheme() {
    let aws = with_key("Bearer 123");
    aws.state(|state| state.secret = Secret::Text(r#"{"apiKey":"123"}"#));
    let settings = [
        URL,
        ("ENDPOINT_API_KEY", "secretsmanager:gateway-key#apiKey"),
        ("ENDPOINT_API_KEY_HEADER", "authorization: Bearer"),
    ];
    invoke(&aws.endpoint(&settings).await, &request()).await.unwrap();
    let aws = with_key("123");
    let settings = [URL, KEY, ("ENDPOINT_API_KEY_HEADER", "X-Key")];
    invoke(&aws.endpoint(&settings).await, &request()).await.unwrap();
}

#[tokio::test]
async fn a_secret_is_fetched_from_the_region_of_its_arn() {
    let aws = with_key("123");
    let arn = "secretsmanager:arn:aws:secretsmanager:us-west-2:123456789012:secret:gateway-key-AbCdEf";
    let endpoint = aws.endpoint(&[URL, ("ENDPOINT_API_KEY", arn)]).await;
    invoke(&endpoint, &request()).await.unwrap();
    aws.state(|state| assert_eq!(state.secret_region, "us-west-2"));
}

#[tokio::test(start_paused = true)]
async fn a_key_that_cannot_be_fetched_is_reported_and_no_call_is_made() {
    for (secret, kind, expected) in [
        (
            Secret::Error(400, "ResourceNotFoundException"),
            FaultKind::Misconfigured,
            "ResourceNotFoundException with status 400; check ENDPOINT_API_KEY",
        ),
        (
            Secret::Error(400, "AccessDeniedException"),
            FaultKind::Misconfigured,
            "AccessDeniedException",
        ),
        (
            Secret::Error(400, "ThrottlingException"),
            FaultKind::Unreachable,
            "ThrottlingException",
        ),
        (
            Secret::Error(500, "InternalServiceError"),
            FaultKind::Unreachable,
            "InternalServiceError",
        ),
        (
            Secret::Text("two\nlines"),
            FaultKind::Misconfigured,
            "not one line of printable ASCII",
        ),
    ] {
        let aws = AwsStub::default();
        aws.state(|state| state.secret = secret);
        let endpoint = aws.endpoint(&[URL, KEY]).await;
        let fault = invoke(&endpoint, &request()).await.unwrap_err();
        assert_eq!(fault.kind, kind, "{fault}");
        assert!(fault.summary.contains(expected), "{fault}");
        aws.state(|state| assert!(state.keys.is_empty()));
        // The next call fetches the key again.
        aws.state(|state| state.secret = Secret::Text("123"));
        assert!(invoke(&endpoint, &request()).await.is_ok());
    }
}

#[tokio::test]
async fn calls_are_signed_as_the_configured_role() {
    let by_url = &[URL, SIGNED, AS_ROLE][..];
    let by_name = &[("ENDPOINT_NAME", "fraud"), ("ENDPOINT_REGION", "us-east-1"), AS_ROLE][..];
    for (settings, host, scope) in [
        (
            by_url,
            "a1.execute-api.eu-central-1.amazonaws.com",
            "/eu-central-1/execute-api/",
        ),
        (
            by_name,
            "runtime.sagemaker.us-east-1.amazonaws.com",
            "/us-east-1/sagemaker/",
        ),
    ] {
        let aws = AwsStub::default();
        let endpoint = aws.endpoint(settings).await;
        for _ in 0..3 {
            invoke(&endpoint, &request()).await.unwrap();
        }
        aws.state(|state| {
            assert_eq!(state.signers, ["SESSION1"; 3]);
            assert!(
                state.called_url.starts_with(&format!("https://{host}/")),
                "{}",
                state.called_url
            );
            assert!(state.signing_scope.contains(scope), "{}", state.signing_scope);
            let [assumed] = &state.sts_requests[..] else {
                panic!("{state:?}")
            };
            assert!(
                assumed.contains("RoleArn=arn%3Aaws%3Aiam%3A%3A210987654321%3Arole%2Fscorer"),
                "{assumed}"
            );
            assert!(assumed.contains("RoleSessionName=instream"), "{assumed}");
        });
    }
}

#[tokio::test]
async fn expired_credentials_of_a_role_are_replaced_before_the_next_call() {
    let aws = AwsStub::default();
    let endpoint = aws.endpoint(&[URL, SIGNED, AS_ROLE]).await;
    invoke(&endpoint, &request()).await.unwrap();
    // The endpoint no longer accepts the credentials of the first session.
    aws.state(|state| state.sessions = 7);
    let fault = invoke(&endpoint, &request()).await.unwrap_err();
    assert_eq!(fault.load, LoadSignal::Unprepared, "{fault}");
    invoke(&endpoint, &request()).await.unwrap();
    aws.state(|state| assert_eq!(state.signers, ["SESSION1", "SESSION1", "SESSION8"]));
}

#[tokio::test(start_paused = true)]
async fn a_denied_role_is_a_misconfiguration_and_an_sts_outage_is_not() {
    for (refusal, kind) in [
        ((403, "AccessDenied"), FaultKind::Misconfigured),
        ((400, "ValidationError"), FaultKind::Misconfigured),
        ((400, "Throttling"), FaultKind::Unreachable),
        ((503, "ServiceUnavailable"), FaultKind::Unreachable),
    ] {
        let aws = AwsStub::default();
        aws.state(|state| state.sts_error = Some(refusal));
        let endpoint = aws.endpoint(&[URL, SIGNED, AS_ROLE]).await;
        let fault = invoke(&endpoint, &request()).await.unwrap_err();
        assert_eq!(fault.kind, kind, "{fault}");
        let says_so = fault.summary.contains("ENDPOINT_ROLE_ARN");
        assert_eq!(says_so, kind == FaultKind::Misconfigured, "{fault}");
        aws.state(|state| assert!(state.signers.is_empty()));
    }
}

#[tokio::test]
async fn warm_up_fetches_the_key_and_assumes_the_role() {
    let aws = with_key("first");
    let endpoint = aws.endpoint(&[URL, SIGNED, KEY, AS_ROLE]).await;
    endpoint.warm_up(20).await;
    let asked = |state: &mut State| {
        (
            state.secret_requests.len(),
            state.sts_requests.len(),
            state.signers.len(),
        )
    };
    assert_eq!(aws.state(asked), (1, 1, 0), "the endpoint itself is not called");
    invoke(&endpoint, &request()).await.unwrap();
    assert_eq!(aws.state(asked), (1, 1, 1));
}

/// Makes one attempt with a call timeout of 300 ms, for 12 s at most. Returns the result and the time taken.
async fn attempt(endpoint: AnyEndpoint) -> (Result<RecordOutputs, Fault>, Duration) {
    let capacity = Capacity::new(NonZeroUsize::MIN, true);
    let invoker = Invoker::new(
        endpoint,
        Duration::from_millis(300),
        capacity,
        AnswerMemory::new(usize::MAX),
    );
    let started = Instant::now();
    let ended = async {
        invoker.prepare(started + Duration::from_secs(12)).await?;
        let mut permit = invoker.capacity().acquire().await;
        let request = Arc::new(request());
        invoker
            .attempt(
                &request,
                AnswerMemory::new(usize::MAX).reserve(false),
                &mut permit,
                &Arc::new(CallStats::new(None)),
            )
            .await
    };
    (ended.await, started.elapsed())
}

#[tokio::test(start_paused = true)]
async fn the_call_timeout_starts_after_the_key_and_the_credentials_are_fetched() {
    let aws = with_key("first");
    aws.state(|state| state.delay = Duration::from_millis(400));
    let (ended, took) = attempt(aws.endpoint(&[URL, SIGNED, KEY, AS_ROLE]).await).await;
    assert!(ended.is_ok(), "{ended:?}");
    assert!(took >= Duration::from_millis(400), "both are fetched at once: {took:?}");
    assert!(took < Duration::from_millis(500), "both are fetched at once: {took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_secret_or_role_service_that_does_not_respond_is_not_the_records_fault() {
    for settings in [&[URL, SIGNED, AS_ROLE][..], &[URL, KEY]] {
        let aws = with_key("first");
        aws.state(|state| state.delay = Duration::from_hours(1));
        let (ended, took) = attempt(aws.endpoint(settings).await).await;
        let fault = ended.unwrap_err();
        assert_eq!(fault.kind, FaultKind::Unreachable);
        assert!(fault.summary.contains("the fetch timed out after 5s"), "{fault}");
        assert_eq!(took, Duration::from_secs(12), "it is retried until the end");
    }
}

#[tokio::test(start_paused = true)]
async fn a_secret_or_role_service_that_hangs_once_costs_only_time() {
    for settings in [&[URL, SIGNED, AS_ROLE][..], &[URL, KEY]] {
        let aws = with_key("first");
        aws.state(|state| {
            state.delay = Duration::from_hours(1);
            state.expected_key = None;
        });
        let recovers = async {
            sleep(Duration::from_secs(4)).await;
            aws.state(|state| state.delay = Duration::ZERO);
        };
        let ((ended, took), ()) = tokio::join!(attempt(aws.endpoint(settings).await), recovers);
        assert!(ended.is_ok(), "{ended:?}");
        assert!(took < Duration::from_millis(5200), "{took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn fetches_that_a_freeze_interrupted_start_anew() {
    let aws = with_key("first");
    aws.state(|state| state.delay = Duration::from_hours(1));
    let endpoint = aws.endpoint(&[URL, SIGNED, KEY, AS_ROLE]).await;
    endpoint.warm_up(1).await;
    advance(Duration::from_mins(2)).await;
    aws.state(|state| state.delay = Duration::ZERO);
    invoke(&endpoint, &request()).await.unwrap();
    aws.state(|state| assert_eq!((state.sts_requests.len(), state.secret_requests.len()), (1, 1)));
}

/// A handler whose calls are signed as a role and have a key, with one attempt for each record.
async fn handler(aws: &AwsStub, call_timeout_ms: &str) -> Handler<AnyEndpoint> {
    let settings = [
        URL,
        SIGNED,
        AS_ROLE,
        KEY,
        ("OUTPUT", "none:"),
        ("MAX_ATTEMPTS", "1"),
        ("CAPACITY", "16"),
        ("CALL_TIMEOUT_MS", call_timeout_ms),
    ];
    let setting = |name: &str| {
        let setting = settings.iter().find(|(key, _)| *key == name);
        setting.map(|(_, value)| (*value).to_owned())
    };
    let config = Config::from_lookup(setting).unwrap();
    let output = || Destination::Stdout(StdoutLines::new(Box::new(io::sink())));
    let endpoint = Box::pin(aws.endpoint(&settings[..4])).await;
    Handler::new(&config, endpoint, output(), Some(output()))
}

/// Sends a batch of 100 records, which has a minute. Returns the sequence number that the response names.
async fn deliver(handler: &Handler<AnyEndpoint>) -> Option<String> {
    let records: Vec<_> = (0..100).map(|number| entry(&number.to_string())).collect();
    let payload = json!({ "Records": records }).to_string();
    let invocation = Invocation {
        function_arn: "arn:aws:lambda:eu-central-1:123456789012:function:instream",
        request_id: "",
        trace_id: None,
        deadline_ms: 60_000,
        now: SystemTime::UNIX_EPOCH,
    };
    let response = handler.handle(payload.as_bytes(), invocation).await.unwrap();
    let response = serde_json::to_value(response).unwrap();
    let named = response["batchItemFailures"][0]["itemIdentifier"].as_str();
    named.map(ToOwned::to_owned)
}

#[tokio::test(start_paused = true)]
async fn a_role_that_expires_in_mid_batch_while_sts_is_down_fails_no_record() {
    let aws = with_key("first");
    let handler = handler(&aws, "30000").await;
    assert_eq!(deliver(&handler).await, None);
    aws.state(|state| {
        assert_eq!(state.signers, ["SESSION1"; 100]);
        // The endpoint no longer accepts the session.
        state.sessions = 7;
        state.sts_error = Some((503, "ServiceUnavailable"));
    });
    let recovers = async {
        sleep(Duration::from_secs(20)).await;
        aws.state(|state| state.sts_error = None);
    };
    let (failed, ()) = tokio::join!(deliver(&handler), recovers);
    assert_eq!(failed, None);
    assert!((handler.limit() - 16.0).abs() < f64::EPSILON, "{}", handler.limit());
    aws.state(|state| {
        let predicted = state.signers.iter().filter(|signer| *signer == "SESSION8");
        assert_eq!(predicted.count(), 100);
    });
}

#[tokio::test(start_paused = true)]
async fn the_wait_for_new_credentials_or_a_new_key_is_not_part_of_the_call_timeout() {
    for is_key in [false, true] {
        let aws = with_key("first");
        let handler = handler(&aws, "300").await;
        assert_eq!(deliver(&handler).await, None);
        aws.state(|state| {
            state.delay = Duration::from_secs(4);
            if is_key {
                state.expected_key = Some("second".to_owned());
                state.secret = Secret::Text("second");
            } else {
                state.sessions = 7;
            }
        });
        let started = Instant::now();
        assert_eq!(deliver(&handler).await, None);
        let took = started.elapsed();
        assert!(
            (4000..4100).contains(&took.as_millis()),
            "one fetch for all calls: {took:?}"
        );
        assert!((handler.limit() - 16.0).abs() < f64::EPSILON, "{}", handler.limit());
        aws.state(|state| {
            assert_eq!(state.sts_requests.len() + state.secret_requests.len(), 3);
            let refused = state.signers.len() - 200;
            assert!((1..=16).contains(&refused), "{refused}");
        });
    }
}

#[tokio::test(start_paused = true)]
async fn a_record_that_a_firewall_blocks_ends_and_does_not_hold_the_others() {
    let aws = with_key("first");
    let handler = handler(&aws, "300").await;
    aws.state(|state| state.blocks = Some("99"));
    let started = Instant::now();
    assert_eq!(deliver(&handler).await.as_deref(), Some("99"));
    assert!(
        started.elapsed() < Duration::from_millis(100),
        "{:?}",
        started.elapsed()
    );
    aws.state(|state| assert_eq!((state.keys.len(), state.secret_requests.len()), (101, 2)));
}

#[tokio::test(start_paused = true)]
async fn a_service_that_refuses_all_credentials_ends_the_delivery_at_once() {
    let aws = with_key("first");
    let handler = handler(&aws, "300").await;
    assert_eq!(deliver(&handler).await, None);
    aws.state(|state| state.refuses_sessions = true);
    let started = Instant::now();
    assert_eq!(deliver(&handler).await.as_deref(), Some("0"));
    assert!(
        started.elapsed() < Duration::from_millis(100),
        "{:?}",
        started.elapsed()
    );
    aws.state(|state| {
        let refused = state.signers.len() - 100;
        assert!((2..=32).contains(&refused), "{refused}");
        // The next delivery fetches new credentials, and the service accepts them.
        state.refuses_sessions = false;
    });
    assert_eq!(deliver(&handler).await, None);
}

#[tokio::test(start_paused = true)]
async fn a_key_is_kept_if_it_cannot_be_refreshed() {
    let aws = with_key("first");
    let endpoint = aws.endpoint(&[URL, KEY]).await;
    invoke(&endpoint, &request()).await.unwrap();
    // A firewall blocks one record while Secrets Manager is unavailable.
    aws.state(|state| {
        state.expected_key = Some("another".to_owned());
        state.secret = Secret::Error(500, "InternalServiceError");
    });
    let fault = invoke(&endpoint, &request()).await.unwrap_err();
    assert_eq!(fault.load, LoadSignal::Unprepared);
    let fault = invoke(&endpoint, &request()).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Misconfigured);
    assert!(
        fault.summary.contains("403 ForbiddenException"),
        "the fault is the endpoint's response: {fault}"
    );
    aws.state(|state| state.expected_key = Some("first".to_owned()));
    invoke(&endpoint, &request()).await.unwrap();
}

#[tokio::test]
async fn a_key_rejected_as_an_expired_token_is_refreshed() {
    let aws = with_key("first");
    let endpoint = aws.endpoint(&[URL, KEY]).await;
    invoke(&endpoint, &request()).await.unwrap();
    aws.state(|state| {
        state.expected_key = Some("second".to_owned());
        state.secret = Secret::Text("second");
        state.key_error_code = "ExpiredTokenException";
    });
    let fault = invoke(&endpoint, &request()).await.unwrap_err();
    assert_eq!(fault.load, LoadSignal::Unprepared);
    invoke(&endpoint, &request()).await.unwrap();
    let keys = aws.state(|state| state.keys.iter().flatten().cloned().collect::<Vec<_>>());
    assert_eq!(
        keys,
        ["first", "first", "second"],
        "no call is repeated with the rejected key"
    );
}
