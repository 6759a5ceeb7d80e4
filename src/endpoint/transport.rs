//! Sends requests over HTTP, signed or unsigned, and reads the responses. Used by all endpoints except scripted ones.

use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use aws_smithy_runtime_api::client::http::{HttpConnector as _, SharedHttpConnector};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::result::ConnectorError;
use futures_util::future::{join, join_all, join3};
use tokio::time::timeout;

use super::api_key::{ApiKey, Secret};
use super::call_error::CallError;
use super::credentials::{CachedCredentials, IssuedCredentials};
use super::host_lookup::FailedLookup;
use super::request_template::{PerCallHeader, copy, per_call_headers, set_path_and_query, with_body};
use super::signature::Signer;
use super::url::is_unencrypted;
use super::{Call, trace};
use crate::outcome::AnswerReservation;

mod response;

pub(super) use response::HttpAnswer;
#[cfg(feature = "sdk-client")]
pub(super) use response::shorten_attributes;

/// The maximum time that is spent on preparations before the first event.
const WARM_UP_TIMEOUT: Duration = Duration::from_secs(1);

/// Makes calls to one host.
#[derive(Debug)]
pub(super) struct Transport {
    http: SharedHttpConnector,
    /// The statuses of a prediction.
    prediction_statuses: &'static [u16],
    auth: Auth,
    key: Option<ApiKey>,
    /// The last lookup of the host, if it failed.
    failed_lookup: Mutex<Option<FailedLookup>>,
}

/// The authentication of calls.
#[derive(Debug)]
pub(super) enum Auth {
    /// Requests are signed with Signature Version 4.
    SigV4 {
        credentials: CachedCredentials,
        signer: Box<Signer>,
    },
    /// Requests are not signed. Contains the request template.
    None(Box<HttpRequest>),
}

impl Transport {
    pub(super) fn new(
        http: SharedHttpConnector,
        prediction_statuses: &'static [u16],
        auth: Auth,
        key: Option<ApiKey>,
    ) -> Self {
        Self {
            http,
            prediction_statuses,
            auth,
            key,
            failed_lookup: Mutex::default(),
        }
    }

    /// Returns whether calls leave this machine unencrypted.
    pub(super) fn is_unencrypted(&self) -> bool {
        is_unencrypted(self.template().uri())
    }

    /// Fetches credentials and the key, and opens up to `connections` connections. Stops after [`WARM_UP_TIMEOUT`].
    /// Errors are ignored here, since the first call reports them.
    pub(super) async fn warm_up(&self, connections: usize) {
        let preconnects = join_all((0..connections).map(|_| self.preconnect()));
        _ = timeout(WARM_UP_TIMEOUT, join(self.prepare(), preconnects)).await;
    }

    /// Fetches credentials and the key, so that the next call finds them cached. Repeats the lookup of the host if it
    /// failed.
    pub(super) async fn prepare(&self) -> Result<(), CallError> {
        let credentials = async {
            match &self.auth {
                Auth::SigV4 { credentials, .. } => credentials.get().await.map_err(CallError::Credentials).map(drop),
                Auth::None(_) => Ok(()),
            }
        };
        let key = async {
            match &self.key {
                Some(key) => key.get().await.map_err(CallError::Key).map(drop),
                None => Ok(()),
            }
        };
        let (credentials, key, lookup) = join3(credentials, key, self.repeat_failed_lookup()).await;
        credentials.and(key).and(lookup)
    }

    async fn repeat_failed_lookup(&self) -> Result<(), CallError> {
        let failed = self.failed_lookup().clone();
        if let Some(lookup) = failed {
            lookup.repeat().await.map_err(CallError::Lookup)?;
            *self.failed_lookup() = None;
        }
        Ok(())
    }

    fn failed_lookup(&self) -> MutexGuard<'_, Option<FailedLookup>> {
        self.failed_lookup.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens a connection with a request that calls no endpoint. The connection stays in the pool unless the host
    /// closes it.
    async fn preconnect(&self) {
        if let Some(ping) = ping_request(self.template())
            && let Ok(answer) = self.http.call(ping).await
        {
            // The connection returns to the pool after the response has been read.
            _ = HttpAnswer::read(answer, self.prediction_statuses, None).await;
        }
    }

    /// Makes one [prepared](Self::prepare) call. Repeats it immediately after a lost connection, once. If the service
    /// refuses the credentials or the key, the next preparation fetches new ones.
    pub(super) async fn call(&self, call: &Call<'_>) -> Result<HttpAnswer, CallError> {
        let per_call = per_call_headers(call);
        let mut has_lost_connection = false;
        loop {
            let credentials = match &self.auth {
                Auth::SigV4 { credentials, .. } => Some(credentials.cached().ok_or(CallError::Unprepared)?),
                Auth::None(_) => None,
            };
            let key = self.key.as_ref().map(|key| key.cached().ok_or(CallError::Unprepared));
            let key = key.transpose()?;
            let request = self.request(credentials.as_ref(), key.as_deref(), &per_call, call)?;
            match self.send(request, call.memory).await {
                Ok(answer) if self.refuses_identity(&answer, credentials.as_ref(), key.as_deref()) => {
                    return Err(CallError::Unprepared);
                }
                Err(error) if !has_lost_connection && error.is_lost_connection() => has_lost_connection = true,
                ended => return ended,
            }
        }
    }

    /// Notes whether the service accepted the credentials and the key of a call. Returns whether it refused them and
    /// new ones may help.
    pub(super) fn refuses_identity(
        &self,
        answer: &HttpAnswer,
        credentials: Option<&Arc<IssuedCredentials>>,
        key: Option<&Secret>,
    ) -> bool {
        if let (Auth::SigV4 { credentials: cache, .. }, Some(credentials)) = (&self.auth, credentials) {
            if !answer.has_expired_credentials() {
                credentials.accept();
            } else if cache.refuse(credentials) {
                return true;
            }
        }
        let key = self.key.as_ref().zip(key).filter(|_| answer.is_key_rejection());
        key.is_some_and(|(api_key, key)| api_key.reject(key))
    }

