//! `cargo local event FILE`: sends one event to a fresh function and shows its deliveries and its response.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use serde::de::IgnoredAny;
use serde_json::json;

use crate::environment::settings_beside;
use crate::function::{Function, InvocationResult, Line};
use crate::sagemaker::SageMakerRuntime;
use crate::setup::{Options, Setup};

/// The result of one event.
#[derive(Debug)]
pub struct EventRun {
    /// The lines on the function's standard output: predictions and dead letters.
    pub output: Vec<String>,
    /// The lines of its log.
    pub log: Vec<String>,
    /// The result of the invocation: a response or an error.
    pub result: InvocationResult,
}

impl EventRun {
    /// Returns one line: the response as the function wrote it, or the error as Lambda shows it.
    pub fn result_line(&self) -> String {
        match &self.result {
            InvocationResult::Response(response) => String::from_utf8_lossy(response).into_owned(),
            InvocationResult::Error(error) => error_line(&error.error_type, &error.error_message),
            InvocationResult::TimedOut(limit) => error_line(
                "Sandbox.Timedout",
                &format!("Task timed out after {:.2} seconds", limit.as_secs_f64()),
            ),
            InvocationResult::Exited(status) => {
                error_line("Runtime.ExitError", &format!("the function's process ended: {status}"))
            }
        }
    }
}

fn error_line(error_type: &str, error_message: &str) -> String {
    json!({ "errorType": error_type, "errorMessage": error_message }).to_string()
}

/// Sends the event in `file` to a fresh function. If the same folder has a file of the same name with the extension
/// `.env`, its settings override those of `options`. Metrics are off unless METRICS is set.
///
/// # Errors
///
/// If a file cannot be read, or the function or its endpoint cannot be started.
pub async fn run(file: &Path, mut options: Options) -> Result<EventRun> {
    let event = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    serde_json::from_slice::<IgnoredAny>(&event).with_context(|| format!("{} is not JSON", file.display()))?;
    options.settings.extend(settings_beside(file)?);
    // A person reads the output, which would include the metrics.
    let metrics = options.settings.entry("METRICS".to_owned());
    metrics.or_insert_with(|| "off".to_owned());
    let (run, _endpoint) = send(Bytes::from(event), options).await?;
    Ok(run)
}

/// Sends one event to a fresh function. Also returns the endpoint, for its counts, if it is on this machine.
pub(crate) async fn send(event: Bytes, options: Options) -> Result<(EventRun, Option<SageMakerRuntime>)> {
    let Setup {
        endpoint,
        launch,
        mut lines,
    } = Setup::new(options).await?;
    let function = Function::start(&launch).await?;
    drop(launch);
    let result = function.invoke(event).await;
    function.stop().await;
    let (mut output, mut log) = (Vec::new(), Vec::new());
    while let Some(line) = lines.recv().await {
        match line {
            Line::Output(line) => output.push(line),
            Line::Log(line) => log.push(line),
        }
    }
    Ok((EventRun { output, log, result }, endpoint))
}
