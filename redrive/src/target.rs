//! The target of records: a function on this machine, a function in AWS, or a stream.

use anyhow::Result;
use bytes::Bytes;
use http::Uri;
use instream_local::esm::{Verdict, judge};
use instream_local::function::{InvocationResult, Line, Program};
use instream_local::lambda::{Lambda, RunningLambda};
use instream_local::processes::Disruptions;
use instream_local::setup::{Options, UserEndpoint};
use tokio::sync::mpsc;

use super::aws::{ServiceLocation, Services};
use super::dead_letter::DeadLetter;
use super::deployed::Deployed;
use super::stream_target::StreamTarget;

/// The target of records.
#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "a run has one of them")]
pub enum Target {
    /// A function in a process on this machine.
    Local(Options),
    /// A deployed function, by its name or ARN.
    Deployed(String),
    /// A stream, by its name.
    Stream(String),
}

/// A target that was opened.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "a run has one of them")]
pub(super) enum OpenTarget {
    Local(RunningLambda),
    Deployed(Deployed),
    Stream(StreamTarget),
}

/// The result of sending dead letters once.
#[derive(Debug)]
pub(super) struct Attempt {
    /// For each dead letter, whether it is finished.
    pub(super) finished: Vec<bool>,
    /// The reason why some are not finished.
    pub(super) failure: Option<String>,
    /// True if the batch failed as a whole, so that the failing record is unknown.
    pub(super) is_batch_failure: bool,
}

impl Target {
    /// Returns an identity that differs between targets: a record that succeeded at one target has not succeeded at
    /// another. It includes the location, because the stages of a product often use the same names.
    pub(super) async fn identity(&self, services: &Services) -> Result<String> {
        let place = match self {
            Self::Local(options) => match options.user_endpoint {
                Some(UserEndpoint::Name(_)) => services.location("SAGEMAKER_RUNTIME").await?,
                // A URL is complete without a location, as an ARN is.
                Some(UserEndpoint::Url(_)) | None => ServiceLocation::default(),
            },
            Self::Deployed(name) if name.starts_with("arn:") => ServiceLocation::default(),
            Self::Deployed(_) => services.location("LAMBDA").await?,
            Self::Stream(_) => services.location("KINESIS").await?,
        };
        Ok(format!("{} {place}", self.name()))
    }

    /// Returns the name of the target at its location.
    fn name(&self) -> String {
        match self {
            Self::Local(options) => {
                let program = match &options.program {
                    Some(Program::Binary(path)) => path.to_string_lossy(),
                    Some(Program::Shell(line)) => line.into(),
                    None => "built".into(),
                };
                let setting = |name: &str| options.settings.get(name).map_or("", String::as_str);
                let endpoint = match &options.user_endpoint {
                    Some(UserEndpoint::Name(own) | UserEndpoint::Url(own)) => own,
                    None => setting("ENDPOINT_NAME"),
                };
                let model = options.local_endpoint.model_server.as_deref().unwrap_or_default();
                let is_own = options.user_endpoint.is_some();
                format!(
                    "here {program} {is_own} {endpoint} {model} {} {}",
                    setting("OUTPUT"),
                    setting("DEAD_LETTER")
                )
            }
            Self::Deployed(name) => format!("function {name}"),
            Self::Stream(name) => format!("stream {name}"),
        }
    }

    /// Returns a description for people.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Local(options) => {
                let endpoint = match (&options.user_endpoint, &options.local_endpoint.model_server) {
                    (Some(UserEndpoint::Name(name)), _) => format!("the endpoint {name} in AWS"),
                    (Some(UserEndpoint::Url(url)), _) => format!("the endpoint at {}", host_and_path(url)),
                    (None, Some(url)) => format!("the model server at {url}"),
                    (None, None) => "the built-in model".to_owned(),
                };
                format!("the function on this machine, with {endpoint}")
            }
            Self::Deployed(name) => format!("the deployed function {name}"),
            Self::Stream(name) => format!("the stream {name}, as new records with new event identifiers"),
        }
    }

    /// Starts the function on this machine, or opens the target in AWS. Also returns the lines that the function
    /// writes, if it runs on this machine.
    pub(super) async fn open(self, services: &Services) -> Result<(OpenTarget, mpsc::UnboundedReceiver<Line>)> {
        let no_lines = || mpsc::unbounded_channel().1;
        Ok(match self {
            Self::Local(options) => {
                let disruptions = Disruptions::default();
                let (function, lines) = Lambda::Spawned { options, disruptions }.start().await?;
                (OpenTarget::Local(function), lines)
            }
            Self::Deployed(name) => (OpenTarget::Deployed(Deployed::open(services, &name).await), no_lines()),
            Self::Stream(name) => (
                OpenTarget::Stream(StreamTarget::open(services, &name).await?),
                no_lines(),
            ),
        })
    }
}

impl OpenTarget {
    /// Sends the dead letters once.
    pub(super) async fn send(&self, letters: &[DeadLetter]) -> Attempt {
        match self {
            Self::Local(function) => attempt_of(&function.invoke(event(letters)).await, letters),
            Self::Deployed(function) => {
                let answer = function.invoke(event(letters)).await;
                if let InvocationResult::Error(error) = &answer {
                    // The message comes from Lambda or from this program, so it quotes no records.
                    failed_attempt(letters, format!("{}: {}", error.error_type, error.error_message))
                } else {
                    attempt_of(&answer, letters)
                }
            }
            Self::Stream(stream) => stream.send(letters).await,
        }
    }

    /// Returns two flags: true if predictions, and true if dead letters, are among its lines.
    pub(super) fn shows(&self) -> (bool, bool) {
        match self {
            Self::Local(function) => (function.shows_predictions, function.shows_dead_letters),
            Self::Deployed(_) | Self::Stream(_) => (false, false),
        }
    }

    pub(super) async fn stop(self) {
        if let Self::Local(function) = self {
            function.stop().await;
        }
    }
}

/// Returns the host and the path of a URL. Its other parts may be secret.
fn host_and_path(url: &str) -> String {
    let uri = url.parse::<Uri>().ok();
    uri.and_then(|uri| Some(format!("{}{}", uri.host()?, uri.path())))
        .unwrap_or_default()
}

fn event(letters: &[DeadLetter]) -> Bytes {
    let entries: Vec<_> = letters.iter().map(DeadLetter::entry).collect();
    Bytes::from(format!(r#"{{"Records":[{}]}}"#, entries.join(",")))
}

/// Converts the result of an invocation. The response names the first unfinished record; all records from there on are
/// unfinished. Of the function's error, only the type is kept: its message may quote the event.
fn attempt_of(answer: &InvocationResult, letters: &[DeadLetter]) -> Attempt {
    if let InvocationResult::Error(error) = answer {
        return failed_attempt(letters, format!("the function failed: {}", error.error_type));
    }
    let named: Vec<_> = letters.iter().map(|letter| &*letter.sequence_number).collect();
    match judge(answer, &named) {
        Verdict::Finished(count) => Attempt {
            finished: (0..letters.len()).map(|position| position < count).collect(),
            failure: (count < letters.len())
                .then(|| "the function reported it as unfinished; its log has the reason".to_owned()),
            is_batch_failure: false,
        },
        Verdict::Failed(why) => failed_attempt(letters, why),
    }
}

fn failed_attempt(letters: &[DeadLetter], why: String) -> Attempt {
    Attempt {
        finished: vec![false; letters.len()],
        failure: Some(why),
        is_batch_failure: true,
    }
}

#[cfg(test)]
mod tests;
