//! The answers of a hostile server, written byte by byte over HTTP/1 and HTTP/2, and the outcome of the call.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_smithy_runtime_api::client::http::{HttpConnector, HttpConnectorFuture, SharedHttpConnector};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::body::SdkBody;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector as TcpConnector;
use hyper_util::rt::TokioExecutor;
use instream::config::Config;
use instream::endpoint::host_lookup::Resolver;
use instream::endpoint::http_client::new_connector;
use instream::endpoint::target::AnyEndpoint;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::replay::{Reply, call, credentials, invoke, request};

const OK: &str = "HTTP/1.1 200 OK\r\n";
const UNMARKED: &str = "Suspect: the response may be incomplete: its end is not marked; the endpoint must send a \
                        content-length or a chunked body";
const CUT_SHORT: &str = "Suspect: the response could not be read";
const BROKEN: &str = "Suspect: the connection failed: ";

/// The protocol of a server.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Protocol {
    Http1,
    Http2,
}

/// When a server writes its answer.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Start {
    AfterTheRequest,
    BeforeTheRequest,
}

/// Starts a server that writes `answer` to each connection and then closes it.
async fn server(protocol: Protocol, start: Start, answer: Vec<u8>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            // The client may close the connection in the middle of the answer.
            _ = serve(connection, protocol, start, &answer).await;
        }
    });
    address
}

async fn serve(connection: TcpStream, protocol: Protocol, start: Start, answer: &[u8]) -> io::Result<()> {
    let mut connection = BufReader::new(connection);
    if start == Start::BeforeTheRequest {
        // A client takes bytes before its request for an error. One byte is enough for the answer to be early.
        connection.fill_buf().await?;
    } else if protocol == Protocol::Http1 {
        read_http1_request(&mut connection).await?;
    } else {
        connection.write_all(&frame(SETTINGS, 0, 0, b"")).await?;
        read_http2_request(&mut connection).await?;
    }
    connection.write_all(answer).await?;
    connection.shutdown().await?;
    // A connection that is closed with unread bytes is reset, which could overtake the answer.
    connection.read_to_end(&mut Vec::new()).await.map(drop)
}

async fn read_http1_request(connection: &mut BufReader<TcpStream>) -> io::Result<()> {
    let (mut line, mut length) = (String::new(), 0);
    while line != "\r\n" {
        line.clear();
        if connection.read_line(&mut line).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if let Some((_, value)) = line.split_once("content-length: ") {
            length = value.trim().parse().unwrap();
        }
    }
    connection.read_exact(&mut vec![0; length]).await.map(drop)
}

// The frames of HTTP/2: <https://www.rfc-editor.org/rfc/rfc9113#section-6>.
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const NO_ERROR: [u8; 4] = [0; 4];
const CANCEL: [u8; 4] = [0, 0, 0, 8];

fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).unwrap();
    [&[0, 0, length, kind, flags, 0, 0, 0, stream], payload].concat()
}

/// Returns the headers of a response to the first stream with status 200 and, if it is not empty, this content-length.
fn headers(flags: u8, content_length: &str) -> Vec<u8> {
    // Index 8 of HPACK's static table is `:status: 200`, and index 28 is the name `content-length`.
    let mut block = vec![0x88];
    if !content_length.is_empty() {
        block.extend([0x0f, 28 - 15, u8::try_from(content_length.len()).unwrap()]);
        block.extend(content_length.as_bytes());
    }
    frame(HEADERS, END_HEADERS | flags, 1, &block)
}

/// Reads the client's preface and its frames up to the end of its first stream.
async fn read_http2_request(connection: &mut BufReader<TcpStream>) -> io::Result<()> {
    connection.read_exact(&mut [0; 24]).await?;
    loop {
        let mut head = [0; 9];
        connection.read_exact(&mut head).await?;
        let [a, b, c, kind, flags, _, _, _, stream] = head;
        let length = u32::from_be_bytes([0, a, b, c]);
        connection.read_exact(&mut vec![0; length.try_into().unwrap()]).await?;
        if stream == 1 && [DATA, HEADERS].contains(&kind) && flags & END_STREAM != 0 {
            return Ok(());
        }
    }
}

