//! The key that a usage plan or a model's server asks for, kept until it is rejected.

use std::fmt;
use std::sync::Arc;

use aws_config::SdkConfig;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use serde_json::{Map, Value};
use tokio::time::timeout;

use super::single_flight::{Dated, FETCH_MAX, Kept};
use crate::outcome::FaultKind;

/// Where the key is, and how it is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeySettings {
    /// Name or ARN of the secret in Secrets Manager.
    pub secret: String,
    /// The member of the secret, where that is a JSON object.
    pub member: Option<String>,
    /// The header's name, in lower case.
    pub header: String,
    /// What stands before the key, such as `Bearer`.
    pub scheme: Option<String>,
}

/// A key, which no log shows.
#[derive(PartialEq, Eq)]
pub(super) struct Secret(String);

/// Why there is none.
#[derive(Debug, Clone)]
pub(super) struct KeyError {
    /// Whether somebody must mend it, or it may be had later.
    pub(super) kind: FaultKind,
    /// In words that a log may show.
    pub(super) reason: String,
}

/// The current key.
#[derive(Debug)]
pub(super) struct ApiKey {
    settings: KeySettings,
    environment: SdkConfig,
    kept: Kept<Secret, KeyError>,
}

impl ApiKey {
    /// A key that is fetched with the function's own credentials, in the secret's region where that is named, else the
    /// function's.
    pub(super) fn new(settings: KeySettings, environment: &SdkConfig) -> Self {
        Self {
            settings,
            environment: environment.clone(),
            kept: Kept::default(),
        }
    }

    pub(super) fn header_name(&self) -> &str {
        &self.settings.header
    }

    /// What the header says.
    pub(super) fn header(&self, Secret(key): &Secret) -> String {
        match &self.settings.scheme {
            Some(scheme) => format!("{scheme} {key}"),
            None => key.clone(),
        }
    }

    /// The key: the one that is kept, or else fetched.
    pub(super) async fn get(&self) -> Result<Arc<Secret>, KeyError> {
        self.kept.get(|| self.fetch()).await
    }

    /// A key other than `stale`, which was rejected: another call has fetched it, or it is fetched now. None where it is
    /// still the same, or cannot be had.
    pub(super) async fn other_than(&self, stale: &Arc<Secret>) -> Option<Arc<Secret>> {
        let current = self.kept.renew(stale, || self.fetch()).await;
        current.ok().filter(|current| **current != **stale)
    }

    fn fetch(&self) -> BoxFuture<'static, Result<Dated<Secret>, KeyError>> {
        let fetch = fetch(self.settings.clone(), self.environment.clone());
        let fetch = async {
            let fetched = timeout(FETCH_MAX, fetch).await;
            let late = |_| KeyError::passing(format!("no answer of Secrets Manager within {FETCH_MAX:?}"));
            let value = Arc::new(fetched.map_err(late).flatten()?);
            Ok(Dated { value, until: None })
        };
        fetch.boxed()
    }
}

#[cfg(feature = "secretsmanager")]
async fn fetch(settings: KeySettings, environment: SdkConfig) -> Result<Secret, KeyError> {
    use aws_sdk_secretsmanager::Client;
    use aws_sdk_secretsmanager::config::{Builder, Region};

    let KeySettings { secret, member, .. } = settings;
    let mut config = Builder::from(&environment);
    if let Some(region) = region(&secret) {
        config.set_region(Some(Region::new(region.to_owned())));
    }
    let request = Client::from_conf(config.build()).get_secret_value().secret_id(secret);
    let answer = request.send().await.map_err(|error| KeyError::of(&error))?;
    key(answer.secret_string(), member.as_deref()).map_err(KeyError::settled)
}

/// The settings are refused at start-up.
#[cfg(not(feature = "secretsmanager"))]
#[expect(clippy::unused_async, reason = "as with the feature")]
async fn fetch(settings: KeySettings, _: SdkConfig) -> Result<Secret, KeyError> {
    _ = (region(&settings.secret), key(None, None));
    Err(KeyError::settled("this build leaves out Secrets Manager"))
}

impl KeyError {
    fn passing(reason: String) -> Self {
        let kind = FaultKind::Unreachable;
        Self { kind, reason }
    }

    fn settled(reason: &str) -> Self {
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
        use crate::endpoint::aws_error::{Refusal, causes, lacks_credentials, refusal};

        match refusal(error) {
            Some(refusal @ Refusal { status, code }) => {
                let reason = format!("Secrets Manager answered {code} with status {status}");
                if refusal.passes() {
                    Self::passing(reason)
                } else {
                    Self::settled(&match code {
                        "AccessDeniedException" => format!("{reason}; let the function's role read the secret"),
                        _ => reason,
                    })
                }
            }
            None if lacks_credentials(error) => Self::settled(&causes(error)),
            None => Self::passing(causes(error)),
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// The region of a secret's ARN: `arn:aws:secretsmanager:REGION:…`.
fn region(secret: &str) -> Option<&str> {
    secret.strip_prefix("arn:")?.split(':').nth(2)
}

/// The key in what a secret holds: the whole of it, without the spaces and line ends around it, or a `member`.
fn key(secret: Option<&str>, member: Option<&str>) -> Result<Secret, &'static str> {
    let secret = secret.ok_or("the secret is no text")?;
    let key = match member {
        None => secret.to_owned(),
        Some(member) => match serde_json::from_str::<Map<String, Value>>(secret) {
            Ok(mut members) => match members.remove(member) {
                Some(Value::String(key)) => key,
                _ => return Err("the secret has no text in the member that is named"),
            },
            Err(_) => return Err("the secret is no JSON object"),
        },
    };
    let key = key.trim();
    let may_stand_in_a_header = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
    may_stand_in_a_header
        .then(|| Secret(key.to_owned()))
        .ok_or("the secret is no line of printable ASCII characters")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_the_key_or_has_it_in_a_member() {
        let said = |secret, member| key(secret, member).map(|Secret(key)| key);
        assert_eq!(said(Some(" 123 abc\n"), None), Ok("123 abc".to_owned()));
        assert_eq!(said(Some(r#"{"a":"1","b":"2"}"#), Some("b")), Ok("2".to_owned()));
        for (secret, member, expected) in [
            (None, None, "no text"),
            (Some(""), None, "no line"),
            (Some("two\nlines"), None, "no line"),
            (Some("clé"), None, "no line"),
            (Some("1"), Some("a"), "no JSON object"),
            (Some("plain"), Some("a"), "no JSON object"),
            (Some(r#"{"a":1}"#), Some("a"), "no text in the member"),
            (Some(r#"{"a":"1"}"#), Some("b"), "no text in the member"),
        ] {
            let error = said(secret, member).unwrap_err();
            assert!(error.contains(expected), "{secret:?} {member:?}: {error}");
        }
    }

    #[test]
    fn a_secret_is_where_its_arn_says() {
        assert_eq!(
            region("arn:aws:secretsmanager:eu-west-1:123456789012:secret:key-AbCdEf"),
            Some("eu-west-1")
        );
        assert_eq!(region("key"), None);
    }

    #[test]
    fn no_log_shows_a_key() {
        assert_eq!(format!("{:?}", Secret("123".to_owned())), "Secret");
    }
}
