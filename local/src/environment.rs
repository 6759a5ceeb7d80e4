//! The function's environment variables: the user's settings and the variables that Lambda would set.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

mod aws;
mod endpoint;
mod settings_file;
#[cfg(test)]
mod tests;

use aws::AwsLogin;
use endpoint::path_and_query;
pub use endpoint::{UserEndpoint, default_settings, endpoint_variables};
pub use settings_file::settings_beside;

/// The function's memory on this machine, in MB, unless `AWS_LAMBDA_FUNCTION_MEMORY_SIZE` is set. As in template.yaml.
const MEMORY_MB: &str = "512";

/// The settings that name a destination.
const DESTINATIONS: [&str; 3] = ["OUTPUT", "DEAD_LETTER", "ALERT"];

/// The services that the function can deliver to: the prefix in a setting, the variable with the URL of such a service
/// on this machine, and its name for messages.
const DESTINATION_SERVICES: [(&str, &str, &str); 5] = [
    ("kinesis:", "AWS_ENDPOINT_URL_KINESIS", "a Kinesis"),
    ("firehose:", "AWS_ENDPOINT_URL_FIREHOSE", "a Firehose"),
    // The SDK does not send its requests to the URL of the queue, but to this URL.
    ("sqs:", "AWS_ENDPOINT_URL_SQS", "an SQS"),
    ("s3:", "AWS_ENDPOINT_URL_S3", "an S3"),
    ("eventbridge:", "AWS_ENDPOINT_URL_EVENTBRIDGE", "an EventBridge"),
];

/// Environment variables and their values.
pub type Settings = HashMap<String, String>;

/// The endpoint that the function calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// An endpoint on this machine.
    Local {
        /// Its URL.
        url: String,
        /// The file of the certificate that the function must trust, if the URL is an HTTPS URL.
        certificate: Option<PathBuf>,
        /// Whether the endpoint is behind a [gateway](crate::gateway).
        is_gateway: bool,
    },
    /// An endpoint of the user.
    User(UserEndpoint),
}

/// Returns the function's environment: the user's settings, completed with defaults. OUTPUT and `DEAD_LETTER` default
/// to `stdout:`. A variable that is set to an empty value keeps it.
///
/// # Errors
///
/// If AWS credentials or a region are needed and cannot be found, or the settings name another endpoint.
pub async fn for_function(own: Settings, target: &Target) -> Result<Settings> {
    let mut environment = match target {
        Target::Local {
            url,
            certificate,
            is_gateway,
        } => for_local_endpoint(own, url, certificate.as_deref(), *is_gateway)?,
        Target::User(UserEndpoint::Name(name)) => for_endpoint_name(own, name, &AwsLogin::find().await?),
        Target::User(UserEndpoint::Url(url)) => {
            // A function that does not call AWS needs no login. The search for one could wait for a metadata service
            // that does not exist.
            let login = if has_calls_to_aws(&own) {
                Some(AwsLogin::find().await?)
            } else {
                None
            };
            for_endpoint_url(own, url, login.as_ref())
        }
    };
    let defaults = [
        ("AWS_LAMBDA_FUNCTION_NAME", "instream"),
        ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", MEMORY_MB),
        ("OUTPUT", "stdout:"),
        ("DEAD_LETTER", "stdout:"),
    ];
    fill_in(&mut environment, &defaults);
    Ok(environment)
}

fn fill_in(environment: &mut Settings, defaults: &[(&str, &str)]) {
    for (name, value) in defaults {
        environment
            .entry((*name).to_owned())
            .or_insert_with(|| (*value).to_owned());
    }
}

/// Returns whether a variable has a value. Like the function, it treats an empty value as not set.
pub(crate) fn is_set(settings: &Settings, name: &str) -> bool {
    settings.get(name).is_some_and(|value| !value.trim().is_empty())
}

/// Checks that the settings do not name another endpoint than the one on this machine. A gateway takes the place of the
/// host of `ENDPOINT_URL`.
///
/// # Errors
///
/// If they do. Otherwise the user would not notice that the other endpoint is not called.
pub fn check_local(own: &Settings, is_gateway: bool) -> Result<()> {
    ensure!(
        is_gateway || !is_set(own, "ENDPOINT_URL"),
        "ENDPOINT_URL is set, but `cargo local` calls an endpoint of its own: unset it, use `--endpoint URL`, or \
         `--gateway` for an API Gateway in its place"
    );
    ensure!(
        !(is_gateway && is_set(own, "ENDPOINT_NAME")),
        "ENDPOINT_NAME is set, but a function calls a gateway by its URL: unset it, or leave out --gateway"
    );
    Ok(())
}

