//! Requests over HTTP, signed or not, and their answers: what all endpoints have in common that are not scripted.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_smithy_runtime_api::client::http::{HttpConnector as _, SharedHttpConnector};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use bytes::Bytes;
use futures_util::future::{join, join_all, join3};
use tokio::time::timeout;

use super::api_key::{ApiKey, Secret};
use super::call_error::CallError;
use super::credentials::KeptCredentials;
use super::request_template::{copy, with_body};
use super::signature::{Signer, Varying};
use super::trace;

mod response;

pub(super) use response::Answer;

/// How long what calls need may take before the first event.
const WARM_UP_MAX: Duration = Duration::from_secs(1);

/// Makes calls to one URL.
#[derive(Debug)]
pub(super) struct Transport {
    http: SharedHttpConnector,
    auth: Auth,
    key: Option<ApiKey>,
}

/// Whether calls are signed.
#[derive(Debug)]
pub(super) enum Auth {
    /// With Signature Version 4.
    SigV4 {
        credentials: KeptCredentials,
        signer: Box<Signer>,
    },
    /// Not at all: requests are like this one.
    None(Box<HttpRequest>),
}

/// What of a call has been done once more already.
#[derive(Debug, Default)]
struct Repeated {
    credentials: bool,
    key: bool,
    connection: bool,
}

impl Transport {
    pub(super) fn new(http: SharedHttpConnector, auth: Auth, key: Option<ApiKey>) -> Self {
        Self { http, auth, key }
    }

    /// Fetches credentials and the key, and opens connections by `greetings`, so that calls need not wait for them. Whatever
    /// is late is a call's to wait for, and what failed is told by the first one.
    pub(super) async fn warm_up(&self, greetings: usize) {
        let greetings = join_all((0..greetings).map(|_| self.greet()));
        let warm_up = join3(self.credentials(), self.current_key(), greetings);
        _ = timeout(WARM_UP_MAX, warm_up).await;
    }

    /// Waits for what a call needs and is not the endpoint's: then the call does not.
    pub(super) async fn ready(&self) -> Result<(), CallError> {
        let (credentials, key) = join(self.credentials(), self.current_key()).await;
        credentials.and(key.map(|_| ()))
    }

    /// Asks the host for a path that calls no endpoint, over a connection that stays, unless the host closes it.
    async fn greet(&self) {
        if let Some(greeting) = greeting_of(self.blank())
            && let Ok(answer) = self.http.call(greeting).await
        {
            // The connection is free for another call when the answer has been read.
            _ = Answer::read(answer).await;
        }
    }

    /// Makes one call, and once more at once what says nothing of the endpoint: where a connection was lost, or the credentials
    /// have expired, or the key is not the current one any more.
    pub(super) async fn exchange(&self, varying: &[Varying<'_>], body: &Bytes) -> Result<Answer, CallError> {
        let mut repeated = Repeated::default();
        loop {
            let credentials = self.credentials().await?;
            let key = self.current_key().await?;
            let request = self.request(credentials.as_ref(), key.as_deref(), varying, body.clone())?;
            match self.send(request).await {
                Ok(answer) if !repeated.credentials && answer.has_expired_credentials() && credentials.is_some() => {
                    repeated.credentials = true;
                    if let (Auth::SigV4 { credentials: kept, .. }, Some(stale)) = (&self.auth, credentials) {
                        kept.forget(&stale);
                    }
                }
                Ok(answer) if !repeated.key && answer.rejects_a_key() => {
                    let (Some(kept), Some(stale)) = (&self.key, key) else {
                        return Ok(answer);
                    };
                    repeated.key = true;
                    if kept.other_than(&stale).await.is_none() {
                        return Ok(answer);
                    }
                }
                Err(error) if !repeated.connection && error.is_of_a_lost_connection() => repeated.connection = true,
                answer => return answer,
            }
        }
    }

    async fn credentials(&self) -> Result<Option<Arc<Credentials>>, CallError> {
        match &self.auth {
            Auth::SigV4 { credentials, .. } => credentials.get().await.map(Some).map_err(CallError::Credentials),
            Auth::None(_) => Ok(None),
        }
    }

    async fn current_key(&self) -> Result<Option<Arc<Secret>>, CallError> {
        match &self.key {
            Some(key) => key.get().await.map(Some).map_err(CallError::Key),
            None => Ok(None),
        }
    }

    fn blank(&self) -> HttpRequest {
        match &self.auth {
            Auth::SigV4 { signer, .. } => signer.blank(),
            Auth::None(blank) => copy(blank),
        }
    }

    fn request(
        &self,
        credentials: Option<&Arc<Credentials>>,
        key: Option<&Secret>,
        varying: &[Varying<'_>],
        body: Bytes,
    ) -> Result<HttpRequest, CallError> {
        let request = match (&self.auth, credentials) {
            (Auth::SigV4 { signer, .. }, Some(credentials)) => {
                signer.sign(credentials, SystemTime::now(), varying, body)
            }
            _ => with_body(self.blank(), varying, body),
        };
        let mut request = request.map_err(|_| CallError::Unbuildable)?;
        // Neither is signed: a key may change from call to call, and services along the way may change a trace.
        if let (Some(kept), Some(key)) = (&self.key, key) {
            let header = kept.header(key);
            let inserted = request.headers_mut().try_insert(kept.header_name().to_owned(), header);
            inserted.map_err(|_| CallError::Unbuildable)?;
        }
        trace::mark(&mut request);
        Ok(request)
    }

    async fn send(&self, request: HttpRequest) -> Result<Answer, CallError> {
        let answer = self.http.call(request).await.map_err(CallError::Connection)?;
        Answer::read(answer).await
    }
}

/// A harmless request of one that calls the endpoint. None where there is no TLS: then a connection costs nothing to speak
/// of.
fn greeting_of(mut request: HttpRequest) -> Option<HttpRequest> {
    let host = request.uri().strip_prefix("https://")?;
    let host = host.split('/').next().unwrap_or_default();
    let uri = format!("https://{host}/ping");
    request.set_uri(uri).ok()?;
    request.set_method("GET").ok()?;
    Some(request)
}
