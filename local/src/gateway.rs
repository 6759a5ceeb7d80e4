//! An API Gateway REST API before the endpoint: `POST /prod/score`, signed, with the key of a usage plan.
//!
//! ```text
//! POST /prod/score ─ size ─ signature ─ key ─ plan ─▶ sagemaker's container
//! POST /           ─ sts: AssumeRole ─▶ sessions
//!                  ─ secrets: GetSecretValue ─▶ the key
//! ```
//!
//! It is an HTTP proxy integration: the container's own status, content type and body are the answer. What is refused
//! before the container has a JSON body and the header `x-amzn-ErrorType`, as told by
//! <https://docs.aws.amazon.com/apigateway/latest/developerguide/supported-gateway-response-types.html> and
//! <https://repost.aws/knowledge-center/api-gateway-troubleshoot-403-forbidden>.
//!
//! Around it are the two services that a caller needs, as far as it needs them. These do not look at signatures.

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
pub use secrets::{MEMBER, SECRET, SECRET_JSON};

use answer::Refusal;
pub(crate) use front::router;
use plan::Bucket;
use sessions::Sessions;
use signature::{Authorization, Received, Scope};

/// Where calls go, below the endpoint's URL: stage and resource.
pub const PATH: &str = "/prod/score";

/// The region that calls are signed for.
pub const REGION: &str = "us-east-1";

/// The service that calls are signed for.
pub const SERVICE: &str = "execute-api";

const SCOPE: Scope<'static> = Scope {
    region: REGION,
    service: SERVICE,
};

/// A REST API before the endpoint.
#[derive(Debug, Clone, PartialEq)]
pub struct GatewayOptions {
    /// How many calls it takes; no limit if `None`.
    pub usage_plan: Option<UsagePlan>,
    /// How long the credentials of an assumed role are good.
    pub session: Duration,
}

impl Default for GatewayOptions {
    /// The usual plan, and sessions of an hour.
    fn default() -> Self {
        Self {
            usage_plan: Some(UsagePlan::default()),
            session: Duration::from_hours(1),
        }
    }
}

/// What the gateway refused, and what the services around it were asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Counts {
    /// Calls refused because of their signature: there was none, it was wrong, or of credentials that are unknown.
    pub signature: u64,
    /// Calls refused because their credentials had expired.
    pub expired: u64,
    /// Calls refused because they had no key, or not the one of now.
    pub key: u64,
    /// Calls beyond the usage plan.
    pub throttled: u64,
    /// Calls with more than 10 MB.
    pub too_large: u64,
    /// Roles that were assumed.
    pub sessions: u64,
    /// How often the key was read.
    pub keys_fetched: u64,
}

impl Counts {
    /// All calls that were refused.
    pub fn refused(&self) -> u64 {
        self.signature + self.expired + self.key + self.throttled + self.too_large
    }
}

impl fmt::Display for Counts {
    /// What was refused.
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
            "{throttled} throttled, {key} without a good key, {signature} without a good signature, {expired} expired, \
             {too_large} too large"
        )
    }
}

/// What the gateway knows: for a test, the key and the sessions can be changed while it runs.
#[derive(Debug)]
pub struct Gateway {
    sessions: Sessions,
    key: Mutex<String>,
    plan: Option<Bucket>,
    counts: Mutex<Counts>,
}

impl Gateway {
    pub(crate) fn new(options: &GatewayOptions) -> Self {
        Self {
            sessions: Sessions::new(options.session),
            key: Mutex::new(sessions::random(40)),
            plan: options.usage_plan.map(Bucket::new),
            counts: Mutex::default(),
        }
    }

    /// The key of now.
    pub fn key(&self) -> String {
        locked(&self.key).clone()
    }

    /// Makes a new key, which is in the secrets at once; the one before is refused from now on.
    pub fn replace_key(&self) {
        *locked(&self.key) = sessions::random(40);
    }

    /// Ends all sessions of assumed roles: from now on, their credentials are refused as expired.
    pub fn end_sessions(&self) {
        self.sessions.end_all();
    }

    /// What there was so far.
    pub fn counts(&self) -> Counts {
        *locked(&self.counts)
    }

    /// Whether the call may go on to the container; the first reason why not, counted.
    fn admit(&self, received: &Received<'_>) -> Result<(), Refusal> {
        let admitted = self.check(received);
        if let Err(refusal) = &admitted {
            self.count(refusal);
        }
        admitted
    }

    fn check(&self, received: &Received<'_>) -> Result<(), Refusal> {
        let authorization = Authorization::of(received.headers)?;
        let token = received.header("x-amz-security-token");
        let credentials = self.sessions.find(authorization.access_key_id, token)?;
        signature::verify(received, &authorization, &credentials, SCOPE, SystemTime::now())?;
        if received.header("x-api-key") != Some(&*self.key()) {
            return Err(Refusal::Key);
        }
        if self.plan.as_ref().is_some_and(|plan| !plan.take()) {
            return Err(Refusal::Throttled);
        }
        Ok(())
    }

    fn count(&self, refusal: &Refusal) {
        let mut counts = locked(&self.counts);
        match refusal {
            Refusal::MissingToken | Refusal::Incomplete(_) | Refusal::Unknown | Refusal::Signature(_) => {
                counts.signature += 1;
            }
            Refusal::Expired => counts.expired += 1,
            Refusal::Key => counts.key += 1,
            Refusal::Throttled => counts.throttled += 1,
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
