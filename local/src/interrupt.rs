//! The signals that ask the process to stop: SIGINT (Ctrl-C), SIGTERM (plain `kill`) and SIGHUP (the terminal closes).

use std::future::pending;

use tokio::signal::unix::{SignalKind, signal};

/// Waits until a signal asks the process to stop. The caller must then stop the function's process: it has its own
/// process group, which Ctrl-C in the terminal does not reach.
pub async fn interrupted() {
    tokio::select! {
        () = received(SignalKind::interrupt()) => {}
        () = received(SignalKind::terminate()) => {}
        () = received(SignalKind::hangup()) => {}
    }
}

/// Waits for a signal. A signal without a listener keeps its default action, which ends the process.
async fn received(kind: SignalKind) {
    match signal(kind) {
        Ok(mut signal) => _ = signal.recv().await,
        Err(_) => pending().await,
    }
}
