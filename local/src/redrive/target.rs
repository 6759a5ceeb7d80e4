//! Where records are put: a function here, a function in AWS, or a stream.

use anyhow::Result;
use axum::http::Uri;
use bytes::Bytes;
use tokio::sync::mpsc;

use super::aws::{Place, Services};
use super::deployed::Deployed;
use super::letter::Letter;
use super::stream_target::StreamTarget;
use crate::esm::{Verdict, judge};
use crate::function::{Answer, Line, Program};
use crate::lambda::{Lambda, RunningLambda};
use crate::processes::Mishaps;
use crate::setup::{Options, OwnEndpoint};

/// Where to put records.
#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "a run has one of them")]
pub enum Target {
    /// A function in a process of ours.
    Here(Options),
    /// A deployed function, by its name or ARN.
    Deployed(String),
    /// A stream, by its name.
    Stream(String),
}

/// A target that is there.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "a run has one of them")]
pub(super) enum Open {
    Here(RunningLambda),
    Deployed(Deployed),
    Stream(StreamTarget),
}

/// How an attempt ended.
#[derive(Debug)]
pub(super) struct Attempt {
    /// For each letter whether it need not come again.
    pub(super) finished: Vec<bool>,
    /// Why not all are.
    pub(super) failure: Option<String>,
    /// Whether nobody can tell which letter is at fault.
    pub(super) failed_as_a_whole: bool,
}

impl Target {
    /// What tells it from others: what has gone through one has not gone through another. Stages of one product call
    /// theirs alike, so that the place belongs to the name.
    pub(super) async fn identity(&self, services: &Services) -> Result<String> {
        let place = match self {
            Self::Here(options) => match options.own_endpoint {
                Some(OwnEndpoint::Name(_)) => services.place("SAGEMAKER_RUNTIME").await?,
                // A URL says it all, as an ARN does.
                Some(OwnEndpoint::Url(_)) | None => Place::default(),
            },
            Self::Deployed(name) if name.starts_with("arn:") => Place::default(),
            Self::Deployed(_) => services.place("LAMBDA").await?,
            Self::Stream(_) => services.place("KINESIS").await?,
        };
        Ok(format!("{} {place}", self.name()))
    }

