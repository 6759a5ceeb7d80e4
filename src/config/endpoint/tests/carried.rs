//! API keys and further headers of calls, whose values no error shows.

use super::*;

#[test]
fn a_key_is_in_a_secret() {
    const ARN: &str = "arn:aws:secretsmanager:us-east-1:123456789012:secret:key-AbCdEf";
    let of_arn = format!("secretsmanager:{ARN}#apiKey");
    for (value, secret, member) in [
        ("secretsmanager:gateway/key", "gateway/key", None),
        (of_arn.as_str(), ARN, Some("apiKey")),
    ] {
        let key = http_target(&[URL, ("ENDPOINT_API_KEY", value)]).key.unwrap();
        assert_eq!((key.secret.as_str(), key.member.as_deref()), (secret, member));
        assert_eq!((key.header.as_str(), key.scheme), ("x-api-key", None));
    }
    let bearer = ("ENDPOINT_API_KEY_HEADER", "Authorization: Bearer");
    let key = ("ENDPOINT_API_KEY", "secretsmanager:key");
    let read = http_target(&[URL, key, bearer]).key.unwrap();
    assert_eq!(
        (read.header.as_str(), read.scheme.as_deref()),
        ("authorization", Some("Bearer"))
    );
    refused(&[URL, SIGNED, key, bearer], "which sets this header itself");
    refused(
        &[URL, key, ("ENDPOINT_HEADERS", r#"{"X-Api-Key":"1"}"#)],
        "ENDPOINT_HEADERS has x-api-key",
    );
}

#[test]
fn a_header_for_a_key_is_refused_without_one() {
    let header = ("ENDPOINT_API_KEY_HEADER", "x-key");
    refused(&[URL, header], "ENDPOINT_API_KEY_HEADER without ENDPOINT_API_KEY");
    assert_eq!(http_target(&[URL, ("ENDPOINT_API_KEY_HEADER", "x-api-key")]).key, None);
}

#[test]
fn no_error_shows_a_possible_secret() {
    for (name, value) in [
        ("ENDPOINT_API_KEY", "sekret"),
        ("ENDPOINT_API_KEY", "ssm:sekret"),
        ("ENDPOINT_API_KEY", "secretsmanager:"),
        ("ENDPOINT_API_KEY", "secretsmanager:a#"),
        ("ENDPOINT_API_KEY", "secretsmanager:a b"),
        ("ENDPOINT_API_KEY", "secretsmanager:sekret:with:colons"),
        ("ENDPOINT_URL", "https://me:sekret@example.com/"),
        ("ENDPOINT_URL", "https://example.com/ü?key=sekret"),
    ] {
        let error = refused(
            &[URL, (name, value)],
            &format!("{name} has an invalid value, not shown here; allowed"),
        );
        assert!(!error.contains("sekret"), "{error}");
    }
    for value in [
        r#"{"x-key":"sekret"#,
        r#"{"authorization":"sekret"}"#,
        r#"{"x-key":"sekret\n"}"#,
    ] {
        assert!(!refused(&[URL, ("ENDPOINT_HEADERS", value)], "ENDPOINT_HEADERS ").contains("sekret"));
    }
    let unencrypted = ("ENDPOINT_URL", "http://example.com/?key=sekret");
    assert!(!refused(&[unencrypted], "unencrypted").contains("sekret"));
}

#[test]
fn headers_that_another_setting_or_http_sets_are_refused() {
    let read = |value| http_target(&[URL, ("ENDPOINT_HEADERS", value)]).headers;
    let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(
        read(r#"{"X-Tenant":"fraud team","x-apigw-api-id":"a1"}"#),
        [header("x-apigw-api-id", "a1"), header("x-tenant", "fraud team")]
    );
    let many: Vec<_> = (0..21).map(|number| format!("\"h{number}\":\"1\"")).collect();
    for (value, expected) in [
        ("x-tenant: fraud", "is not a JSON object"),
        ("[]", "is not a JSON object"),
        ("{}", "has 0 headers"),
        (r#"{"x":1}"#, "has a value of x that is not 1–1024"),
        (r#"{"x":""}"#, "has a value of x that is not 1–1024"),
        (r#"{"x":"a\nb"}"#, "has a value of x that is not 1–1024"),
        (r#"{"x y":"1"}"#, "has \"x y\", which is not a header name"),
        (r#"{"X":"1","x":"2"}"#, "has x twice"),
        (r#"{"Host":"example.com"}"#, "has host, which it must not set"),
        (r#"{"content-type":"text/csv"}"#, "has content-type, which"),
        (r#"{"x-amz-date":"now"}"#, "has x-amz-date, which"),
        (
            r#"{"x-amzn-sagemaker-target-model":"a"}"#,
            "has x-amzn-sagemaker-target-model, which",
        ),
        (&format!("{{{}}}", many.join(",")), "has 21 headers"),
    ] {
        refused(
            &[URL, ("ENDPOINT_HEADERS", value)],
            &format!("ENDPOINT_HEADERS {expected}"),
        );
    }
}
