//! A model server behind the local endpoint. Its predictions pass unchanged; its errors become SageMaker's
//! `ModelError`. A connection that it has closed costs no call.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::http::{HeaderMap, HeaderName, Request, StatusCode, Uri};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use instream_local::model_server::ModelServer;
use instream_local::sagemaker::{EndpointOptions, SageMakerRuntime};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// Answers with the body and content type that it received, or with the status that the body asks for.
async fn invocations(headers: HeaderMap, body: String) -> impl IntoResponse {
    match body.parse::<u16>() {
        Ok(status) => (StatusCode::from_u16(status).unwrap(), format!("as asked: {status}")),
        Err(_) => (
            StatusCode::OK,
            format!("{body} as {}", headers["content-type"].to_str().unwrap()),
        ),
    }
}

async fn start_server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new()
        .route("/ping", get(|| async {}))
        .route("/invocations", post(invocations));
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

async fn call(endpoint: &SageMakerRuntime, body: &'static str) -> (u16, HeaderMap, Bytes) {
    call_with(endpoint, body, &[]).await
}

async fn call_with(
    endpoint: &SageMakerRuntime,
    body: &'static str,
    headers: &[(&str, &str)],
) -> (u16, HeaderMap, Bytes) {
    let client = Client::builder(TokioExecutor::new()).build_http();
    let mut request = Request::post(format!("http://{}/endpoints/mine/invocations", endpoint.address()));
    for (name, value) in headers.iter().chain(&[("content-type", "text/csv")]) {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::new(Bytes::from_static(body.as_bytes()))).unwrap();
    let (parts, body) = client.request(request).await.unwrap().into_parts();
    (
        parts.status.as_u16(),
        parts.headers,
        body.collect().await.unwrap().to_bytes(),
    )
}

async fn endpoint_for(url: String) -> SageMakerRuntime {
    let options = EndpointOptions {
        model_server: Some(url),
        ..EndpointOptions::default()
    };
    SageMakerRuntime::start(0, &options).await.unwrap()
}

#[tokio::test]
async fn answers_of_the_server_are_passed_on_and_other_statuses_become_model_errors() {
    let endpoint = endpoint_for(format!("http://{}/", start_server().await)).await;

    let (status, headers, body) = call(&endpoint, "1,2").await;
    assert_eq!((status, &body[..]), (200, &b"1,2 as text/csv"[..]));
    assert_eq!(headers["x-amzn-invoked-production-variant"], "AllTraffic");

    for asked in ["302", "400", "503"] {
        let (status, headers, body) = call(&endpoint, asked).await;
        assert_eq!(status, 424, "{asked}");
        assert_eq!(headers["x-amzn-errortype"], "ModelError");
        let error: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(error["OriginalStatusCode"], json!(asked.parse::<u16>().unwrap()));
        assert_eq!(error["OriginalMessage"], json!(format!("as asked: {asked}")));
    }
}

#[tokio::test]
async fn connecting_to_a_missing_server_or_a_bad_url_fails() {
    // This port was free a moment ago.
    let closed = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    for (url, expected) in [
        (format!("http://{closed}"), "is the model server up?"),
        (
            "https://127.0.0.1:8080".to_owned(),
            "must be a plain HTTP URL such as http://127.0.0.1:8080",
        ),
        (
            "127.0.0.1:8080".to_owned(),
            "must be a plain HTTP URL such as http://127.0.0.1:8080",
        ),
        ("http://bad url".to_owned(), "is not a URL"),
    ] {
        let error = ModelServer::connect(&url).await.unwrap_err();
        assert!(format!("{error:#}").contains(expected), "{url}: {error:#}");
    }
}

/// Starts a server that answers each POST with its path and the headers that could come from `InvokeEndpoint`.
async fn start_echo() -> SocketAddr {
    async fn echo(uri: Uri, headers: HeaderMap) -> String {
        let names = headers.keys().map(HeaderName::as_str);
        let names = names.filter(|name| name.starts_with("x-amzn-") || ["content-type", "accept"].contains(name));
        let mut headers: Vec<_> = names
            .map(|name| format!("{name}={}", headers[name].to_str().unwrap()))
            .collect();
        headers.sort_unstable();
        format!("{uri} {}", headers.join(" "))
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(echo)).await });
    address
}

