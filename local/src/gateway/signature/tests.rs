//! AWS's own examples: its test suite for Signature Version 4, taken from the crate `aws-sigv4`.

use std::time::UNIX_EPOCH;

use axum::http::{HeaderName, HeaderValue};

use super::*;

/// The credentials, time and scope of the examples.
const ACCESS_KEY_ID: &str = "AKIDEXAMPLE";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
const DATE: &str = "20150830T123600Z";
const DATE_S: u64 = 1_440_938_160;
const SCOPE: Scope<'static> = Scope {
    region: "us-east-1",
    service: "service",
};
const TOKEN: &str = "AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmxfpSPfIeoIYRqTflfKD8YUuwthAx7mSEI/qkPpKPi/kMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy0KPkyQDYwT7WZ0wq5VSXDvp75YU9HFvlRd8Tx6q6fE8YQcHNVXAkiY9q6d+xo0rKwT38xVqr7ZD0u0iPPkUL64lIZbqBAz+scqKmlzm8FDrypNC9Yjc8fPOLn9FX9KSYvKTr4rvx3iSIlTJabIQwj2ICCR/oLxBA==";

/// A published request, without the headers that every example has: host, date and authorization.
#[derive(Debug, Clone, Copy)]
struct Example {
    name: &'static str,
    target: &'static str,
    headers: &'static [(&'static str, &'static str)],
    body: &'static str,
    signed_headers: &'static str,
    signature: &'static str,
}

const FORM_HASH: &str = "9095672bbd1f56dfc5b65f3e153adc8731a4a654192329106275f4c7b24d0b6e";

