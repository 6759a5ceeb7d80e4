//! Lookups of the addresses of hosts. While lookups of a host fail, its latest known addresses are used. If there are
//! none, the failed lookup can be told apart from a failed connection, and repeated without a call: it shows nothing
//! about the host.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_smithy_runtime_api::client::dns::{DnsFuture, ResolveDns, ResolveDnsError, SharedDnsResolver};
use aws_smithy_runtime_api::client::result::ConnectorError;
use tokio::net::lookup_host;
use tokio::time::timeout;

use super::aws_error::{causes, chain};

/// The maximum duration of a lookup. It is shorter than the maximum time for opening a connection, which includes the
/// lookup. A resolver whose name servers do not respond takes longer.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(3);

/// A resolver whose errors can be told apart from those of connections. Clones share the known addresses.
#[derive(Debug, Clone)]
pub struct Resolver {
    resolver: SharedDnsResolver,
    /// The latest addresses of each host.
    known: Arc<Mutex<HashMap<String, Vec<IpAddr>>>>,
}

/// A lookup that failed. It can be repeated.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the host name {host} was not resolved: {reason}")]
pub(super) struct FailedLookup {
    host: String,
    reason: String,
    resolver: Resolver,
}

impl Resolver {
    /// Resolves host names with `resolver`.
    pub fn new(resolver: impl ResolveDns + 'static) -> Self {
        Self {
            resolver: SharedDnsResolver::new(resolver),
            known: Arc::default(),
        }
    }

    /// Resolves host names as the operating system does.
    pub fn system() -> Self {
        Self::new(SystemResolver)
    }

    fn known(&self) -> MutexGuard<'_, HashMap<String, Vec<IpAddr>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ResolveDns for Resolver {
    fn resolve_dns<'a>(&'a self, host: &'a str) -> DnsFuture<'a> {
        DnsFuture::new(async move {
            let reason = match timeout(LOOKUP_TIMEOUT, self.resolver.resolve_dns(host)).await {
                Ok(Ok(addresses)) => {
                    self.known().insert(host.to_owned(), addresses.clone());
                    return Ok(addresses);
                }
                Ok(Err(error)) => causes(&error),
                Err(_elapsed) => format!("the lookup timed out after {LOOKUP_TIMEOUT:?}"),
            };
            let known = self.known().get(host).cloned();
            known.ok_or_else(|| {
                ResolveDnsError::new(FailedLookup {
                    host: host.to_owned(),
                    reason,
                    resolver: self.clone(),
                })
            })
        })
    }
}

impl FailedLookup {
    /// Returns the failed lookup that is the cause of a failed connection, if there is one.
    pub(super) fn cause_of(error: &ConnectorError) -> Option<Self> {
        chain(Some(error)).find_map(|error| error.downcast_ref::<Self>().cloned())
    }

    /// Looks the host up again.
    pub(super) async fn repeat(self) -> Result<(), Self> {
        let repeated = self.resolver.resolve_dns(&self.host).await;
        repeated.map(drop).map_err(|_| self)
    }
}

/// The resolver of the operating system.
#[derive(Debug)]
struct SystemResolver;

impl ResolveDns for SystemResolver {
    fn resolve_dns<'a>(&'a self, host: &'a str) -> DnsFuture<'a> {
        DnsFuture::new(async move {
            let addresses = lookup_host((host, 0)).await.map_err(ResolveDnsError::new)?;
            Ok(addresses.map(|address| address.ip()).collect())
        })
    }
}