/// A client that speaks HTTP/2 without TLS. The function's own client speaks it only over TLS, but reads responses in
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

/// Calls a model behind a URL, or a `SageMaker` endpoint, on a server with this answer. Returns the body of the
/// prediction, or the fault in the words of a log.
async fn outcome(is_url: bool, protocol: Protocol, start: Start, answer: &[u8]) -> Result<String, String> {
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
        Protocol::Http1 => new_connector(Resolver::system()),
        Protocol::Http2 => SharedHttpConnector::new(PlainHttp2::new()),
    };
    let endpoint = AnyEndpoint::new(http, &environment, config.endpoint, &config.parameters);
    let answer = invoke(&endpoint.await.unwrap(), &request()).await;
    let body = answer.map(|response| String::from_utf8(response.body.to_vec()).unwrap());
    body.map_err(|fault| fault.to_string())
}

/// Asserts the outcome of an answer from both kinds of endpoint. A fault has to begin with the words in `expected`.
async fn assert_outcome(protocol: Protocol, start: Start, answer: &[u8], expected: [Result<&str, &str>; 2]) {
    for (is_url, expected) in [true, false].into_iter().zip(expected) {
        let outcome = outcome(is_url, protocol, start, answer).await;
        let is_expected = match (&outcome, expected) {
            (Ok(body), Ok(expected)) => body == expected,
            (Err(fault), Err(expected)) => fault.starts_with(expected),
            _ => false,
        };
        let shown = String::from_utf8_lossy(&answer[..answer.len().min(200)]);
        assert!(is_expected, "{outcome:?} for {shown:?}, URL: {is_url}");
    }
}

fn both<T: Copy>(expected: T) -> [T; 2] {
    [expected; 2]
}

#[tokio::test]
async fn only_a_whole_http1_answer_is_a_prediction() {
    for (head, body, expected) in [
        // The whole body, and what may stand before and after it.
        ("content-length: 3\r\n", "0.5", Ok("0.5")),
        ("content-length: 3\r\ncontent-length: 3\r\n", "0.5", Ok("0.5")),
        ("content-length: 3\r\n", "0.5 and more", Ok("0.5")),
        ("content-length: 0\r\n", "", Ok("")),
        (
            "transfer-encoding: chunked\r\n",
            "1\r\n0\r\n2\r\n.5\r\n0\r\n\r\n",
            Ok("0.5"),
        ),
        (
            "transfer-encoding: Chunked\r\ncontent-length: 3\r\n",
            "3\r\n0.5\r\n0\r\n\r\n",
            Ok("0.5"),
        ),
        (
            "transfer-encoding: chunked\r\n",
            "3\r\n0.5\r\n0\r\na: b\r\n\r\n",
            Ok("0.5"),
        ),
        ("content-encoding: Identity\r\ncontent-length: 3\r\n", "0.5", Ok("0.5")),
        // Less than the whole body.
        ("content-length: 4\r\n", "0.5", Err(CUT_SHORT)),
        ("content-length: 18446744073709551615\r\n", "0.5", Err(BROKEN)),
        ("transfer-encoding: chunked\r\n", "3\r\n0.5\r\n", Err(CUT_SHORT)),
        ("transfer-encoding: chunked\r\n", "3\r\n0.", Err(CUT_SHORT)),
        (
            "transfer-encoding: chunked\r\n",
            "three\r\n0.5\r\n0\r\n\r\n",
            Err(CUT_SHORT),
        ),
        // No known end.
        ("", "0.5", Err(UNMARKED)),
        ("connection: close\r\n", "", Err(UNMARKED)),
        ("transfer-encoding: identity\r\n", "0.5", Err(UNMARKED)),
        (
            "transfer-encoding: gzip, chunked\r\n",
            "3\r\n0.5\r\n0\r\n\r\n",
            Err(UNMARKED),
        ),
        (
            "transfer-encoding: chunked\r\ncontent-length: 4\r\n",
            "3\r\n0.5\r\n0\r\n\r\n",
            Err(UNMARKED),
        ),
        // No valid length.
        ("content-length: 3\r\ncontent-length: 4\r\n", "0.5", Err(BROKEN)),
        ("content-length: -3\r\n", "0.5", Err(BROKEN)),
        // A compressed body.
        (
            "content-encoding: gzip\r\ncontent-length: 3\r\n",
            "0.5",
            Err(
                "Suspect: the response has the content-encoding gzip; turn off compression in the endpoint: no request \
                 asks for it",
            ),
        ),
        (
            "content-encoding: identity\r\ncontent-encoding: BR\r\ncontent-length: 3\r\n",
            "0.5",
            Err("Suspect: the response has the content-encoding br;"),
        ),
        (
            "content-encoding: card-4929\r\ncontent-length: 3\r\n",
            "0.5",
            Err("Suspect: the response has an unknown content-encoding;"),
        ),
    ] {
        let answer = format!("{OK}{head}\r\n{body}");
        assert_outcome(
            Protocol::Http1,
            Start::AfterTheRequest,
            answer.as_bytes(),
            both(expected),
        )
        .await;
    }
    let answer = b"HTTP/1.0 200 OK\r\n\r\n0.5";
    assert_outcome(Protocol::Http1, Start::AfterTheRequest, answer, both(Err(UNMARKED))).await;
}

