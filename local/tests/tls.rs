//! The local endpoint with TLS, and its connections.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::http::Request;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use instream_local::sagemaker::{EndpointOptions, SageMakerRuntime};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

const RECORD: &str = r#"["2026-03-14T12:00:00Z",9,"groceries","DE","DE","192.0.2.1"]"#;

/// A server that takes longer than this is considered blocked.
const BLOCKED_AFTER: Duration = Duration::from_secs(10);

async fn start(tls: bool) -> SageMakerRuntime {
    let options = EndpointOptions {
        tls,
        ..EndpointOptions::default()
    };
    SageMakerRuntime::start(0, &options).await.unwrap()
}

/// Returns a client configuration that trusts only the endpoint's certificate.
fn client_trusting(endpoint: &SageMakerRuntime) -> ClientConfig {
    let certificate = CertificateDer::from_pem_file(endpoint.certificate().unwrap()).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(certificate).unwrap();
    ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth()
}

async fn connect(endpoint: &SageMakerRuntime) -> TcpStream {
    TcpStream::connect(endpoint.address()).await.unwrap()
}

async fn connect_tls(config: ClientConfig, name: &str, connection: TcpStream) -> io::Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let connector = TlsConnector::from(Arc::new(config));
    timeout(BLOCKED_AFTER, connector.connect(name, connection)).await?
}

async fn start_http(connection: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> SendRequest<Full<Bytes>> {
    let (sender, connection) = handshake(TokioIo::new(connection)).await.unwrap();
    tokio::spawn(connection);
    sender
}

/// Makes a call and returns the status of the response.
async fn call(sender: &mut SendRequest<Full<Bytes>>) -> u16 {
    let request = Request::post("/endpoints/mine/invocations").body(Full::from(RECORD));
    sender.ready().await.unwrap();
    let answer = timeout(BLOCKED_AFTER, sender.send_request(request.unwrap())).await;
    let answer = answer.unwrap().unwrap();
    let status = answer.status().as_u16();
    // The connection is free for the next call only after the body has been read.
    answer.into_body().collect().await.unwrap();
    status
}

#[tokio::test]
async fn a_client_that_trusts_the_certificate_gets_a_response() {
    let endpoint = start(true).await;
    assert_eq!(endpoint.url(), format!("https://{}", endpoint.address()));
    for name in ["localhost", "127.0.0.1"] {
        let connection = connect_tls(client_trusting(&endpoint), name, connect(&endpoint).await).await;
        assert_eq!(call(&mut start_http(connection.unwrap()).await).await, 200);
    }
    assert_eq!(endpoint.calls(), 2);
}

#[tokio::test]
async fn a_client_that_trusts_only_another_certificate_makes_no_call() {
    let (endpoint, other) = (start(true).await, start(true).await);
    let connection = connect_tls(client_trusting(&other), "localhost", connect(&endpoint).await).await;
    let why = connection.unwrap_err().to_string();
    assert!(why.contains("invalid peer certificate"), "{why}");
    assert_eq!((endpoint.calls(), endpoint.connections()), (0, 1));
}

#[tokio::test]
async fn unfinished_or_failed_handshakes_do_not_delay_other_clients() {
    let endpoint = start(true).await;
    let silent = connect(&endpoint).await;
    let connection = connect_tls(client_trusting(&endpoint), "localhost", connect(&endpoint).await).await;
    assert_eq!(call(&mut start_http(connection.unwrap()).await).await, 200);
    let mut no_tls = connect(&endpoint).await;
    no_tls.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    no_tls.read_to_end(&mut Vec::new()).await.unwrap();
    // No other client connects after this handshake.
    let connection = connect_tls(client_trusting(&endpoint), "localhost", silent).await;
    assert_eq!(call(&mut start_http(connection.unwrap()).await).await, 200);
    assert_eq!((endpoint.calls(), endpoint.connections()), (2, 3));
}

#[tokio::test]
async fn only_http_1_1_is_negotiated() {
    let endpoint = start(true).await;
    for (offered, agreed) in [("http/1.1", true), ("h2", false)] {
        let mut config = client_trusting(&endpoint);
        config.alpn_protocols = vec![offered.into()];
        let connection = connect_tls(config, "localhost", connect(&endpoint).await).await;
        let protocol = connection.map(|connection| connection.get_ref().1.alpn_protocol().map(<[u8]>::to_vec));
        assert_eq!(protocol.ok(), agreed.then(|| Some(offered.into())));
    }
}

#[tokio::test]
async fn the_certificates_file_exists_as_long_as_the_endpoint() {
    let endpoint = start(true).await;
    let file = endpoint.certificate().unwrap().to_owned();
    let text = fs::read_to_string(&file).unwrap();
    assert_eq!(text.matches("-----BEGIN ").count(), 1, "no key: {text}");
    drop(endpoint);
    assert!(!file.exists());
    assert_eq!(start(false).await.certificate(), None);
}

#[tokio::test]
async fn a_connection_counts_once_for_any_number_of_calls() {
    for tls in [false, true] {
        let endpoint = start(tls).await;
        for connections in 1..=2 {
            let connection = connect(&endpoint).await;
            let mut sender = if tls {
                let connection = connect_tls(client_trusting(&endpoint), "localhost", connection).await;
                start_http(connection.unwrap()).await
            } else {
                start_http(connection).await
            };
            for _ in 0..3 {
                assert_eq!(call(&mut sender).await, 200);
            }
            assert_eq!(endpoint.connections(), connections, "with TLS: {tls}");
        }
        assert_eq!(endpoint.calls(), 6);
    }
}
