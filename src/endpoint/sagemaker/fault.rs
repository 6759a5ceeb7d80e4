//! The one place where what went wrong with a call becomes a [`Fault`].
//!
//! The service's errors are listed with
//! [InvokeEndpoint](https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_runtime_InvokeEndpoint.html), those that
//! all of AWS shares in [Common Errors](https://docs.aws.amazon.com/sagemaker/latest/APIReference/CommonErrors.html).

use std::io;

use aws_credential_types::provider::error::CredentialsError;
use aws_smithy_runtime_api::client::result::ConnectorError;
use serde::Deserialize;

use crate::aws_error::{causes, chain, is_throttling, lacks_credentials, shorten};
use crate::endpoint::{Fault, FaultKind};

/// Why a call brought no answer of the model's.
#[derive(Debug)]
pub(super) enum CallError {
    /// A value cannot stand in a header.
    Unbuildable,
    /// There are no credentials to sign it with.
    Credentials(CredentialsError),
    /// No connection, or one that ended.
    Connection(ConnectorError),
    /// The answer ended too early.
    Unreadable,
    /// The service answered with an error.
    Refused(Refusal),
}

/// An error that the service answered with.
#[derive(Debug)]
pub(super) struct Refusal {
    status: u16,
    code: String,
    said: Said,
}

/// The body of an error.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Said {
    code: Option<String>,
    #[serde(rename = "__type")]
    kind: Option<String>,
    message: Option<String>,
    #[serde(rename = "Message")]
    message_as_some_write_it: Option<String>,
    #[serde(rename = "OriginalStatusCode")]
    original_status: Option<u16>,
    #[serde(rename = "OriginalMessage")]
    original_message: Option<String>,
}

impl Refusal {
    /// Reads an answer of this `status`, by its header `x-amzn-errortype` and its body: anything, or nothing, where it comes
    /// from a load balancer.
    pub(super) fn read(status: u16, error_type: Option<String>, body: &[u8]) -> Self {
        let said: Said = serde_json::from_slice(body).unwrap_or_default();
        let code = error_type
            .or(said.code.clone())
            .or(said.kind.clone())
            .unwrap_or_default();
        // `com.amazonaws…#ValidationError:http://…`, as AWS's protocols for JSON have it.
        let code = code.split(':').next().unwrap_or_default();
        let code = code.rsplit('#').next().unwrap_or_default().to_owned();
        Self { status, code, said }
    }
}

impl CallError {
    /// What the error means for what to do next.
    /// Where `its_model_is_named` by the record, a model that there is not is the record's fault.
    pub(super) fn fault(&self, its_model_is_named: bool) -> Fault {
        match self {
            Self::Refused(refusal) => refusal.fault(its_model_is_named),
            Self::Unbuildable => Fault::new(
                FaultKind::Misconfigured,
                "the request could not be built; check the settings that are sent in headers",
            ),
            // Where there are none is no connection's fault.
            Self::Credentials(error) if lacks_credentials(error) => Fault::new(
                FaultKind::Misconfigured,
                format!(
                    "the call could not be signed and sent: {}; check the function's credentials",
                    causes(error)
                ),
            ),
            Self::Credentials(error) => Fault::new(
                FaultKind::Unreachable,
                format!("no credentials just now: {error}: {}", causes(error)),
            ),
            Self::Connection(error) => Fault::new(
                FaultKind::Unreachable,
                format!("the connection failed: {}", causes(error)),
            ),
            Self::Unreadable => Fault::new(FaultKind::Unreachable, "the answer could not be read"),
        }
    }

    /// Whether the service finds the credentials expired, which new ones settle.
    pub(super) fn is_of_expired_credentials(&self) -> bool {
        matches!(self, Self::Refused(Refusal { code, .. }) if ["ExpiredToken", "ExpiredTokenException"].contains(&&**code))
    }

    /// Whether a connection that was there broke before an answer came, as one does that died in the pool while Lambda had
    /// the process frozen. One that could not be made at all is another matter.
    pub(super) fn is_of_a_lost_connection(&self) -> bool {
        let Self::Connection(failure) = self else {
            return false;
        };
        let cut_short = failure.as_other().is_some();
        cut_short
            || failure.is_io()
                && chain(Some(failure))
                    .find_map(|error| error.downcast_ref())
                    .is_none_or(is_of_a_live_connection)
    }
}

