//! Connections, among them pooled ones that were closed unnoticed, as in an execution environment that Lambda had
//! frozen.

use std::net::SocketAddr;

use instream_local::function::{Function, InvocationResult};
use instream_local::setup::Setup;
use instream_local::stream::{self, StreamRecord};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use crate::capacity::RECORD;
use crate::options;

/// Starts a service that answers one call per connection, and closes the connection without an answer at the second.
/// For each call that it receives, it sends to `answered` whether it answered.
async fn one_call_per_connection(answered: mpsc::UnboundedSender<bool>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            tokio::spawn(serve_one(connection, answered.clone()));
        }
    });
    address
}

async fn serve_one(connection: TcpStream, answered: mpsc::UnboundedSender<bool>) {
    let mut connection = BufReader::new(connection);
    read_request(&mut connection).await.unwrap();
    answered.send(true).unwrap();
    let response = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}";
    connection.write_all(response).await.unwrap();
    if read_request(&mut connection).await.is_some() {
        answered.send(false).unwrap();
    }
}

/// Reads a request. Returns its request line and headers in lower case, and its body. Returns `None` if the client has
/// closed the connection.
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
        calls_on_dead_connections_are_repeated(is_by_url).await;
    }
}

async fn calls_on_dead_connections_are_repeated(is_by_url: bool) {
    let (sender, mut answered) = mpsc::unbounded_channel();
    let service = one_call_per_connection(sender).await;
    // With one attempt per record, the record would fail if a call on a dead connection spent an attempt.
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
        let result = function.invoke(stream::event([&record])).await;
        assert_eq!(
            result,
            InvocationResult::Response(r#"{"batchItemFailures":[]}"#.into()),
            "record {number}"
        );
    }
    function.stop().await;
    let calls: Vec<_> = std::iter::from_fn(|| answered.try_recv().ok()).collect();
    assert_eq!(calls, [true, false, true, false, true]);
}

#[tokio::test]
async fn calls_go_through_the_proxy_that_the_environment_names() {
    let (sender, mut answered) = mpsc::unbounded_channel();
    let proxy = one_call_per_connection(sender).await;
    let mut setup = Setup::new(options(&[])).await.unwrap();
    let settings = [
        ("HTTP_PROXY", format!("http://{proxy}")),
        (
            "AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME",
            "http://sagemaker.invalid".to_owned(),
        ),
        ("ENDPOINT_ALLOW_HTTP", "1".to_owned()),
    ];
    let settings = settings.map(|(name, value)| (name.to_owned(), value));
    setup.launch.environment.extend(settings);
    let function = Function::start(&setup.launch).await.unwrap();
    let record = StreamRecord::from_line(1, b"{}", 0);
    let result = function.invoke(stream::event([&record])).await;
    assert_eq!(result, InvocationResult::Response(r#"{"batchItemFailures":[]}"#.into()));
    function.stop().await;
    assert_eq!(answered.try_recv(), Ok(true));
}

#[tokio::test]
async fn unencrypted_calls_to_this_machine_never_go_through_a_proxy() {
    for (name, host) in [
        ("ENDPOINT_URL", "127.0.0.1"),
        ("ENDPOINT_URL", "localhost"),
        ("AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME", "127.0.0.1"),
        ("AWS_ENDPOINT_URL", "localhost"),
    ] {
        let (sender, mut answered) = mpsc::unbounded_channel();
        let service = one_call_per_connection(sender).await;
        let (sender, mut called_proxy) = mpsc::unbounded_channel();
        let proxy = format!("http://{}", one_call_per_connection(sender).await);
        let mut setup = Setup::new(options(&[])).await.unwrap();
        if name == "ENDPOINT_URL" {
            setup.launch.environment.remove("ENDPOINT_NAME");
        }
        setup.launch.environment.remove("AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME");
        let proxies = ["HTTP_PROXY", "http_proxy", "ALL_PROXY"].map(|name| (name.to_owned(), proxy.clone()));
        setup.launch.environment.extend(proxies);
        let url = (name.to_owned(), format!("http://{host}:{}", service.port()));
        setup.launch.environment.extend([url]);
        let function = Function::start(&setup.launch).await.unwrap();
        let result = function
            .invoke(stream::event([&StreamRecord::from_line(1, b"{}", 0)]))
            .await;
        assert_eq!(result, InvocationResult::Response(r#"{"batchItemFailures":[]}"#.into()));
        function.stop().await;
        let calls = (answered.try_recv().is_ok(), called_proxy.try_recv().is_ok());
        assert_eq!(calls, (true, false), "{name} {host}");
    }
}

/// Starts a service that answers each call with a service error and keeps the connection. It sends a message to
/// `connected` for each connection.
async fn unavailable_service(connected: mpsc::UnboundedSender<()>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            connected.send(()).unwrap();
            tokio::spawn(async move {
                let mut connection = BufReader::new(connection);
                let response = b"HTTP/1.1 503 Service Unavailable\r\nx-amzn-ErrorType: ServiceUnavailable\r\n\
                    content-length: 2\r\n\r\n{}";
                while read_request(&mut connection).await.is_some() {
                    connection.write_all(response).await.unwrap();
                }
            });
        }
    });
    address
}

#[tokio::test]
async fn a_service_error_does_not_close_the_connection() {
    let (sender, mut connected) = mpsc::unbounded_channel();
    let service = unavailable_service(sender).await;
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
        let InvocationResult::Response(response) = function.invoke(stream::event([&record])).await else {
            panic!("the function responds");
        };
        assert!(
            String::from_utf8_lossy(&response).contains("itemIdentifier"),
            "{response:?}"
        );
    }
    function.stop().await;
    assert_eq!(std::iter::from_fn(|| connected.try_recv().ok()).count(), 1);
}

#[tokio::test]
async fn tls_connections_are_opened_before_the_first_event() {
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
        let result = function.invoke(stream::event(&records)).await;
        assert_eq!(result, InvocationResult::Response(r#"{"batchItemFailures":[]}"#.into()));
        assert_eq!(endpoint.connections(), 4, "TLS: {tls}");
        function.stop().await;
    }
}

#[tokio::test]
async fn a_response_that_is_not_http_adds_no_line_of_the_sdk_to_the_log() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            let mut connection = BufReader::new(connection);
            if read_request(&mut connection).await.is_some() {
                connection.write_all(b"0.5\r\n\r\n").await.unwrap();
            }
        }
    });
    let settings = [("MAX_ATTEMPTS", "3"), ("RETRY_BASE_MS", "1"), ("RETRY_CAP_MS", "1")];
    let mut setup = Setup::new(options(&settings)).await.unwrap();
    let url = ("AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME".to_owned(), url);
    setup.launch.environment.extend([url]);
    let function = Function::start(&setup.launch).await.unwrap();
    let result = function
        .invoke(stream::event([&StreamRecord::from_line(1, b"{}", 0)]))
        .await;
    assert!(matches!(result, InvocationResult::Response(_)), "{result:?}");
    function.stop().await;
    drop(setup.launch);
    let mut log = Vec::new();
    while let Some(line) = setup.lines.recv().await {
        log.push(format!("{line:?}"));
    }
    let has = |words: &str| log.iter().any(|line| line.contains(words));
    assert!(has("invalid HTTP version"), "the reason is logged: {log:?}");
    assert!(!has("file an issue"), "{log:?}");
}
