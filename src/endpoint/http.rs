//! Any endpoint behind a URL: API Gateway, a function's own URL, a model server of one's own. It gets the same requests as
//! `InvokeEndpoint`, and is taken at the word of its status.

use std::time::SystemTime;

use aws_config::SdkConfig;
use aws_smithy_runtime_api::client::http::SharedHttpConnector;

use super::api_key::{ApiKey, KeySettings};
use super::credentials::{self, CachedCredentials, Role};
use super::request_template::{self, INFERENCE_ID, InvokeParameters};
use super::signature::{SigningScope, Signer};
use super::transport::{Auth, Transport};
use super::url::EndpointUrl;
use super::{Call, Endpoint, Response, SetUpError};
use crate::outcome::Fault;

mod fault;

/// Which endpoint is called, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpTarget {
    /// Where it is.
    pub url: EndpointUrl,
    /// How calls are signed; not at all where nothing is said.
    pub sigv4: Option<SigV4Settings>,
    /// The key that calls carry.
    pub key: Option<KeySettings>,
    /// Names, in lower case, and values of further headers.
    pub headers: Vec<(String, String)>,
}

/// How calls are sigv4, by Signature Version 4.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SigV4Settings {
    /// Where the signature is good for.
    pub scope: SigningScope,
    /// The role that calls are made as, instead of the function's own.
    pub role: Option<Role>,
}

/// The endpoint.
#[derive(Debug)]
pub struct Http {
    transport: Transport,
    name: String,
}

impl Http {
    /// Sets calls over `http` up, with credentials that the SDK found in the environment.
    ///
    /// # Errors
    ///
    /// [`SetUpError`] where every call would fail.
    pub async fn new(
        http: SharedHttpConnector,
        environment: &SdkConfig,
        target: HttpTarget,
        parameters: &InvokeParameters,
    ) -> Result<Self, SetUpError> {
        let HttpTarget {
            url,
            sigv4,
            key,
            headers,
        } = target;
        let template = request_template::request(url.as_str(), parameters, &headers)?;
        let auth = match sigv4 {
            Some(SigV4Settings { scope, role }) => Auth::SigV4 {
                credentials: CachedCredentials::new(credentials::provider(environment, role.as_ref()).await),
                signer: Box::new(Signer::new(template, scope, INFERENCE_ID)),
            },
            None => Auth::None(Box::new(template)),
        };
        let key = key.map(|key| ApiKey::new(key, environment));
        Ok(Self {
            transport: Transport::new(http, auth, key),
            name: url.name().to_owned(),
        })
    }

    /// Gets ready before the first event comes: fetches credentials and the key. No connection is opened: that would take a
    /// request, and nobody knows what requests a server that is not AWS's takes well. What failed is told by the first call.
    pub async fn warm_up(&self) {
        self.transport.warm_up(0).await;
    }
}

impl Endpoint for Http {
    async fn prepare(&self) -> Result<(), Fault> {
        self.transport.prepare().await.map_err(|error| error.fault())
    }

    async fn invoke(&self, call: Call<'_>) -> Result<Response, Fault> {
        let answer = self
            .transport
            .send_with_refresh(&request_template::per_call_headers(&call), &call.body)
            .await;
        let answer = answer.map_err(|error| error.direct_fault())?;
        if answer.is_success() {
            return Ok(answer.into_response());
        }
        Err(fault::from_response(&answer, call.target_model.is_some(), SystemTime::now()))
    }

    fn name(&self) -> &str {
        &self.name
    }
}
