//! The configuration of AWS clients: with this machine's credentials, or with placeholders for services on loopback.

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use http::Uri;
use instream_local::environment::Settings;
use instream_local::kinesis::is_loopback;

/// Returns the client configuration of a service. `AWS_ENDPOINT_URL_…` in the settings may name its URL.
pub(super) async fn config(settings: &Settings, service: &str) -> SdkConfig {
    let own = settings.get(&format!("AWS_ENDPOINT_URL_{service}"));
    let url = own.or_else(|| settings.get("AWS_ENDPOINT_URL"));
    let config = aws_config::defaults(BehaviorVersion::latest());
    let config = match url.filter(|url| is_on_loopback(url)) {
        Some(url) => config
            .endpoint_url(url)
            .region(Region::from_static("us-east-1"))
            .credentials_provider(Credentials::new("local", "local", None, None, "local")),
        // The SDK reads the environment itself.
        None => config,
    };
    config.load().await
}

fn is_on_loopback(url: &str) -> bool {
    let uri = url.parse::<Uri>().ok();
    uri.and_then(|uri| uri.host().map(is_loopback)).unwrap_or_default()
}
