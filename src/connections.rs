//! The HTTP client that all AWS clients of the process share: one pool of connections, one set of trusted certificates,
//! both there before the first event that needs them.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use aws_sdk_sagemakerruntime::config::SharedHttpClient;
use aws_smithy_http_client::Connector;
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;

/// A connection that nobody used for so long is closed. Lambda freezes the process between invocations, and what was
/// idle for longer may be dead by then, without a word: load balancers drop idle connections after a minute or less.
const IDLE: Duration = Duration::from_secs(20);
/// How long a connection may take to come about: as the AWS SDK has it.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(3100);

/// Makes the connections: they trust the machine's certificates, and go by the proxies that the environment names
/// (`HTTPS_PROXY`, `NO_PROXY`), as those of the AWS SDK's own client do.
pub fn connections() -> SharedHttpConnector {
    SharedHttpConnector::new(AtFirstUse(Arc::new(LazyLock::new(connector))))
}

/// A client of the SDK's over these connections.
pub fn http_client(connections: SharedHttpConnector) -> SharedHttpClient {
    http_client_fn(move |_, _| connections.clone())
}

/// To read and check all certificates takes three times as long as the rest of a start: nobody waits for it before
/// the first request.
#[derive(Debug, Clone)]
struct AtFirstUse(Arc<LazyLock<Connector>>);

impl HttpConnector for AtFirstUse {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        self.0.call(request)
    }
}

fn connector() -> Connector {
    let settings = HttpConnectorSettings::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .build();
    Connector::builder()
        .connector_settings(settings)
        .proxy_config(ProxyConfig::from_env())
        .pool_idle_timeout(IDLE)
        .tls_provider(Provider::Rustls(CryptoMode::AwsLc))
        .build()
}
