//! The API key that a usage plan or a model server requires, cached until the endpoint rejects it and another key has
//! replaced it.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_config::SdkConfig;
use futures_util::{FutureExt as _, TryFutureExt as _};
use serde_json::{Map, Value};
use tokio::time::Instant;

use super::single_flight::{Cached, Fetch, Interrupted, SingleFlight};
use crate::outcome::FaultKind;

/// The time after which an unchanged key is fetched again if the endpoint rejects it. The cause of a rejection may be
/// the record instead of the key: a firewall may block it.
const RECHECK_INTERVAL: Duration = Duration::from_secs(10);

/// The location of the API key, and the header that it is sent in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeySettings {
    /// The name or ARN of the secret in Secrets Manager.
    pub secret: String,
    /// The member that contains the key, if the secret is a JSON object.
    pub member: Option<String>,
    /// The header's name, in lower case.
    pub header: String,
    /// The scheme that precedes the key, such as `Bearer`.
    pub scheme: Option<String>,
}

/// An API key. Its `Debug` output does not contain the key.
#[derive(PartialEq, Eq)]
pub(super) struct Secret(String);

/// The reason why there is no API key.
#[derive(Debug, Clone)]
pub(super) struct KeyError {
    /// `Misconfigured`, or `Unreachable` if the key may be available later.
    pub(super) kind: FaultKind,
    /// A description that a log may show.
    pub(super) reason: String,
}

/// The current API key.
#[derive(Debug)]
pub(super) struct ApiKey {
    settings: KeySettings,
    environment: SdkConfig,
    cached: SingleFlight<Secret, KeyError>,
    check: Mutex<Check>,
}

/// The check of a rejected key: whether it is still the current one.
#[derive(Debug, Default)]
struct Check {
    /// The key to check.
    rejected: Option<Arc<Secret>>,
    /// The time of the last check, if it found no other key.
    unchanged_at: Option<Instant>,
}

impl ApiKey {
    /// Creates an empty cache. The key is fetched with the function's own credentials, from the region of the secret's
    /// ARN or otherwise from the function's region.
    pub(super) fn new(settings: KeySettings, environment: &SdkConfig) -> Self {
        Self {
            settings,
            environment: environment.clone(),
            cached: SingleFlight::default(),
            check: Mutex::default(),
        }
    }

    pub(super) fn header_name(&self) -> &str {
        &self.settings.header
    }

    /// Returns the header's value.
    pub(super) fn header(&self, Secret(key): &Secret) -> String {
        match &self.settings.scheme {
            Some(scheme) => format!("{scheme} {key}"),
            None => key.clone(),
        }
    }

    /// Returns the cached key, or fetches it. A rejected key is fetched again. If that fails, the key is kept.
    pub(super) async fn get(&self) -> Result<Arc<Secret>, KeyError> {
        let rejected = self.check().rejected.clone();
        if let Some(rejected) = rejected {
            let current = self.cached.refresh(&rejected, || self.fetch()).await;
            let is_replaced = current.is_ok_and(|current| *current != *rejected);
            *self.check() = Check {
                rejected: None,
                unchanged_at: (!is_replaced).then(Instant::now),
            };
        }
        self.cached.get(|| self.fetch()).await
    }

    /// Returns the cached key, unless it was rejected since the last [`get`](Self::get).
    pub(super) fn cached(&self) -> Option<Arc<Secret>> {
        self.cached.cached().filter(|_| self.check().rejected.is_none())
    }

    /// Lets the next [`get`](Self::get) check a key that the endpoint may have rejected. Returns whether another key
    /// may help: not if a check has just found that the key is the current one.
    pub(super) fn reject(&self, key: &Secret) -> bool {
        let Some(current) = self.cached.cached().filter(|current| **current == *key) else {
            return true;
        };
        let mut check = self.check();
        let is_checked = check.unchanged_at.is_some_and(|at| at.elapsed() < RECHECK_INTERVAL);
        if !is_checked {
            check.rejected = Some(current);
        }
        !is_checked
    }

    fn check(&self) -> MutexGuard<'_, Check> {
        self.check.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fetch(&self) -> Fetch<Secret, KeyError> {
        let fetch = fetch(self.settings.clone(), self.environment.clone());
        let cached = |key| Cached {
            value: Arc::new(key),
            refresh_at: None,
            expires_at: None,
        };
        fetch.map_ok(cached).boxed()
    }
}

impl From<Interrupted> for KeyError {
    fn from(interrupted: Interrupted) -> Self {
        Self::transient(interrupted.to_string())
    }
}

