//! The HTTP client that all AWS clients of the process share: one pool of connections, one set of trusted certificates.

use std::time::Duration;

use aws_sdk_sagemakerruntime::config::SharedHttpClient;
use aws_smithy_http_client::Builder;
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;

/// A connection that nobody used for so long is closed. Lambda freezes the process between invocations, and what was
/// idle for longer may be dead by then, without a word: load balancers drop idle connections after a minute or less.
const IDLE: Duration = Duration::from_secs(20);

/// Makes the client. It reads the machine's certificates when the first AWS client takes it.
pub fn http_client() -> SharedHttpClient {
    Builder::new()
        .tls_provider(Provider::Rustls(CryptoMode::AwsLc))
        .pool_idle_timeout(IDLE)
        .build_https()
}
