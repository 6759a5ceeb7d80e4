//! Whose signatures are known: the static credentials of this machine, and those of assumed roles.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use tokio::time::Instant;

use super::answer::Refusal;
use super::locked;

/// The key ID and the secret of the static credentials.
const STATIC: &str = "local";

/// All credentials. Those of assumed roles are kept when they have expired, to be told from unknown ones.
#[derive(Debug)]
pub(super) struct Sessions {
    length: Duration,
    issued: Mutex<HashMap<String, Session>>,
}

#[derive(Debug)]
struct Session {
    credentials: Credentials,
    ends: Instant,
}

impl Sessions {
    pub(super) fn new(length: Duration) -> Self {
        Self {
            length,
            issued: Mutex::default(),
        }
    }

    /// New credentials of an assumed role.
    pub(super) fn issue(&self) -> Credentials {
        let credentials = Credentials::builder()
            .access_key_id(format!("ASIA{}", random(16).to_ascii_uppercase()))
            .secret_access_key(random(40))
            .session_token(random(200))
            .expiry(SystemTime::now() + self.length)
            .provider_name("local")
            .build();
        let session = Session {
            credentials: credentials.clone(),
            ends: Instant::now() + self.length,
        };
        locked(&self.issued).insert(credentials.access_key_id().to_owned(), session);
        credentials
    }

    pub(super) fn end_all(&self) {
        let now = Instant::now();
        for session in locked(&self.issued).values_mut() {
            session.ends = now;
        }
    }

    /// The credentials with this key ID and token, if they are good.
    pub(super) fn find(&self, access_key_id: &str, token: Option<&str>) -> Result<Credentials, Refusal> {
        if (access_key_id, token) == (STATIC, None) {
            let credentials = Credentials::builder().access_key_id(STATIC).secret_access_key(STATIC);
            return Ok(credentials.provider_name("local").build());
        }
        let issued = locked(&self.issued);
        let session = issued.get(access_key_id).ok_or(Refusal::Unknown)?;
        if session.credentials.session_token() != token {
            return Err(Refusal::Unknown);
        }
        if session.ends <= Instant::now() {
            return Err(Refusal::Expired);
        }
        Ok(session.credentials.clone())
    }
}

/// So many letters and digits.
pub(super) fn random(length: usize) -> String {
    std::iter::repeat_with(fastrand::alphanumeric).take(length).collect()
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_session_is_known_by_its_key_id_and_token_until_it_expires() {
        let sessions = Sessions::new(Duration::from_mins(15));
        let issued = sessions.issue();
        let find = |token| {
            let found = sessions.find(issued.access_key_id(), token);
            found.map(|found| found.secret_access_key().to_owned())
        };
        advance(Duration::from_secs(899)).await;
        assert_eq!(find(issued.session_token()), Ok(issued.secret_access_key().to_owned()));
        assert_eq!(find(None), Err(Refusal::Unknown));
        assert_eq!(find(Some("another")), Err(Refusal::Unknown));
        advance(Duration::from_secs(1)).await;
        assert_eq!(find(issued.session_token()), Err(Refusal::Expired));
        assert_eq!(find(Some("another")), Err(Refusal::Unknown));
    }

    #[tokio::test(start_paused = true)]
    async fn sessions_can_be_ended_and_others_begin() {
        let sessions = Sessions::new(Duration::from_mins(15));
        let [first, second] = [sessions.issue(), sessions.issue()];
        assert_ne!(first.access_key_id(), second.access_key_id());
        sessions.end_all();
        let third = sessions.issue();
        let find = |of: &Credentials| sessions.find(of.access_key_id(), of.session_token()).err();
        assert_eq!(
            [&first, &second].map(find),
            [Some(Refusal::Expired), Some(Refusal::Expired)]
        );
        assert_eq!(find(&third), None);
    }

    #[test]
    fn the_static_credentials_have_no_token() {
        let sessions = Sessions::new(Duration::from_mins(15));
        assert_eq!(sessions.find("local", None).unwrap().secret_access_key(), "local");
        assert_eq!(sessions.find("local", Some("token")).err(), Some(Refusal::Unknown));
        assert_eq!(sessions.find("another", None).err(), Some(Refusal::Unknown));
    }
}