    /// What it is called where it is.
    fn name(&self) -> String {
        match self {
            Self::Here(options) => {
                let program = match &options.program {
                    Some(Program::Binary(path)) => path.to_string_lossy(),
                    Some(Program::Shell(line)) => line.into(),
                    None => "built".into(),
                };
                let setting = |name: &str| options.settings.get(name).map_or("", String::as_str);
                let endpoint = match &options.own_endpoint {
                    Some(OwnEndpoint::Name(own) | OwnEndpoint::Url(own)) => own,
                    None => setting("ENDPOINT_NAME"),
                };
                let model = options.local_endpoint.model_server.as_deref().unwrap_or_default();
                let is_own = options.own_endpoint.is_some();
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

    /// For a person.
    pub(super) fn in_words(&self) -> String {
        match self {
            Self::Here(options) => {
                let endpoint = match (&options.own_endpoint, &options.local_endpoint.model_server) {
                    (Some(OwnEndpoint::Name(name)), _) => format!("the endpoint {name} in AWS"),
                    (Some(OwnEndpoint::Url(url)), _) => format!("the endpoint at {}", host_and_path(url)),
                    (None, Some(url)) => format!("the model server at {url}"),
                    (None, None) => "the built-in model".to_owned(),
                };
                format!("the function on this machine, with {endpoint}")
            }
            Self::Deployed(name) => format!("the deployed function {name}"),
            Self::Stream(name) => format!("the stream {name}, as new records with new event identifiers"),
        }
    }

    /// Starts it, or looks whether it is there. Returns what it will write as well, where that is known here.
    pub(super) async fn open(self, services: &Services) -> Result<(Open, mpsc::UnboundedReceiver<Line>)> {
        let nothing = || mpsc::unbounded_channel().1;
        Ok(match self {
            Self::Here(options) => {
                let mishaps = Mishaps::default();
                let (function, lines) = Lambda::Here { options, mishaps }.start().await?;
                (Open::Here(function), lines)
            }
            Self::Deployed(name) => (Open::Deployed(Deployed::open(services, &name).await), nothing()),
            Self::Stream(name) => (Open::Stream(StreamTarget::open(services, &name).await?), nothing()),
        })
    }
}

impl Open {
    /// Puts the letters once.
    pub(super) async fn put(&self, letters: &[Letter]) -> Attempt {
        match self {
            Self::Here(function) => judged(&function.invoke(event(letters)).await, letters),
            Self::Deployed(function) => {
                let answer = function.invoke(event(letters)).await;
                if let Answer::Error(error) = &answer {
                    // These words are ours, or Lambda's.
                    failed(letters, format!("{}: {}", error.error_type, error.error_message))
                } else {
                    judged(&answer, letters)
                }
            }
            Self::Stream(stream) => stream.put(letters).await,
        }
    }

    /// Whether its predictions and its dead letters are among the lines that it writes.
    pub(super) fn shows(&self) -> (bool, bool) {
        match self {
            Self::Here(function) => (function.shows_predictions, function.shows_dead_letters),
            Self::Deployed(_) | Self::Stream(_) => (false, false),
        }
    }

    pub(super) async fn stop(self) {
        if let Self::Here(function) = self {
            function.stop().await;
        }
    }
}

/// What else is in a URL may be secret.
fn host_and_path(url: &str) -> String {
    let uri = url.parse::<Uri>().ok();
    uri.and_then(|uri| Some(format!("{}{}", uri.host()?, uri.path())))
        .unwrap_or_default()
}

fn event(letters: &[Letter]) -> Bytes {
    let entries: Vec<_> = letters.iter().map(Letter::entry).collect();
    Bytes::from(format!(r#"{{"Records":[{}]}}"#, entries.join(",")))
}

/// The answer names the first record that is not finished, and so all from there on. What a function says of its error
/// is its own, and may quote the event: the sort of error will do.
fn judged(answer: &Answer, letters: &[Letter]) -> Attempt {
    if let Answer::Error(error) = answer {
        return failed(letters, format!("the function failed: {}", error.error_type));
    }
    let named: Vec<_> = letters.iter().map(|letter| &*letter.sequence_number).collect();
    match judge(answer, &named) {
        Verdict::Finished(count) => Attempt {
            finished: (0..letters.len()).map(|position| position < count).collect(),
            failure: (count < letters.len()).then(|| "the function calls it unfinished; its log says why".to_owned()),
            failed_as_a_whole: false,
        },
        Verdict::Failed(why) => failed(letters, why),
    }
}

fn failed(letters: &[Letter], why: String) -> Attempt {
    Attempt {
        finished: vec![false; letters.len()],
        failure: Some(why),
        failed_as_a_whole: true,
    }
}

#[cfg(test)]
mod tests {
    use super::super::letter::{Origin, Record};
    use super::*;
    use crate::environment::Settings;
    use crate::runtime_api::FunctionError;

    fn letters() -> Vec<Letter> {
        let letter = |number: u64| {
            let record = Record {
                event_id: Some("shardId-0:7".to_owned()),
                partition_key: None,
                explicit_hash_key: None,
                arrival_s: None,
                data: "data".into(),
            };
            Letter::with_data(record, number, String::new(), Origin::default())
        };
        (0..4).map(letter).collect()
    }

    #[test]
    fn all_from_the_one_that_is_named_are_unfinished_and_an_error_finishes_none() {
        let letters = letters();
        let answer = |text: &str| Answer::Response(Bytes::copy_from_slice(text.as_bytes()));
        let finished = |answer: &Answer| judged(answer, &letters).finished.into_iter().filter(|it| *it).count();
        assert_eq!(finished(&answer(r#"{"batchItemFailures":[]}"#)), 4);
        assert_eq!(
            finished(&answer(r#"{"batchItemFailures":[{"itemIdentifier":"7#2"}]}"#)),
            2
        );
        assert_eq!(
            finished(&answer(r#"{"batchItemFailures":[{"itemIdentifier":"7"}]}"#)),
            0
        );
        let error = judged(&Answer::Error(FunctionError::default()), &letters);
        assert!(error.failed_as_a_whole && !error.finished.contains(&true));
        assert!(judged(&answer("oops"), &letters).failed_as_a_whole);
    }

    #[test]
    fn of_an_error_only_its_type_is_told() {
        let error = FunctionError {
            error_type: "Oops".to_owned(),
            error_message: "secret".to_owned(),
        };
        let failure = judged(&Answer::Error(error), &letters()).failure.unwrap();
        assert!(failure.contains("Oops") && !failure.contains("secret"), "{failure}");
    }

    #[test]
    fn of_a_url_host_and_path_are_shown() {
        let target = Target::Here(Options {
            own_endpoint: Some(OwnEndpoint::Url(
                "https://me:secret@one.example:8443/score?key=secret".to_owned(),
            )),
            ..Options::default()
        });
        assert_eq!(
            target.in_words(),
            "the function on this machine, with the endpoint at one.example/score"
        );
    }

    #[tokio::test]
    async fn what_went_through_one_target_has_not_gone_through_another() {
        let services = |port: u16| {
            let url = |service: &str| {
                (
                    format!("AWS_ENDPOINT_URL_{service}"),
                    format!("http://127.0.0.1:{port}"),
                )
            };
            Services::new(["LAMBDA", "KINESIS"].into_iter().map(url).collect())
        };
        let here = |line: &str, output: &str| {
            Target::Here(Options {
                program: Some(Program::Shell(line.to_owned())),
                settings: Settings::from([("OUTPUT".to_owned(), output.to_owned())]),
                ..Options::default()
            })
        };
        let by_url = |url: &str| {
            Target::Here(Options {
                own_endpoint: Some(OwnEndpoint::Url(url.to_owned())),
                ..Options::default()
            })
        };
        let mut identities = std::collections::BTreeSet::new();
        for target in [
            Target::Deployed("instream".to_owned()),
            Target::Stream("instream".to_owned()),
        ] {
            for port in [1, 2] {
                identities.insert(target.identity(&services(port)).await.unwrap());
            }
        }
        for (line, output) in [("one", "none:"), ("another", "none:"), ("one", "stdout:")] {
            identities.insert(here(line, output).identity(&services(1)).await.unwrap());
        }
        for url in ["https://one.example/score", "https://another.example/score"] {
            identities.insert(by_url(url).identity(&services(1)).await.unwrap());
        }
        assert_eq!(identities.len(), 9, "{identities:?}");
    }
}