const EXAMPLES: [Example; 6] = [
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
    fn is_signed(&self, name: &str) -> bool {
        self.signed_headers.split(';').any(|signed| signed == name)
    }

    fn headers(&self) -> HeaderMap {
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

    fn credentials(&self, secret: &str) -> Credentials {
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

/// Verifies a request. By default, the request, its secret, its scope and the time of receipt are the example's.
struct Check {
    example: Example,
    headers: HeaderMap,
    body: &'static [u8],
    secret: &'static str,
    scope: Scope<'static>,
    now: SystemTime,
}

impl Check {
    fn new(example: Example) -> Self {
        Self {
            example,
            headers: example.headers(),
            body: example.body.as_bytes(),
            secret: SECRET,
            scope: SCOPE,
            now: UNIX_EPOCH + Duration::from_secs(DATE_S),
        }
    }

    fn set(mut self, name: &'static str, value: &'static str) -> Self {
        self.headers.insert(name, HeaderValue::from_static(value));
        self
    }

    /// Replaces text in the `Authorization` header.
    fn replace_in_authorization(mut self, from: &str, to: &str) -> Self {
        let text = self.headers["authorization"].to_str().unwrap();
        assert!(text.contains(from), "{text}");
        let text = HeaderValue::from_str(&text.replace(from, to)).unwrap();
        self.headers.insert("authorization", text);
        self
    }

    fn verify(&self) -> Result<(), Refusal> {
        let received = ReceivedRequest {
            method: "POST",
            target: self.example.target,
            headers: &self.headers,
            body: self.body,
        };
        let authorization = Authorization::from_headers(&self.headers)?;
        let credentials = self.example.credentials(self.secret);
        verify(&received, &authorization, &credentials, self.scope, self.now)
    }

    /// Verifies the request and returns why its signature is invalid.
    fn refusal_reason(&self) -> String {
        match self.verify() {
            Err(Refusal::InvalidSignature(why)) => why.into_owned(),
            other => panic!("{}: {other:?}", self.example.name),
        }
    }
}

const SIGNATURE_DIFFERS: &str = "signature we calculated does not match";

#[test]
fn published_examples_are_accepted() {
    for example in EXAMPLES {
        assert_eq!(Check::new(example).verify(), Ok(()), "{}", example.name);
        let mut unsigned = Check::new(example).set("user-agent", "anything");
        unsigned.headers.append("x-other", HeaderValue::from_static("anything"));
        assert_eq!(
            unsigned.verify(),
            Ok(()),
            "{}: unsigned headers may change",
            example.name
        );
    }
}

#[test]
fn a_request_with_any_signed_part_changed_is_refused() {
    for example in EXAMPLES {
        let mut body = Check::new(example);
        body.body = b"Param1=value2";
        let mut secret = Check::new(example);
        secret.secret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEX";
        let mut target = Check::new(example);
        target.example.target = "/?Param1=value2";
        let checks = [
            body,
            secret,
            target,
            Check::new(example).set("host", "example.amazonaws.org"),
            Check::new(example).set("x-amz-date", "20150830T123601Z"),
            Check::new(example).replace_in_authorization("Signature=", "Signature=0"),
        ];
        for (index, check) in checks.iter().enumerate() {
            let why = check.refusal_reason();
            assert!(why.contains(SIGNATURE_DIFFERS), "{}, {index}: {why}", example.name);
        }
    }
    for (example, name) in EXAMPLES
        .iter()
        .flat_map(|it| ["my-header1", "content-type"].map(|name| (it, name)))
    {
        let check = Check::new(*example).set(name, "value1");
        assert_eq!(
            check.verify().is_err(),
            example.is_signed(name),
            "{}: {name}",
            example.name
        );
    }
}

#[test]
fn a_wrong_scope_date_or_header_list_has_its_own_message() {
    let [example, .., with_token] = EXAMPLES;
    let check = |change: fn(&mut Check)| {
        let mut check = Check::new(example);
        change(&mut check);
        check.refusal_reason()
    };
    let region = check(|check| check.scope.region = "eu-west-1");
    assert!(region.contains("region: 'eu-west-1'"), "{region}");
    let service = check(|check| check.scope.service = "execute-api");
    assert!(service.contains("service: 'execute-api'"), "{service}");
    let day = Check::new(example)
        .replace_in_authorization("20150830", "20150831")
        .refusal_reason();
    assert!(day.contains("does not match the day"), "{day}");
    for (name, from, to) in [
        ("host", "host;x-amz-date", "x-amz-date"),
        ("x-amz-date", "host;x-amz-date", "host"),
    ] {
        let why = Check::new(example).replace_in_authorization(from, to).refusal_reason();
        assert!(why.contains(&format!("'{name}' must be among")), "{why}");
    }
    let token = Check::new(with_token)
        .replace_in_authorization(";x-amz-security-token", "")
        .refusal_reason();
    assert!(token.contains("'x-amz-security-token' must be among"), "{token}");
    let order = Check::new(example)
        .replace_in_authorization("host;x-amz-date", "x-amz-date;host")
        .refusal_reason();
    assert!(order.contains("not sorted"), "{order}");
    let date = Check::new(example).set("x-amz-date", "20150830 12:36").refusal_reason();
    assert!(date.contains("must have the form"), "{date}");
}

#[test]
fn a_clock_may_be_five_minutes_off_either_way() {
    let at = |now_s: u64| {
        let mut check = Check::new(EXAMPLES[0]);
        check.now = UNIX_EPOCH + Duration::from_secs(now_s);
        check
    };
    for now_s in [DATE_S - 300, DATE_S + 300] {
        assert_eq!(at(now_s).verify(), Ok(()));
    }
    for now_s in [DATE_S - 301, DATE_S + 301] {
        let why = at(now_s).refusal_reason();
        assert!(why.contains("x-amz-date is 301 s off"), "{why}");
    }
}

#[test]
fn an_incomplete_signature_differs_from_a_missing_one() {
    let example = EXAMPLES[0];
    let mut none = Check::new(example);
    none.headers.remove("authorization");
    assert_eq!(none.verify(), Err(Refusal::MissingToken));
    for (from, to) in [
        ("AWS4-HMAC-SHA256", "Bearer"),
        ("Credential=", "Credentials="),
        ("/aws4_request", ""),
        (", SignedHeaders=host;x-amz-date", ""),
        ("Signature=", "Sig="),
    ] {
        let refused = Check::new(example).replace_in_authorization(from, to).verify();
        assert!(
            matches!(refused, Err(Refusal::IncompleteSignature(_))),
            "{to}: {refused:?}"
        );
    }
}
