//! The region, the service and the role of signatures.

use super::*;

#[test]
fn the_signing_scope_is_from_the_settings_or_the_host() {
    let other = ("ENDPOINT_URL", "https://api.example.com/score");
    let region = ("ENDPOINT_REGION", "us-east-2");
    let service = ("ENDPOINT_SERVICE", "my-service");
    for (settings, expected) in [
        (&[URL, SIGNED][..], ("eu-west-1", "execute-api")),
        (&[URL, SIGNED, region], ("us-east-2", "execute-api")),
        (&[URL, SIGNED, service], ("eu-west-1", "my-service")),
        (&[other, SIGNED, region, service], ("us-east-2", "my-service")),
    ] {
        let sigv4 = http_target(settings).sigv4.unwrap();
        let scope = (sigv4.scope.region.as_str(), sigv4.scope.service.as_str());
        assert_eq!((scope, sigv4.role), (expected, None));
    }
    for settings in [
        &[other, SIGNED][..],
        &[other, SIGNED, region],
        &[other, SIGNED, service],
    ] {
        refused(settings, "does not name a region and a service to sign for");
    }
    let role = http_target(&[URL, SIGNED, ROLE]).sigv4.unwrap().role.unwrap();
    assert_eq!((role.arn.as_str(), role.session_name.as_str()), (ROLE.1, "instream"));
}

#[test]
fn settings_for_signatures_are_refused_without_sigv4() {
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
fn a_url_that_cannot_be_signed_may_be_called_unsigned() {
    let url = (
        "ENDPOINT_URL",
        "https://a1.execute-api.eu-west-1.amazonaws.com/score?code=sekret==",
    );
    assert_eq!(http_target(&[url]).sigv4, None);
    let error = refused(&[url, SIGNED], "cannot be signed");
    assert!(!error.contains("sekret"), "{error}");
}
