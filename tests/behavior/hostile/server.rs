//! A server on loopback that writes an answer byte by byte over HTTP/1 or HTTP/2.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// The protocol of a server.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Protocol {
    Http1,
    Http2,
}

/// The time at which a server writes its answer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Start {
    AfterTheRequest,
    BeforeTheRequest,
}

/// Starts a server that writes `answer` to each connection and then closes it.
pub(super) async fn server(protocol: Protocol, start: Start, answer: Vec<u8>) -> SocketAddr {
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
pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
pub(super) const GOAWAY: u8 = 7;
pub(super) const END_STREAM: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;
pub(super) const NO_ERROR: [u8; 4] = [0; 4];
pub(super) const CANCEL: [u8; 4] = [0, 0, 0, 8];

pub(super) fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).unwrap();
    [&[0, 0, length, kind, flags, 0, 0, 0, stream], payload].concat()
}

/// Returns the headers of a response to the first stream with status 200 and, if it is not empty, this content-length.
pub(super) fn headers(flags: u8, content_length: &str) -> Vec<u8> {
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
