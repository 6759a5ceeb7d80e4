//! The function, wherever it runs: in processes of our own, or under `cargo lambda watch`.

use std::time::Duration;

use anyhow::{Result, bail};
use bytes::Bytes;
use tokio::sync::mpsc;

use crate::cargo_lambda::WatchedFunction;
use crate::function::{Answer, Line};
use crate::interrupt::interrupted;
use crate::processes::{Counts, Mishaps, Processes};
use crate::sagemaker::SageMakerRuntime;
use crate::setup::{Options, Setup};

/// Which function to run.
#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "a run has one of them")]
pub enum Lambda {
    /// Processes of our own.
    Here {
        /// How to run them.
        options: Options,
        /// What befalls them.
        mishaps: Mishaps,
    },
    /// One under `cargo lambda watch`.
    Watched {
        /// Its base URL, such as `http://127.0.0.1:9000`.
        url: String,
        /// Time for one invocation.
        timeout: Duration,
    },
}

/// A function that takes events.
#[derive(Debug)]
pub(crate) struct RunningLambda {
    function: Running,
    /// The endpoint on this machine, where it is ours.
    pub(crate) endpoint: Option<SageMakerRuntime>,
    /// Whether its predictions are among the lines.
    pub(crate) shows_predictions: bool,
    /// Whether its dead letters are among the lines.
    pub(crate) shows_dead_letters: bool,
}

#[derive(Debug)]
enum Running {
    Here(Processes),
    Watched(WatchedFunction),
}

impl Lambda {
    /// Starts the function, and returns what it will write: nothing that is known here, where it is not ours.
    pub(crate) async fn start(self) -> Result<(RunningLambda, mpsc::UnboundedReceiver<Line>)> {
        match self {
            Self::Here { options, mishaps } => start_here(options, mishaps).await,
            Self::Watched { url, timeout } => {
                let function = RunningLambda {
                    function: Running::Watched(WatchedFunction::connect(&url, timeout).await?),
                    endpoint: None,
                    shows_predictions: false,
                    shows_dead_letters: false,
                };
                Ok((function, mpsc::unbounded_channel().1))
            }
        }
    }
}

async fn start_here(options: Options, mishaps: Mishaps) -> Result<(RunningLambda, mpsc::UnboundedReceiver<Line>)> {
    let Setup {
        endpoint,
        launch,
        lines,
    } = Setup::new(options).await?;
    let goes_to = |name: &str| launch.environment.get(name).map(String::as_str).unwrap_or_default();
    let shows_predictions = goes_to("OUTPUT") == "stdout:";
    let shows_dead_letters = ["stdout:", ""].contains(&goes_to("DEAD_LETTER"));
    let processes = tokio::select! {
        biased;
        started = Processes::start(launch, mishaps) => started?,
        () = interrupted() => bail!("interrupted while the function started"),
    };
    let function = RunningLambda {
        function: Running::Here(processes),
        endpoint,
        shows_predictions,
        shows_dead_letters,
    };
    Ok((function, lines))
}

impl RunningLambda {
    /// Hands the function an event; many may be under way at once.
    pub(crate) async fn invoke(&self, event: Bytes) -> Answer {
        match &self.function {
            Running::Here(processes) => processes.invoke(event).await,
            Running::Watched(function) => function.invoke(event).await,
        }
    }

    /// Ends what runs here. Returns the endpoint, for its counts, and the counts of the processes, where they are ours.
    pub(crate) async fn stop(self) -> (Option<SageMakerRuntime>, Option<Counts>) {
        match self.function {
            Running::Here(processes) => {
                let counts = processes.counts();
                processes.stop().await;
                (self.endpoint, Some(counts))
            }
            Running::Watched(_) => (self.endpoint, None),
        }
    }
}
