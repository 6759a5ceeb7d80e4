//! What the errors of the AWS SDK mean, whichever service they come from, in words that a log may show.

use std::error::Error;
use std::iter::successors;

use aws_credential_types::provider::error::CredentialsError;

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

/// Whether there are no credentials to be had, as opposed to a provider that does not answer just now.
pub(crate) fn lacks_credentials(error: &(dyn Error + 'static)) -> bool {
    let cause = chain(Some(error)).find_map(|error| error.downcast_ref::<CredentialsError>());
    cause.is_some_and(|cause| {
        matches!(
            cause,
            CredentialsError::CredentialsNotLoaded(_) | CredentialsError::InvalidConfiguration(_)
        )
    })
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
