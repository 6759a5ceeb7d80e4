//! Calls that fail without evidence about the endpoint cost no attempt: a lost connection is retried at once, and a
//! call with expired credentials waits for new ones.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::future;
use aws_sdk_sagemakerruntime::config::{Credentials, ProvideCredentials, SharedCredentialsProvider};
use instream::outcome::{FaultKind, LoadSignal};

use crate::replay::{Reply, call, credentials, endpoint, invoke, request};

const PREDICTED: Reply = Reply::Http(200, &[], "{}");
const EXPIRED: Reply = Reply::Http(403, &[("x-amzn-errortype", "ExpiredTokenException")], "{}");

#[tokio::test]
async fn a_pooled_connection_is_dead() {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    let deaths = [BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof].map(Reply::Io);
    for death in deaths.into_iter().chain([Reply::CutShort]) {
        let (answer, requests) = call(&[], &[death, PREDICTED]).await;
        assert!(answer.is_ok(), "{death:?}: {answer:?}");
        assert_eq!(requests.len(), 2, "{death:?}");
        // If the second connection dies too, the record may have crashed the server.
        let (answer, requests) = call(&[], &[death]).await;
        assert_eq!(answer.unwrap_err().kind, FaultKind::Suspect, "{death:?}");
        assert_eq!(requests.len(), 2, "{death:?}");
    }
}

#[tokio::test]
async fn a_connection_that_cannot_be_made_is_not_retried_immediately() {
    for kind in [io::ErrorKind::ConnectionRefused, io::ErrorKind::HostUnreachable] {
        let (answer, requests) = call(&[], &[Reply::Io(kind)]).await;
        assert_eq!(answer.unwrap_err().kind, FaultKind::Unreachable);
        assert_eq!(requests.len(), 1, "{kind:?}");
    }
}

/// A provider that returns different credentials each time.
#[derive(Debug, Default, Clone)]
struct Rotating(Arc<AtomicUsize>);

impl ProvideCredentials for Rotating {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        let number = self.0.fetch_add(1, Ordering::Relaxed);
        let credentials = Credentials::new(format!("key{number}"), "secret", None, None, "test");
        future::ProvideCredentials::ready(Ok(credentials))
    }
}

