//! Failed lookups of the endpoint's host, which are not the endpoint's fault.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use aws_smithy_runtime_api::client::dns::{DnsFuture, ResolveDns, ResolveDnsError};
use aws_smithy_runtime_api::client::http::{HttpConnector, HttpConnectorFuture, SharedHttpConnector};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::result::ConnectorError;
use instream::config::Config;
use instream::delivery::destination::Destination;
use instream::endpoint::Endpoint as _;
use instream::endpoint::host_lookup::Resolver;
use instream::endpoint::http_client::new_connector;
use instream::endpoint::target::AnyEndpoint;
use instream::handler::Handler;
use instream::lambda::time_budget::Invocation;
use instream::outcome::{FaultKind, LoadSignal};
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::replay::{Replay, credentials, environment, request};
use crate::support::entry;

const HOST: &str = "model.test";

/// What happens to a lookup.
#[derive(Debug, Clone, Copy)]
enum Lookup {
    Resolved,
    Failed,
    Hangs,
}

/// The name servers.
#[derive(Debug, Clone)]
struct Names {
    lookup: Arc<Mutex<Lookup>>,
    lookups: Arc<AtomicUsize>,
}

impl Names {
    fn that(lookup: Lookup) -> Self {
        Self {
            lookup: Arc::new(Mutex::new(lookup)),
            lookups: Arc::default(),
        }
    }

    fn set(&self, lookup: Lookup) {
        *self.lookup.lock().unwrap() = lookup;
    }

    fn lookups(&self) -> usize {
        self.lookups.load(Ordering::Relaxed)
    }
}

impl ResolveDns for Names {
    fn resolve_dns<'a>(&'a self, host: &'a str) -> DnsFuture<'a> {
        assert_eq!(host, HOST);
        self.lookups.fetch_add(1, Ordering::Relaxed);
        let lookup = *self.lookup.lock().unwrap();
        DnsFuture::new(async move {
            match lookup {
                Lookup::Resolved => Ok(vec![IpAddr::V4(Ipv4Addr::LOCALHOST)]),
                Lookup::Failed => Err(ResolveDnsError::new(io::Error::other("no such host"))),
                Lookup::Hangs => std::future::pending().await,
            }
        })
    }
}

/// A connector that opens a connection for each call. If the lookup succeeds, the call is answered.
#[derive(Debug)]
struct AfterLookup(Resolver, Replay);

impl HttpConnector for AfterLookup {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let (resolver, answer) = (self.0.clone(), self.1.call(request));
        HttpConnectorFuture::new(async move {
            let lookup = resolver.resolve_dns(HOST).await;
            lookup.map_err(|error| ConnectorError::io(error.into()))?;
            answer.await
        })
    }
}

const SETTINGS: [(&str, &str); 6] = [
    // No server listens on this port.
    ("ENDPOINT_URL", "http://model.test:1/score"),
    ("ENDPOINT_ALLOW_HTTP", "1"),
    ("OUTPUT", "none:"),
    ("CAPACITY", "16"),
    ("MAX_ATTEMPTS", "1"),
    ("CALL_TIMEOUT_MS", "30000"),
];

fn config() -> Config {
    let setting = |name: &str| {
        let setting = SETTINGS.iter().find(|(key, _)| *key == name);
        setting.map(|(_, value)| (*value).to_owned())
    };
    Config::from_lookup(setting).unwrap()
}

async fn endpoint(http: SharedHttpConnector) -> AnyEndpoint {
    let (environment, _) = environment(credentials(), &[]);
    let config = config();
    let endpoint = AnyEndpoint::new(http, &environment, config.endpoint, &config.parameters);
    Box::pin(endpoint).await.unwrap()
}

