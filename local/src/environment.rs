//! The function's environment variables, as Lambda and the user's own settings would give them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

mod aws;
mod endpoint;
#[cfg(test)]
mod tests;

use aws::Found;
pub use endpoint::{OwnEndpoint, defaults, places};

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
        /// Whether there is a [gateway](crate::gateway) before it.
        is_gateway: bool,
    },
    /// One of the user's.
    Own(OwnEndpoint),
}

/// The environment for the function: the caller's, with what is missing filled in. Locally, both OUTPUT and
/// `DEAD_LETTER` are `stdout:` unless they are set, even to nothing.
///
/// # Errors
///
/// If AWS credentials or a region are needed and cannot be found, or what is set is of another endpoint.
pub async fn for_function(own: Settings, target: &Target) -> Result<Settings> {
    let mut environment = match target {
        Target::Local {
            url,
            certificate,
            is_gateway,
        } => local(own, url, certificate.as_deref(), *is_gateway)?,
        Target::Own(OwnEndpoint::Name(name)) => named(own, name, &Found::look().await?),
        Target::Own(OwnEndpoint::Url(url)) => {
            // Where AWS has no part in it, nobody waits for a metadata service that there is not.
            let found = if needs_credentials(&own) {
                Some(Found::look().await?)
            } else {
                None
            };
            by_url(own, url, found.as_ref())
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

/// Whether a variable says anything: the function takes an empty one for none.
pub(crate) fn is_set(settings: &Settings, name: &str) -> bool {
    settings.get(name).is_some_and(|value| !value.trim().is_empty())
}

/// Whether the settings are those of an endpoint on this machine.
///
/// # Errors
///
/// If they name another: nobody would notice that it is not called.
pub fn check_local(own: &Settings, is_gateway: bool) -> Result<()> {
    ensure!(
        !is_set(own, "ENDPOINT_URL"),
        "ENDPOINT_URL is set, but `cargo local` calls an endpoint of its own: unset it, or use `--endpoint URL`"
    );
    ensure!(
        !(is_gateway && is_set(own, "ENDPOINT_NAME")),
        "ENDPOINT_NAME is set, but a function calls a gateway by its URL: unset it, or leave out --gateway"
    );
    Ok(())
}

/// Nothing of the user's AWS settings reaches a function that calls this machine, no profile, no real credentials and no
/// proxy that would carry the calls away from it, but for the places of services to deliver to.
fn local(own: Settings, url: &str, certificate: Option<&Path>, is_gateway: bool) -> Result<Settings> {
    check_local(&own, is_gateway)?;
    let foreign = |name: &str| {
        let own = name.starts_with("AWS_LAMBDA_") || SERVICES.iter().any(|(_, url, _)| *url == name);
        let of_aws = name.starts_with("AWS_") && !own;
        of_aws || name.to_ascii_uppercase().ends_with("_PROXY")
    };
    let mut environment: HashMap<_, _> = own.into_iter().filter(|(name, _)| !foreign(name)).collect();
    if !is_set(&environment, "ENDPOINT_NAME") {
        environment.remove("ENDPOINT_NAME");
    }
    let settings = [
        ("AWS_REGION", "us-east-1".to_owned()),
        ("AWS_ACCESS_KEY_ID", "local".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "local".to_owned()),
        ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
    ];
    let settings = settings.into_iter().chain(places(url, is_gateway));
    environment.extend(settings.map(|(name, value)| (name.to_owned(), value)));
    let is_unsigned = environment
        .get("ENDPOINT_AUTH")
        .is_some_and(|auth| auth.trim() == "none");
    let of_signatures = ["ENDPOINT_REGION", "ENDPOINT_SERVICE"];
    let defaults = defaults(is_gateway).iter();
    let defaults: Vec<_> = defaults
        .filter(|(name, _)| !(is_unsigned && of_signatures.contains(name)))
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

/// Nothing is delivered to AWS with the credentials of this machine.
fn check_destinations(environment: &Settings) -> Result<()> {
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
    Ok(())
}

/// Whether a function that calls a URL cannot do without AWS.
fn needs_credentials(own: &Settings) -> bool {
    let signs = own.get("ENDPOINT_AUTH").is_some_and(|auth| auth.trim() == "sigv4");
    let delivers = ["OUTPUT", "DEAD_LETTER"].iter().any(|name| {
        let destination = own.get(*name).map(|value| value.trim()).unwrap_or_default();
        SERVICES.iter().any(|(scheme, ..)| destination.starts_with(scheme))
    });
    signs || delivers || is_set(own, "ENDPOINT_ROLE_ARN") || is_set(own, "ENDPOINT_API_KEY")
}

fn named(mut own: Settings, endpoint: &str, found: &Found) -> Settings {
    own.remove("ENDPOINT_URL");
    own.insert("ENDPOINT_NAME".to_owned(), endpoint.to_owned());
    found.put_into(&mut own);
    own
}

fn by_url(mut own: Settings, url: &str, found: Option<&Found>) -> Settings {
    own.remove("ENDPOINT_NAME");
    own.insert("ENDPOINT_URL".to_owned(), url.to_owned());
    if let Some(found) = found {
        found.put_into(&mut own);
    }
    own
}
