//! Verification of AWS Signature Version 4, as a service does it:
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>.
//!
//! The AWS SDK's own code signs the received request again, and the two signatures are compared. The error message
//! about a difference never quotes the request.

use std::borrow::Cow;
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;
use axum::http::HeaderMap;

use super::answer::Refusal;

#[cfg(test)]
mod tests;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// The maximum difference between the caller's clock and this one, in either direction.
const CLOCK_SKEW_MAX: Duration = Duration::from_mins(5);

/// A request as it was received.
#[derive(Debug, Clone, Copy)]
pub(super) struct ReceivedRequest<'r> {
    pub(super) method: &'r str,
    /// The path and query.
    pub(super) target: &'r str,
    pub(super) headers: &'r HeaderMap,
    pub(super) body: &'r [u8],
}

impl<'r> ReceivedRequest<'r> {
    /// Returns the first value of a header, if it is ASCII.
    pub(super) fn header(&self, name: &str) -> Option<&'r str> {
        header(self.headers, name)
    }
}

fn header<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// The region and service that a signature must be for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scope<'s> {
    pub(super) region: &'s str,
    pub(super) service: &'s str,
}

/// The content of the `Authorization` header.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Authorization<'h> {
    pub(super) access_key_id: &'h str,
    /// The day, such as `20150830`.
    day: &'h str,
    region: &'h str,
    service: &'h str,
    signed_headers: Vec<&'h str>,
    signature: &'h str,
}

impl<'h> Authorization<'h> {
    pub(super) fn from_headers(headers: &'h HeaderMap) -> Result<Self, Refusal> {
        let text = headers.get("authorization").ok_or(Refusal::MissingToken)?;
        let parsed = text.to_str().ok().and_then(Self::parse);
        parsed.ok_or(Refusal::IncompleteSignature(
            "Authorization header requires the algorithm AWS4-HMAC-SHA256 with 'Credential', 'SignedHeaders' and \
             'Signature' parameters",
        ))
    }

    fn parse(text: &'h str) -> Option<Self> {
        let parts = text.strip_prefix(ALGORITHM)?.strip_prefix(' ')?;
        let part = |name: &str| {
            let mut parts = parts.split(',').filter_map(|part| part.trim().split_once('='));
            parts.find(|(found, _)| *found == name).map(|(_, value)| value)
        };
        let credential: Vec<_> = part("Credential")?.split('/').collect();
        let [access_key_id, day, region, service, "aws4_request"] = *credential else {
            return None;
        };
        Some(Self {
            access_key_id,
            day,
            region,
            service,
            signed_headers: part("SignedHeaders")?.split(';').collect(),
            signature: part("Signature")?,
        })
    }

    /// Checks that the signature is for this scope, and for the day of the request.
    fn check_scope(&self, scope: Scope<'_>, date: &str) -> Result<(), Refusal> {
        if self.region != scope.region {
            return refuse(format!(
                "Credential should be scoped to a valid region: '{}'.",
                scope.region
            ));
        }
        if self.service != scope.service {
            return refuse(format!(
                "Credential should be scoped to correct service: '{}'.",
                scope.service
            ));
        }
        if date.get(..8) != Some(self.day) {
            return refuse("Date in Credential scope does not match the day of x-amz-date.");
        }
        Ok(())
    }

    /// Checks that the required headers are signed, and that the list of signed headers is sorted, as every signer
    /// sorts it.
    fn check_signed_headers(&self, has_token: bool) -> Result<(), Refusal> {
        let required = ["host", "x-amz-date"].into_iter();
        for name in required.chain(has_token.then_some("x-amz-security-token")) {
            if !self.signed_headers.contains(&name) {
                return refuse(format!("'{name}' must be among the SignedHeaders of Authorization."));
            }
        }
        if !self.signed_headers.is_sorted() {
            return refuse("The SignedHeaders of Authorization are not sorted.");
        }
        Ok(())
    }
}

fn refuse(why: impl Into<Cow<'static, str>>) -> Result<(), Refusal> {
    Err(Refusal::InvalidSignature(why.into()))
}

/// Verifies that the request is signed with these credentials, for this scope, and at most [`CLOCK_SKEW_MAX`] before or
/// after `now`.
pub(super) fn verify(
    received: &ReceivedRequest<'_>,
    authorization: &Authorization<'_>,
    credentials: &Credentials,
    scope: Scope<'_>,
    now: SystemTime,
) -> Result<(), Refusal> {
    let date = received.header("x-amz-date").unwrap_or_default();
    authorization.check_scope(scope, date)?;
    let Some(time) = parse_time(date) else {
        return refuse("x-amz-date must have the form 20150830T123600Z.");
    };
    let skew = now.duration_since(time).unwrap_or_else(|error| error.duration());
    if skew > CLOCK_SKEW_MAX {
        return refuse(format!(
            "Signature expired or not yet current: x-amz-date is {} s off; at most 300 s are allowed.",
            skew.as_secs()
        ));
    }
    authorization.check_signed_headers(credentials.session_token().is_some())?;
    let expected = expected_signature(received, authorization, credentials, scope, time);
    if expected.as_deref() != Some(authorization.signature) {
        return refuse(
            "The request signature we calculated does not match the signature you provided. Check your AWS Secret \
             Access Key and signing method.",
        );
    }
    Ok(())
}

/// Parses a time in the format of all AWS services, such as `20150830T123600Z`.
fn parse_time(date: &str) -> Option<SystemTime> {
    let (day, time) = date.strip_suffix('Z')?.split_once('T')?;
    if (day.len(), time.len()) != (8, 6) {
        return None;
    }
    let (year, month, day) = (day.get(..4)?, day.get(4..6)?, day.get(6..)?);
    let (hour, minute, second) = (time.get(..2)?, time.get(2..4)?, time.get(4..)?);
    let date = format!("{year}-{month}-{day}T{hour}:{minute}:{second}Z");
    let date = DateTime::from_str(&date, Format::DateTime).ok()?;
    SystemTime::try_from(date).ok()
}

/// Returns the signature that the request should have, or `None` if the request cannot be signed.
fn expected_signature(
    received: &ReceivedRequest<'_>,
    authorization: &Authorization<'_>,
    credentials: &Credentials,
    scope: Scope<'_>,
    time: SystemTime,
) -> Option<String> {
    let mut headers = Vec::new();
    for name in &authorization.signed_headers {
        for value in received.headers.get_all(*name) {
            headers.push((*name, std::str::from_utf8(value.as_bytes()).ok()?));
        }
    }
    // The host in this URL has no effect: the signature covers the `Host` header.
    let uri = format!("http://host.header{}", received.target);
    received.headers.get("host")?;
    let body = SignableBody::Bytes(received.body);
    let request = SignableRequest::new(received.method, uri, headers.into_iter(), body).ok()?;
    let mut settings = SigningSettings::default();
    // The request holds exactly the headers in `SignedHeaders`, so none may be excluded from the signature.
    settings.excluded_headers = None;
    let identity = credentials.clone().into();
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(scope.region)
        .name(scope.service)
        .time(time)
        .settings(settings)
        .build()
        .ok()?
        .into();
    let (_, signature) = sign(request, &params).ok()?.into_parts();
    Some(signature)
}
