//! Who calls an endpoint: with a key out of a secret, as a role of another account.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use instream::capacity::Capacity;
use instream::endpoint::remote::Remote;
use instream::endpoint::{Endpoint as _, Fault, FaultKind};
use instream::invoke::{Answer, Caller, Tally};
use tokio::time::Instant;

use crate::around::{Around, ROLE, SECRET, Secret, State};
use crate::replay::request;

const URL: (&str, &str) = (
    "ENDPOINT_URL",
    "https://a1.execute-api.eu-central-1.amazonaws.com/prod/score",
);
const SIGNED: (&str, &str) = ("ENDPOINT_AUTH", "sigv4");
const KEY: (&str, &str) = ("ENDPOINT_API_KEY", SECRET);
const AS_ROLE: (&str, &str) = ("ENDPOINT_ROLE_ARN", ROLE);

fn with_key(key: &'static str) -> Around {
    let around = Around::default();
    around.state(|state| {
        state.key = Some(key.to_owned());
        state.secret = Secret::Text(key);
    });
    around
}

#[tokio::test]
async fn a_key_is_fetched_once() {
    let around = with_key("first");
    let endpoint = around.endpoint(&[URL, SIGNED, KEY]).await;
    let request = request();
    let (one, other) = tokio::join!(endpoint.invoke(&request), endpoint.invoke(&request));
    assert!(one.is_ok() && other.is_ok(), "{one:?} {other:?}");
    endpoint.invoke(&request).await.unwrap();
    around.state(|state| {
        assert_eq!(state.fetched, [r#"{"SecretId":"gateway-key"}"#]);
        assert_eq!(state.fetched_in, "eu-central-1");
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
    let around = with_key("first");
    around.state(|state| state.is_unauthorized = is_unauthorized);
    let endpoint = around.endpoint(&[URL, KEY]).await;
    endpoint.invoke(&request()).await.unwrap();
    around.state(|state| {
        state.key = Some("second".to_owned());
        state.secret = Secret::Text("second\n");
    });
    let request = request();
    let (one, other) = tokio::join!(endpoint.invoke(&request), endpoint.invoke(&request));
    assert!(one.is_ok() && other.is_ok(), "{one:?} {other:?}");
    around.state(|state| {
        assert_eq!(state.fetched.len(), 2, "once for both");
        let keys: Vec<_> = state.keys.iter().flatten().map(String::as_str).collect();
        assert_eq!(keys, ["first", "first", "first", "second", "second"]);
    });
}

#[tokio::test]
async fn a_key_that_is_still_rejected_is_a_matter_of_configuration() {
    let around = with_key("first");
    around.state(|state| state.key = Some("another".to_owned()));
    let endpoint = around.endpoint(&[URL, KEY]).await;
    let fault = endpoint.invoke(&request()).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Misconfigured);
    assert!(fault.summary.contains("check ENDPOINT_API_KEY"), "{fault}");
    around.state(|state| {
        assert_eq!(state.fetched.len(), 2);
        assert_eq!(state.keys.len(), 1, "the same key is not tried again");
    });
}

#[tokio::test]
async fn a_key_may_be_a_member_and_have_a_header_and_a_scheme_of_its_own() {
    let around = with_key("Bearer 123");
    around.state(|state| state.secret = Secret::Text(r#"{"apiKey":"123"}"#));
    let settings = [
        URL,
        ("ENDPOINT_API_KEY", "secretsmanager:gateway-key#apiKey"),
        ("ENDPOINT_API_KEY_HEADER", "authorization: Bearer"),
    ];
    around.endpoint(&settings).await.invoke(&request()).await.unwrap();
    let around = with_key("123");
    let settings = [URL, KEY, ("ENDPOINT_API_KEY_HEADER", "X-Key")];
    around.endpoint(&settings).await.invoke(&request()).await.unwrap();
}

#[tokio::test]
async fn a_secret_is_fetched_where_its_arn_says() {
    let around = with_key("123");
    let arn = "secretsmanager:arn:aws:secretsmanager:us-west-2:123456789012:secret:gateway-key-AbCdEf";
    let endpoint = around.endpoint(&[URL, ("ENDPOINT_API_KEY", arn)]).await;
    endpoint.invoke(&request()).await.unwrap();
    around.state(|state| assert_eq!(state.fetched_in, "us-west-2"));
}

#[tokio::test(start_paused = true)]
async fn a_key_that_cannot_be_had_is_told_of_and_no_call_is_made() {
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
            "no line of printable ASCII",
        ),
    ] {
        let around = Around::default();
        around.state(|state| state.secret = secret);
        let endpoint = around.endpoint(&[URL, KEY]).await;
        let fault = endpoint.invoke(&request()).await.unwrap_err();
        assert_eq!(fault.kind, kind, "{fault}");
        assert!(fault.summary.contains(expected), "{fault}");
        around.state(|state| assert!(state.keys.is_empty()));
        // The next call asks anew.
        around.state(|state| state.secret = Secret::Text("123"));
        assert!(endpoint.invoke(&request()).await.is_ok());
    }
}

#[tokio::test]
async fn calls_are_made_as_the_role_that_is_named() {
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
        let around = Around::default();
        let endpoint = around.endpoint(settings).await;
        for _ in 0..3 {
            endpoint.invoke(&request()).await.unwrap();
        }
        around.state(|state| {
            assert_eq!(state.signers, ["SESSION1"; 3]);
            assert!(
                state.called.starts_with(&format!("https://{host}/")),
                "{}",
                state.called
            );
            assert!(state.scope.contains(scope), "{}", state.scope);
            let [assumed] = &state.assumed[..] else {
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
async fn a_roles_credentials_that_have_expired_are_fetched_again_and_the_call_made_once_more() {
    let around = Around::default();
    let endpoint = around.endpoint(&[URL, SIGNED, AS_ROLE]).await;
    endpoint.invoke(&request()).await.unwrap();
    // Those that were given out are no longer taken.
    around.state(|state| state.sessions = 7);
    endpoint.invoke(&request()).await.unwrap();
    around.state(|state| assert_eq!(state.signers, ["SESSION1", "SESSION1", "SESSION8"]));
}

#[tokio::test(start_paused = true)]
async fn a_role_that_may_not_be_assumed_is_a_matter_of_configuration_and_an_outage_is_not() {
    for (refusal, kind) in [
        ((403, "AccessDenied"), FaultKind::Misconfigured),
        ((400, "ValidationError"), FaultKind::Misconfigured),
        ((400, "Throttling"), FaultKind::Unreachable),
        ((503, "ServiceUnavailable"), FaultKind::Unreachable),
    ] {
        let around = Around::default();
        around.state(|state| state.not_assumed = Some(refusal));
        let endpoint = around.endpoint(&[URL, SIGNED, AS_ROLE]).await;
        let fault = endpoint.invoke(&request()).await.unwrap_err();
        assert_eq!(fault.kind, kind, "{fault}");
        let says_so = fault.summary.contains("ENDPOINT_ROLE_ARN");
        assert_eq!(says_so, kind == FaultKind::Misconfigured, "{fault}");
        around.state(|state| assert!(state.signers.is_empty()));
    }
}

#[tokio::test]
async fn what_calls_need_is_there_before_the_first() {
    let around = with_key("first");
    let endpoint = around.endpoint(&[URL, SIGNED, KEY, AS_ROLE]).await;
    endpoint.warm_up(20).await;
    let asked = |state: &mut State| (state.fetched.len(), state.assumed.len(), state.signers.len());
    assert_eq!(around.state(asked), (1, 1, 0), "the endpoint itself is not called");
    endpoint.invoke(&request()).await.unwrap();
    assert_eq!(around.state(asked), (1, 1, 1));
}

/// One attempt at a call, for which there are 300 ms.
async fn attempt(endpoint: Remote) -> (Result<Answer, Fault>, Duration) {
    let capacity = Capacity::new(NonZeroUsize::MIN, true);
    let caller = Caller::new(endpoint, Duration::from_millis(300), capacity, None);
    let (mut permit, started) = (caller.capacity().acquire().await, Instant::now());
    let ended = caller
        .attempt(&Arc::new(request()), &mut permit, &Tally::new(None))
        .await;
    (ended, started.elapsed())
}

#[tokio::test(start_paused = true)]
async fn the_time_for_a_call_begins_when_it_has_what_it_needs() {
    let around = with_key("first");
    around.state(|state| state.slow = Duration::from_millis(400));
    let (ended, took) = attempt(around.endpoint(&[URL, SIGNED, KEY, AS_ROLE]).await).await;
    assert!(ended.is_ok(), "{ended:?}");
    assert!(took >= Duration::from_millis(400), "both are fetched at once: {took:?}");
    assert!(took < Duration::from_millis(500), "both are fetched at once: {took:?}");
}

#[tokio::test(start_paused = true)]
async fn services_that_do_not_answer_are_no_fault_of_the_record() {
    for settings in [&[URL, SIGNED, AS_ROLE][..], &[URL, KEY]] {
        let around = with_key("first");
        around.state(|state| state.slow = Duration::from_hours(1));
        let (ended, took) = attempt(around.endpoint(settings).await).await;
        assert_eq!(ended.unwrap_err().kind, FaultKind::Unreachable);
        assert!(took < Duration::from_millis(5100), "{took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_that_cannot_be_fetched_again_is_kept() {
    let around = with_key("first");
    let endpoint = around.endpoint(&[URL, KEY]).await;
    endpoint.invoke(&request()).await.unwrap();
    // A firewall finds something in one record, while Secrets Manager is away.
    around.state(|state| {
        state.key = Some("another".to_owned());
        state.secret = Secret::Error(500, "InternalServiceError");
    });
    let fault = endpoint.invoke(&request()).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Misconfigured);
    assert!(
        fault.summary.contains("403 ForbiddenException"),
        "what the endpoint said: {fault}"
    );
    around.state(|state| state.key = Some("first".to_owned()));
    endpoint.invoke(&request()).await.unwrap();
}

#[tokio::test]
async fn a_key_that_is_called_an_expired_token_is_fetched_again() {
    let around = with_key("first");
    let endpoint = around.endpoint(&[URL, KEY]).await;
    endpoint.invoke(&request()).await.unwrap();
    around.state(|state| {
        state.key = Some("second".to_owned());
        state.secret = Secret::Text("second");
        state.refusal = "ExpiredTokenException";
    });
    endpoint.invoke(&request()).await.unwrap();
    let keys = around.state(|state| state.keys.iter().flatten().cloned().collect::<Vec<_>>());
    assert_eq!(keys, ["first", "first", "second"], "no call is made in vain");
}
