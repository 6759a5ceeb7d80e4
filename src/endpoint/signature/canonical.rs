//! The canonical form of requests, which is what a signature covers.

use aws_lc_rs::digest;
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use http::Uri;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// The characters of a path that a signature encodes.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~')
    .remove(b'/');

/// Hashes the beginning of the canonical request: method, path, query and these headers.
pub(super) fn hash_canonical_prefix(request: &HttpRequest, headers: &[(String, String)]) -> digest::Context {
    let uri: Uri = request.uri().parse().unwrap_or_default();
    // A path that is already encoded in the URI is encoded a second time.
    let path = utf8_percent_encode(uri.path(), ENCODED);
    let (method, query) = (request.method(), sort_query(uri.query()));
    let mut text = format!("{method}\n{path}\n{query}\n");
    for (name, value) in headers {
        text.extend([name, ":", value, "\n"]);
    }
    let mut hash = digest::Context::new(&digest::SHA256);
    hash.update(text.as_bytes());
    hash
}

/// Sorts a query by name and value, and adds `=` to names without a value. The query must be encoded already.
fn sort_query(query: Option<&str>) -> String {
    let parts = query.unwrap_or_default().split('&').filter(|part| !part.is_empty());
    let mut parts: Vec<_> = parts.map(|part| part.split_once('=').unwrap_or((part, ""))).collect();
    parts.sort_unstable();
    let parts: Vec<_> = parts.iter().map(|(name, value)| format!("{name}={value}")).collect();
    parts.join("&")
}

/// Returns the `host` header as the HTTP client sends it: without the scheme's default port.
pub(super) fn host_header(uri: &str) -> String {
    let uri: Uri = uri.parse().unwrap_or_default();
    let host = uri.host().unwrap_or_default();
    match (uri.scheme_str(), uri.port_u16()) {
        (_, None) | (Some("https"), Some(443)) | (Some("http"), Some(80)) => host.to_owned(),
        (_, Some(port)) => format!("{host}:{port}"),
    }
}

/// Trims spaces around a header value, and replaces repeated spaces by one.
pub(super) fn canonical_value(value: &str) -> String {
    let value = value.trim_matches(' ');
    // Nearly all values have no repeated spaces.
    if !value.contains("  ") {
        return value.to_owned();
    }
    let mut last = ' ';
    let value = value.chars();
    value
        .filter(|char| std::mem::replace(&mut last, *char) != ' ' || *char != ' ')
        .collect()
}

/// Appends a hash or a signature of 32 bytes as lowercase hexadecimal digits.
pub(super) fn push_hex(text: &mut String, hash: &[u8]) {
    let digit = |half: u8| half + if half < 10 { b'0' } else { b'a' - 10 };
    let mut digits = [0; 64];
    for (pair, byte) in digits.chunks_exact_mut(2).zip(hash) {
        pair.copy_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
    }
    text.push_str(str::from_utf8(&digits).expect("digits are ASCII"));
}
