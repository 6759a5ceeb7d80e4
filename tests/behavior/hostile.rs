//! The answers of a hostile server, written byte by byte over HTTP/1 and HTTP/2, and the outcome of the call.

use std::time::Duration;

use tokio::time::timeout;

use crate::replay::{Reply, call};

mod client;
mod server;

use client::outcome;
use server::{
    CANCEL, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, NO_ERROR, Protocol, RST_STREAM, Start, frame, headers,
};

const OK: &str = "HTTP/1.1 200 OK\r\n";
const UNMARKED: &str = "Suspect: the response may be incomplete: its end is not marked; the endpoint must send a \
                        content-length or a chunked body";
const CUT_SHORT: &str = "Suspect: the response could not be read";
const BROKEN: &str = "Suspect: the connection failed: ";

/// Asserts the outcome of an answer from both kinds of endpoint. A fault has to begin with the words in `expected`.
async fn assert_outcome(protocol: Protocol, start: Start, answer: &[u8], expected: [Result<&str, &str>; 2]) {
    for (is_url, expected) in [true, false].into_iter().zip(expected) {
        let outcome = Box::pin(outcome(is_url, protocol, start, answer)).await;
        let is_expected = match (&outcome, expected) {
            (Ok(body), Ok(expected)) => body == expected,
            (Err(fault), Err(expected)) => fault.starts_with(expected),
            _ => false,
        };
        let shown = String::from_utf8_lossy(&answer[..answer.len().min(200)]);
        assert!(is_expected, "{outcome:?} for {shown:?}, URL: {is_url}");
    }
}

/// Asserts the outcome of an answer over HTTP/1.
async fn assert_http1(answer: impl AsRef<[u8]>, expected: [Result<&str, &str>; 2]) {
    assert_outcome(Protocol::Http1, Start::AfterTheRequest, answer.as_ref(), expected).await;
}

fn both<T: Copy>(expected: T) -> [T; 2] {
    [expected; 2]
}

#[tokio::test]
async fn only_a_whole_http1_answer_is_a_prediction() {
    for (head, body, expected) in [
        // The whole body.
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
    ] {
        let answer = format!("{OK}{head}\r\n{body}");
        assert_http1(answer, both(expected)).await;
    }
    for answer in [
        &b"HTTP/1.0 200 OK\r\n\r\n0.5"[..],
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntransfer-encoding: \xFF\r\n\r\n3\r\n0.5\r\n0\r\n\r\n",
    ] {
        assert_http1(answer, both(Err(UNMARKED))).await;
    }
}

#[tokio::test]
async fn a_compressed_answer_is_a_fault() {
    for (head, expected) in [
        (
            "content-encoding: gzip",
            "Suspect: the response has the content-encoding gzip; turn off compression in the endpoint: no request asks \
             for it",
        ),
        (
            "content-encoding: identity\r\ncontent-encoding: BR",
            "Suspect: the response has the content-encoding br;",
        ),
        (
            "content-encoding: card-4929",
            "Suspect: the response has an unknown content-encoding;",
        ),
    ] {
        let answer = format!("{OK}{head}\r\ncontent-length: 3\r\n\r\n0.5");
        assert_http1(answer, both(Err(expected))).await;
    }
    let answer = b"HTTP/1.1 200 OK\r\ncontent-encoding: \xFF\r\ncontent-length: 3\r\n\r\n0.5";
    let expected = Err("Suspect: the response has an unknown content-encoding;");
    assert_http1(answer, both(expected)).await;
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
        assert_http1(answer, expected.map(Err)).await;
    }
    for status in ["201 Created", "203 Non-Authoritative Information"] {
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 3\r\n\r\n0.5");
        let of_sagemaker = format!("Suspect: SageMaker answered an error with status {}", &status[..3]);
        let expected = [Ok("0.5"), Err(&*of_sagemaker)];
        assert_http1(answer, expected).await;
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
        assert_http1(answer, both(Err(expected))).await;
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
        assert_http1(answer, both(Err(BROKEN))).await;
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
        let ended = timeout(Duration::from_secs(70), Box::pin(call(&[], &replies))).await;
        assert_eq!(ended.is_err(), waits, "{status}");
    }
}