#[tokio::test]
async fn an_answer_may_come_after_others_and_before_the_request_is_read() {
    let whole = format!("{OK}content-length: 3\r\n\r\n0.5");
    for (start, before) in [
        (Start::BeforeTheRequest, ""),
        (Start::AfterTheRequest, "HTTP/1.1 100 Continue\r\n\r\n"),
        (Start::AfterTheRequest, "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"),
    ] {
        let answer = format!("{before}{whole}");
        assert_outcome(Protocol::Http1, start, answer.as_bytes(), both(Ok("0.5"))).await;
    }
}

#[tokio::test]
async fn a_status_that_is_not_of_a_prediction_is_a_fault() {
    for (status, expected) in [
        (
            "101 Switching Protocols",
            ["Suspect: the endpoint answered with status 101", "Suspect"],
        ),
        (
            "202 Accepted",
            ["Suspect: the endpoint answered with status 202", "Suspect"],
        ),
        (
            "204 No Content",
            ["Suspect: the endpoint answered with status 204", "Suspect"],
        ),
        (
            "205 Reset Content",
            ["Suspect: the endpoint answered with status 205", "Suspect"],
        ),
        (
            "206 Partial Content",
            ["Suspect: the endpoint answered with status 206", "Suspect"],
        ),
        ("301 Moved Permanently", both("Misconfigured")),
        ("304 Not Modified", both("Misconfigured")),
        ("307 Temporary Redirect", both("Misconfigured")),
        ("999 Unknown", ["Suspect", "Unreachable"]),
    ] {
        let answer = format!("HTTP/1.1 {status}\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 3\r\n\r\n0.5");
        assert_outcome(
            Protocol::Http1,
            Start::AfterTheRequest,
            answer.as_bytes(),
            expected.map(Err),
        )
        .await;
    }
    for status in ["201 Created", "203 Non-Authoritative Information"] {
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 3\r\n\r\n0.5");
        let of_sagemaker = format!("Suspect: SageMaker answered an error with status {}", &status[..3]);
        let expected = [Ok("0.5"), Err(&*of_sagemaker)];
        assert_outcome(Protocol::Http1, Start::AfterTheRequest, answer.as_bytes(), expected).await;
    }
}

#[tokio::test]
async fn a_200_with_an_error_type_is_that_error() {
    for (code, body, expected) in [
        ("ThrottlingException", "{}", "Overload"),
        ("AccessDeniedException", "{}", "Misconfigured"),
        (
            "ModelError",
            r#"{"OriginalStatusCode":400}"#,
            "Refused: the container answered with status 400",
        ),
        ("ModelError", "0.5", "Suspect"),
        ("SomethingNew", "0.5", "Suspect"),
    ] {
        let length = body.len();
        let answer = format!("{OK}x-amzn-ErrorType: {code}\r\ncontent-length: {length}\r\n\r\n{body}");
        assert_outcome(
            Protocol::Http1,
            Start::AfterTheRequest,
            answer.as_bytes(),
            both(Err(expected)),
        )
        .await;
    }
}

