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
use super::credentials::CachedCredentials;
use super::request_template::{copy, with_body};
use super::signature::{Signer, PerCallHeader};
use super::trace;

mod response;

pub(super) use response::HttpAnswer;

/// How long what calls need may take before the first event.
const WARM_UP_TIMEOUT: Duration = Duration::from_secs(1);

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
        credentials: CachedCredentials,
        signer: Box<Signer>,
    },
    /// Not at all: requests are like this one.
    None(Box<HttpRequest>),
}

/// What of a call has been done once more already.
#[derive(Debug, Default)]
struct RetriedOnce {
    credentials: bool,
    key: bool,
    connection: bool,
}

impl Transport {
    pub(super) fn new(http: SharedHttpConnector, auth: Auth, key: Option<ApiKey>) -> Self {
        Self { http, auth, key }
    }

    /// Fetches credentials and the key, and opens connections by `connections`, so that calls need not wait for them. Whatever
    /// is late is a call's to wait for, and what failed is told by the first one.
    pub(super) async fn warm_up(&self, connections: usize) {
        let connections = join_all((0..connections).map(|_| self.preconnect()));
        let warm_up = join3(self.credentials(), self.current_key(), connections);
        _ = timeout(WARM_UP_TIMEOUT, warm_up).await;
    }

    /// Waits for what a call needs and is not the endpoint's: then the call does not.
    pub(super) async fn prepare(&self) -> Result<(), CallError> {
        let (credentials, key) = join(self.credentials(), self.current_key()).await;
        credentials.and(key.map(|_| ()))
    }

    /// Asks the host for a path that calls no endpoint, over a connection that stays, unless the host closes it.
    async fn preconnect(&self) {
        if let Some(ping) = ping_request(self.template())
            && let Ok(answer) = self.http.call(ping).await
        {
            // The connection is free for another call when the answer has been read.
            _ = HttpAnswer::read(answer).await;
        }
    }

    /// Makes one call, and once more at once what says nothing of the endpoint: where a connection was lost, or the credentials
    /// have expired, or the key is not the current one any more.
    pub(super) async fn send_with_refresh(&self, per_call: &[PerCallHeader<'_>], body: &Bytes) -> Result<HttpAnswer, CallError> {
        let mut retried = RetriedOnce::default();
        loop {
            let credentials = self.credentials().await?;
            let key = self.current_key().await?;
            let request = self.request(credentials.as_ref(), key.as_deref(), per_call, body.clone())?;
            match self.send(request).await {
                Ok(answer) if !retried.credentials && answer.has_expired_credentials() && credentials.is_some() => {
                    retried.credentials = true;
                    if let (Auth::SigV4 { credentials: cached, .. }, Some(stale)) = (&self.auth, credentials) {
                        cached.invalidate(&stale);
                    }
                }
                Ok(answer) if !retried.key && answer.is_key_rejection() => {
                    let (Some(api_key), Some(stale)) = (&self.key, key) else {
                        return Ok(answer);
                    };
                    retried.key = true;
                    if api_key.refresh(&stale).await.is_none() {
                        return Ok(answer);
                    }
                }
                Err(error) if !retried.connection && error.is_lost_connection() => retried.connection = true,
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

    fn template(&self) -> HttpRequest {
        match &self.auth {
            Auth::SigV4 { signer, .. } => signer.template(),
            Auth::None(template) => copy(template),
        }
    }

    fn request(
        &self,
        credentials: Option<&Arc<Credentials>>,
        key: Option<&Secret>,
        per_call: &[PerCallHeader<'_>],
        body: Bytes,
    ) -> Result<HttpRequest, CallError> {
        let request = match (&self.auth, credentials) {
            (Auth::SigV4 { signer, .. }, Some(credentials)) => {
                signer.sign(credentials, SystemTime::now(), per_call, body)
            }
            _ => with_body(self.template(), per_call, body),
        };
        let mut request = request.map_err(|_| CallError::Unbuildable)?;
        // Neither is signed: a key may change from call to call, and services along the way may change a trace.
        if let (Some(api_key), Some(key)) = (&self.key, key) {
            let header = api_key.header(key);
            let inserted = request.headers_mut().try_insert(api_key.header_name().to_owned(), header);
            inserted.map_err(|_| CallError::Unbuildable)?;
        }
        trace::add_header(&mut request);
        Ok(request)
    }

    async fn send(&self, request: HttpRequest) -> Result<HttpAnswer, CallError> {
        let answer = self.http.call(request).await.map_err(CallError::Connection)?;
        HttpAnswer::read(answer).await
    }
}

/// A harmless request of one that calls the endpoint. None where there is no TLS: then a connection costs nothing to speak
/// of.
fn ping_request(mut request: HttpRequest) -> Option<HttpRequest> {
    let host = request.uri().strip_prefix("https://")?;
    let host = host.split('/').next().unwrap_or_default();
    let uri = format!("https://{host}/ping");
    request.set_uri(uri).ok()?;
    request.set_method("GET").ok()?;
    Some(request)
}