/// Returns the environment for an endpoint on this machine.
///
/// The function gets no AWS profile, no real credentials, and no proxy that would send its calls to another machine. Of
/// the user's AWS settings, it keeps only Lambda's and the URLs of destination services.
fn for_local_endpoint(own: Settings, url: &str, certificate: Option<&Path>, is_gateway: bool) -> Result<Settings> {
    check_local(&own, is_gateway)?;
    let is_removed = |name: &str| {
        let is_kept = name.starts_with("AWS_LAMBDA_") || DESTINATION_SERVICES.iter().any(|(_, url, _)| *url == name);
        let is_of_aws = name.starts_with("AWS_") && !is_kept;
        is_of_aws || name.to_ascii_uppercase().ends_with("_PROXY")
    };
    let mut environment: HashMap<_, _> = own.into_iter().filter(|(name, _)| !is_removed(name)).collect();
    if !is_set(&environment, "ENDPOINT_NAME") {
        environment.remove("ENDPOINT_NAME");
    }
    let settings = [
        ("AWS_REGION", "us-east-1".to_owned()),
        ("AWS_ACCESS_KEY_ID", "local".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "local".to_owned()),
        ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
    ];
    let path = is_gateway.then(|| path_and_query(&environment)).flatten();
    let settings = settings.into_iter().chain(endpoint_variables(url, is_gateway));
    environment.extend(settings.map(|(name, value)| (name.to_owned(), value)));
    if let Some(path) = path {
        environment.insert("ENDPOINT_URL".to_owned(), format!("{url}{path}"));
    }
    let is_unsigned = environment
        .get("ENDPOINT_AUTH")
        .is_some_and(|auth| auth.trim() == "none");
    let signing_settings = ["ENDPOINT_REGION", "ENDPOINT_SERVICE"];
    let defaults = default_settings(is_gateway).iter();
    let defaults: Vec<_> = defaults
        .filter(|(name, _)| !(is_unsigned && signing_settings.contains(name)))
        .copied()
        .collect();
    fill_in(&mut environment, &defaults);
    if let Some(certificate) = certificate {
        let path = certificate
            .to_str()
            .context("the path of the certificate is not UTF-8")?;
        environment.insert("SSL_CERT_FILE".to_owned(), path.to_owned());
    }
    check_destinations(&environment)?;
    Ok(environment)
}

/// Checks that nothing would be delivered to AWS.
fn check_destinations(environment: &Settings) -> Result<()> {
    for name in DESTINATIONS {
        let destination = environment.get(name).map(|value| value.trim()).unwrap_or_default();
        let service = DESTINATION_SERVICES
            .iter()
            .find(|(scheme, ..)| destination.starts_with(scheme));
        if let Some((scheme, url, service)) = service {
            let is_here = environment.get(*url).is_some_and(|url| !url.is_empty());
            ensure!(
                is_here,
                "{name} is {scheme}, which would be in AWS: set {url} to {service} on this machine"
            );
        }
    }
    Ok(())
}

/// Returns whether a function that calls a URL also calls AWS, and so needs AWS credentials.
fn has_calls_to_aws(own: &Settings) -> bool {
    let signs = own.get("ENDPOINT_AUTH").is_some_and(|auth| auth.trim() == "sigv4");
    let delivers = DESTINATIONS.iter().any(|name| {
        let destination = own.get(*name).map(|value| value.trim()).unwrap_or_default();
        DESTINATION_SERVICES
            .iter()
            .any(|(scheme, ..)| destination.starts_with(scheme))
    });
    signs || delivers || is_set(own, "ENDPOINT_ROLE_ARN") || is_set(own, "ENDPOINT_API_KEY")
}

fn for_endpoint_name(mut own: Settings, endpoint: &str, login: &AwsLogin) -> Settings {
    own.remove("ENDPOINT_URL");
    own.insert("ENDPOINT_NAME".to_owned(), endpoint.to_owned());
    login.write_to(&mut own);
    own
}

fn for_endpoint_url(mut own: Settings, url: &str, login: Option<&AwsLogin>) -> Settings {
    own.remove("ENDPOINT_NAME");
    own.insert("ENDPOINT_URL".to_owned(), url.to_owned());
    if let Some(login) = login {
        login.write_to(&mut own);
    }
    own
}