fn is_of_a_live_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected, UnexpectedEof};
    let kinds = [
        BrokenPipe,
        ConnectionAborted,
        ConnectionReset,
        NotConnected,
        UnexpectedEof,
    ];
    kinds.contains(&error.kind())
}

impl Refusal {
    fn fault(&self, its_model_is_named: bool) -> Fault {
        let Self { status, code, said } = self;
        if code == "ModelError" {
            let message = said.original_message.as_deref();
            let fault = Fault::from_container(said.original_status.unwrap_or_default(), message);
            return match said.original_status {
                Some(404) if its_model_is_named => Fault {
                    kind: FaultKind::Refused,
                    ..fault
                },
                _ => fault,
            };
        }
        let message = said.message.as_deref().or(said.message_as_some_write_it.as_deref());
        let message = message.unwrap_or_default();
        let verdict = judge(code, message, *status);
        let named = if code.is_empty() { "an error" } else { code };
        let said = shorten(message.trim_end_matches('.'));
        let words = [said.as_str(), verdict.remedy].into_iter();
        let words = words.filter(|words| !words.is_empty());
        let words = words.fold(String::new(), |all, words| format!("{all}; {words}"));
        let summary = format!("SageMaker answered {named} with status {status}{words}");
        Fault {
            is_doubtful: verdict.is_doubtful,
            is_one_models: its_model_is_named && code == "ModelNotReadyException",
            ..Fault::new(verdict.kind, summary)
        }
    }
}

/// What an error of the service's means, and what to mend.
#[derive(Debug, PartialEq, Eq)]
struct Verdict {
    kind: FaultKind,
    is_doubtful: bool,
    remedy: &'static str,
}

impl Verdict {
    fn of(kind: FaultKind) -> Self {
        Self {
            kind,
            is_doubtful: false,
            remedy: "",
        }
    }

    fn mend(remedy: &'static str) -> Self {
        Self {
            remedy,
            ..Self::of(FaultKind::Misconfigured)
        }
    }
}

/// By error code first, since throttling and denied access are in no service model and may come without a message;
/// by status where a code is not known or, as from a load balancer, there is none. An error without a word is never held
/// against a record: throttling has come that way.
fn judge(code: &str, message: &str, status: u16) -> Verdict {
    match code {
        "ModelNotReadyException" | "ServiceUnavailable" | "ServiceUnavailableException" => {
            Verdict::of(FaultKind::Overload)
        }
        _ if is_throttling(code) => Verdict::of(FaultKind::Overload),
        "InternalFailure"
        | "InternalServerError"
        | "InternalDependencyException"
        | "RequestTimeout"
        | "RequestTimeoutException" => Verdict::of(FaultKind::Unreachable),
        "ValidationError" | "ValidationException" => judge_validation(&message.to_ascii_lowercase()),
        "AccessDenied" | "AccessDeniedException" => {
            Verdict::mend("allow sagemaker:InvokeEndpoint on the endpoint to the function's role")
        }
        _ => match status {
            400 if code.is_empty() => Verdict::of(FaultKind::Suspect),
            413 => Verdict::of(FaultKind::Refused),
            429 | 503 => Verdict::of(FaultKind::Overload),
            408 | 500.. => Verdict::of(FaultKind::Unreachable),
            _ => Verdict::mend("check the function's credentials and settings"),
        },
    }
}

/// A validation error may be about the endpoint, the settings or the record; only its message tells. One that fits none
/// of the known messages stays in doubt: a record must not be given up on a guess.
fn judge_validation(message: &str) -> Verdict {
    let says = |words: &[&str]| words.iter().any(|words| message.contains(words));
    if message.is_empty() {
        Verdict::of(FaultKind::Suspect)
    } else if says(&["no capacity"]) {
        Verdict::of(FaultKind::Overload)
    } else if says(&[
        "not found",
        "does not exist",
        "could not find",
        "not in service",
        "inservice",
    ]) {
        Verdict::mend("check ENDPOINT_NAME, what is named beside it, and the region")
    } else if says(&["at 'body'"]) {
        Verdict::of(FaultKind::Refused)
    } else if says(&["failed to satisfy constraint", "header"]) {
        Verdict::mend("check the function's settings")
    } else {
        Verdict {
            is_doubtful: true,
            ..Verdict::of(FaultKind::Refused)
        }
    }
}

#[cfg(test)]
mod tests;