#[cfg(feature = "secretsmanager")]
async fn fetch(settings: KeySettings, environment: SdkConfig) -> Result<Secret, KeyError> {
    use aws_sdk_secretsmanager::Client;
    use aws_sdk_secretsmanager::config::{Builder, Region};

    let KeySettings { secret, member, .. } = settings;
    let mut config = Builder::from(&environment);
    if let Some(region) = region_of(&secret) {
        config.set_region(Some(Region::new(region.to_owned())));
    }
    let request = Client::from_conf(config.build()).get_secret_value().secret_id(secret);
    let response = request.send().await.map_err(|error| KeyError::of(&error))?;
    key_of(response.secret_string(), member.as_deref()).map_err(KeyError::misconfigured)
}

/// Start-up rejects the settings if the feature is missing, so this is never called.
#[cfg(not(feature = "secretsmanager"))]
#[expect(clippy::unused_async, reason = "the same signature as with the feature")]
async fn fetch(settings: KeySettings, _: SdkConfig) -> Result<Secret, KeyError> {
    _ = (region_of(&settings.secret), key_of(None, None));
    Err(KeyError::misconfigured("this build leaves out Secrets Manager"))
}

impl KeyError {
    fn transient(reason: String) -> Self {
        let kind = FaultKind::Unreachable;
        Self { kind, reason }
    }

    fn misconfigured(reason: &str) -> Self {
        Self {
            kind: FaultKind::Misconfigured,
            reason: format!("{reason}; check ENDPOINT_API_KEY"),
        }
    }

    #[cfg(feature = "secretsmanager")]
    fn of<E>(error: &aws_sdk_secretsmanager::error::SdkError<E>) -> Self
    where
        E: aws_sdk_secretsmanager::error::ProvideErrorMetadata + std::error::Error + 'static,
    {
        use crate::endpoint::aws_error::{ServiceError, causes, is_missing_credentials, service_error};

        match service_error(error) {
            Some(service_error @ ServiceError { status, code }) => {
                let reason = format!("Secrets Manager answered {code} with status {status}");
                if service_error.is_transient() {
                    Self::transient(reason)
                } else {
                    Self::misconfigured(&match code {
                        "AccessDeniedException" => format!("{reason}; let the function's role read the secret"),
                        _ => reason,
                    })
                }
            }
            None if is_missing_credentials(error) => Self::misconfigured(&causes(error)),
            None => Self::transient(causes(error)),
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// Returns the region of a secret's ARN, `arn:aws:secretsmanager:REGION:…`.
fn region_of(secret: &str) -> Option<&str> {
    secret.strip_prefix("arn:")?.split(':').nth(2)
}

/// Extracts the key from a secret: the `member` of its JSON object, or the whole text. Surrounding whitespace is
/// removed.
fn key_of(secret: Option<&str>, member: Option<&str>) -> Result<Secret, &'static str> {
    let secret = secret.ok_or("the secret is not text")?;
    let key = match member {
        None => secret.to_owned(),
        Some(member) => match serde_json::from_str::<Map<String, Value>>(secret) {
            Ok(mut members) => match members.remove(member) {
                Some(Value::String(key)) => key,
                _ => return Err("the named member of the secret is missing or not a string"),
            },
            Err(_) => return Err("the secret is not a JSON object"),
        },
    };
    let key = key.trim();
    let is_valid_header = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
    is_valid_header
        .then(|| Secret(key.to_owned()))
        .ok_or("the secret is not one line of printable ASCII characters")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_the_whole_secret_or_one_of_its_members() {
        let read = |secret, member| key_of(secret, member).map(|Secret(key)| key);
        assert_eq!(read(Some(" 123 abc\n"), None), Ok("123 abc".to_owned()));
        assert_eq!(read(Some(r#"{"a":"1","b":"2"}"#), Some("b")), Ok("2".to_owned()));
        for (secret, member, expected) in [
            (None, None, "not text"),
            (Some(""), None, "not one line"),
            (Some("two\nlines"), None, "not one line"),
            (Some("clé"), None, "not one line"),
            (Some("1"), Some("a"), "not a JSON object"),
            (Some("plain"), Some("a"), "not a JSON object"),
            (Some(r#"{"a":1}"#), Some("a"), "missing or not a string"),
            (Some(r#"{"a":"1"}"#), Some("b"), "missing or not a string"),
        ] {
            let error = read(secret, member).unwrap_err();
            assert!(error.contains(expected), "{secret:?} {member:?}: {error}");
        }
    }

    #[test]
    fn the_region_is_that_of_the_arn() {
        assert_eq!(
            region_of("arn:aws:secretsmanager:eu-west-1:123456789012:secret:key-AbCdEf"),
            Some("eu-west-1")
        );
        assert_eq!(region_of("key"), None);
    }

    #[test]
    fn debug_output_does_not_contain_the_key() {
        assert_eq!(format!("{:?}", Secret("123".to_owned())), "Secret");
    }
}