#[tokio::test]
async fn the_credentials_have_expired() {
    let provider = Rotating::default();
    let shared = SharedCredentialsProvider::new(provider.clone());
    let (endpoint, requests) = endpoint(shared, &[], &[EXPIRED, PREDICTED, PREDICTED]).await;
    let fault = invoke(&endpoint, &request()).await.unwrap_err();
    assert_eq!(
        (fault.kind, fault.load),
        (FaultKind::Unreachable, LoadSignal::Unprepared)
    );
    assert_eq!(
        provider.0.load(Ordering::Relaxed),
        1,
        "the call does not wait for new credentials"
    );
    invoke(&endpoint, &request()).await.unwrap();
    invoke(&endpoint, &request()).await.unwrap();
    let signed_with = |key: &str| {
        let requests = requests.lock().unwrap();
        let headers = requests
            .iter()
            .map(|request| request.headers().get("authorization").unwrap());
        headers.map(|header| header.contains(key)).collect::<Vec<_>>()
    };
    assert_eq!(signed_with("key0"), [true, false, false]);
    assert_eq!(signed_with("key1"), [false, true, true], "the new credentials are kept");
    assert_eq!(provider.0.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn after_a_long_freeze_the_connection_is_dead_and_the_credentials_have_expired() {
    let death = Reply::Io(io::ErrorKind::ConnectionReset);
    for replies in [[death, EXPIRED, PREDICTED], [EXPIRED, death, PREDICTED]] {
        let (endpoint, requests) = endpoint(credentials(), &[], &replies).await;
        let fault = invoke(&endpoint, &request()).await.unwrap_err();
        assert_eq!(fault.load, LoadSignal::Unprepared, "{replies:?}: {fault}");
        invoke(&endpoint, &request()).await.unwrap();
        assert_eq!(requests.lock().unwrap().len(), 3);
    }
}

#[tokio::test]
async fn credentials_that_are_still_expired_are_a_misconfiguration() {
    let provider = Rotating::default();
    let shared = SharedCredentialsProvider::new(provider.clone());
    let (endpoint, requests) = endpoint(shared, &[], &[EXPIRED]).await;
    let fault = invoke(&endpoint, &request()).await.unwrap_err();
    assert_eq!(fault.load, LoadSignal::Unprepared);
    for calls in 2..5 {
        let fault = invoke(&endpoint, &request()).await.unwrap_err();
        assert_eq!(
            (fault.kind, fault.load),
            (FaultKind::Misconfigured, LoadSignal::FromKind)
        );
        assert!(
            fault.summary_with_remedy().contains("check the function's credentials"),
            "{fault}"
        );
        assert_eq!(requests.lock().unwrap().len(), calls);
        assert_eq!(
            provider.0.load(Ordering::Relaxed),
            calls,
            "each call has new credentials"
        );
    }
}

#[tokio::test]
async fn credentials_that_were_accepted_and_expire_are_replaced_every_time() {
    let replies = [EXPIRED, PREDICTED, EXPIRED, PREDICTED, EXPIRED, PREDICTED];
    let (endpoint, _) = endpoint(credentials(), &[], &replies).await;
    for _ in 0..3 {
        let fault = invoke(&endpoint, &request()).await.unwrap_err();
        assert_eq!(fault.load, LoadSignal::Unprepared, "{fault}");
        invoke(&endpoint, &request()).await.unwrap();
    }
}

#[tokio::test]
async fn concurrent_calls_with_expired_credentials_refresh_them_once() {
    let provider = Rotating::default();
    let shared = SharedCredentialsProvider::new(provider.clone());
    let (endpoint, _) = endpoint(shared, &[], &[EXPIRED, EXPIRED, EXPIRED, PREDICTED]).await;
    let request = request();
    let calls = async || {
        tokio::join!(
            invoke(&endpoint, &request),
            invoke(&endpoint, &request),
            invoke(&endpoint, &request)
        )
    };
    let (one, two, three) = calls().await;
    assert!(
        [one, two, three]
            .iter()
            .all(|call| call.as_ref().is_err_and(|fault| fault.load == LoadSignal::Unprepared))
    );
    let (one, two, three) = calls().await;
    assert!([one, two, three].iter().all(Result::is_ok));
    assert_eq!(provider.0.load(Ordering::Relaxed), 2);
}

/// A provider without credentials: either for lack of a login, or because it does not respond at the moment.
#[derive(Debug)]
struct LoggedOut {
    just_now: bool,
}

impl ProvideCredentials for LoggedOut {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::ready(Err(if self.just_now {
            CredentialsError::provider_error("no answer")
        } else {
            CredentialsError::not_loaded("the login has expired")
        }))
    }
}

#[tokio::test]
async fn missing_credentials_are_a_misconfiguration_and_the_fault_names_the_reason() {
    let provider = SharedCredentialsProvider::new(LoggedOut { just_now: false });
    let (endpoint, requests) = endpoint(provider, &[], &[PREDICTED]).await;
    let fault = invoke(&endpoint, &request()).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Misconfigured);
    assert!(fault.summary.contains("the login has expired"), "{fault}");
    assert!(requests.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_credentials_provider_that_does_not_respond_is_unreachable() {
    let provider = SharedCredentialsProvider::new(LoggedOut { just_now: true });
    let (endpoint, _) = endpoint(provider, &[], &[PREDICTED]).await;
    let fault = invoke(&endpoint, &request()).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Unreachable, "{fault}");
    assert!(fault.summary.contains("no answer"), "{fault}");
}
