//! Signature Version 4 for requests to one service:
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>.
//!
//! The AWS SDK signs each request from scratch: it derives the day's key and hashes all headers. They include the
//! session token, about one kilobyte on Lambda. This signer computes the parts that all requests of one second share
//! only once. The tests check that its signatures equal those of the SDK.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use aws_credential_types::Credentials;
use aws_lc_rs::{digest, hmac};
use aws_sigv4::sign::v4::generate_signing_key;
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::http::HttpError;
use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;
use bytes::Bytes;
use http::header::AUTHORIZATION;

use super::request_template::{PerCallHeader, copy, set_path_and_query, with_body};

mod canonical;

use canonical::{canonical_value, hash_canonical_prefix, host_header, push_hex};

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// Headers that are not signed, because proxies on the way may change them. The SDK does not sign them either.
const UNSIGNED: [&str; 1] = ["user-agent"];

/// Header names and canonical values, in the order of the canonical request.
type Headers = Vec<(String, String)>;

/// Creates signed requests from a template. The requests differ only in their body, a few headers and sometimes their
/// path and query.
#[derive(Debug)]
pub struct Signer {
    template: HttpRequest,
    scope: SigningScope,
    /// The lowest name of a per-call header, in alphabetical order.
    first_per_call_header: &'static str,
    /// The context of the latest request.
    context: Mutex<Option<Arc<SigningContext>>>,
}

/// The region and the service that a signature is valid for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SigningScope {
    /// The region, such as `eu-central-1`.
    pub region: String,
    /// The service's name in signatures, such as `sagemaker`.
    pub service: String,
}

/// The parts of a signature that all requests of one second share.
struct SigningContext {
    second: u64,
    credentials: Arc<Credentials>,
    request: HttpRequest,
    /// The hash of the canonical request up to the first per-call header.
    hash: digest::Context,
    /// The headers in `hash`.
    leading_headers: Headers,
    /// Their names, separated by semicolons.
    leading_header_names: String,
    /// Constant headers that may sort after a per-call header.
    trailing_headers: Headers,
    key: hmac::Key,
    /// The beginning of the string to sign, up to the hash of the canonical request.
    string_to_sign_prefix: String,
    /// The beginning of the `authorization` header, up to the names of the signed headers.
    authorization_prefix: String,
}

impl Signer {
    /// Creates a signer for requests that are built from `template`. `first_per_call_header` is the lowest name, in
    /// alphabetical order, that a per-call header may have.
    pub fn new(template: HttpRequest, scope: SigningScope, first_per_call_header: &'static str) -> Self {
        Self {
            template,
            scope,
            first_per_call_header,
            context: Mutex::default(),
        }
    }

    /// Returns a copy of the template, unsigned and without a body.
    pub fn template(&self) -> HttpRequest {
        copy(&self.template)
    }