    fn template(&self) -> HttpRequest {
        match &self.auth {
            Auth::SigV4 { signer, .. } => signer.template(),
            Auth::None(template) => copy(template),
        }
    }

    fn request(
        &self,
        credentials: Option<&Arc<IssuedCredentials>>,
        key: Option<&Secret>,
        per_call: &[PerCallHeader<'_>],
        call: &Call<'_>,
    ) -> Result<HttpRequest, CallError> {
        let (target, body) = (call.path_and_query, call.body.clone());
        let request = if let (Auth::SigV4 { signer, .. }, Some(credentials)) = (&self.auth, credentials) {
            signer.sign(&credentials.credentials, SystemTime::now(), target, per_call, body)
        } else {
            let mut request = self.template();
            let is_set = target.map_or(Ok(()), |target| set_path_and_query(&mut request, target));
            is_set.and_then(|()| with_body(request, per_call, body))
        };
        let mut request = request.map_err(|_| CallError::Unbuildable)?;
        // The key and the trace header are not signed: the key may change between calls, and services on the way may
        // change the trace.
        if let (Some(api_key), Some(key)) = (&self.key, key) {
            let header = api_key.header(key);
            let inserted = request
                .headers_mut()
                .try_insert(api_key.header_name().to_owned(), header);
            inserted.map_err(|_| CallError::Unbuildable)?;
        }
        trace::add_header(&mut request);
        Ok(request)
    }

    /// Returns the cached credentials, unless they were refused since they were fetched.
    #[cfg(feature = "sdk-client")]
    pub(super) fn cached_credentials(&self) -> Option<Arc<IssuedCredentials>> {
        match &self.auth {
            Auth::SigV4 { credentials, .. } => credentials.cached(),
            Auth::None(_) => None,
        }
    }

    /// Sends one request. Refreshes credentials that expire soon while it waits for the response.
    pub(super) async fn send(
        &self,
        request: HttpRequest,
        memory: Option<&AnswerReservation>,
    ) -> Result<HttpAnswer, CallError> {
        let answer = pin!(async {
            let answer = self.http.call(request).await;
            let answer = answer.map_err(|error| self.connection_error(error))?;
            HttpAnswer::read(answer, self.prediction_statuses, memory).await
        });
        match &self.auth {
            Auth::SigV4 { credentials, .. } => credentials.refresh_beside(answer).await,
            Auth::None(_) => answer.await,
        }
    }

    /// Remembers a failed lookup of the host for the next preparation.
    fn connection_error(&self, error: ConnectorError) -> CallError {
        let Some(lookup) = FailedLookup::cause_of(&error) else {
            return CallError::Connection(error);
        };
        *self.failed_lookup() = Some(lookup.clone());
        CallError::Lookup(lookup)
    }
}

/// Turns a request template into a harmless `GET /ping` to the same host. Returns `None` without TLS, because an
/// unencrypted connection costs almost nothing to open.
fn ping_request(mut request: HttpRequest) -> Option<HttpRequest> {
    let host = request.uri().strip_prefix("https://")?;
    let host = host.split('/').next().unwrap_or_default();
    let uri = format!("https://{host}/ping");
    request.set_uri(uri).ok()?;
    request.set_method("GET").ok()?;
    Some(request)
}

#[cfg(test)]
mod tests {
    use aws_credential_types::Credentials;
    use aws_credential_types::provider::SharedCredentialsProvider;
    use aws_smithy_runtime_api::client::http::{HttpConnector, HttpConnectorFuture};
    use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
    use aws_smithy_types::body::SdkBody;
    use bytes::Bytes;
    use tokio::time::{Instant, sleep};

    use super::*;
    use crate::endpoint::signature::SigningScope;

    /// A server that answers after a second.
    #[derive(Debug)]
    struct SlowServer;

    impl HttpConnector for SlowServer {
        fn call(&self, _: HttpRequest) -> HttpConnectorFuture {
            HttpConnectorFuture::new(async {
                sleep(Duration::from_secs(1)).await;
                Ok(HttpResponse::new(200.try_into().unwrap(), SdkBody::empty()))
            })
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_refreshes_credentials_that_expire_soon_while_it_waits_for_the_response() {
        let new = SharedCredentialsProvider::new(Credentials::new("new", "secret", None, None, "test"));
        let mut template = HttpRequest::new(SdkBody::empty());
        template.set_uri("https://endpoint/").unwrap();
        let scope = SigningScope {
            region: "eu-central-1".to_owned(),
            service: "sagemaker".to_owned(),
        };
        let auth = Auth::SigV4 {
            credentials: CachedCredentials::due_for_refresh(new).await,
            signer: Box::new(Signer::new(template, scope, "x-id")),
        };
        let transport = Transport::new(SharedHttpConnector::new(SlowServer), &[200], auth, None);
        let started = Instant::now();
        for key in ["old", "new"] {
            transport.prepare().await.unwrap();
            let Auth::SigV4 { credentials, .. } = &transport.auth else {
                panic!("calls are signed")
            };
            let credentials = &credentials.cached().unwrap().credentials;
            assert_eq!(credentials.access_key_id(), key);
            let call = Call {
                body: Bytes::new(),
                inference_id: "",
                target_model: None,
                path_and_query: None,
                memory: None,
            };
            transport.call(&call).await.unwrap();
        }
        assert_eq!(started.elapsed(), Duration::from_secs(2));
    }
}
