//! Traces, as an OpenTelemetry collector receives them: <https://opentelemetry.io/docs/specs/otlp/#otlphttp>.

use std::collections::HashMap;

use bytes::Bytes;
use instream_local::function::{Function, InvocationResult};
use instream_local::setup::Setup;
use prost::Message;
use tokio::io::{AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::connections::read_request;
use crate::{options, repository};

/// The fields of `ExportTraceServiceRequest` that the tests read.
#[derive(Clone, PartialEq, Message)]
struct Export {
    #[prost(message, repeated, tag = "1")]
    of_resources: Vec<OfResource>,
}

#[derive(Clone, PartialEq, Message)]
struct OfResource {
    #[prost(message, repeated, tag = "2")]
    of_scopes: Vec<OfScope>,
}

#[derive(Clone, PartialEq, Message)]
struct OfScope {
    #[prost(message, repeated, tag = "2")]
    spans: Vec<Span>,
}

#[derive(Clone, PartialEq, Message)]
struct Span {
    #[prost(bytes = "vec", tag = "1")]
    trace_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    id: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    parent: Vec<u8>,
    #[prost(string, tag = "5")]
    name: String,
    #[prost(message, repeated, tag = "9")]
    attributes: Vec<Attribute>,
    #[prost(message, optional, tag = "15")]
    status: Option<Status>,
}

#[derive(Clone, PartialEq, Message)]
struct Attribute {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(message, optional, tag = "2")]
    value: Option<Text>,
}

#[derive(Clone, PartialEq, Message)]
struct Text {
    #[prost(string, tag = "1")]
    text: String,
}

#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(int32, tag = "3")]
    code: i32,
}

impl Span {
    fn attribute(&self, key: &str) -> Option<&str> {
        let attribute = self.attributes.iter().find(|attribute| attribute.key == key)?;
        Some(&attribute.value.as_ref()?.text)
    }
}

fn hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.filter_map(|digit| char::from_digit(digit.into(), 16)).collect()
}

/// Starts a collector that sends the spans it receives to `spans`. Returns its URL.
async fn collector(spans: mpsc::UnboundedSender<Span>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            let spans = spans.clone();
            tokio::spawn(async move {
                let mut connection = BufReader::new(connection);
                while let Some((head, body)) = read_request(&mut connection).await {
                    assert!(head.starts_with("post /v1/traces "), "{head}");
                    let export = Export::decode(&body[..]).unwrap();
                    let scopes = export.of_resources.into_iter().flat_map(|resource| resource.of_scopes);
                    scopes
                        .flat_map(|scope| scope.spans)
                        .for_each(|span| spans.send(span).unwrap());
                    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
                    connection.write_all(answer).await.unwrap();
                }
            });
        }
    });
    url
}

async fn spans(event: &str, settings: &[(&str, &str)]) -> Vec<Span> {
    let (sender, mut received) = mpsc::unbounded_channel();
    let url = collector(sender).await;
    let settings = [settings, &[("OTEL_EXPORTER_OTLP_ENDPOINT", url.as_str())]].concat();
    let setup = Setup::new(options(&settings)).await.unwrap();
    let function = Function::start(&setup.launch).await.unwrap();
    let event = std::fs::read(repository("events").join(event)).unwrap();
    for _ in 0..2 {
        let result = function.invoke(Bytes::from(event.clone())).await;
        assert!(matches!(result, InvocationResult::Response(_)), "{result:?}");
    }
    function.stop().await;
    // The function exports the spans of the first invocation before it asks for the second event.
    std::iter::from_fn(|| received.try_recv().ok()).collect()
}

#[tokio::test]
async fn each_invocation_and_each_of_its_calls_is_a_span_of_the_trace_that_lambda_sends() {
    let settings = [("OTEL_TRACES_SAMPLER", "always_on"), ("MAX_ATTEMPTS", "1")];
    let spans = spans("refused.json", &settings).await;
    let by_id: HashMap<_, _> = spans.iter().map(|span| (&span.id[..], span)).collect();
    let named = |name: &'static str| spans.iter().filter(move |span| span.name == name);
    assert!(named("invocation").count() >= 1, "{spans:?}");
    for call in named("call") {
        let parent = by_id[&call.parent[..]];
        assert_eq!((parent.name.as_str(), &parent.trace_id), ("invocation", &call.trace_id));
        assert!(call.attribute("id").unwrap().ends_with("-0"));
    }
    let first = named("invocation").next().unwrap();
    // Lambda's `Root=1-TTTTTTTT-RRRR…` is the protocol's trace ID with hyphens.
    let trace_id = hex(&first.trace_id);
    let xray_id = first.attribute("xrayTraceId").unwrap();
    assert!(
        xray_id.starts_with(&format!("Root=1-{}-{};", &trace_id[..8], &trace_id[8..])),
        "{xray_id}"
    );
    assert!(xray_id.contains(&hex(&first.parent)), "{xray_id}");
    let calls: Vec<_> = named("call").filter(|call| call.parent == first.id).collect();
    // Five records, three last attempts at the refused one, and a probe before and after them.
    assert_eq!(calls.len(), 10);
    let failed: Vec<_> = calls.iter().filter(|call| call.attribute("fault").is_some()).collect();
    let [refused, _, _, _] = failed[..] else {
        panic!("{calls:?}")
    };
    assert!(
        refused.attribute("fault").unwrap().starts_with("Refused: "),
        "{refused:?}"
    );
    assert_eq!(
        refused.status.as_ref().unwrap().code,
        2,
        "the protocol's code for an error"
    );
}

#[tokio::test]
async fn an_invocation_that_lambda_does_not_sample_exports_no_spans() {
    // The emulated Runtime API sends a trace that is not sampled.
    assert_eq!(spans("five.json", &[]).await, []);
}
