use super::*;

fn here() -> Target {
    Target::Local {
        url: "http://127.0.0.1:9001".to_owned(),
        certificate: None,
        is_gateway: false,
    }
}

#[tokio::test]
async fn a_local_run_gets_none_of_the_users_aws_settings() {
    let own = [
        ("AWS_PROFILE", "production"),
        ("http_proxy", "http://proxy:3128"),
        ("ALL_PROXY", "http://proxy:3128"),
        ("AWS_SESSION_TOKEN", "real"),
        ("AWS_ACCESS_KEY_ID", "real"),
        ("AWS_LAMBDA_LOG_LEVEL", "DEBUG"),
        ("CAPACITY", "64"),
        ("DEAD_LETTER", ""),
    ];
    let own = own.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let target = here();
    let environment = for_function(own, &target).await.unwrap();
    let value = |name: &str| environment.get(name).map(String::as_str);
    assert_eq!(value("AWS_PROFILE"), None);
    assert_eq!(value("http_proxy"), None);
    assert_eq!(value("ALL_PROXY"), None);
    assert_eq!(value("AWS_SESSION_TOKEN"), None);
    assert_eq!(value("AWS_ACCESS_KEY_ID"), Some("local"));
    assert_eq!(
        value("AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME"),
        Some("http://127.0.0.1:9001")
    );
    assert_eq!(value("AWS_LAMBDA_LOG_LEVEL"), Some("DEBUG"));
    assert_eq!(value("CAPACITY"), Some("64"));
    assert_eq!(value("OUTPUT"), Some("stdout:"));
    assert_eq!(value("DEAD_LETTER"), Some(""));
}

#[tokio::test]
async fn a_local_run_delivers_to_no_service_in_aws() {
    let target = here();
    let here = "http://127.0.0.1:4567";
    for (destination, url) in [
        ("kinesis:scores", "AWS_ENDPOINT_URL_KINESIS"),
        ("firehose:scores", "AWS_ENDPOINT_URL_FIREHOSE"),
        ("sqs:http://127.0.0.1:4567/000000000000/scores", "AWS_ENDPOINT_URL_SQS"),
        ("s3:scores/today", "AWS_ENDPOINT_URL_S3"),
        ("eventbridge:scores", "AWS_ENDPOINT_URL_EVENTBRIDGE"),
    ] {
        for name in ["OUTPUT", "DEAD_LETTER", "ALERT"] {
            let mut settings = Settings::from([(name.to_owned(), destination.to_owned())]);
            let error = for_function(settings.clone(), &target).await.unwrap_err();
            assert!(error.to_string().contains(url), "{error}");
            settings.insert(url.to_owned(), String::new());
            assert!(for_function(settings.clone(), &target).await.is_err(), "{url} is empty");
            settings.insert(url.to_owned(), here.to_owned());
            let environment = for_function(settings, &target).await.unwrap();
            assert_eq!(environment[url], here);
        }
    }
}

#[tokio::test]
async fn a_local_run_with_tls_trusts_its_own_certificate_instead_of_the_users() {
    let own = Settings::from([("SSL_CERT_FILE".to_owned(), "/etc/ssl/mine.pem".to_owned())]);
    let target = Target::Local {
        url: "https://127.0.0.1:9001".to_owned(),
        certificate: Some("target/local/endpoint-9001.pem".into()),
        is_gateway: false,
    };
    let environment = for_function(own.clone(), &target).await.unwrap();
    assert_eq!(environment["SSL_CERT_FILE"], "target/local/endpoint-9001.pem");
    let environment = for_function(own, &here()).await.unwrap();
    assert_eq!(environment["SSL_CERT_FILE"], "/etc/ssl/mine.pem");
}

fn gateway() -> Target {
    Target::Local {
        url: "https://127.0.0.1:9001".to_owned(),
        certificate: Some("target/local/endpoint-9001.pem".into()),
        is_gateway: true,
    }
}

