//! A small HTTP server on loopback, with TLS or without, that ends with its owner.

use std::fmt::Debug;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::serve::{Listener, ListenerExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

mod tls;

use tls::TlsListener;

/// A running server. Dropping it closes the port.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    connections: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Server {
    /// Serves `router` on `port` of 127.0.0.1, or on a free port if it is 0.
    pub(crate) async fn start(port: u16, router: Router) -> io::Result<Self> {
        Self::start_with(port, router, None).await
    }

    /// As [`start`](Self::start), by TLS if there is an acceptor.
    pub(crate) async fn start_with(port: u16, router: Router, tls: Option<TlsAcceptor>) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
        let address = listener.local_addr()?;
        let connections = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&connections);
        let listener = listener.tap_io(move |connection| {
            count.fetch_add(1, Ordering::Relaxed);
            // Small answers would wait for Nagle's algorithm; a connection that refuses the option works all the same.
            _ = connection.set_nodelay(true);
        });
        let task = match tls {
            None => tokio::spawn(serve(listener, router)),
            Some(acceptor) => tokio::spawn(serve(TlsListener::new(listener, acceptor), router)),
        };
        Ok(Self {
            address,
            connections,
            task,
        })
    }

    /// Connections that were accepted so far, those included whose TLS handshake is not over or has failed.
    pub(crate) fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }
}

async fn serve<L: Listener<Addr: Debug>>(listener: L, router: Router) {
    // `serve` runs for ever; errors of single connections it handles itself.
    _ = axum::serve(listener, router).await;
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}
