//! Interrupts, such as Ctrl-C. The first lets the current invocation finish, the second ends the run immediately.

use std::pin::Pin;

use instream_local::interrupt::interrupted;
use tokio::sync::watch;

/// The number of interrupts so far.
pub(super) struct Stop(watch::Receiver<u32>);

impl Stop {
    /// Starts to listen for interrupts.
    pub(super) fn listen() -> Self {
        let (sender, times) = watch::channel(0);
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    () = interrupted() => sender.send_modify(|times| *times += 1),
                    () = sender.closed() => return,
                }
                eprintln!("interrupted: waiting for the current invocation; a second interrupt ends it at once");
            }
        });
        Self(times)
    }

    /// Returns `true` after the first interrupt.
    pub(super) fn is_requested(&self) -> bool {
        *self.0.borrow() > 0
    }

    /// Returns the result of `work`, or `None` if an interrupt ended it. Nothing may be in flight to the target.
    pub(super) async fn unless_requested<T>(&self, work: Pin<Box<dyn Future<Output = T> + '_>>) -> Option<T> {
        tokio::select! {
            biased;
            () = self.requested(1) => None,
            result = work => Some(result),
        }
    }

    /// Waits for this number of interrupts.
    pub(super) async fn requested(&self, times: u32) {
        // The sender lives as long as this receiver.
        _ = self.0.clone().wait_for(|so_far| *so_far >= times).await;
    }
}
