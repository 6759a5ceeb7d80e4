//! Calls that ended without a response, for all kinds of endpoint.

use std::io;
use std::sync::Arc;

use aws_credential_types::provider::error::CredentialsError;
use aws_smithy_runtime_api::client::result::ConnectorError;

use super::api_key::KeyError;
use super::aws_error::{ServiceError, causes, chain, is_missing_credentials, sts_error};
use super::host_lookup::FailedLookup;
use crate::outcome::{Fault, FaultKind, LoadSignal};

/// The reason why a call ended without a complete response.
#[derive(Debug)]
pub(super) enum CallError {
    /// A header value is invalid.
    Unbuildable,
    /// There are no credentials for the signature.
    Credentials(Arc<CredentialsError>),
    /// The credentials or the API key must be fetched first: the call was not prepared, or the service refused them.
    Unprepared,
    /// There is no API key.
    Key(KeyError),
    /// The address of the host is unknown.
    Lookup(FailedLookup),
    /// The connection could not be opened, or was lost.
    Connection(ConnectorError),
    /// The response ended too early.
    Unreadable,
    /// The response may have ended too early: nothing marks its end, or its stream was reset.
    LengthUnknown,
    /// The response is compressed. Contains the name of the content coding if it is a known one.
    ContentCoding(Option<&'static str>),
    /// There is no room in memory for the response.
    NoRoom,
    /// The response is larger than this limit, in bytes.
    TooLarge(usize),
}

impl CallError {
    /// Returns the fault for the call's record. A connection that was lost after the request was sent is Suspect,
    /// because the request may have crashed the server. A response that is not HTTP is Suspect as well.
    pub(super) fn fault(&self) -> Fault {
        match self {
            Self::Unbuildable => Fault::new(
                FaultKind::Misconfigured,
                "the request could not be built; check the settings that are sent in headers",
            ),
            // Missing credentials are a configuration error, not a network error.
            Self::Credentials(error) if is_missing_credentials(&**error) => Fault::new(
                FaultKind::Misconfigured,
                format!(
                    "the call could not be signed and sent: {}; check the function's credentials, and \
                     ENDPOINT_ROLE_ARN if it is set",
                    credentials_reason(error)
                ),
            ),
            Self::Credentials(error) => unprepared(
                FaultKind::Unreachable,
                format!(
                    "credentials are temporarily unavailable: {error}: {}",
                    credentials_reason(error)
                ),
            ),
            Self::Unprepared => unprepared(
                FaultKind::Unreachable,
                "the endpoint refused the credentials or the API key, and new ones are not available yet".to_owned(),
            ),
            Self::Key(error) => unprepared(error.kind, format!("no API key: {}", error.reason)),
            Self::Lookup(error) => unprepared(
                FaultKind::Unreachable,
                format!("{error}; check the host of ENDPOINT_URL, or ENDPOINT_REGION, and the DNS settings of the VPC"),
            ),
            Self::Connection(error) => {
                let summary = format!("the connection failed: {}", causes(error));
                if self.is_lost_connection() || error.is_other() {
                    Fault::new(FaultKind::Suspect, summary)
                } else {
                    Fault::new(FaultKind::Unreachable, summary)
                }
            }
            Self::Unreadable => Fault::new(FaultKind::Suspect, "the response could not be read"),
            Self::LengthUnknown => Fault {
                remedy: "the endpoint must send a content-length or a chunked body",
                ..Fault::new(
                    FaultKind::Suspect,
                    "the response may be incomplete: its end is not marked",
                )
            },
            Self::ContentCoding(coding) => Fault {
                remedy: "turn off compression in the endpoint: no request asks for it",
                ..Fault::new(
                    FaultKind::Suspect,
                    match coding {
                        Some(coding) => format!("the response has the content-encoding {coding}"),
                        None => "the response has an unknown content-encoding".to_owned(),
                    },
                )
            },
            Self::NoRoom => Fault {
                load: LoadSignal::NoRoom,
                ..Fault::new(
                    FaultKind::Unreachable,
                    "there was no room for the response in BUFFER_BYTES",
                )
            },
            Self::TooLarge(limit) => {
                Fault::new(FaultKind::Suspect, format!("the response has more than {limit} bytes"))
            }
        }
    }

    /// Returns whether an established connection broke before the response arrived. A pooled connection may die while
    /// Lambda has the process frozen. A failure to connect is not a lost connection.
    pub(super) fn is_lost_connection(&self) -> bool {
        let Self::Connection(failure) = self else {
            return false;
        };
        let is_cut_short = failure.as_other().is_some();
        is_cut_short
            || failure.is_io()
                && chain(Some(failure))
                    .find_map(|error| error.downcast_ref())
                    .is_none_or(is_after_connect)
    }
}

fn unprepared(kind: FaultKind, summary: String) -> Fault {
    Fault {
        load: LoadSignal::Unprepared,
        ..Fault::new(kind, summary)
    }
}

/// Describes the error that STS returned, or otherwise the error's causes.
fn credentials_reason(error: &CredentialsError) -> String {
    match sts_error(error) {
        Some(ServiceError { status, code }) => format!("STS answered {code} with status {status}"),
        None => causes(error),
    }
}

/// Returns whether the error can only occur on an established connection.
fn is_after_connect(error: &io::Error) -> bool {
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_provider_that_times_out_is_named_in_the_fault() {
        let late = CredentialsError::provider_timed_out(Duration::from_secs(5));
        let fault = CallError::Credentials(Arc::new(late)).fault();
        assert_eq!(fault.kind, FaultKind::Unreachable);
        assert!(fault.summary.contains("timed out"), "{fault}");
    }
}