#[tokio::test]
async fn a_request_has_the_path_of_the_url_and_the_headers_that_sagemaker_forwards() {
    let server = start_echo().await;
    let headers = [
        ("accept", "application/json"),
        ("x-amzn-sagemaker-custom-attributes", "trace=1"),
        ("x-amzn-sagemaker-target-model", "eu/a+b c.tar.gz"),
        ("x-amzn-sagemaker-inference-id", "7"),
        ("x-amzn-sagemaker-target-variant", "one"),
    ];
    let forwarded = "accept=application/json content-type=text/csv x-amzn-sagemaker-custom-attributes=trace=1 \
                     x-amzn-sagemaker-target-model=eu/a+b c.tar.gz";
    for (path, alone, with_model) in [
        ("", "/invocations", "/models/eu%2Fa%2Bb%20c.tar.gz/invoke"),
        ("/", "/invocations", "/models/eu%2Fa%2Bb%20c.tar.gz/invoke"),
        ("/invocations", "/invocations", "/models/eu%2Fa%2Bb%20c.tar.gz/invoke"),
        (
            "/v2/models/m/infer?x=1",
            "/v2/models/m/infer?x=1",
            "/v2/models/m/infer?x=1",
        ),
    ] {
        let endpoint = endpoint_for(format!("http://{server}{path}")).await;
        let (_, _, body) = call(&endpoint, "1").await;
        assert_eq!(body, format!("{alone} content-type=text/csv"));
        let (_, _, body) = call_with(&endpoint, "1", &headers).await;
        assert_eq!(body, format!("{with_model} {forwarded}"));
    }
}

/// What a server does with a request.
#[derive(Clone, Copy, PartialEq)]
enum Reply {
    /// It answers, and keeps the connection.
    Answer,
    /// It answers, and announces that it closes the connection.
    Last,
    /// It closes the connection without an answer.
    Close,
}

/// Reads a request to its end.
async fn read_request(connection: &mut BufReader<TcpStream>) {
    let (mut line, mut length) = (String::new(), 0);
    while line != "\r\n" {
        line.clear();
        if connection.read_line(&mut line).await.unwrap() == 0 {
            return;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
    }
    connection.read_exact(&mut vec![0; length]).await.unwrap();
}

/// Starts a server with these replies on its connections, in this order. Returns its endpoint and the number of
/// connections so far.
async fn start_with(connections: Vec<Vec<Reply>>) -> (SageMakerRuntime, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let accepted = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&accepted);
    tokio::spawn(async move {
        for replies in connections {
            let mut connection = BufReader::new(listener.accept().await.unwrap().0);
            count.fetch_add(1, Ordering::Relaxed);
            for reply in replies {
                read_request(&mut connection).await;
                let head = if reply == Reply::Last {
                    "connection: close\r\n"
                } else {
                    ""
                };
                let answer = format!("HTTP/1.1 200 OK\r\n{head}content-length: 2\r\n\r\nok");
                if reply != Reply::Close {
                    connection.write_all(answer.as_bytes()).await.unwrap();
                }
            }
        }
    });
    (endpoint_for(url).await, accepted)
}

#[tokio::test]
async fn a_request_is_repeated_only_if_a_connection_that_has_answered_was_closed() {
    use Reply::{Answer, Close, Last};
    // The first request is the ping, and the second one a call that is answered.
    for (name, connections, expected_status, expected_connections) in [
        (
            "a dead connection",
            vec![vec![Last], vec![Answer, Close], vec![Answer]],
            200,
            3,
        ),
        (
            "a container that dies",
            vec![vec![Last], vec![Answer, Close], vec![Close], vec![Answer]],
            424,
            3,
        ),
        (
            "a new connection that dies",
            vec![vec![Last], vec![Last], vec![Close], vec![Answer]],
            424,
            3,
        ),
    ] {
        let (endpoint, accepted) = start_with(connections).await;
        assert_eq!(call(&endpoint, "1").await.0, 200, "{name}");
        let (status, _, body) = call(&endpoint, "2").await;
        assert_eq!(status, expected_status, "{name}: {body:?}");
        assert_eq!(accepted.load(Ordering::Relaxed), expected_connections, "{name}");
    }
}
