//! A small HTTP server on loopback that ends with its owner.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use axum::Router;
use axum::serve::ListenerExt as _;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// A running server. Dropping it closes the port.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    task: JoinHandle<()>,
}

impl Server {
    /// Serves `router` on `port` of 127.0.0.1, or on a free port if it is 0.
    pub(crate) async fn start(port: u16, router: Router) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
        let address = listener.local_addr()?;
        // Small answers would wait for Nagle's algorithm; a connection that refuses the option works all the same.
        let listener = listener.tap_io(|connection| _ = connection.set_nodelay(true));
        let task = tokio::spawn(async move {
            // `serve` runs for ever; errors of single connections it handles itself.
            _ = axum::serve(listener, router).await;
        });
        Ok(Self { address, task })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}