#[tokio::test]
async fn an_answer_that_is_not_http_is_a_fault() {
    let headers = "a: b\r\n".repeat(1000);
    let flood = format!("{OK}{headers}content-length: 3\r\n\r\n0.5");
    let long = format!("{OK}a: {}\r\ncontent-length: 3\r\n\r\n0.5", "b".repeat(1 << 20));
    let endless = format!("{OK}a: {}", "b".repeat(1 << 20));
    for answer in [
        "",
        "0.5",
        "HTTP/1.1 200 OK\r\ncontent-le",
        "HTTP/1.1 20x OK\r\ncontent-length: 3\r\n\r\n0.5",
        "HTTP/1.1 200 OK\r\ncontent length: 3\r\n\r\n0.5",
        "SSH-2.0-OpenSSH_9.6\r\n",
        &flood,
        &long,
        &endless,
    ] {
        assert_outcome(
            Protocol::Http1,
            Start::AfterTheRequest,
            answer.as_bytes(),
            both(Err(BROKEN)),
        )
        .await;
    }
}

#[tokio::test]
async fn only_a_whole_http2_answer_is_a_prediction() {
    let data = |flags, text: &str| frame(DATA, flags, 1, text.as_bytes());
    let reset = |reason: [u8; 4]| frame(RST_STREAM, 0, 1, &reason);
    let go_away = |last: u8, reason: [u8; 4]| frame(GOAWAY, 0, 0, &[&[0, 0, 0, last], &reason[..]].concat());
    // The trailer is `a: b`.
    let trailers = frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0, 1, b'a', 1, b'b']);
    for (frames, expected) in [
        (vec![headers(0, "3"), data(END_STREAM, "0.5")], Ok("0.5")),
        (vec![headers(0, ""), data(0, "0."), data(END_STREAM, "5")], Ok("0.5")),
        (vec![headers(0, ""), data(0, "0.5"), data(END_STREAM, "")], Ok("0.5")),
        (vec![headers(0, ""), data(0, "0.5"), trailers], Ok("0.5")),
        (vec![headers(END_STREAM, "")], Ok("")),
        (
            vec![headers(0, ""), data(END_STREAM, "0.5"), reset(NO_ERROR)],
            Ok("0.5"),
        ),
        (vec![headers(0, "4"), data(0, "0.5"), reset(NO_ERROR)], Err(UNMARKED)),
        (vec![headers(0, ""), data(0, "0.5"), reset(NO_ERROR)], Err(UNMARKED)),
        (vec![headers(0, "3"), data(0, "0.5"), reset(NO_ERROR)], Err(UNMARKED)),
        (vec![headers(0, ""), reset(NO_ERROR)], Err(UNMARKED)),
        (
            vec![headers(0, ""), data(0, "0.5"), go_away(0, NO_ERROR)],
            Err(UNMARKED),
        ),
        (
            vec![headers(0, "4"), data(0, "0.5"), go_away(0, NO_ERROR)],
            Err(UNMARKED),
        ),
        (
            vec![headers(0, ""), data(0, "0.5"), go_away(1, NO_ERROR)],
            Err(CUT_SHORT),
        ),
        (vec![headers(0, ""), data(0, "0.5"), reset(CANCEL)], Err(CUT_SHORT)),
        (vec![headers(0, ""), data(0, "0.5")], Err(CUT_SHORT)),
        (vec![headers(0, "4"), data(END_STREAM, "0.5")], Err(CUT_SHORT)),
        (vec![headers(0, "2"), data(END_STREAM, "0.5")], Err(CUT_SHORT)),
    ] {
        assert_outcome(
            Protocol::Http2,
            Start::AfterTheRequest,
            &frames.concat(),
            both(expected),
        )
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_waits_for_a_prediction_until_the_call_timeout_but_not_for_the_body_of_an_error() {
    for (status, waits) in [(200, true), (202, false), (500, false)] {
        let replies = [Reply::BodyHangs(status)];
        let ended = timeout(Duration::from_secs(70), call(&[], &replies)).await;
        assert_eq!(ended.is_err(), waits, "{status}");
    }
}
