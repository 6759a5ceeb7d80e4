//! The function's processes: as many as there are invocations at once, kept warm from one invocation to the next.

use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use serde::Serialize;
use tokio::time::{Instant, sleep};

use crate::function::{Answer, Function, Launch, StartError};

mod pool;

use pool::Pool;

/// What befalls processes on purpose.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Mishaps {
    /// Share of the invocations, from 0 to 1, that go to a fresh process even where a warm one is idle.
    pub fresh: f64,
    /// Share of the invocations, from 0 to 1, whose process is killed in the middle. One that has answered by then is
    /// spared.
    pub kill: f64,
    /// How many processes are killed at most; `None` for no limit.
    pub kills_max: Option<u64>,
    /// Where the mishaps come from.
    pub seed: u64,
}

/// How many processes there were.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Counts {
    pub started: u64,
    pub killed: u64,
}

/// Processes of the function, as Lambda keeps execution environments: each handles one invocation at a time, and stays
/// for the next one unless it has ended or timed out.
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
    /// As [`Function::start`].
    pub async fn start(launch: Launch, mishaps: Mishaps) -> Result<Self, StartError> {
        let mut pool = Pool::new(mishaps);
        pool.counts.started += 1;
        pool.give_back(Function::start(&launch).await?);
        let pool = Mutex::new(pool);
        Ok(Self { launch, pool })
    }

    /// As [`Function::invoke`], in the idle process that was used last, or in a fresh one.
    pub async fn invoke(&self, event: Bytes) -> Answer {
        let function = match self.take().await {
            Ok(function) => function,
            Err(error) => return Answer::Exited(error.to_string()),
        };
        let kill_after = self.pool().draw_kill();
        let started = Instant::now();
        let killed = async {
            match kill_after {
                Some(after) => sleep(after).await,
                None => std::future::pending().await,
            }
        };
        let answer = tokio::select! {
            biased;
            answer = function.invoke(event) => Some(answer),
            () = killed => None,
        };
        if kill_after.is_some() && answer.is_some() {
            self.pool().spare();
        }
        match answer {
            Some(answer @ (Answer::Response(_) | Answer::Error(_))) => {
                let mut pool = self.pool();
                pool.answered(started.elapsed());
                pool.give_back(function);
                answer
            }
            Some(answer @ (Answer::TimedOut(_) | Answer::Exited(_))) => {
                function.stop().await;
                answer
            }
            None => {
                // What it has written up to here is read, and counts.
                function.stop().await;
                Answer::Exited("killed on purpose".to_owned())
            }
        }
    }

    /// How many processes were started, and how many of these were killed on purpose.
    pub fn counts(&self) -> Counts {
        self.pool().counts
    }

    /// Ends the processes, and the line channel with them.
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
