//! Signatures of AWS's own examples, whole and with one part changed.

use std::time::UNIX_EPOCH;

use axum::http::HeaderValue;

use super::*;

mod examples;

use examples::{DATE_S, EXAMPLES, Example, SCOPE, SECRET};

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
