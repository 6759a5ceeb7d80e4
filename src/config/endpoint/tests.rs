use super::*;
use crate::config::{Config, ConfigError};

const URL: (&str, &str) = (
    "ENDPOINT_URL",
    "https://a1.execute-api.eu-west-1.amazonaws.com/prod/score",
);
const SIGNED: (&str, &str) = ("ENDPOINT_AUTH", "sigv4");
const ROLE: (&str, &str) = ("ENDPOINT_ROLE_ARN", "arn:aws:iam::123456789012:role/teams/scorer");

fn read(settings: &[(&str, &str)]) -> Result<Target, ConfigError> {
    let value = |name: &str| {
        let own = settings
            .iter()
            .rev()
            .chain(&[("OUTPUT", "none:")])
            .find(|(key, _)| *key == name);
        own.map(|(_, value)| (*value).to_owned())
    };
    Config::from_lookup(value).map(|config| config.endpoint)
}

fn located(settings: &[(&str, &str)]) -> Located {
    match read(settings) {
        Ok(Target::Http(located)) => located,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn refused(settings: &[(&str, &str)], expected: &str) -> String {
    let error = read(settings).unwrap_err().to_string();
    assert!(error.contains(expected), "{settings:?}: {error}");
    error
}

#[test]
fn exactly_one_of_name_and_url_is_set() {
    refused(&[], "neither ENDPOINT_NAME nor ENDPOINT_URL is set");
    refused(
        &[URL, ("ENDPOINT_NAME", "fraud")],
        "ENDPOINT_NAME and ENDPOINT_URL are both set",
    );
    assert_eq!(located(&[URL, ("ENDPOINT_NAME", "")]).url.as_str(), URL.1);
}

#[test]
fn a_url_is_called_as_it_is_unless_more_is_said() {
    let Located {
        url,
        signed,
        key,
        headers,
    } = located(&[URL]);
    assert_eq!(url.as_str(), URL.1);
    assert_eq!((signed, key, headers), (None, None, vec![]));
}

#[test]
fn what_is_for_a_url_alone_is_refused_beside_a_name_unless_it_is_the_default() {
    for (name, value) in [
        SIGNED,
        ("ENDPOINT_SERVICE", "execute-api"),
        ("ENDPOINT_API_KEY", "secretsmanager:key"),
        ("ENDPOINT_API_KEY_HEADER", "x-key"),
        ("ENDPOINT_HEADERS", r#"{"a":"b"}"#),
        ("ENDPOINT_ALLOW_HTTP", "1"),
    ] {
        let expected = format!("{name} is for ENDPOINT_URL, not for ENDPOINT_NAME");
        refused(&[("ENDPOINT_NAME", "fraud"), (name, value)], &expected);
    }
    let defaults = [("ENDPOINT_AUTH", "none"), ("ENDPOINT_API_KEY_HEADER", "x-api-key")];
    assert!(read(&[("ENDPOINT_NAME", "fraud"), defaults[0], defaults[1]]).is_ok());
}

#[test]
fn a_named_endpoint_may_be_in_another_region_and_account() {
    let settings = [
        ("ENDPOINT_NAME", "fraud"),
        ("ENDPOINT_REGION", "us-gov-west-1"),
        ROLE,
        ("AWS_LAMBDA_FUNCTION_NAME", "scores"),
    ];
    let role = Role {
        arn: ROLE.1.to_owned(),
        session_name: "scores".to_owned(),
    };
    let named = Named {
        name: "fraud".to_owned(),
        region: Some("us-gov-west-1".to_owned()),
        role: Some(role),
    };
    assert_eq!(read(&settings), Ok(Target::SageMaker(named)));
}

#[test]
fn a_signature_is_for_what_the_host_tells_or_the_settings_say() {
    let other = ("ENDPOINT_URL", "https://api.example.com/score");
    let region = ("ENDPOINT_REGION", "us-east-2");
    let service = ("ENDPOINT_SERVICE", "my-service");
    for (settings, expected) in [
        (&[URL, SIGNED][..], ("eu-west-1", "execute-api")),
        (&[URL, SIGNED, region], ("us-east-2", "execute-api")),
        (&[URL, SIGNED, service], ("eu-west-1", "my-service")),
        (&[other, SIGNED, region, service], ("us-east-2", "my-service")),
    ] {
        let signed = located(settings).signed.unwrap();
        let place = (signed.place.region.as_str(), signed.place.service.as_str());
        assert_eq!((place, signed.role), (expected, None));
    }
    for settings in [
        &[other, SIGNED][..],
        &[other, SIGNED, region],
        &[other, SIGNED, service],
    ] {
        refused(settings, "does not tell what to sign for");
    }
    let role = located(&[URL, SIGNED, ROLE]).signed.unwrap().role.unwrap();
    assert_eq!((role.arn.as_str(), role.session_name.as_str()), (ROLE.1, "instream"));
}

#[test]
fn what_is_for_a_signature_is_refused_without_one() {
    for (name, value) in [
        ("ENDPOINT_REGION", "us-east-2"),
        ("ENDPOINT_SERVICE", "execute-api"),
        ROLE,
    ] {
        refused(
            &[URL, (name, value)],
            &format!("{name} without ENDPOINT_AUTH=\"sigv4\""),
        );
    }
}

#[test]
fn nothing_is_sent_in_the_clear_unless_that_is_allowed() {
    let open = ("ENDPOINT_URL", "http://10.0.0.7/score");
    refused(
        &[open],
        "ENDPOINT_URL=\"http://10.0.0.7/score\" would send every record in the clear",
    );
    assert!(located(&[open, ("ENDPOINT_ALLOW_HTTP", "1")]).url.is_open());
    assert!(
        !located(&[("ENDPOINT_URL", "http://127.0.0.1:9001/score")])
            .url
            .is_open()
    );
    refused(
        &[open, ("ENDPOINT_ALLOW_HTTP", "yes")],
        "ENDPOINT_ALLOW_HTTP=\"yes\"; allowed: 1",
    );
}

#[test]
fn sagemaker_itself_is_called_by_name() {
    let url = "https://runtime.sagemaker.us-east-1.amazonaws.com/endpoints/fraud/invocations";
    refused(&[("ENDPOINT_URL", url)], "is SageMaker itself");
}

#[test]
fn a_key_is_in_a_secret() {
    const ARN: &str = "arn:aws:secretsmanager:us-east-1:123456789012:secret:key-AbCdEf";
    let of_arn = format!("secretsmanager:{ARN}#apiKey");
    for (value, secret, member) in [
        ("secretsmanager:gateway/key", "gateway/key", None),
        (of_arn.as_str(), ARN, Some("apiKey")),
    ] {
        let key = located(&[URL, ("ENDPOINT_API_KEY", value)]).key.unwrap();
        assert_eq!((key.secret.as_str(), key.member.as_deref()), (secret, member));
        assert_eq!((key.header.as_str(), key.scheme), ("x-api-key", None));
    }
    let bearer = ("ENDPOINT_API_KEY_HEADER", "Authorization: Bearer");
    let key = ("ENDPOINT_API_KEY", "secretsmanager:key");
    let read = located(&[URL, key, bearer]).key.unwrap();
    assert_eq!(
        (read.header.as_str(), read.scheme.as_deref()),
        ("authorization", Some("Bearer"))
    );
    refused(&[URL, SIGNED, key, bearer], "whose header that is");
    refused(
        &[URL, key, ("ENDPOINT_HEADERS", r#"{"X-Api-Key":"1"}"#)],
        "ENDPOINT_HEADERS has x-api-key",
    );
}

#[test]
fn a_header_for_a_key_is_refused_without_one() {
    let header = ("ENDPOINT_API_KEY_HEADER", "x-key");
    refused(&[URL, header], "ENDPOINT_API_KEY_HEADER without ENDPOINT_API_KEY");
    assert_eq!(located(&[URL, ("ENDPOINT_API_KEY_HEADER", "x-api-key")]).key, None);
}

#[test]
fn what_cannot_be_signed_may_be_called_unsigned() {
    let url = (
        "ENDPOINT_URL",
        "https://a1.execute-api.eu-west-1.amazonaws.com/score?code=sekret==",
    );
    assert_eq!(located(&[url]).signed, None);
    let error = refused(&[url, SIGNED], "has what no signature is made of");
    assert!(!error.contains("sekret"), "{error}");
}

#[test]
fn no_error_shows_what_may_be_a_secret() {
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
            &format!("{name} is set to something else, not shown here; allowed"),
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
    let open = ("ENDPOINT_URL", "http://example.com/?key=sekret");
    assert!(!refused(&[open], "in the clear").contains("sekret"));
}

#[test]
fn headers_are_those_that_nothing_else_makes() {
    let read = |value| located(&[URL, ("ENDPOINT_HEADERS", value)]).headers;
    let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(
        read(r#"{"X-Tenant":"fraud team","x-apigw-api-id":"a1"}"#),
        [header("x-apigw-api-id", "a1"), header("x-tenant", "fraud team")]
    );
    let many: Vec<_> = (0..21).map(|number| format!("\"h{number}\":\"1\"")).collect();
    for (value, expected) in [
        ("x-tenant: fraud", "is no JSON object"),
        ("[]", "is no JSON object"),
        ("{}", "has 0 headers"),
        (r#"{"x":1}"#, "has a value of x that is no text"),
        (r#"{"x":""}"#, "has a value of x that is no text"),
        (r#"{"x":"a\nb"}"#, "has a value of x that is no text"),
        (r#"{"x y":"1"}"#, "has \"x y\", which names no header"),
        (r#"{"X":"1","x":"2"}"#, "has x twice"),
        (r#"{"Host":"example.com"}"#, "has host, which is not for it to set"),
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

#[test]
fn one_mistake_is_one_error() {
    let other = ("ENDPOINT_URL", "https://api.example.com/score");
    let service = ("ENDPOINT_SERVICE", "execute-api");
    let open = ("ENDPOINT_URL", "http://example.com/score");
    for settings in [
        &[other, SIGNED, service, ("ENDPOINT_REGION", "frankfurt")][..],
        &[open, ("ENDPOINT_ALLOW_HTTP", "true")],
    ] {
        let error = refused(settings, "allowed");
        assert_eq!(error.lines().count(), 2, "{error}");
    }
}

#[test]
fn wrong_values_are_named() {
    for (name, values) in [
        ("ENDPOINT_URL", &["example.com", "ftp://example.com/"][..]),
        ("ENDPOINT_AUTH", &["iam", "SIGV4"]),
        ("ENDPOINT_REGION", &["Frankfurt", "eu", "eu_central_1"]),
        ("ENDPOINT_SERVICE", &["Execute", "a b"]),
        (
            "ENDPOINT_API_KEY_HEADER",
            &["x api key", "host", "authorization:Bearer", "authorization: ", "x: a b"],
        ),
        (
            "ENDPOINT_ROLE_ARN",
            &[
                "scorer",
                "arn:aws:iam::1234:role/scorer",
                "arn:aws:iam::123456789012:user/me",
                "arn:aws:iam::123456789012:role/",
                "arn:aws:sts::123456789012:assumed-role/scorer/me",
            ],
        ),
    ] {
        for value in values {
            refused(&[URL, SIGNED, (name, value)], &format!("{name}={value:?}; allowed"));
        }
    }
}
