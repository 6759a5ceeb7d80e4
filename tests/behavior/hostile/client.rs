//! A call to a hostile server.

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_smithy_runtime_api::client::http::{HttpConnector, HttpConnectorFuture, SharedHttpConnector};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::body::SdkBody;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector as TcpConnector;
use hyper_util::rt::TokioExecutor;
use instream::config::Config;
use instream::endpoint::http_client::shared_connector;
use instream::endpoint::target::AnyEndpoint;

use super::server::{Protocol, Start, server};
use crate::replay::{credentials, invoke, request};

/// Calls a model behind a URL, or a `SageMaker` endpoint, on a server with this answer. Returns the body of the
/// prediction, or the fault in the words of a log.
pub(super) async fn outcome(is_url: bool, protocol: Protocol, start: Start, answer: &[u8]) -> Result<String, String> {
    let server = format!("http://{}", server(protocol, start, answer.to_vec()).await);
    let setting = |name: &str| match (name, is_url) {
        ("ENDPOINT_URL", true) => Some(server.clone()),
        ("ENDPOINT_NAME", false) => Some("fraud".to_owned()),
        ("OUTPUT", _) => Some("none:".to_owned()),
        _ => None,
    };
    let config = Config::from_lookup(setting).unwrap();
    let environment = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("eu-central-1"))
        .credentials_provider(credentials())
        .endpoint_url(&server)
        .build();
    let http = match protocol {
        Protocol::Http1 => shared_connector(),
        Protocol::Http2 => SharedHttpConnector::new(PlainHttp2::new()),
    };
    let endpoint = AnyEndpoint::new(http, &environment, config.endpoint, &config.parameters);
    let answer = invoke(&endpoint.await.unwrap(), &request()).await;
    let body = answer.map(|response| String::from_utf8(response.body.to_vec()).unwrap());
    body.map_err(|fault| fault.to_string())
}

/// A client that uses HTTP/2 without TLS. The function's own client uses HTTP/2 only over TLS, but reads responses in
/// the same way.
#[derive(Debug)]
struct PlainHttp2(Client<TcpConnector, SdkBody>);

impl PlainHttp2 {
    fn new() -> Self {
        Self(
            Client::builder(TokioExecutor::new())
                .http2_only(true)
                .build(TcpConnector::new()),
        )
    }
}

impl HttpConnector for PlainHttp2 {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let response = self.0.request(request.try_into_http1x().unwrap());
        HttpConnectorFuture::new(async {
            let response = response
                .await
                .map_err(|error| ConnectorError::other(error.into(), None))?;
            Ok(HttpResponse::try_from(response.map(SdkBody::from_body_1_x)).unwrap())
        })
    }
}
