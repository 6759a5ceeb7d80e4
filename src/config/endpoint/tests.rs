use super::*;
use crate::config::{Config, ConfigError};

mod carried;
mod signature;

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

fn http_target(settings: &[(&str, &str)]) -> HttpTarget {
    match read(settings) {
        Ok(Target::Http(target)) => *target,
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
    assert_eq!(http_target(&[URL, ("ENDPOINT_NAME", "")]).url.as_str(), URL.1);
}

#[test]
fn with_a_url_alone_calls_are_unsigned_posts_without_further_headers() {
    let HttpTarget {
        url,
        method,
        sigv4,
        key,
        headers,
    } = http_target(&[URL]);
    assert_eq!(url.as_str(), URL.1);
    assert_eq!((method, sigv4, key, headers), (http::Method::POST, None, None, vec![]));
}

#[test]
fn a_url_has_placeholders_in_its_path_and_query_only() {
    const BY_RIDE: &str = "https://api.example.com/rides/{$.id}/fare?km={$.km}";
    let target = http_target(&[("ENDPOINT_URL", BY_RIDE), ("ENDPOINT_METHOD", "GET")]);
    assert_eq!(target.method, http::Method::GET);
    assert_eq!(target.url.name(), "https://api.example.com/rides/{$.id}/fare");
    for url in [
        "https://{$.host}/fare",
        "https://api.example.com/{id}",
        "https://api.example.com/{$.id",
    ] {
        let by_get = [("ENDPOINT_URL", url), ("ENDPOINT_METHOD", "GET")];
        let error = refused(&by_get, "may have {$.path} in place of a value");
        assert_eq!(error.lines().count(), 2, "{error}");
    }
    for url in [
        "https://api.example.com//{$.id}",
        "https://api.example.com/../{$.id}",
        "https://api.example.com/{$.id}?path=a/b",
    ] {
        refused(
            &[("ENDPOINT_URL", url)],
            "has placeholders; allowed: a path without empty segments",
        );
    }
    let by_get = [URL, ("ENDPOINT_METHOD", "get")];
    refused(&by_get, "ENDPOINT_METHOD=\"get\"; allowed: POST, GET");
}

#[test]
fn settings_for_a_url_are_refused_with_a_name_unless_they_are_the_default() {
    for (name, value) in [
        SIGNED,
        ("ENDPOINT_METHOD", "GET"),
        ("ENDPOINT_SERVICE", "execute-api"),
        ("ENDPOINT_API_KEY", "secretsmanager:key"),
        ("ENDPOINT_API_KEY_HEADER", "x-key"),
        ("ENDPOINT_HEADERS", r#"{"a":"b"}"#),
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
        ("ENDPOINT_ALLOW_HTTP", "1"),
    ];
    let role = Role {
        arn: ROLE.1.to_owned(),
        session_name: "scores".to_owned(),
    };
    let target = SageMakerTarget {
        name: "fraud".to_owned(),
        region: Some("us-gov-west-1".to_owned()),
        role: Some(role),
        allow_http: true,
    };
    assert_eq!(read(&settings), Ok(Target::SageMaker(target)));
}

#[test]
fn an_unencrypted_url_is_refused_unless_it_is_allowed() {
    let unencrypted = ("ENDPOINT_URL", "http://10.0.0.7/score");
    refused(
        &[unencrypted],
        "ENDPOINT_URL=\"http://10.0.0.7/score\" would send every record unencrypted",
    );
    assert!(
        http_target(&[unencrypted, ("ENDPOINT_ALLOW_HTTP", "1")])
            .url
            .is_unencrypted()
    );
    assert!(
        !http_target(&[("ENDPOINT_URL", "http://127.0.0.1:9001/score")])
            .url
            .is_unencrypted()
    );
    refused(
        &[unencrypted, ("ENDPOINT_ALLOW_HTTP", "yes")],
        "ENDPOINT_ALLOW_HTTP=\"yes\"; allowed: 1",
    );
}

#[test]
fn a_url_of_sagemaker_itself_is_refused() {
    let url = "https://runtime.sagemaker.us-east-1.amazonaws.com/endpoints/fraud/invocations";
    refused(&[("ENDPOINT_URL", url)], "is SageMaker itself");
}

#[test]
fn one_mistake_is_one_error() {
    let other = ("ENDPOINT_URL", "https://api.example.com/score");
    let service = ("ENDPOINT_SERVICE", "execute-api");
    let unencrypted = ("ENDPOINT_URL", "http://example.com/score");
    for settings in [
        &[other, SIGNED, service, ("ENDPOINT_REGION", "frankfurt")][..],
        &[unencrypted, ("ENDPOINT_ALLOW_HTTP", "true")],
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
