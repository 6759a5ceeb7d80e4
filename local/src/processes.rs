//! The function's processes: one for each concurrent invocation, kept warm between invocations.

use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use serde::Serialize;
use tokio::time::{Instant, sleep};

use crate::function::{Function, InvocationResult, Launch, StartError};

mod pool;

use pool::Pool;

/// Deliberate disruptions of the function's processes.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Disruptions {
    /// The share of invocations, from 0 to 1, that get a fresh process even if a warm one is idle.
    pub fresh: f64,
    /// The share of invocations, from 0 to 1, whose process is killed at a random time. A process that has replied by
    /// then is not killed.
    pub kill: f64,
    /// The maximum number of processes to kill. `None` means no limit.
    pub kills_max: Option<u64>,
    /// The seed of the random numbers.
    pub seed: u64,
}

/// The number of processes started and killed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "the names explain themselves")]
pub struct Counts {
    pub started: u64,
    pub killed: u64,
}

/// The function's processes, which stand for Lambda's execution environments. Each handles one invocation at a time. It
/// is reused for the next one, unless it has ended or timed out.
#[derive(Debug)]
pub struct Processes {
    launch: Launch,
    pool: Mutex<Pool<Function>>,
}

impl Processes {
    /// Starts the first process.
    ///
    /// # Errors
    ///
    /// The errors of [`Function::start`].
    pub async fn start(launch: Launch, disruptions: Disruptions) -> Result<Self, StartError> {
        let mut pool = Pool::new(disruptions);
        pool.counts.started += 1;
        pool.give_back(Function::start(&launch).await?);
        let pool = Mutex::new(pool);
        Ok(Self { launch, pool })
    }

    /// Like [`Function::invoke`], in the idle process that was used last, or in a fresh process.
    pub async fn invoke(&self, event: Bytes) -> InvocationResult {
        let function = match self.take().await {
            Ok(function) => function,
            Err(error) => return InvocationResult::Exited(error.to_string()),
        };
        let kill_after = self.pool().draw_kill();
        let started = Instant::now();
        let killed = async {
            match kill_after {
                Some(after) => sleep(after).await,
                None => std::future::pending().await,
            }
        };
        let result = tokio::select! {
            biased;
            result = function.invoke(event) => Some(result),
            () = killed => None,
        };
        if kill_after.is_some() && result.is_some() {
            self.pool().cancel_kill();
        }
        match result {
            Some(result @ (InvocationResult::Response(_) | InvocationResult::Error(_))) => {
                let mut pool = self.pool();
                pool.add_duration(started.elapsed());
                pool.give_back(function);
                result
            }
            Some(result @ (InvocationResult::TimedOut(_) | InvocationResult::Exited(_))) => {
                function.stop().await;
                result
            }
            None => {
                // The output that it has written so far is read, and counts.
                function.stop().await;
                InvocationResult::Exited("killed on purpose".to_owned())
            }
        }
    }

    /// Returns how many processes were started, and how many of them were killed on purpose.
    pub fn counts(&self) -> Counts {
        self.pool().counts
    }

    /// Stops the processes, which closes the channel of their lines.
    pub async fn stop(self) {
        let pool = self.pool.into_inner().unwrap_or_else(PoisonError::into_inner);
        for function in pool.into_idle() {
            function.stop().await;
        }
    }

    async fn take(&self) -> Result<Function, StartError> {
        let taken = self.pool().take();
        if let Some(function) = taken.warm {
            return Ok(function);
        }
        if let Some(retired) = taken.retired {
            retired.stop().await;
        }
        self.pool().counts.started += 1;
        Function::start(&self.launch).await
    }

    fn pool(&self) -> MutexGuard<'_, Pool<Function>> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
