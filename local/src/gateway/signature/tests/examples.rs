//! AWS's own examples: its test suite for Signature Version 4, taken from the crate `aws-sigv4`.

use aws_credential_types::Credentials;
use axum::http::{HeaderMap, HeaderName, HeaderValue};

use crate::gateway::signature::Scope;

/// The credentials, time and scope of the examples.
pub(super) const ACCESS_KEY_ID: &str = "AKIDEXAMPLE";
pub(super) const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
pub(super) const DATE: &str = "20150830T123600Z";
pub(super) const DATE_S: u64 = 1_440_938_160;
pub(super) const SCOPE: Scope<'static> = Scope {
    region: "us-east-1",
    service: "service",
};
pub(super) const TOKEN: &str = "AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmxfpSPfIeoIYRqTflfKD8YUuwthAx7mSEI/qkPpKPi/kMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy0KPkyQDYwT7WZ0wq5VSXDvp75YU9HFvlRd8Tx6q6fE8YQcHNVXAkiY9q6d+xo0rKwT38xVqr7ZD0u0iPPkUL64lIZbqBAz+scqKmlzm8FDrypNC9Yjc8fPOLn9FX9KSYvKTr4rvx3iSIlTJabIQwj2ICCR/oLxBA==";

/// A published request, without the headers that every example has: host, date and authorization.
#[derive(Debug, Clone, Copy)]
pub(super) struct Example {
    pub(super) name: &'static str,
    pub(super) target: &'static str,
    pub(super) headers: &'static [(&'static str, &'static str)],
    pub(super) body: &'static str,
    pub(super) signed_headers: &'static str,
    pub(super) signature: &'static str,
}

const FORM_HASH: &str = "9095672bbd1f56dfc5b65f3e153adc8731a4a654192329106275f4c7b24d0b6e";

pub(super) const EXAMPLES: [Example; 6] = [
    Example {
        name: "post-vanilla",
        target: "/",
        headers: &[],
        body: "",
        signed_headers: "host;x-amz-date",
        signature: "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
    },
    Example {
        name: "post-vanilla-query",
        target: "/?Param1=value1",
        headers: &[],
        body: "",
        signed_headers: "host;x-amz-date",
        signature: "28038455d6de14eafc1f9222cf5aa6f1a96197d7deb8263271d420d138af7f11",
    },
    Example {
        name: "post-header-value-case",
        target: "/",
        headers: &[("My-Header1", "VALUE1")],
        body: "",
        signed_headers: "host;my-header1;x-amz-date",
        signature: "cdbc9802e29d2942e5e10b5bccfdd67c5f22c7c4e8ae67b53629efa58b974b7d",
    },
    Example {
        name: "post-x-www-form-urlencoded",
        target: "/",
        headers: &[
            ("Content-Type", "application/x-www-form-urlencoded"),
            ("Content-Length", "13"),
            ("x-amz-content-sha256", FORM_HASH),
        ],
        body: "Param1=value1",
        signed_headers: "content-length;content-type;host;x-amz-content-sha256;x-amz-date",
        signature: "d3875051da38690788ef43de4db0d8f280229d82040bfac253562e56c3f20e0b",
    },
    Example {
        name: "post-x-www-form-urlencoded-parameters",
        target: "/",
        headers: &[
            ("Content-Type", "application/x-www-form-urlencoded; charset=utf-8"),
            ("Content-Length", "13"),
            ("x-amz-content-sha256", FORM_HASH),
        ],
        body: "Param1=value1",
        signed_headers: "content-length;content-type;host;x-amz-content-sha256;x-amz-date",
        signature: "328d1b9eaadca9f5818ef05e8392801e091653bafec24fcab71e7344e7f51422",
    },
    Example {
        name: "post-sts-header-before",
        target: "/",
        headers: &[("X-Amz-Security-Token", TOKEN)],
        body: "",
        signed_headers: "host;x-amz-date;x-amz-security-token",
        signature: "85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead",
    },
];

impl Example {
    /// Returns whether the header is signed.
    pub(super) fn is_signed(&self, name: &str) -> bool {
        self.signed_headers.split(';').any(|signed| signed == name)
    }

    pub(super) fn headers(&self) -> HeaderMap {
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential={ACCESS_KEY_ID}/20150830/us-east-1/service/aws4_request, SignedHeaders={}, \
             Signature={}",
            self.signed_headers, self.signature
        );
        let mut headers = HeaderMap::new();
        let all = [
            ("Host", "example.amazonaws.com"),
            ("X-Amz-Date", DATE),
            ("Authorization", &authorization),
        ];
        for (name, value) in self.headers.iter().chain(&all) {
            headers.append(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_str(value).unwrap(),
            );
        }
        headers
    }

    pub(super) fn credentials(&self, secret: &str) -> Credentials {
        let mut credentials = Credentials::builder()
            .access_key_id(ACCESS_KEY_ID)
            .secret_access_key(secret)
            .provider_name("test");
        if self.is_signed("x-amz-security-token") {
            credentials.set_session_token(Some(TOKEN.to_owned()));
        }
        credentials.build()
    }
}
