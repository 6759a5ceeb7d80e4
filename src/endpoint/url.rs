//! The URL of an endpoint, and the AWS service that its host indicates.

use std::fmt;
use std::net::IpAddr;

use http::Uri;
use http::uri::Authority;

use super::signature::SigningScope;

/// Bytes besides letters and digits that a signed query contains unencoded.
const UNRESERVED: &[u8] = b"-_.~";

/// A validated endpoint URL.
#[derive(Clone, PartialEq, Eq)]
pub struct EndpointUrl {
    url: String,
    /// The URL without the query, as it was set.
    name: String,
    host: String,
    is_http: bool,
    is_signable: bool,
}

impl EndpointUrl {
    /// Parses `https://HOST[:PORT][/PATH][?QUERY]`, or the same with `http`. Returns `None` for any other value. A user
    /// or password is not allowed, because it would appear in logs.
    pub fn parse(value: &str) -> Option<Self> {
        let is_http = match value.split_once("://")?.0 {
            "https" => false,
            "http" => true,
            _ => return None,
        };
        let has_valid_bytes = value
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && !b"#\"<>\\^`{|}".contains(&byte));
        let uri: Uri = value.parse().ok().filter(|_| has_valid_bytes)?;
        let authority = uri.authority().map(Authority::as_str).filter(|it| !it.contains('@'))?;
        let host = uri.host().filter(|host| !host.is_empty())?;
        // The parser drops an invalid port.
        let has_valid_port = uri.port().is_some() == authority.trim_start_matches(host).starts_with(':');
        // The signed host has no default port, but HTTP/2 would send it.
        let default_port = if is_http { ":80" } else { ":443" };
        let url = match authority.strip_suffix(default_port) {
            Some(host) if has_valid_port => value.replacen(authority, host, 1),
            _ => value.to_owned(),
        };
        let name = without_query(&url).to_owned();
        has_valid_port.then(|| Self {
            name,
            is_signable: is_normalized_path(uri.path()) && is_encoded_query(uri.query().unwrap_or_default()),
            url,
            host: host.to_ascii_lowercase(),
            is_http,
        })
    }

    /// Returns whether the URL is in the form that a signature covers: a path without empty segments and dot segments,
    /// and a query with encoded special characters (`%2F`).
    pub fn is_signable(&self) -> bool {
        self.is_signable
    }

    /// Returns the whole URL, including the query.
    pub fn as_str(&self) -> &str {
        &self.url
    }

    /// Returns the URL without the query, which may contain a secret.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the same URL with the name that a `template` for it gives.
    #[must_use]
    pub fn of_template(self, template: &str) -> Self {
        let name = without_query(template).to_owned();
        Self { name, ..self }
    }

    /// Returns whether calls leave this machine unencrypted.
    pub fn is_unencrypted(&self) -> bool {
        self.is_http && !is_loopback(&self.host)
    }

    /// Returns whether the host is `SageMaker` itself, whose responses have a different format.
    pub fn is_sagemaker(&self) -> bool {
        let mut services = ["runtime.sagemaker.", "runtime-fips.sagemaker."].iter();
        services.any(|service| self.host.starts_with(service) || self.host.contains(&format!(".{service}")))
    }

    /// Returns the region and service for signatures, if the host belongs to
    /// [API Gateway](https://docs.aws.amazon.com/general/latest/gr/apigateway.html) or a
    /// [function URL](https://docs.aws.amazon.com/lambda/latest/dg/urls-configuration.html).
    pub fn signing_scope(&self) -> Option<SigningScope> {
        let labels: Vec<_> = self.host.split('.').collect();
        let (region, service) = match *labels.as_slice() {
            [_, "lambda-url", region, "on", "aws"] => (region, "lambda"),
            [_, "execute-api", region, "amazonaws", "com"]
            | [_, "execute-api", region, "amazonaws", "com", "cn"]
            | [_, "execute-api", region, "api", "aws"]
            | [_, "execute-api", region, "vpce", "amazonaws", "com"] => (region, "execute-api"),
            _ => return None,
        };
        Some(SigningScope {
            region: region.to_owned(),
            service: service.to_owned(),
        })
    }
}

