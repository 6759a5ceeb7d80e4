//! The target of records: a function on this machine, a function in AWS, or a stream.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;
use bytes::Bytes;
use http::Uri;
use instream_local::environment::Settings;
use instream_local::esm::{Verdict, judge};
use instream_local::function::InvocationResult;
use instream_local::setup::{Options, UserEndpoint};

use super::letter::{Letter, hash};

mod deployed;
mod here;
mod stream;

use deployed::Deployed;
use here::Here;
pub(super) use stream::PUT_RECORDS_MAX;
use stream::StreamTarget;

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
#[expect(clippy::large_enum_variant, reason = "a run has one of them")]
pub(super) enum OpenTarget {
    Here(Here),
    Deployed(Deployed),
    Stream(StreamTarget),
}

/// The result of sending letters once.
#[derive(Debug)]
pub(super) struct Attempt {
    /// For each letter, whether it is finished. Those behind its end are not.
    pub(super) finished: Vec<bool>,
    /// The reason why some are not finished.
    pub(super) failure: Option<String>,
}

impl Target {
    /// Returns the file name of the target's journal. A letter that succeeded at one target has not succeeded at
    /// another. The stages of a product often use the same names, so the name depends on the settings that may select
    /// another account, region or destination as well.
    pub(super) fn journal_name(&self, settings: &Settings) -> String {
        let target = match self {
            Self::Local(options) => {
                let model_server = &options.local_endpoint.model_server;
                format!("{:?} {:?} {model_server:?}", options.program, options.user_endpoint)
            }
            Self::Deployed(_) | Self::Stream(_) => format!("{self:?}"),
        };
        let names = ["OUTPUT", "DEAD_LETTER", "ENDPOINT_NAME", "ENDPOINT_URL"];
        let is_of_target = |name: &str| name.starts_with("AWS_") || names.contains(&name);
        let settings: BTreeMap<_, _> = settings.iter().filter(|(name, _)| is_of_target(name)).collect();
        format!("journal-{:032x}", hash(&format!("{target} {settings:?}")))
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

    /// Starts the function on this machine, whose delivered lines go to `folder`, or opens the target in AWS.
    pub(super) async fn open(self, settings: &Settings, folder: &Path) -> Result<OpenTarget> {
        Ok(match self {
            Self::Local(options) => OpenTarget::Here(Here::start(options, folder).await?),
            Self::Deployed(name) => OpenTarget::Deployed(Deployed::open(settings, &name).await),
            Self::Stream(name) => OpenTarget::Stream(StreamTarget::open(settings, &name).await),
        })
    }
}

impl OpenTarget {
    /// Sends the letters once. What was delivered to this machine is on disk before the letters are finished.
    pub(super) async fn send(&mut self, letters: &[Letter]) -> Result<Attempt> {
        let result = match self {
            Self::Here(function) => function.invoke(event(letters)).await?,
            Self::Deployed(function) => function.invoke(event(letters)).await,
            Self::Stream(stream) => return Ok(stream.send(letters).await),
        };
        Ok(attempt_of(&result, letters))
    }
}

impl Attempt {
    /// None of the letters is finished.
    fn failed(why: String) -> Self {
        Self {
            finished: Vec::new(),
            failure: Some(why),
        }
    }
}

/// Returns the host and the path of a URL. Its other parts may be secret.
fn host_and_path(url: &str) -> String {
    let uri = url.parse::<Uri>().ok();
    uri.and_then(|uri| Some(format!("{}{}", uri.host()?, uri.path())))
        .unwrap_or_default()
}

fn event(letters: &[Letter]) -> Bytes {
    let entries: Vec<_> = letters.iter().map(Letter::entry).collect();
    Bytes::from(format!(r#"{{"Records":[{}]}}"#, entries.join(",")))
}

/// Converts the result of an invocation. The response names the first unfinished record; all records from there on are
/// unfinished. Of the function's error, only the type is kept: its message may quote the event.
fn attempt_of(result: &InvocationResult, letters: &[Letter]) -> Attempt {
    let numbers: Vec<_> = letters.iter().map(|letter| &*letter.sequence_number).collect();
    match (result, judge(result, &numbers)) {
        (InvocationResult::Error(error), _) => Attempt::failed(format!("the function failed: {}", error.error_type)),
        (_, Verdict::Failed(why)) => Attempt::failed(why),
        (_, Verdict::Finished(count)) => {
            let why = "the function reported it as unfinished; its log has the reason";
            Attempt {
                finished: vec![true; count],
                failure: (count < letters.len()).then(|| why.to_owned()),
            }
        }
    }
}

#[cfg(test)]
mod tests;
