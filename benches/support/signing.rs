//! The input of the `signature` benches: a signer, credentials and unsigned requests.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_types::body::SdkBody;
use bytes::Bytes;
use http::HeaderName;
use instream::endpoint::signature::{Signer, SigningScope};

use super::batch::record;
use super::{RECORDS, leak};

/// The signed header with a different value in each request.
static INFERENCE_ID: HeaderName = HeaderName::from_static("x-amzn-sagemaker-inference-id");
/// About the length of Lambda's session token.
const TOKEN_CHARACTERS: usize = 1000;

/// The clock for the signing times.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Clock {
    /// All requests are signed in the same second.
    Stopped,
    /// Each request is signed in a different second.
    Running,
}

/// The requests to sign.
#[derive(Debug)]
pub(crate) struct Signing {
    signer: &'static Signer,
    credentials: &'static Arc<Credentials>,
    /// The time, the inference ID and the body of each request.
    requests: Vec<(SystemTime, String, Bytes)>,
}

impl Signing {
    pub(crate) fn by(clock: Clock) -> Self {
        let request = |number: usize| {
            let second = match clock {
                Clock::Stopped => 0,
                Clock::Running => number,
            };
            let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000 + second as u64);
            let id = format!("49590338271490256608559692538361571095{number:018}-0");
            (now, id, Bytes::from(record(number)))
        };
        Self {
            signer: leak(signer()),
            credentials: leak(credentials()),
            requests: (0..RECORDS).map(request).collect(),
        }
    }

    pub(crate) fn sign(self) -> Vec<HttpRequest> {
        let sign = |(now, id, body): (SystemTime, String, Bytes)| {
            let signed = self
                .signer
                .sign(self.credentials, now, None, &[(&INFERENCE_ID, &id)], body);
            signed.expect("the identity may stand in a header")
        };
        self.requests.into_iter().map(sign).collect()
    }
}

fn credentials() -> Arc<Credentials> {
    let token = "t".repeat(TOKEN_CHARACTERS);
    let secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
    Arc::new(Credentials::new("AKIDEXAMPLE", secret, Some(token), None, "bench"))
}

fn signer() -> Signer {
    let mut template = HttpRequest::new(SdkBody::empty());
    template.set_method("POST").expect("it is a method");
    let uri = "https://runtime.sagemaker.us-east-1.amazonaws.com/endpoints/fraud-detector/invocations";
    template.set_uri(uri).expect("it is a URI");
    for (name, value) in [
        ("accept", "application/json"),
        ("content-type", "application/json"),
        ("user-agent", "instream"),
    ] {
        template.headers_mut().insert(name, value);
    }
    let scope = SigningScope {
        region: "us-east-1".to_owned(),
        service: "sagemaker".to_owned(),
    };
    Signer::new(template, scope, INFERENCE_ID.as_str())
}
