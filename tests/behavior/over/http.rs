//! The scripted model behind a URL, over all of the function's own HTTP but the connection itself.

use std::io;
use std::sync::Arc;

use aws_smithy_runtime_api::client::http::{HttpConnector, HttpConnectorFuture, SharedHttpConnector};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::body::SdkBody;
use futures_util::FutureExt as _;
use instream::config::Config;
use instream::endpoint::FaultKind;
use instream::endpoint::remote::Remote;

use crate::replay::{credentials, environment};
use crate::scripted::{Does, Refusal, Scripted};

/// What a batch is sent to.
pub(crate) type Called = Remote;

/// The settings that name the endpoint.
pub(crate) const ENDPOINT: [(&str, &str); 3] = [
    (
        "ENDPOINT_URL",
        "https://a1b2c3.execute-api.eu-central-1.amazonaws.com/prod/score",
    ),
    ("ENDPOINT_AUTH", "sigv4"),
    ("OUTPUT", "none:"),
];

/// A status leaves no doubt and is about no model, but for records that name theirs.
pub(crate) const DOUBT: [Does; 0] = [];
pub(crate) const NOT_READY: [Does; 0] = [];

/// What a connection is that is lost twice: nothing stands before the model that would say that it died of the record.
pub(crate) const LOST: FaultKind = FaultKind::Suspect;

pub(crate) fn endpoint(scripted: Scripted) -> Called {
    let setting = |name: &str| {
        let setting = ENDPOINT.iter().find(|(key, _)| *key == name);
        setting.map(|(_, value)| (*value).to_owned())
    };
    let config = Config::from_lookup(setting).unwrap();
    let (environment, _) = environment(credentials(), &[]);
    let http = SharedHttpConnector::new(Behind(Arc::new(scripted)));
    let endpoint = Remote::new(http, &environment, config.endpoint, &config.parameters);
    endpoint.now_or_never().expect("nothing is waited for").unwrap()
}

/// The other end of the wire.
#[derive(Debug)]
struct Behind(Arc<Scripted>);

impl HttpConnector for Behind {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let scripted = Arc::clone(&self.0);
        HttpConnectorFuture::new(async move {
            let headers = request.headers();
            assert!(headers.get("authorization").unwrap().contains("/execute-api/"));
            match scripted.call(request.body().bytes().unwrap()).await {
                Ok(answer) => Ok(response(200, answer)),
                Err(Refusal::Fault(kind)) => refuse(kind),
                Err(Refusal::BusyFor(seconds)) => {
                    let mut busy = response(503, String::new());
                    busy.headers_mut().insert("retry-after", seconds.to_string());
                    Ok(busy)
                }
                Err(other) => panic!("a status cannot say {other:?}"),
            }
        })
    }
}

fn refuse(kind: FaultKind) -> Result<HttpResponse, ConnectorError> {
    let status = match kind {
        FaultKind::Refused => 422,
        FaultKind::Suspect => 502,
        FaultKind::Overload => 429,
        FaultKind::Misconfigured => 403,
        FaultKind::Unreachable => {
            let error = io::Error::from(io::ErrorKind::ConnectionRefused);
            return Err(ConnectorError::io(error.into()));
        }
    };
    Ok(response(status, "as the script says".to_owned()))
}

fn response(status: u16, body: String) -> HttpResponse {
    HttpResponse::new(status.try_into().unwrap(), SdkBody::from(body))
}
