//! An API Gateway REST API in front of the endpoint: signed calls with the API key of a usage plan, to any path.
//!
//! ```text
//! POST /PATH       ─ size ─ signature ─ key ─ plan ─▶ the endpoint's container
//! GET  /PATH?QUERY ─ size ─ signature ─ key ─ plan ─ the query as a JSON object ─▶ the endpoint's container
//! POST /           ─ sts: AssumeRole ─▶ sessions
//!                  ─ secrets: GetSecretValue ─▶ the API key
//! ```
//!
//! It is an HTTP proxy integration: the response has the container's own status, content type and body. A call that is
//! refused before it reaches the container gets a JSON body and the header `x-amzn-ErrorType`, as described in
//! <https://docs.aws.amazon.com/apigateway/latest/developerguide/supported-gateway-response-types.html> and
//! <https://repost.aws/knowledge-center/api-gateway-troubleshoot-403-forbidden>.
//!
//! The server also provides the parts of STS and Secrets Manager that a caller needs. These two do not check
//! signatures.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use serde::Serialize;

mod answer;
mod front;
mod plan;
mod secrets;
mod sessions;
mod signature;
mod sts;
#[cfg(test)]
mod tests;

pub use plan::UsagePlan;
pub use secrets::{JSON_MEMBER, SECRET, SECRET_JSON};

use answer::Refusal;
pub(crate) use front::router;
use plan::TokenBucket;
use sessions::Sessions;
use signature::{Authorization, ReceivedRequest, Scope};

/// The path of calls below the endpoint's URL, stage and resource, unless the user sets another one.
pub const PATH: &str = "/prod/score";

/// The region that calls are signed for.
pub const REGION: &str = "us-east-1";

/// The service that calls are signed for.
pub const SERVICE: &str = "execute-api";

const SCOPE: Scope<'static> = Scope {
    region: REGION,
    service: SERVICE,
};

/// Settings of the REST API in front of the endpoint.
#[derive(Debug, Clone, PartialEq)]
pub struct GatewayOptions {
    /// The rate limit for calls. `None`: no limit.
    pub usage_plan: Option<UsagePlan>,
    /// The lifetime of an assumed role's credentials.
    pub session_duration: Duration,
}

impl Default for GatewayOptions {
    /// The default usage plan, and sessions of one hour.
    fn default() -> Self {
        Self {
            usage_plan: Some(UsagePlan::default()),
            session_duration: Duration::from_hours(1),
        }
    }
}

/// The calls that the gateway refused, and the requests to its STS and Secrets Manager.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Counts {
    /// Calls refused because their signature was missing, wrong or made with unknown credentials.
    pub signature: u64,
    /// Calls refused because their credentials had expired.
    pub expired: u64,
    /// Calls refused because their API key was missing or not the current one.
    pub key: u64,
    /// Calls refused because they exceeded the usage plan.
    pub throttled: u64,
    /// Calls refused because their body was larger than 10 MB.
    pub too_large: u64,
    /// The number of successful `AssumeRole` requests.
    pub sessions: u64,
    /// The number of successful reads of the API key.
    pub keys_fetched: u64,
}

impl Counts {
    /// The number of refused calls.
    pub fn refused(&self) -> u64 {
        self.signature + self.expired + self.key + self.throttled + self.too_large
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            signature,
            expired,
            key,
            throttled,
            too_large,
            ..
        } = self;
        write!(
            f,
            "{throttled} throttled, {key} without a valid API key, {signature} without a valid signature, \
             {expired} with expired credentials, {too_large} too large"
        )
    }
}

/// The state of the gateway. A test can replace the API key and end the sessions while the gateway runs.
#[derive(Debug)]
pub struct Gateway {
    sessions: Sessions,
    key: Mutex<String>,
    plan: Option<TokenBucket>,
    counts: Mutex<Counts>,
}

impl Gateway {
    pub(crate) fn new(options: &GatewayOptions) -> Self {
        Self {
            sessions: Sessions::new(options.session_duration),
            key: Mutex::new(sessions::random_alphanumeric(40)),
            plan: options.usage_plan.map(TokenBucket::new),
            counts: Mutex::default(),
        }
    }

    /// The current API key.
    pub fn key(&self) -> String {
        locked(&self.key).clone()
    }

    /// Replaces the API key. The secrets hold the new key immediately; the old key is refused from now on.
    pub fn replace_key(&self) {
        *locked(&self.key) = sessions::random_alphanumeric(40);
    }

    /// Ends all sessions of assumed roles. From now on, their credentials are refused as expired.
    pub fn end_sessions(&self) {
        self.sessions.end_all();
    }

    /// The counts so far.
    pub fn counts(&self) -> Counts {
        *locked(&self.counts)
    }

    /// Decides whether the call may reach the container. Counts a refusal and returns its first reason.
    fn admit(&self, received: &ReceivedRequest<'_>) -> Result<(), Refusal> {
        let admitted = self.check(received);
        if let Err(refusal) = &admitted {
            self.count(refusal);
        }
        admitted
    }

    fn check(&self, received: &ReceivedRequest<'_>) -> Result<(), Refusal> {
        let authorization = Authorization::from_headers(received.headers)?;
        let token = received.header("x-amz-security-token");
        let credentials = self.sessions.find(authorization.access_key_id, token)?;
        signature::verify(received, &authorization, &credentials, SCOPE, SystemTime::now())?;
        if received.header("x-api-key") != Some(&*self.key()) {
            return Err(Refusal::InvalidKey);
        }
        if self.plan.as_ref().is_some_and(|plan| !plan.try_take()) {
            return Err(Refusal::Throttled);
        }
        Ok(())
    }

    fn count(&self, refusal: &Refusal) {
        let mut counts = locked(&self.counts);
        match refusal {
            Refusal::MissingToken
            | Refusal::IncompleteSignature(_)
            | Refusal::UnknownCredentials
            | Refusal::InvalidSignature(_) => {
                counts.signature += 1;
            }
            Refusal::ExpiredCredentials => counts.expired += 1,
            Refusal::InvalidKey => counts.key += 1,
            Refusal::Throttled => counts.throttled += 1,
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
