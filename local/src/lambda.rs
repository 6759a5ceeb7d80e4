//! The function, either in processes that this program spawns or under `cargo lambda watch`.

use std::time::Duration;

use anyhow::{Result, bail};
use bytes::Bytes;
use tokio::sync::mpsc;

use crate::cargo_lambda::WatchedFunction;
use crate::deliveries::OutputFormat;
use crate::function::{InvocationResult, Line};
use crate::interrupt::interrupted;
use crate::processes::{Counts, Disruptions, Processes};
use crate::sagemaker::SageMakerRuntime;
use crate::setup::{Options, Setup};

/// The function to run.
#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "a run has one of them")]
pub enum Lambda {
    /// Processes that this program spawns.
    Spawned {
        /// The options of the function and its endpoint.
        options: Options,
        /// The disruptions of the processes.
        disruptions: Disruptions,
    },
    /// A function under `cargo lambda watch`.
    Watched {
        /// Its base URL, such as `http://127.0.0.1:9000`.
        url: String,
        /// The timeout of one invocation.
        timeout: Duration,
    },
}

/// A function that is running.
#[derive(Debug)]
pub struct RunningLambda {
    function: Running,
    /// The endpoint on this machine, if this program runs it.
    pub endpoint: Option<SageMakerRuntime>,
    /// Whether the lines include the predictions.
    pub shows_predictions: bool,
    /// The format of the predictions.
    pub output_format: OutputFormat,
    /// Whether the lines include alerts.
    pub shows_alerts: bool,
    /// Whether the lines include the dead letters.
    pub shows_dead_letters: bool,
}

#[derive(Debug)]
enum Running {
    Spawned(Processes),
    Watched(WatchedFunction),
}

impl Lambda {
    /// Starts the function, and returns the channel of the lines that it writes. The channel of a watched function is
    /// empty.
    ///
    /// # Errors
    ///
    /// If the function or the endpoint on this machine cannot be started, or nothing listens at the URL.
    pub async fn start(self) -> Result<(RunningLambda, mpsc::UnboundedReceiver<Line>)> {
        match self {
            Self::Spawned { options, disruptions } => start_processes(options, disruptions).await,
            Self::Watched { url, timeout } => {
                let function = RunningLambda {
                    function: Running::Watched(WatchedFunction::connect(&url, timeout).await?),
                    endpoint: None,
                    shows_predictions: false,
                    output_format: OutputFormat::Envelope,
                    shows_alerts: false,
                    shows_dead_letters: false,
                };
                Ok((function, mpsc::unbounded_channel().1))
            }
        }
    }
}

async fn start_processes(
    options: Options,
    disruptions: Disruptions,
) -> Result<(RunningLambda, mpsc::UnboundedReceiver<Line>)> {
    let Setup {
        endpoint,
        launch,
        lines,
    } = Setup::new(options).await?;
    let setting = |name: &str| {
        launch
            .environment
            .get(name)
            .map(|value| value.trim())
            .unwrap_or_default()
    };
    let shows_predictions = setting("OUTPUT") == "stdout:";
    let shows_dead_letters = ["stdout:", ""].contains(&setting("DEAD_LETTER"));
    let output_format = if shows_predictions && setting("OUTPUT_FORMAT") == "raw" {
        OutputFormat::Raw
    } else {
        OutputFormat::Envelope
    };
    let shows_alerts = setting("ALERT") == "stdout:";
    let processes = tokio::select! {
        biased;
        started = Processes::start(launch, disruptions) => started?,
        () = interrupted() => bail!("interrupted while the function started"),
    };
    let function = RunningLambda {
        function: Running::Spawned(processes),
        endpoint,
        shows_predictions,
        output_format,
        shows_alerts,
        shows_dead_letters,
    };
    Ok((function, lines))
}

impl RunningLambda {
    /// Invokes the function with an event. Many invocations may be in progress at once.
    pub async fn invoke(&self, event: Bytes) -> InvocationResult {
        match &self.function {
            Running::Spawned(processes) => processes.invoke(event).await,
            Running::Watched(function) => function.invoke(event).await,
        }
    }

    /// Stops the processes, if this program has spawned them. Returns the endpoint, for its counts, and the counts of
    /// the processes.
    pub async fn stop(self) -> (Option<SageMakerRuntime>, Option<Counts>) {
        match self.function {
            Running::Spawned(processes) => {
                let counts = processes.counts();
                processes.stop().await;
                (self.endpoint, Some(counts))
            }
            Running::Watched(_) => (self.endpoint, None),
        }
    }
}
