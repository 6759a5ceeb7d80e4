//! What the errors of the AWS SDK mean, whichever service they come from, in words that a log may show.

use std::error::Error;
use std::iter::successors;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_sagemakerruntime::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_sts::operation::assume_role::AssumeRoleError;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;

/// How much of a message is quoted, in characters.
const MESSAGE_MAX: usize = 300;

/// The error and its causes, from the outermost on.
pub(crate) fn chain<'e>(error: Option<&'e (dyn Error + 'static)>) -> impl Iterator<Item = &'e (dyn Error + 'static)> {
    successors(error, |error| (*error).source())
}

/// The error's causes, from the outermost on, in one line.
pub(crate) fn causes(error: &dyn Error) -> String {
    let causes: Vec<_> = chain(error.source()).map(ToString::to_string).collect();
    shorten(&causes.join(": "))
}

/// The beginning of a message.
pub(crate) fn shorten(message: &str) -> String {
    message.chars().take(MESSAGE_MAX).collect()
}

/// Whether there are no credentials to be had, as opposed to a provider that does not answer just now. A role that may not
/// be assumed has none.
pub(crate) fn lacks_credentials(error: &(dyn Error + 'static)) -> bool {
    chain(Some(error)).any(|error| {
        let is_missing = |cause: &CredentialsError| {
            matches!(
                cause,
                CredentialsError::CredentialsNotLoaded(_) | CredentialsError::InvalidConfiguration(_)
            )
        };
        error.downcast_ref().is_some_and(is_missing)
    }) || role_refusal(error).is_some_and(|refusal| !refusal.passes())
}

/// What STS answered in place of a role's credentials, if it did.
pub(crate) fn role_refusal<'e>(error: &'e (dyn Error + 'static)) -> Option<Refusal<'e>> {
    let mut chain = chain(Some(error));
    let refused = chain.find_map(|error| error.downcast_ref::<SdkError<AssumeRoleError, HttpResponse>>());
    refused.and_then(refusal)
}

/// What a service answered in place of what was asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Refusal<'e> {
    pub(crate) status: u16,
    pub(crate) code: &'e str,
}

/// What the service answered, if it did.
pub(crate) fn refusal<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> Option<Refusal<'_>> {
    let raw = error.raw_response().filter(|_| error.as_service_error().is_some())?;
    Some(Refusal {
        status: raw.status().as_u16(),
        code: error.code().unwrap_or("an error"),
    })
}

impl Refusal<'_> {
    /// Whether the same may be taken another time.
    pub(crate) fn passes(self) -> bool {
        let Self { status, code } = self;
        status >= 500 || [408, 409, 429].contains(&status) || is_throttling(code) || code == "RequestTimeout"
    }
}

/// The error codes that AWS's own SDKs take for throttling, and whatever is called so.
pub(crate) fn is_throttling(code: &str) -> bool {
    const KNOWN: [&str; 8] = [
        "BandwidthLimitExceeded",
        "LimitExceededException",
        "PriorRequestNotComplete",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "SlowDown",
        "TooManyRequestsException",
        "TransactionInProgressException",
    ];
    code.contains("Throttl") || KNOWN.contains(&code)
}
