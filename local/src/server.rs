//! A small HTTP server on loopback, with or without TLS. It stops when its owner is dropped.

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
pub struct Server {
    /// The address that it listens on.
    pub address: SocketAddr,
    connections: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Server {
    /// Serves `router` on `port` of 127.0.0.1, or on a free port if it is 0.
    ///
    /// # Errors
    ///
    /// If the port cannot be bound.
    pub async fn start(port: u16, router: Router) -> io::Result<Self> {
        Self::start_with(port, router, None).await
    }

    /// Like [`start`](Self::start), with TLS if there is an acceptor.
    pub(crate) async fn start_with(port: u16, router: Router, tls: Option<TlsAcceptor>) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
        let address = listener.local_addr()?;
        let connections = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&connections);
        let listener = listener.tap_io(move |connection| {
            count.fetch_add(1, Ordering::Relaxed);
            // Nagle's algorithm would delay small responses. A connection that refuses the option still works.
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

    /// The number of connections accepted so far, including those whose TLS handshake has failed or is still in
    /// progress.
    pub(crate) fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }
}

async fn serve<L: Listener<Addr: Debug>>(listener: L, router: Router) {
    // `serve` never returns. It handles the errors of single connections itself.
    _ = axum::serve(listener, router).await;
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}
