//! An endpoint behind a URL: API Gateway, a function URL, or your own model server. It receives the same requests as
//! `InvokeEndpoint`. Its response status determines success.

use std::time::SystemTime;

use aws_config::SdkConfig;
use aws_smithy_runtime_api::client::http::SharedHttpConnector;
use http::Method;

use super::api_key::{ApiKey, KeySettings};
use super::credentials::{self, CachedCredentials, Role};
use super::request_template::{self, INFERENCE_ID, InvokeParameters};
use super::signature::{Signer, SigningScope};
use super::transport::{Auth, Transport};
use super::url::EndpointUrl;
use super::{Call, Endpoint, Response, SetUpError};
use crate::outcome::Fault;

mod fault;

/// The statuses of a prediction. All of them come with a whole representation:
/// <https://www.rfc-editor.org/rfc/rfc9110#name-successful-2xx>.
const PREDICTION_STATUSES: &[u16] = &[200, 201, 203];

/// The endpoint to call, and the authentication of the calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpTarget {
    /// The URL that is called. A call may have another path and query.
    pub url: EndpointUrl,
    /// The method of the calls. A GET request has no body.
    pub method: Method,
    /// The signature of the calls. If unset, calls are not signed.
    pub sigv4: Option<SigV4Settings>,
    /// The API key that is sent with each call.
    pub key: Option<KeySettings>,
    /// The names, in lower case, and values of additional headers.
    pub headers: Vec<(String, String)>,
}

/// The settings for calls that are signed with Signature Version 4.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SigV4Settings {
    /// The region and service of the signature.
    pub scope: SigningScope,
    /// The role whose credentials sign the calls. If unset, the function's own role.
    pub role: Option<Role>,
}

/// A client for one endpoint behind a URL.
#[derive(Debug)]
pub struct Http {
    transport: Transport,
    name: String,
}

impl Http {
    /// Creates a client that makes its calls over `http`, with the credentials of `environment`.
    ///
    /// # Errors
    ///
    /// [`SetUpError`] if every call would fail.
    pub async fn new(
        http: SharedHttpConnector,
        environment: &SdkConfig,
        target: HttpTarget,
        parameters: &InvokeParameters,
    ) -> Result<Self, SetUpError> {
        let HttpTarget {
            url,
            method,
            sigv4,
            key,
            headers,
        } = target;
        let template = request_template::request(&method, url.as_str(), parameters, &headers)?;
        let auth = match sigv4 {
            Some(SigV4Settings { scope, role }) => Auth::SigV4 {
                credentials: CachedCredentials::new(credentials::provider(environment, role.as_ref()).await),
                signer: Box::new(Signer::new(template, scope, INFERENCE_ID.as_str())),
            },
            None => Auth::None(Box::new(template)),
        };
        let key = key.map(|key| ApiKey::new(key, environment));
        Ok(Self {
            transport: Transport::new(http, PREDICTION_STATUSES, auth, key),
            name: url.name().to_owned(),
        })
    }

    /// Returns whether calls leave this machine unencrypted.
    pub fn is_unencrypted(&self) -> bool {
        self.transport.is_unencrypted()
    }

    /// Prepares for the first event: fetches credentials and the key. Opens no connections, because this needs a
    /// request, and an unknown server may count or reject it. Errors are ignored here, since the first call reports
    /// them.
    pub async fn warm_up(&self) {
        self.transport.warm_up(0).await;
    }
}

impl Endpoint for Http {
    async fn prepare(&self) -> Result<(), Fault> {
        self.transport.prepare().await.map_err(|error| error.fault())
    }

    async fn invoke(&self, call: Call<'_>) -> Result<Response, Fault> {
        let answer = self.transport.call(&call).await.map_err(|error| error.fault())?;
        if answer.is_prediction {
            return Ok(answer.into_response());
        }
        Err(fault::from_response(
            &answer,
            call.target_model.is_some(),
            SystemTime::now(),
        ))
    }

    fn name(&self) -> &str {
        &self.name
    }
}
