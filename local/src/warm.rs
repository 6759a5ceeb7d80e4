//! A function that stays warm between invocations.

use bytes::Bytes;

use crate::function::{Answer, Function, Launch, StartError};

/// A function that is kept running from one invocation to the next, as Lambda keeps an execution environment warm. One
/// that timed out or ended is replaced by a fresh process for the next invocation.
#[derive(Debug)]
pub struct Warm {
    launch: Launch,
    function: Option<Function>,
}

impl Warm {
    /// Starts the first process.
    ///
    /// # Errors
    ///
    /// As [`Function::start`].
    pub async fn start(launch: Launch) -> Result<Self, StartError> {
        let function = Some(Function::start(&launch).await?);
        Ok(Self { launch, function })
    }

    /// As [`Function::invoke`].
    pub async fn invoke(&mut self, event: Bytes) -> Answer {
        let function = match self.function.take() {
            Some(function) => function,
            None => match Function::start(&self.launch).await {
                Ok(function) => function,
                Err(error) => return Answer::Exited(error.to_string()),
            },
        };
        let answer = function.invoke(event).await;
        match &answer {
            Answer::Response(_) | Answer::Error(_) => self.function = Some(function),
            Answer::TimedOut(_) | Answer::Exited(_) => function.stop().await,
        }
        answer
    }

    /// Ends the process, and the line channel with it.
    pub async fn stop(self) {
        if let Some(function) = self.function {
            function.stop().await;
        }
    }
}