/// Sends a batch of 100 records, which has a minute. Returns the sequence number that the response names, and the
/// handler's limit.
async fn deliver(names: &Names) -> (Option<String>, f64) {
    let connector = AfterLookup(Resolver::new(names.clone()), Replay::onto(&Arc::default()));
    let endpoint = endpoint(SharedHttpConnector::new(connector)).await;
    let handler = Handler::new(&config(), endpoint, Destination::None, Some(Destination::None));
    let records: Vec<_> = (0..100).map(|number| entry(&number.to_string())).collect();
    let payload = json!({ "Records": records }).to_string();
    let invocation = Invocation {
        function_arn: "arn:aws:lambda:eu-central-1:123456789012:function:instream",
        request_id: "",
        trace_id: None,
        deadline_ms: 60_000,
        now: SystemTime::UNIX_EPOCH,
    };
    let response = handler.handle(payload.as_bytes(), invocation).await.unwrap();
    let response = serde_json::to_value(response).unwrap();
    let failed = response["batchItemFailures"][0]["itemIdentifier"].as_str();
    (failed.map(ToOwned::to_owned), handler.limit())
}

#[tokio::test(start_paused = true)]
async fn a_failed_lookup_costs_no_attempt_does_not_move_the_limit_and_is_retried() {
    let (names, started) = (Names::that(Lookup::Failed), Instant::now());
    let recovers = async {
        sleep(Duration::from_secs(20)).await;
        assert!((20..100).contains(&names.lookups()), "{}", names.lookups());
        names.set(Lookup::Resolved);
    };
    let ((failed, limit), ()) = tokio::join!(deliver(&names), recovers);
    assert_eq!(failed, None);
    assert!((limit - 16.0).abs() < f64::EPSILON, "{limit}");
    assert!(
        started.elapsed() < Duration::from_millis(22_200),
        "{:?}",
        started.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn a_host_that_does_not_exist_fails_the_records_at_the_deadline() {
    let (names, started) = (Names::that(Lookup::Failed), Instant::now());
    let (failed, limit) = deliver(&names).await;
    assert_eq!(failed.as_deref(), Some("0"));
    assert!((limit - 16.0).abs() < f64::EPSILON, "{limit}");
    // The calls end DEADLINE_RESERVE_MS earlier.
    assert_eq!(started.elapsed(), Duration::from_secs(59));
    assert!((40..200).contains(&names.lookups()), "{}", names.lookups());
}

/// Makes calls over the connector of the function.
async fn over_the_real_connector(lookup: Lookup, reason: &str) {
    let names = Names::that(lookup);
    let endpoint = endpoint(new_connector(Resolver::new(names.clone()))).await;
    endpoint.prepare().await.unwrap();
    assert_eq!(names.lookups(), 0, "there was no failed lookup");
    let failed = endpoint.invoke(request().call()).await.unwrap_err();
    let repeated = endpoint.prepare().await.unwrap_err();
    assert_eq!(names.lookups(), 2);
    for fault in [failed, repeated] {
        assert_eq!(
            (fault.kind, fault.load),
            (FaultKind::Unreachable, LoadSignal::Unprepared)
        );
        for expected in [HOST, "ENDPOINT_URL", reason] {
            assert!(fault.summary.contains(expected), "{fault}");
        }
    }
    names.set(Lookup::Resolved);
    for lookups in [3, 3] {
        endpoint.prepare().await.unwrap();
        assert_eq!(names.lookups(), lookups, "a lookup that succeeded is not repeated");
    }
    // The address stays known.
    for next in [Lookup::Resolved, lookup] {
        names.set(next);
        let refused = endpoint.invoke(request().call()).await.unwrap_err();
        assert_eq!(
            (refused.kind, refused.load),
            (FaultKind::Unreachable, LoadSignal::FromKind)
        );
    }
}

#[tokio::test]
async fn the_real_connector_tells_a_failed_lookup_from_a_failed_connection() {
    over_the_real_connector(Lookup::Failed, "no such host").await;
}

#[tokio::test(start_paused = true)]
async fn a_lookup_that_hangs_ends_before_the_time_for_the_connection() {
    over_the_real_connector(Lookup::Hangs, "timed out after 3s").await;
}