    /// Returns the request with this `body` and the headers `per_call`, signed at `now`. If `path_and_query` is given,
    /// it replaces those of the template.
    ///
    /// # Errors
    ///
    /// [`HttpError`] if a header value is invalid.
    pub fn sign(
        &self,
        credentials: &Arc<Credentials>,
        now: SystemTime,
        path_and_query: Option<&str>,
        per_call: &[PerCallHeader<'_>],
        body: Bytes,
    ) -> Result<HttpRequest, HttpError> {
        let context = self.context(credentials, now);
        let mut request = copy(&context.request);
        let hash = match path_and_query {
            Some(target) => {
                set_path_and_query(&mut request, target)?;
                hash_canonical_prefix(&request, &context.leading_headers)
            }
            None => context.hash.clone(),
        };
        let authorization = context.authorization(hash, per_call, &body);
        request.headers_mut().try_insert(AUTHORIZATION, authorization)?;
        with_body(request, per_call, body)
    }

    fn context(&self, credentials: &Arc<Credentials>, now: SystemTime) -> Arc<SigningContext> {
        let second = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let mut cached = self.context.lock().unwrap_or_else(PoisonError::into_inner);
        match &*cached {
            Some(context) if context.second == second && Arc::ptr_eq(&context.credentials, credentials) => {
                Arc::clone(context)
            }
            _ => Arc::clone(cached.insert(Arc::new(self.build_context(credentials, second)))),
        }
    }

    fn build_context(&self, credentials: &Arc<Credentials>, second: u64) -> SigningContext {
        let SigningScope { region, service } = &self.scope;
        let time = UNIX_EPOCH + std::time::Duration::from_secs(second);
        let date = DateTime::from(time)
            .fmt(Format::DateTime)
            .expect("the year has four digits");
        let date = date.replace(['-', ':'], "");
        let day = date.split('T').next().unwrap_or_default();
        let credential_scope = format!("{day}/{region}/{service}/aws4_request");
        let mut request = copy(&self.template);
        request.headers_mut().insert("x-amz-date", date.clone());
        if let Some(token) = credentials.session_token() {
            request.headers_mut().insert("x-amz-security-token", token.to_owned());
        }
        let (leading_headers, trailing_headers) = self.signed_headers(&request);
        let names: Vec<_> = leading_headers.iter().map(|(name, _)| name.as_str()).collect();
        let key = generate_signing_key(credentials.secret_access_key(), time, region, service);
        SigningContext {
            second,
            hash: hash_canonical_prefix(&request, &leading_headers),
            leading_header_names: names.join(";"),
            leading_headers,
            trailing_headers,
            key: hmac::Key::new(hmac::HMAC_SHA256, key.as_ref()),
            string_to_sign_prefix: format!("{ALGORITHM}\n{date}\n{credential_scope}\n"),
            authorization_prefix: format!(
                "{ALGORITHM} Credential={}/{credential_scope}, SignedHeaders=",
                credentials.access_key_id()
            ),
            credentials: Arc::clone(credentials),
            request,
        }
    }

    /// Splits the signed headers into those that sort before all per-call headers, and the others.
    fn signed_headers(&self, request: &HttpRequest) -> (Headers, Headers) {
        let headers = request.headers().iter();
        let headers = headers.filter(|(name, _)| !UNSIGNED.contains(name));
        let host = [("host".to_owned(), host_header(request.uri()))].into_iter();
        let mut headers: Headers = headers
            .map(|(name, value)| (name.to_owned(), canonical_value(value)))
            .chain(host)
            .collect();
        headers.sort();
        headers
            .into_iter()
            .partition(|(name, _)| name.as_str() < self.first_per_call_header)
    }
}

impl fmt::Debug for SigningContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningContext")
            .field("second", &self.second)
            .finish_non_exhaustive()
    }
}

impl SigningContext {
    /// Returns the `authorization` header of a request whose canonical form begins as in `hash`.
    fn authorization(&self, mut hash: digest::Context, per_call: &[PerCallHeader<'_>], body: &[u8]) -> String {
        let trailing_headers = self
            .trailing_headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.clone()));
        let per_call_headers = per_call
            .iter()
            .map(|(name, value)| (name.as_str(), canonical_value(value)));
        let mut headers: Vec<_> = trailing_headers.chain(per_call_headers).collect();
        headers.sort_unstable();
        let mut names = self.leading_header_names.clone();
        let mut rest = String::with_capacity(512);
        for (name, value) in headers {
            rest.extend([name, ":", &value, "\n"]);
            names.extend([";", name]);
        }
        rest.extend(["\n", &names, "\n"]);
        push_hex(&mut rest, digest::digest(&digest::SHA256, body).as_ref());
        hash.update(rest.as_bytes());
        let mut string_to_sign = self.string_to_sign_prefix.clone();
        push_hex(&mut string_to_sign, hash.finish().as_ref());
        let mut authorization = String::with_capacity(512);
        authorization.extend([&self.authorization_prefix, names.as_str(), ", Signature="]);
        push_hex(
            &mut authorization,
            hmac::sign(&self.key, string_to_sign.as_bytes()).as_ref(),
        );
        authorization
    }
}

#[cfg(test)]
mod tests;