fn settings<const N: usize>(settings: [(&str, &str); N]) -> Settings {
    settings.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}

#[tokio::test]
async fn a_run_with_a_gateway_sets_the_urls_of_the_gateway_and_its_services() {
    let own = settings([
        ("AWS_ENDPOINT_URL_STS", "https://real"),
        ("ENDPOINT_NAME", ""),
        ("ENDPOINT_URL", " "),
    ]);
    let environment = for_function(own, &gateway()).await.unwrap();
    for (name, expected) in [
        ("ENDPOINT_URL", "https://127.0.0.1:9001/prod/score"),
        ("AWS_ENDPOINT_URL_STS", "https://127.0.0.1:9001"),
        ("AWS_ENDPOINT_URL_SECRETS_MANAGER", "https://127.0.0.1:9001"),
        ("AWS_ACCESS_KEY_ID", "local"),
        ("AWS_SECRET_ACCESS_KEY", "local"),
        ("SSL_CERT_FILE", "target/local/endpoint-9001.pem"),
        ("ENDPOINT_AUTH", "sigv4"),
        ("ENDPOINT_REGION", "us-east-1"),
        ("ENDPOINT_SERVICE", "execute-api"),
        (
            "ENDPOINT_API_KEY",
            &format!("secretsmanager:{}", crate::gateway::SECRET),
        ),
    ] {
        assert_eq!(environment[name], expected, "{name}");
    }
    for name in ["ENDPOINT_NAME", "AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME"] {
        assert_eq!(environment.get(name), None, "{name}");
    }
    let without = for_function(settings([("ENDPOINT_NAME", "")]), &here()).await.unwrap();
    assert_eq!(without["ENDPOINT_NAME"], "fraud-detector");
    assert!(
        !without
            .keys()
            .any(|name| name.starts_with("ENDPOINT_") && name != "ENDPOINT_NAME")
    );
}

#[tokio::test]
async fn the_users_settings_override_the_defaults_for_a_gateway() {
    let own = settings([
        ("ENDPOINT_AUTH", "none"),
        ("ENDPOINT_REGION", "eu-west-1"),
        ("ENDPOINT_SERVICE", "sagemaker"),
        ("ENDPOINT_API_KEY", "secretsmanager:gateway-key-json#apiKey"),
        ("ENDPOINT_ROLE_ARN", "arn:aws:iam::123456789012:role/caller"),
    ]);
    let environment = for_function(own.clone(), &gateway()).await.unwrap();
    for (name, value) in own {
        assert_eq!(environment[&name], value, "{name}");
    }
}

#[tokio::test]
async fn unsigned_calls_to_a_gateway_have_no_signing_settings() {
    let own = settings([("ENDPOINT_AUTH", "none")]);
    let environment = for_function(own, &gateway()).await.unwrap();
    for name in ["ENDPOINT_REGION", "ENDPOINT_SERVICE"] {
        assert_eq!(environment.get(name), None, "{name}");
    }
    assert!(environment.contains_key("ENDPOINT_API_KEY"));
}

#[tokio::test]
async fn the_name_or_the_url_of_another_endpoint_is_an_error_and_not_ignored() {
    let name = settings([("ENDPOINT_NAME", "mine")]);
    let error = for_function(name.clone(), &gateway()).await.unwrap_err().to_string();
    assert!(
        error.contains("ENDPOINT_NAME") && error.contains("--gateway"),
        "{error}"
    );
    assert_eq!(for_function(name, &here()).await.unwrap()["ENDPOINT_NAME"], "mine");
    let url = settings([("ENDPOINT_URL", "https://one.example")]);
    let error = for_function(url, &here()).await.unwrap_err().to_string();
    assert!(
        error.contains("ENDPOINT_URL") && error.contains("--endpoint URL"),
        "{error}"
    );
}

