//! The HTTP client that all AWS clients of the process share: one pool of connections, one set of trusted certificates,
//! both there before the first event that needs them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
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

/// So many calls in a row that were cut without an answer, and the connections are given up: over HTTP/2, all calls share
/// one, and none of them would notice that nobody is at its other end.
const CUT: usize = 4;

/// Makes the connections: they trust the machine's certificates, and go by the proxies that the environment names
/// (`HTTPS_PROXY`, `NO_PROXY`), as those of the AWS SDK's own client do.
pub fn connections() -> SharedHttpConnector {
    SharedHttpConnector::new(Renewed::new(|| SharedHttpConnector::new(connector())))
}

/// A client of the SDK's over these connections.
pub fn http_client(connections: SharedHttpConnector) -> SharedHttpClient {
    http_client_fn(move |_, _| connections.clone())
}

/// Connections that are there from the first call on, and made anew when nothing comes back any more. To read and check all
/// certificates takes three times as long as the rest of a start: nobody waits for it before the first request.
#[derive(Debug, Clone)]
struct Renewed {
    make: fn() -> SharedHttpConnector,
    current: Arc<Mutex<Option<Arc<Connections>>>>,
}

#[derive(Debug)]
struct Connections {
    connector: SharedHttpConnector,
    /// Calls in a row that were cut.
    cut: AtomicUsize,
}

impl Renewed {
    fn new(make: fn() -> SharedHttpConnector) -> Self {
        Self {
            make,
            current: Arc::default(),
        }
    }

    fn current(&self) -> Arc<Connections> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        current.take_if(|current| current.cut.load(Ordering::Relaxed) >= CUT);
        let current = current.get_or_insert_with(|| {
            Arc::new(Connections {
                connector: (self.make)(),
                cut: AtomicUsize::new(0),
            })
        });
        Arc::clone(current)
    }
}

impl HttpConnector for Renewed {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let connections = self.current();
        let answer = connections.connector.call(request);
        let waiting = Waiting {
            connections,
            has_ended: false,
        };
        HttpConnectorFuture::new(async move {
            let answer = answer.await;
            waiting.ends();
            answer
        })
    }
}

/// A call whose answer is waited for: cut, if it is dropped before.
struct Waiting {
    connections: Arc<Connections>,
    has_ended: bool,
}

impl Waiting {
    fn ends(mut self) {
        self.has_ended = true;
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let cut = &self.connections.cut;
        if self.has_ended {
            cut.store(0, Ordering::Relaxed);
        } else {
            cut.fetch_add(1, Ordering::Relaxed);
        }
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
    use aws_smithy_types::body::SdkBody;
    use tokio::time::timeout;

    use super::*;

    static MADE: AtomicUsize = AtomicUsize::new(0);

    /// Answers requests to `/answered`, and no others.
    #[derive(Debug)]
    struct Half;

    impl HttpConnector for Half {
        fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
            if request.uri() == "/answered" {
                let answer = HttpResponse::new(200.try_into().unwrap(), SdkBody::empty());
                return HttpConnectorFuture::ready(Ok(answer));
            }
            HttpConnectorFuture::new(std::future::pending())
        }
    }

    async fn call(connections: &Renewed, uri: &'static str) {
        let mut request = HttpRequest::empty();
        request.set_uri(uri).unwrap();
        _ = timeout(Duration::from_secs(1), connections.call(request)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn connections_on_which_nothing_comes_back_any_more_are_made_anew() {
        let connections = Renewed::new(|| {
            MADE.fetch_add(1, Ordering::Relaxed);
            SharedHttpConnector::new(Half)
        });
        let made = || MADE.load(Ordering::Relaxed);
        assert_eq!(made(), 0, "none before the first call");
        for _ in 0..CUT {
            call(&connections, "/answered").await;
            // One that hangs now and then is the record's matter.
            call(&connections, "/never").await;
        }
        assert_eq!(made(), 1);
        call(&connections, "/answered").await;
        for _ in 0..CUT {
            call(&connections, "/never").await;
            assert_eq!(made(), 1);
        }
        call(&connections, "/never").await;
        assert_eq!(made(), 2);
    }
}
