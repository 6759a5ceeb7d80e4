//! A model server behind the local endpoint. Its predictions pass unchanged; its errors become SageMaker's
//! `ModelError`.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

use std::net::SocketAddr;

use axum::Router;
use axum::http::{HeaderMap, Request, StatusCode};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use instream_local::model_server::ModelServer;
use instream_local::sagemaker::{EndpointOptions, SageMakerRuntime};
use serde_json::{Value, json};

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
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new()
        .route("/ping", get(|| async {}))
        .route("/invocations", post(invocations));
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

async fn call(endpoint: &SageMakerRuntime, body: &'static str) -> (u16, HeaderMap, Bytes) {
    let client = Client::builder(TokioExecutor::new()).build_http();
    let request = Request::post(format!("http://{}/endpoints/mine/invocations", endpoint.address()))
        .header("content-type", "text/csv")
        .body(Full::new(Bytes::from_static(body.as_bytes())))
        .unwrap();
    let (parts, body) = client.request(request).await.unwrap().into_parts();
    (
        parts.status.as_u16(),
        parts.headers,
        body.collect().await.unwrap().to_bytes(),
    )
}

#[tokio::test]
async fn answers_of_the_server_are_passed_on_and_other_statuses_become_model_errors() {
    let options = EndpointOptions {
        model_server: Some(format!("http://{}/", start_server().await)),
        ..EndpointOptions::default()
    };
    let endpoint = SageMakerRuntime::start(0, &options).await.unwrap();

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
