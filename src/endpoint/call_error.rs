//! Why a call brought no answer at all, whatever kind of endpoint it was for.

use std::io;
use std::sync::Arc;

use aws_credential_types::provider::error::CredentialsError;
use aws_smithy_runtime_api::client::result::ConnectorError;

use super::api_key::KeyError;
use crate::endpoint::aws_error::{ServiceError, causes, chain, is_missing_credentials, sts_error};
use crate::outcome::{Fault, FaultKind, LoadSignal};

/// Why a call brought no answer.
#[derive(Debug)]
pub(super) enum CallError {
    /// A value cannot stand in a header.
    Unbuildable,
    /// There are no credentials to sign it with.
    Credentials(Arc<CredentialsError>),
    /// There is no key to send with it.
    Key(KeyError),
    /// No connection, or one that ended.
    Connection(ConnectorError),
    /// The answer ended too early.
    Unreadable,
    /// The answer has more than this many bytes.
    TooLarge(usize),
}

impl CallError {
    /// What the error means for what to do next.
    pub(super) fn fault(&self) -> Fault {
        match self {
            Self::Unbuildable => Fault::new(
                FaultKind::Misconfigured,
                "the request could not be built; check the settings that are sent in headers",
            ),
            // Where there are none is no connection's fault.
            Self::Credentials(error) if is_missing_credentials(&**error) => Fault::new(
                FaultKind::Misconfigured,
                format!(
                    "the call could not be signed and sent: {}; check the function's credentials, and ENDPOINT_ROLE_ARN \
                     where that is set",
                    credentials_reason(error)
                ),
            ),
            Self::Credentials(error) => Fault::new(
                FaultKind::Unreachable,
                format!("no credentials just now: {error}: {}", credentials_reason(error)),
            ),
            Self::Key(error) => Fault::new(error.kind, format!("no key to call with: {}", error.reason)),
            Self::Connection(error) => Fault::new(
                FaultKind::Unreachable,
                format!("the connection failed: {}", causes(error)),
            ),
            Self::Unreadable => Fault::new(FaultKind::Unreachable, "the answer could not be read"),
            Self::TooLarge(limit) => Fault::new(FaultKind::Suspect, format!("the answer has more than {limit} bytes")),
        }
    }

    /// The same where nothing stands between here and the model that would tell its death from an outage: a request that was
    /// sent, and never answered, may be what it died of.
    pub(super) fn direct_fault(&self) -> Fault {
        let fault = self.fault();
        if self.is_lost_connection() || matches!(self, Self::Unreadable) {
            return Fault {
                kind: FaultKind::Suspect,
                load: LoadSignal::Unreachable,
                ..fault
            };
        }
        fault
    }

    /// Whether a connection that was there broke before an answer came, as one does that died in the pool while Lambda had
    /// the process frozen. One that could not be made at all is another matter.
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

/// What STS said, or else what happened.
fn credentials_reason(error: &CredentialsError) -> String {
    match sts_error(error) {
        Some(ServiceError { status, code }) => format!("STS answered {code} with status {status}"),
        None => causes(error),
    }
}

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
    fn a_provider_that_took_too_long_is_told_of() {
        let late = CredentialsError::provider_timed_out(Duration::from_secs(5));
        let fault = CallError::Credentials(Arc::new(late)).fault();
        assert_eq!(fault.kind, FaultKind::Unreachable);
        assert!(fault.summary.contains("timed out"), "{fault}");
    }
}
