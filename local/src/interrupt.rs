//! Being told to stop: Ctrl-C, a plain `kill`, or the terminal that goes away.

use std::future::pending;

use tokio::signal::unix::{SignalKind, signal};

/// Waits until the process is told to stop. Whoever waits has to end what was started: the function's process is in a
/// group of its own, which the terminal's Ctrl-C does not reach.
pub async fn interrupted() {
    tokio::select! {
        () = received(SignalKind::interrupt()) => {}
        () = received(SignalKind::terminate()) => {}
        () = received(SignalKind::hangup()) => {}
    }
}

/// A signal that cannot be listened for keeps its default action, which is to end the process.
async fn received(kind: SignalKind) {
    match signal(kind) {
        Ok(mut signal) => _ = signal.recv().await,
        Err(_) => pending().await,
    }
}