fn without_query(url: &str) -> &str {
    url.split('?').next().unwrap_or_default()
}

impl fmt::Debug for EndpointUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Returns the host of a URL if it is unencrypted.
fn http_host(url: &str) -> Option<String> {
    let uri: Uri = url.parse().ok().filter(|_| !url.starts_with("https:"))?;
    let host = uri.host().filter(|_| uri.scheme_str() == Some("http"))?;
    Some(host.to_ascii_lowercase())
}

/// Returns whether calls to any valid URL leave this machine unencrypted.
pub fn is_unencrypted(url: &str) -> bool {
    http_host(url).is_some_and(|host| !is_loopback(&host))
}

/// Returns whether calls to any valid URL stay on this machine, unencrypted.
pub(super) fn is_http_loopback(url: &str) -> bool {
    http_host(url).is_some_and(|host| is_loopback(&host))
}

/// Returns whether a host, in lower case, is this machine.
fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// Returns whether a path has no empty segments and no dot segments. A signature covers only such a path.
fn is_normalized_path(path: &str) -> bool {
    let mut parts = path.split('/').skip(1).peekable();
    while let Some(part) = parts.next() {
        let is_last = parts.peek().is_none();
        if matches!(part, "." | "..") || part.is_empty() && !is_last {
            return false;
        }
    }
    true
}

