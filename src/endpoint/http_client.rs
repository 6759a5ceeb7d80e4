//! The HTTP client of the process. All AWS clients share its connection pool and its trusted certificates.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_smithy_http_client::Connector;
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;

use super::host_lookup::Resolver;
use super::url::is_http_loopback;

/// The idle time after which a connection is closed. Load balancers drop idle connections after a minute or less, and
/// a process that Lambda freezes between invocations does not notice it.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(20);
/// The maximum time for opening a connection. The AWS SDK uses the same value.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(3100);

/// The number of consecutive calls cancelled without a response after which the connection pool is replaced. Over
/// HTTP/2, all calls share one connection, and no call would detect that the peer is gone.
const ABANDONED_CALLS_LIMIT: usize = 4;

/// Creates the connector of the process. Like the AWS SDK's own HTTP client, it trusts the machine's certificates and
/// uses the proxies of the environment (`HTTPS_PROXY`, `NO_PROXY`). Unencrypted requests to this machine are never sent
/// through a proxy.
pub fn shared_connector() -> SharedHttpConnector {
    SharedHttpConnector::new(LoopbackBypass {
        proxied: ResettableConnector::new(new_connector),
        direct: ResettableConnector::new(|resolver| connector(resolver, ProxyConfig::disabled())),
    })
}

/// Returns an HTTP client for the AWS SDK that uses this connector.
pub fn http_client(connector: SharedHttpConnector) -> SharedHttpClient {
    http_client_fn(move |_, _| connector.clone())
}

/// Sends unencrypted requests to this machine directly, and all others through the proxies of the environment.
#[derive(Debug)]
struct LoopbackBypass {
    proxied: ResettableConnector,
    direct: ResettableConnector,
}

impl HttpConnector for LoopbackBypass {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        if is_http_loopback(request.uri()) {
            self.direct.call(request)
        } else {
            self.proxied.call(request)
        }
    }
}

/// A connector that is created by the first call, and replaced after [`ABANDONED_CALLS_LIMIT`] consecutive abandoned
/// calls. Creating it late keeps start-up short: reading and checking all certificates takes three times as long as the
/// rest of a start.
#[derive(Debug, Clone)]
struct ResettableConnector {
    make: fn(Resolver) -> SharedHttpConnector,
    /// Kept, because it knows the addresses of hosts.
    resolver: Resolver,
    current: Arc<Mutex<Option<Arc<ConnectionPool>>>>,
}

#[derive(Debug)]
struct ConnectionPool {
    connector: SharedHttpConnector,
    /// The number of consecutive calls that were dropped before their response.
    abandoned: AtomicUsize,
}

impl ResettableConnector {
    fn new(make: fn(Resolver) -> SharedHttpConnector) -> Self {
        Self {
            make,
            resolver: Resolver::system(),
            current: Arc::default(),
        }
    }

    fn current(&self) -> Arc<ConnectionPool> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        current.take_if(|current| current.abandoned.load(Ordering::Relaxed) >= ABANDONED_CALLS_LIMIT);
        let current = current.get_or_insert_with(|| {
            Arc::new(ConnectionPool {
                connector: (self.make)(self.resolver.clone()),
                abandoned: AtomicUsize::new(0),
            })
        });
        Arc::clone(current)
    }
}

impl HttpConnector for ResettableConnector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let pool = self.current();
        let answer = pool.connector.call(request);
        let guard = AbandonGuard { pool, has_ended: false };
        HttpConnectorFuture::new(async move {
            let answer = answer.await;
            guard.finish();
            answer
        })
    }
}

/// Counts a call as abandoned if it is dropped before its response.
struct AbandonGuard {
    pool: Arc<ConnectionPool>,
    has_ended: bool,
}

impl AbandonGuard {
    fn finish(mut self) {
        self.has_ended = true;
    }
}

impl Drop for AbandonGuard {
    fn drop(&mut self) {
        let abandoned = &self.pool.abandoned;
        if self.has_ended {
            abandoned.store(0, Ordering::Relaxed);
        } else {
            abandoned.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Creates a connector that looks host names up with `resolver` and uses the proxies of the environment.
pub fn new_connector(resolver: Resolver) -> SharedHttpConnector {
    connector(resolver, ProxyConfig::from_env())
}

fn connector(resolver: Resolver, proxies: ProxyConfig) -> SharedHttpConnector {
    let settings = HttpConnectorSettings::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .build();
    let connector = Connector::builder()
        .connector_settings(settings)
        .proxy_config(proxies)
        .pool_idle_timeout(POOL_IDLE_TIMEOUT)
        .tls_provider(Provider::Rustls(CryptoMode::AwsLc))
        .build_with_resolver(resolver);
    SharedHttpConnector::new(connector)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
    use aws_smithy_types::body::SdkBody;
    use tokio::time::timeout;

    use super::*;

    static CREATED: AtomicUsize = AtomicUsize::new(0);

    /// Answers requests to `/answered`. All other requests hang.
    #[derive(Debug)]
    struct PartlyAnswering;

    impl HttpConnector for PartlyAnswering {
        fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
            if request.uri() == "/answered" {
                let answer = HttpResponse::new(200.try_into().unwrap(), SdkBody::empty());
                return HttpConnectorFuture::ready(Ok(answer));
            }
            HttpConnectorFuture::new(std::future::pending())
        }
    }

    async fn call(connector: &ResettableConnector, uri: &'static str) {
        let mut request = HttpRequest::empty();
        request.set_uri(uri).unwrap();
        _ = timeout(Duration::from_secs(1), connector.call(request)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn the_pool_is_replaced_after_consecutive_abandoned_calls() {
        let connector = ResettableConnector::new(|_| {
            CREATED.fetch_add(1, Ordering::Relaxed);
            SharedHttpConnector::new(PartlyAnswering)
        });
        let created = || CREATED.load(Ordering::Relaxed);
        assert_eq!(created(), 0, "none before the first call");
        for _ in 0..ABANDONED_CALLS_LIMIT {
            call(&connector, "/answered").await;
            // A record may cause an occasional hanging call while the connection works.
            call(&connector, "/never").await;
        }
        assert_eq!(created(), 1);
        call(&connector, "/answered").await;
        for _ in 0..ABANDONED_CALLS_LIMIT {
            call(&connector, "/never").await;
            assert_eq!(created(), 1);
        }
        call(&connector, "/never").await;
        assert_eq!(created(), 2);
    }
}
