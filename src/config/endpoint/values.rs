//! Parses the values of single settings.

use std::collections::BTreeMap;

use http::{HeaderName, Method};
use serde_json::{Map, Value};

use crate::config::header;
use crate::endpoint::url::EndpointUrl;
use crate::inference::UrlTemplate;

/// The headers that another setting, the signature or HTTP itself sets.
const RESERVED_HEADERS: [&str; 16] = [
    "accept",
    "authorization",
    "connection",
    "content-length",
    "content-type",
    "expect",
    "host",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-amz-content-sha256",
    "x-amz-date",
    "x-amz-security-token",
    "x-amzn-trace-id",
];
const HEADERS_MAX: usize = 20;

/// Parses a URL that may have placeholders. Also returns whether it has.
pub(super) fn endpoint_url(value: &str) -> Option<(EndpointUrl, bool)> {
    let (sample, template) = UrlTemplate::split(value)?;
    let url = EndpointUrl::parse(&sample)?;
    Some(match template {
        None => (url, false),
        Some(_) => (url.of_template(value), true),
    })
}

pub(in crate::config) fn method(value: &str) -> Option<Method> {
    match value {
        "POST" => Some(Method::POST),
        "GET" => Some(Method::GET),
        _ => None,
    }
}

pub(super) fn region(value: &str) -> Option<String> {
    service(value).filter(|region| region.contains('-'))
}

pub(super) fn service(value: &str) -> Option<String> {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    ((1..=63).contains(&value.len()) && value.bytes().all(allowed)).then(|| value.to_owned())
}

/// Parses a role's ARN, such as `arn:aws:iam::123456789012:role/path/name`, in any partition.
pub(super) fn role_arn(value: &str) -> Option<String> {
    let parts: Vec<_> = value.split(':').collect();
    let ["arn", partition, "iam", "", account, role] = *parts.as_slice() else {
        return None;
    };
    let is_account = account.len() == 12 && account.bytes().all(|byte| byte.is_ascii_digit());
    let name = role.strip_prefix("role/")?;
    let is_name = (1..=1000).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic());
    (partition.starts_with("aws") && is_account && is_name).then(|| value.to_owned())
}

/// Parses the name or ARN of a secret, and the member of the secret that holds the key, if one is given.
pub(super) fn secret(value: &str) -> Option<(String, Option<String>)> {
    let reference = value.strip_prefix("secretsmanager:")?;
    let (secret, member) = match reference.split_once('#') {
        Some((secret, member)) => (secret, Some(member.to_owned())),
        None => (reference, None),
    };
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"/_+=.@-!:".contains(&byte);
    let fits = (1..=2048).contains(&secret.len())
        && secret.bytes().all(allowed)
        && secret.starts_with("arn:") == secret.contains(':')
        && member.as_ref().is_none_or(|member| !member.is_empty());
    fits.then(|| (secret.to_owned(), member))
}

/// Parses the name of the header that carries the key, and its scheme, if one is given. Returns the name in lower case.
pub(super) fn key_header(value: &str) -> Option<(String, Option<String>)> {
    let (name, scheme) = match value.split_once(": ") {
        Some((name, scheme)) => (name, Some(scheme.to_owned())),
        None => (value, None),
    };
    let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
    let is_allowed = name == "authorization" || !is_reserved(name.as_str());
    let is_word = |scheme: &String| !scheme.is_empty() && scheme.bytes().all(|byte| byte.is_ascii_graphic());
    (is_allowed && scheme.as_ref().is_none_or(is_word)).then(|| (name.to_string(), scheme))
}

/// Parses the names and values of headers, and returns the names in lower case.
///
/// # Errors
///
/// Returns a description of the fault, which never shows a value.
pub(super) fn headers(value: &str) -> Result<Vec<(String, String)>, String> {
    let members: Map<String, Value> = serde_json::from_str(value).map_err(|_| "is not a JSON object".to_owned())?;
    let mut headers = BTreeMap::new();
    for (name, value) in members {
        let lower =
            HeaderName::from_bytes(name.as_bytes()).map_err(|_| format!("has {name:?}, which is not a header name"))?;
        if is_reserved(lower.as_str()) {
            return Err(format!("has {lower}, which it must not set"));
        }
        let value = value.as_str().and_then(header);
        let value =
            value.ok_or_else(|| format!("has a value of {lower} that is not 1–1024 printable ASCII characters"))?;
        if headers.insert(lower.to_string(), value).is_some() {
            return Err(format!("has {lower} twice"));
        }
    }
    match headers.len() {
        1..=HEADERS_MAX => Ok(headers.into_iter().collect()),
        count => Err(format!("has {count} headers")),
    }
}

fn is_reserved(name: &str) -> bool {
    RESERVED_HEADERS.contains(&name) || name.starts_with("x-amzn-sagemaker-")
}