/// Returns whether a query is encoded as a signature requires: all special characters except `=` and `&` are encoded,
/// with upper-case digits.
fn is_encoded_query(query: &str) -> bool {
    let mut bytes = query.bytes();
    let is_digit = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_digit() || (b'A'..=b'F').contains(&byte));
    while let Some(byte) = bytes.next() {
        let is_valid = match byte {
            b'%' => is_digit(bytes.next()) && is_digit(bytes.next()),
            b'=' | b'&' => true,
            _ => byte.is_ascii_alphanumeric() || UNRESERVED.contains(&byte),
        };
        if !is_valid {
            return false;
        }
    }
    query.split('&').all(|part| part.matches('=').count() <= 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_parsed_completely_or_rejected() {
        for value in [
            "https://a1b2c3.execute-api.eu-central-1.amazonaws.com/prod/score",
            "https://example.com",
            "https://example.com/",
            "https://example.com:8443/a%20b/c+d/",
            "https://example.com/score?api-version=2026-01-01&b&c=%2F",
            "http://127.0.0.1:9001/prod/score",
            "http://[::1]:9001/prod/score",
            "https://10.0.0.7/score",
            "https://example.com/@a/b",
        ] {
            let url = EndpointUrl::parse(value).unwrap_or_else(|| panic!("{value}"));
            assert_eq!((url.as_str(), url.is_signable()), (value, true));
        }
        for value in [
            "https://example.com/a//b",
            "https://example.com//",
            "https://example.com/./a",
            "https://example.com/a/..",
            "https://example.com/?a=b/c",
            "https://example.com/?a=%2f",
            "https://example.com/?a=%2",
            "https://example.com/?code=abc==",
        ] {
            let url = EndpointUrl::parse(value).unwrap_or_else(|| panic!("{value}"));
            assert_eq!((url.as_str(), url.is_signable()), (value, false));
        }
        for value in [
            "",
            "example.com/score",
            "ftp://example.com/",
            "https://",
            "https:///score",
            "https://user:secret@example.com/",
            "https://example.com/a b",
            "https://example.com/ü",
            "https://example.com/#part",
            "https://example.com:port/",
            "https://example.com:/",
            "https://example.com:99999/",
        ] {
            assert_eq!(EndpointUrl::parse(value), None, "{value}");
        }
    }

    #[test]
    fn the_name_does_not_contain_the_query() {
        let url = EndpointUrl::parse("https://example.com/score?key=1").unwrap();
        assert_eq!(url.name(), "https://example.com/score");
        assert_eq!(format!("{url:?}"), "https://example.com/score");
    }

    #[test]
    fn the_default_port_is_removed() {
        for (value, expected) in [
            ("https://example.com:443/a:443", "https://example.com/a:443"),
            ("http://127.0.0.1:80/", "http://127.0.0.1/"),
            ("https://example.com:80/", "https://example.com:80/"),
            ("https://[::1]:443/", "https://[::1]/"),
            ("https://example.com:8443/", "https://example.com:8443/"),
        ] {
            assert_eq!(EndpointUrl::parse(value).unwrap().as_str(), expected);
        }
    }

    #[test]
    fn sagemaker_hosts_are_recognized() {
        for host in [
            "runtime.sagemaker.us-east-1.amazonaws.com",
            "runtime-fips.sagemaker.us-east-1.amazonaws.com",
            "vpce-01-02.runtime.sagemaker.us-east-1.vpce.amazonaws.com",
        ] {
            assert!(
                EndpointUrl::parse(&format!("https://{host}/")).unwrap().is_sagemaker(),
                "{host}"
            );
        }
        let other = EndpointUrl::parse("https://myruntime.sagemaker.example.com/").unwrap();
        assert!(!other.is_sagemaker());
    }

    #[test]
    fn only_http_to_another_machine_is_unencrypted() {
        let is_unencrypted = |value| EndpointUrl::parse(value).unwrap().is_unencrypted();
        for value in [
            "http://127.0.0.1/",
            "http://127.9.9.9:1/",
            "http://[::1]:1/",
            "http://localhost:8080/",
            "https://example.com/",
        ] {
            assert!(!is_unencrypted(value), "{value}");
            assert_eq!(is_http_loopback(value), value.starts_with("http:"), "{value}");
        }
        for value in [
            "http://example.com/",
            "http://10.0.0.1/",
            "http://localhost.example.com/",
            "http://[::2]/",
        ] {
            assert!(is_unencrypted(value) && super::is_unencrypted(value), "{value}");
            assert!(!is_http_loopback(value), "{value}");
        }
        assert!(super::is_unencrypted("HTTP://example.com"));
        assert!(is_http_loopback("HTTP://LocalHost"));
    }

    #[test]
    fn the_signing_scope_follows_from_the_host() {
        for (host, expected) in [
            (
                "a1b2c3.execute-api.eu-central-1.amazonaws.com",
                Some(("eu-central-1", "execute-api")),
            ),
            (
                "a1b2c3-vpce-01234.execute-api.eu-central-1.amazonaws.com",
                Some(("eu-central-1", "execute-api")),
            ),
            (
                "vpce-01-02.execute-api.us-east-1.vpce.amazonaws.com",
                Some(("us-east-1", "execute-api")),
            ),
            (
                "a1b2c3.execute-api.cn-north-1.amazonaws.com.cn",
                Some(("cn-north-1", "execute-api")),
            ),
            (
                "a1b2c3.execute-api.us-east-1.api.aws",
                Some(("us-east-1", "execute-api")),
            ),
            (
                "A1.Execute-API.us-east-1.amazonaws.com",
                Some(("us-east-1", "execute-api")),
            ),
            ("abc.lambda-url.us-west-2.on.aws", Some(("us-west-2", "lambda"))),
            ("api.example.com", None),
            ("execute-api.us-east-1.amazonaws.com", None),
            ("a1.execute-api.us-east-1.amazonaws.com.example.com", None),
        ] {
            let scope = EndpointUrl::parse(&format!("https://{host}/prod/score"))
                .unwrap()
                .signing_scope();
            let scope = scope
                .as_ref()
                .map(|scope| (scope.region.as_str(), scope.service.as_str()));
            assert_eq!(scope, expected, "{host}");
        }
    }
}
