//! Connections of the pool that died while nobody looked, as in a process that Lambda had frozen.

use std::net::SocketAddr;

use instream_local::function::{Answer, Function};
use instream_local::setup::Setup;
use instream_local::stream::{self, StreamRecord};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use crate::capacity::RECORD;
use crate::options;

/// A service whose connections answer one call each, and end without a word at the second. Tells of each call that it
/// took, and whether it answered.
async fn mortal(told: mpsc::UnboundedSender<bool>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            tokio::spawn(serve_one(connection, told.clone()));
        }
    });
    address
}

async fn serve_one(connection: TcpStream, told: mpsc::UnboundedSender<bool>) {
    let mut connection = BufReader::new(connection);
    read_request(&mut connection).await.unwrap();
    told.send(true).unwrap();
    let answer = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}";
    connection.write_all(answer).await.unwrap();
    if read_request(&mut connection).await.is_some() {
        told.send(false).unwrap();
    }
}

/// The request's line and headers, in lower case, and its body. `None` where the client has gone instead.
pub(crate) async fn read_request(connection: &mut BufReader<TcpStream>) -> Option<(String, Vec<u8>)> {
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if connection.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        line.make_ascii_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if line.trim().is_empty() {
            break;
        }
        head.push_str(&line);
    }
    let mut body = vec![0; length];
    connection.read_exact(&mut body).await.ok()?;
    Some((head, body))
}

#[tokio::test]
async fn a_pooled_connection_is_dead() {
    for is_by_url in [false, true] {
        calls_are_made_again_where_a_connection_has_died(is_by_url).await;
    }
}

async fn calls_are_made_again_where_a_connection_has_died(is_by_url: bool) {
    let (tell, mut told) = mpsc::unbounded_channel();
    let service = mortal(tell).await;
    // With one attempt a record, an attempt that were spent on a dead connection would be the last.
    let mut setup = Setup::new(options(&[("MAX_ATTEMPTS", "1")])).await.unwrap();
    let name = if is_by_url {
        setup.launch.environment.remove("ENDPOINT_NAME");
        "ENDPOINT_URL"
    } else {
        "AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME"
    };
    let url = (name.to_owned(), format!("http://{service}"));
    setup.launch.environment.extend([url]);
    let function = Function::start(&setup.launch).await.unwrap();
    for number in 1..=3 {
        let record = StreamRecord::from_line(number, b"{}", 0);
        let answer = function.invoke(stream::event([&record])).await;
        assert_eq!(
            answer,
            Answer::Response(r#"{"batchItemFailures":[]}"#.into()),
            "record {number}"
        );
    }
    function.stop().await;
    let calls: Vec<_> = std::iter::from_fn(|| told.try_recv().ok()).collect();
    assert_eq!(calls, [true, false, true, false, true]);
}

#[tokio::test]
async fn calls_go_by_the_proxy_that_the_environment_names() {
    let (tell, mut told) = mpsc::unbounded_channel();
    let proxy = mortal(tell).await;
    let mut setup = Setup::new(options(&[])).await.unwrap();
    let own = [
        ("HTTP_PROXY", format!("http://{proxy}")),
        (
            "AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME",
            "http://sagemaker.invalid".to_owned(),
        ),
    ];
    let own = own.map(|(name, value)| (name.to_owned(), value));
    setup.launch.environment.extend(own);
    let function = Function::start(&setup.launch).await.unwrap();
    let record = StreamRecord::from_line(1, b"{}", 0);
    let answer = function.invoke(stream::event([&record])).await;
    assert_eq!(answer, Answer::Response(r#"{"batchItemFailures":[]}"#.into()));
    function.stop().await;
    assert_eq!(told.try_recv(), Ok(true));
}

/// A service that answers each call with an error of its own, and keeps the connection. Tells of each connection.
async fn unavailable(told: mpsc::UnboundedSender<()>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            told.send(()).unwrap();
            tokio::spawn(async move {
                let mut connection = BufReader::new(connection);
                let answer = b"HTTP/1.1 503 Service Unavailable\r\nx-amzn-ErrorType: ServiceUnavailable\r\n\
                    content-length: 2\r\n\r\n{}";
                while read_request(&mut connection).await.is_some() {
                    connection.write_all(answer).await.unwrap();
                }
            });
        }
    });
    address
}

#[tokio::test]
async fn an_error_of_the_service_closes_no_connection() {
    let (tell, mut told) = mpsc::unbounded_channel();
    let service = unavailable(tell).await;
    let settings = [("CAPACITY", "1"), ("RETRY_BASE_MS", "1"), ("RETRY_CAP_MS", "1")];
    let mut setup = Setup::new(options(&settings)).await.unwrap();
    let url = (
        "AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME".to_owned(),
        format!("http://{service}"),
    );
    setup.launch.environment.extend([url]);
    let function = Function::start(&setup.launch).await.unwrap();
    let record = StreamRecord::from_line(1, b"{}", 0);
    for _ in 0..2 {
        let Answer::Response(answer) = function.invoke(stream::event([&record])).await else {
            panic!("the function answers");
        };
        assert!(
            String::from_utf8_lossy(&answer).contains("itemIdentifier"),
            "{answer:?}"
        );
    }
    function.stop().await;
    assert_eq!(std::iter::from_fn(|| told.try_recv().ok()).count(), 1);
}

#[tokio::test]
async fn behind_tls_connections_are_there_before_the_first_event() {
    for (tls, expected) in [(true, 4), (false, 0)] {
        let mut options = options(&[("CAPACITY", "4")]);
        options.local_endpoint.tls = tls;
        let setup = Setup::new(options).await.unwrap();
        let endpoint = setup.endpoint.unwrap();
        let function = Function::start(&setup.launch).await.unwrap();
        assert_eq!(endpoint.connections(), expected, "TLS: {tls}");
        assert_eq!(endpoint.calls(), 0, "the endpoint itself is not called");
        let records: Vec<_> = (1..=20)
            .map(|number| StreamRecord::from_line(number, RECORD, 0))
            .collect();
        let answer = function.invoke(stream::event(&records)).await;
        assert_eq!(answer, Answer::Response(r#"{"batchItemFailures":[]}"#.into()));
        assert_eq!(endpoint.connections(), 4, "TLS: {tls}");
        function.stop().await;
    }
}
