//! Interrupts, such as Ctrl-C. The first lets the current invocation finish, the second ends the run immediately.

use instream_local::interrupt::interrupted;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// The number of interrupts so far.
#[derive(Debug)]
pub(super) struct Stop {
    times: watch::Receiver<u32>,
    listener: JoinHandle<()>,
}

impl Stop {
    /// Starts to listen for interrupts.
    pub(super) fn listen() -> Self {
        let (sender, times) = watch::channel(0);
        let listener = tokio::spawn(async move {
            loop {
                interrupted().await;
                sender.send_modify(|times| *times += 1);
                eprintln!("interrupted: waiting for the current invocation; a second interrupt ends it at once");
            }
        });
        Self { times, listener }
    }

    /// Returns `true` after the first interrupt.
    pub(super) fn is_requested(&self) -> bool {
        *self.times.borrow() > 0
    }

    /// Returns the result of `work`, or `None` if an interrupt ended it. Nothing may be in flight to the target.
    pub(super) fn unless_requested<T>(&self, work: impl Future<Output = T>) -> impl Future<Output = Option<T>> {
        let work = Box::pin(work);
        async {
            tokio::select! {
                biased;
                () = self.at_least(1) => None,
                result = work => Some(result),
            }
        }
    }

    /// Waits for the second interrupt.
    pub(super) async fn requested_twice(&self) {
        self.at_least(2).await;
    }

    async fn at_least(&self, count: u32) {
        // The sender lives as long as the listener.
        _ = self.times.clone().wait_for(|times| *times >= count).await;
    }
}

impl Drop for Stop {
    fn drop(&mut self) {
        self.listener.abort();
    }
}
