//! TLS in front of a listener.

use std::io;
use std::net::SocketAddr;

use axum::serve::Listener;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// Accepts connections and shakes hands with each in a task of its own: a client that takes its time, or says nothing
/// at all, holds nobody else up.
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
                    // A client whose handshake fails, since it does not trust the certificate, knows so itself.
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
