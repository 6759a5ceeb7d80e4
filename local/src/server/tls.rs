//! A listener that adds TLS to another listener.

use std::io;
use std::net::SocketAddr;

use axum::serve::Listener;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// Accepts connections and does each TLS handshake in its own task, so that a slow or silent client does not delay the
/// others.
pub(super) struct TlsListener<L> {
    listener: L,
    acceptor: TlsAcceptor,
    handshakes: JoinSet<io::Result<(TlsStream<TcpStream>, SocketAddr)>>,
}

impl<L> TlsListener<L> {
    pub(super) fn new(listener: L, acceptor: TlsAcceptor) -> Self {
        Self {
            listener,
            acceptor,
            handshakes: JoinSet::new(),
        }
    }
}

impl<L: Listener<Io = TcpStream, Addr = SocketAddr>> Listener for TlsListener<L> {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            tokio::select! {
                (connection, address) = self.listener.accept() => {
                    let handshake = self.acceptor.accept(connection);
                    self.handshakes.spawn(async move { Ok((handshake.await?, address)) });
                }
                Some(handshake) = self.handshakes.join_next() => {
                    // A failed handshake is not reported here: a client that does not trust the certificate reports
                    // that itself.
                    if let Ok(Ok(connected)) = handshake {
                        return connected;
                    }
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}
