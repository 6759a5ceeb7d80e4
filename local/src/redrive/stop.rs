//! Ctrl-C: the first lets the invocation under way end, the second does not.

use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::interrupt::interrupted;

/// How often the run was told to stop.
#[derive(Debug)]
pub(super) struct Stop {
    times: watch::Receiver<u32>,
    listener: JoinHandle<()>,
}

impl Stop {
    /// Listens from now on.
    pub(super) fn listen() -> Self {
        let (sender, times) = watch::channel(0);
        let listener = tokio::spawn(async move {
            loop {
                interrupted().await;
                sender.send_modify(|times| *times += 1);
                eprintln!("interrupted: the invocation under way is waited for; once more ends it at once");
            }
        });
        Self { times, listener }
    }

    pub(super) fn is_asked(&self) -> bool {
        *self.times.borrow() > 0
    }

    /// Waits until the run is told to stop.
    pub(super) async fn asked(&self) {
        self.at_least(1).await;
    }

    pub(super) async fn asked_twice(&self) {
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
