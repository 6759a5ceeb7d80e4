//! The function's environment variables, as Lambda and the user's own settings would give them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use aws_config::BehaviorVersion;
use aws_credential_types::provider::ProvideCredentials as _;

/// Name of the built-in endpoint, unless `ENDPOINT_NAME` says otherwise.
pub const LOCAL_ENDPOINT: &str = "fraud-detector";

/// The function's memory on one machine, in MB, unless `AWS_LAMBDA_FUNCTION_MEMORY_SIZE` is set: as in template.yaml.
const MEMORY_MB: &str = "512";

/// What a function delivers to, as OUTPUT and `DEAD_LETTER` begin, and where such a service on this machine is.
const SERVICES: [(&str, &str, &str); 4] = [
    ("kinesis:", "AWS_ENDPOINT_URL_KINESIS", "a Kinesis"),
    ("firehose:", "AWS_ENDPOINT_URL_FIREHOSE", "a Firehose"),
    // The queue's URL does not say where the SDK sends its requests.
    ("sqs:", "AWS_ENDPOINT_URL_SQS", "an SQS"),
    ("s3:", "AWS_ENDPOINT_URL_S3", "an S3"),
];

/// Environment variables and their values.
pub type Settings = HashMap<String, String>;

/// Which endpoint the function calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// One on this machine.
    Local {
        /// Its URL.
        url: String,
        /// The file of the certificate that the function is to trust, where the URL is of HTTPS.
        certificate: Option<PathBuf>,
    },
    /// A `SageMaker` endpoint of the user's, by name.
    Aws(String),
}

/// The environment for the function: the caller's, with what is missing filled in. Locally, both OUTPUT and
/// `DEAD_LETTER` are `stdout:` unless they are set, even to nothing.
///
/// # Errors
///
/// If AWS credentials or a region are needed and cannot be found.
pub async fn for_function(own: Settings, target: &Target) -> Result<Settings> {
    let mut environment = match target {
        Target::Local { url, certificate } => local(own, url, certificate.as_deref())?,
        Target::Aws(name) => aws(own, name).await?,
    };
    let defaults = [
        ("AWS_LAMBDA_FUNCTION_NAME", "instream"),
        ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", MEMORY_MB),
        ("ENDPOINT_NAME", LOCAL_ENDPOINT),
        ("OUTPUT", "stdout:"),
        ("DEAD_LETTER", "stdout:"),
    ];
    for (name, value) in defaults {
        environment.entry(name.to_owned()).or_insert_with(|| value.to_owned());
    }
    Ok(environment)
}

/// Nothing of the user's AWS settings reaches a function that calls this machine, no profile, no real credentials and no
/// proxy that would carry the calls away from it, but for the places of services to deliver to.
fn local(own: Settings, url: &str, certificate: Option<&Path>) -> Result<Settings> {
    let foreign = |name: &str| {
        let own = name.starts_with("AWS_LAMBDA_") || SERVICES.iter().any(|(_, url, _)| *url == name);
        let of_aws = name.starts_with("AWS_") && !own;
        of_aws || name.to_ascii_uppercase().ends_with("_PROXY")
    };
    let mut environment: HashMap<_, _> = own.into_iter().filter(|(name, _)| !foreign(name)).collect();
    let settings = [
        ("AWS_REGION", "us-east-1".to_owned()),
        ("AWS_ACCESS_KEY_ID", "local".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "local".to_owned()),
        ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
        ("AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME", url.to_owned()),
    ];
    environment.extend(settings.map(|(name, value)| (name.to_owned(), value)));
    if let Some(certificate) = certificate {
        let path = certificate
            .to_str()
            .context("the path of the certificate is not UTF-8")?;
        environment.insert("SSL_CERT_FILE".to_owned(), path.to_owned());
    }
    for name in ["OUTPUT", "DEAD_LETTER"] {
        let destination = environment.get(name).map(|value| value.trim()).unwrap_or_default();
        let service = SERVICES.iter().find(|(scheme, ..)| destination.starts_with(scheme));
        if let Some((scheme, url, service)) = service {
            let is_here = environment.get(*url).is_some_and(|url| !url.is_empty());
            ensure!(
                is_here,
                "{name} is {scheme}, which would be in AWS: set {url} to {service} on this machine"
            );
        }
    }
    Ok(environment)
}

/// The machine's own credentials, SSO profiles included: resolved here, so that the function needs no part of it.
async fn aws(own: Settings, endpoint: &str) -> Result<Settings> {
    let config = aws_config::load_defaults(BehaviorVersion::latest()).await;
    let region = config
        .region()
        .context("no AWS region: set AWS_REGION or a profile that has one")?;
    let provider = config
        .credentials_provider()
        .context("no AWS credentials: set AWS_PROFILE or log in")?;
    let credentials = provider
        .provide_credentials()
        .await
        .context("no AWS credentials: set AWS_PROFILE, or log in with `aws sso login`")?;
    let mut environment = own;
    environment.remove("AWS_PROFILE");
    environment.remove("AWS_SESSION_TOKEN");
    environment.insert("ENDPOINT_NAME".to_owned(), endpoint.to_owned());
    environment.insert("AWS_REGION".to_owned(), region.to_string());
    environment.insert("AWS_ACCESS_KEY_ID".to_owned(), credentials.access_key_id().to_owned());
    environment.insert(
        "AWS_SECRET_ACCESS_KEY".to_owned(),
        credentials.secret_access_key().to_owned(),
    );
    if let Some(token) = credentials.session_token() {
        environment.insert("AWS_SESSION_TOKEN".to_owned(), token.to_owned());
    }
    Ok(environment)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn here() -> Target {
        Target::Local {
            url: "http://127.0.0.1:9001".to_owned(),
            certificate: None,
        }
    }

    #[tokio::test]
    async fn no_aws_setting_of_the_users_reaches_a_local_run() {
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
        ] {
            for name in ["OUTPUT", "DEAD_LETTER"] {
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
    async fn a_local_run_with_tls_has_its_own_certificate_trusted_instead_of_the_users() {
        let own = Settings::from([("SSL_CERT_FILE".to_owned(), "/etc/ssl/mine.pem".to_owned())]);
        let target = Target::Local {
            url: "https://127.0.0.1:9001".to_owned(),
            certificate: Some("target/local/endpoint-9001.pem".into()),
        };
        let environment = for_function(own.clone(), &target).await.unwrap();
        assert_eq!(environment["SSL_CERT_FILE"], "target/local/endpoint-9001.pem");
        let environment = for_function(own, &here()).await.unwrap();
        assert_eq!(environment["SSL_CERT_FILE"], "/etc/ssl/mine.pem");
    }
}