#[tokio::test]
async fn a_gateway_takes_the_place_of_the_users_host() {
    for (own, expected) in [
        ("https://one.example", "https://127.0.0.1:9001/prod/score"),
        (" https://one.example/v1/fare ", "https://127.0.0.1:9001/v1/fare"),
        (
            "https://one.example:8443?km={$['a/b']}",
            "https://127.0.0.1:9001?km={$['a/b']}",
        ),
    ] {
        let environment = for_function(settings([("ENDPOINT_URL", own)]), &gateway()).await;
        assert_eq!(environment.unwrap()["ENDPOINT_URL"], expected);
    }
}

#[test]
fn a_user_endpoint_is_a_url_or_a_name() {
    for text in ["https://one.example/score", "http://127.0.0.1:8080"] {
        assert_eq!(text.parse(), Ok(UserEndpoint::Url(text.to_owned())));
    }
    for text in ["fraud-detector", "https"] {
        assert_eq!(text.parse(), Ok(UserEndpoint::Name(text.to_owned())));
    }
    for text in [
        "",
        "127.0.0.1:8080/score",
        "one.example/score",
        "HTTPS://one.example",
        "ftp://one.example",
    ] {
        let error = text.parse::<UserEndpoint>().unwrap_err();
        assert!(error.contains("begins with https:// or http://"), "{text}");
    }
}

#[test]
fn a_function_that_calls_a_url_has_calls_to_aws_only_if_it_also_calls_aws() {
    assert!(!has_calls_to_aws(&Settings::new()));
    for (name, value, expected) in [
        ("ENDPOINT_AUTH", "none", false),
        ("ENDPOINT_AUTH", "sigv4", true),
        ("ENDPOINT_ROLE_ARN", "arn:aws:iam::123456789012:role/caller", true),
        ("ENDPOINT_API_KEY", "secretsmanager:key", true),
        ("ENDPOINT_API_KEY", "", false),
        ("ENDPOINT_HEADERS", "x-tenant: one", false),
        ("OUTPUT", "stdout:", false),
        ("OUTPUT", "kinesis:scores", true),
        ("DEAD_LETTER", "s3:letters", true),
    ] {
        assert_eq!(has_calls_to_aws(&settings([(name, value)])), expected, "{name}={value}");
    }
}

#[test]
fn the_requested_endpoint_replaces_the_settings_and_gets_the_credentials_of_the_login() {
    let login = AwsLogin {
        region: aws_config::Region::from_static("eu-west-1"),
        credentials: aws_credential_types::Credentials::builder()
            .access_key_id("found")
            .secret_access_key("secret")
            .provider_name("test")
            .build(),
    };
    let own = settings([
        ("AWS_PROFILE", "mine"),
        ("AWS_SESSION_TOKEN", "old"),
        ("ENDPOINT_NAME", "before"),
        ("ENDPOINT_URL", "https://before.example"),
    ]);
    let name = for_endpoint_name(own.clone(), "mine", &login);
    assert_eq!(
        (name["ENDPOINT_NAME"].as_str(), name.get("ENDPOINT_URL")),
        ("mine", None)
    );
    let url = for_endpoint_url(own.clone(), "https://one.example", Some(&login));
    assert_eq!(
        (url["ENDPOINT_URL"].as_str(), url.get("ENDPOINT_NAME")),
        ("https://one.example", None)
    );
    for environment in [name, url] {
        assert_eq!(environment["AWS_REGION"], "eu-west-1");
        assert_eq!(environment["AWS_ACCESS_KEY_ID"], "found");
        assert_eq!(environment["AWS_SECRET_ACCESS_KEY"], "secret");
        assert_eq!(
            (environment.get("AWS_PROFILE"), environment.get("AWS_SESSION_TOKEN")),
            (None, None)
        );
    }
    let without = for_endpoint_url(own, "https://one.example", None);
    assert_eq!(
        (without["AWS_PROFILE"].as_str(), without.get("AWS_REGION")),
        ("mine", None)
    );
}
