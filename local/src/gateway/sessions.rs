//! The known credentials: the static credentials of this machine, and the credentials of assumed roles.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use tokio::time::Instant;

use super::answer::Refusal;
use super::locked;

/// Both the access key ID and the secret access key of the static credentials.
const STATIC_KEY: &str = "local";

/// The known credentials. Issued credentials are kept after they expire, so that calls with them are refused as expired
/// and not as unknown.
#[derive(Debug)]
pub(super) struct Sessions {
    lifetime: Duration,
    issued: Mutex<HashMap<String, Session>>,
}

#[derive(Debug)]
struct Session {
    credentials: Credentials,
    expires_at: Instant,
}

impl Sessions {
    pub(super) fn new(lifetime: Duration) -> Self {
        Self {
            lifetime,
            issued: Mutex::default(),
        }
    }

    /// Issues credentials for an assumed role.
    pub(super) fn issue(&self) -> Credentials {
        let credentials = Credentials::builder()
            .access_key_id(format!("ASIA{}", random_alphanumeric(16).to_ascii_uppercase()))
            .secret_access_key(random_alphanumeric(40))
            .session_token(random_alphanumeric(200))
            .expiry(SystemTime::now() + self.lifetime)
            .provider_name("local")
            .build();
        let session = Session {
            credentials: credentials.clone(),
            expires_at: Instant::now() + self.lifetime,
        };
        locked(&self.issued).insert(credentials.access_key_id().to_owned(), session);
        credentials
    }

    pub(super) fn end_all(&self) {
        let now = Instant::now();
        for session in locked(&self.issued).values_mut() {
            session.expires_at = now;
        }
    }

    /// Returns the credentials with this access key ID and session token, if they are valid.
    pub(super) fn find(&self, access_key_id: &str, token: Option<&str>) -> Result<Credentials, Refusal> {
        if (access_key_id, token) == (STATIC_KEY, None) {
            let credentials = Credentials::builder()
                .access_key_id(STATIC_KEY)
                .secret_access_key(STATIC_KEY);
            return Ok(credentials.provider_name("local").build());
        }
        let issued = locked(&self.issued);
        let session = issued.get(access_key_id).ok_or(Refusal::UnknownCredentials)?;
        if session.credentials.session_token() != token {
            return Err(Refusal::UnknownCredentials);
        }
        if session.expires_at <= Instant::now() {
            return Err(Refusal::ExpiredCredentials);
        }
        Ok(session.credentials.clone())
    }
}

/// Returns `length` random letters and digits.
pub(super) fn random_alphanumeric(length: usize) -> String {
    std::iter::repeat_with(fastrand::alphanumeric).take(length).collect()
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_session_is_valid_for_its_key_id_and_token_until_it_expires() {
        let sessions = Sessions::new(Duration::from_mins(15));
        let issued = sessions.issue();
        let find = |token| {
            let found = sessions.find(issued.access_key_id(), token);
            found.map(|found| found.secret_access_key().to_owned())
        };
        advance(Duration::from_secs(899)).await;
        assert_eq!(find(issued.session_token()), Ok(issued.secret_access_key().to_owned()));
        assert_eq!(find(None), Err(Refusal::UnknownCredentials));
        assert_eq!(find(Some("another")), Err(Refusal::UnknownCredentials));
        advance(Duration::from_secs(1)).await;
        assert_eq!(find(issued.session_token()), Err(Refusal::ExpiredCredentials));
        assert_eq!(find(Some("another")), Err(Refusal::UnknownCredentials));
    }

    #[tokio::test(start_paused = true)]
    async fn new_sessions_are_valid_after_all_earlier_ones_were_ended() {
        let sessions = Sessions::new(Duration::from_mins(15));
        let [first, second] = [sessions.issue(), sessions.issue()];
        assert_ne!(first.access_key_id(), second.access_key_id());
        sessions.end_all();
        let third = sessions.issue();
        let find = |of: &Credentials| sessions.find(of.access_key_id(), of.session_token()).err();
        assert_eq!(
            [&first, &second].map(find),
            [Some(Refusal::ExpiredCredentials), Some(Refusal::ExpiredCredentials)]
        );
        assert_eq!(find(&third), None);
    }

    #[test]
    fn the_static_credentials_have_no_token() {
        let sessions = Sessions::new(Duration::from_mins(15));
        assert_eq!(sessions.find("local", None).unwrap().secret_access_key(), "local");
        assert_eq!(
            sessions.find("local", Some("token")).err(),
            Some(Refusal::UnknownCredentials)
        );
        assert_eq!(sessions.find("another", None).err(), Some(Refusal::UnknownCredentials));
    }
}
