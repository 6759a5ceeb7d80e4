//! Answers whose content type is JSON and whose body is not.

use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use aws_smithy_runtime_api::client::http::{HttpConnector, HttpConnectorFuture, SharedHttpConnector};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_types::body::SdkBody;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use instream::config::Config;
use instream::delivery::destination::Destination;
use instream::delivery::destination::stdout::StdoutLines;
use instream::endpoint::target::AnyEndpoint;
use instream::handler::Handler;
use instream::lambda::time_budget::Invocation;
use serde_json::json;

use crate::replay::{credentials, environment};
use crate::support::{TestWriter, entry};

/// A model that answers with JSON, but with half of an answer to the record "bad".
#[derive(Debug)]
struct HalfAnswers(Arc<Mutex<Vec<String>>>);

impl HttpConnector for HalfAnswers {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let body = String::from_utf8(request.body().bytes().unwrap().to_vec()).unwrap();
        let answer = if body.contains("bad") {
            "{\"score\":0.4929"
        } else {
            "{\"score\":0.5}"
        };
        self.0.lock().unwrap().push(body);
        let mut response = HttpResponse::new(200.try_into().unwrap(), SdkBody::from(answer));
        response.headers_mut().insert("content-type", "application/json");
        HttpConnectorFuture::ready(Ok(response))
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_called_json_and_is_not_is_retried_and_then_given_up() {
    let settings = [
        ("ENDPOINT_URL", "https://api.example.com/score"),
        ("OUTPUT", "stdout:"),
        ("DEAD_LETTER", "stdout:"),
        ("GIVE_UP_AFTER_S", "0"),
    ];
    let setting = |name: &str| {
        let setting = settings.iter().find(|(key, _)| *key == name);
        setting.map(|(_, value)| (*value).to_owned())
    };
    let (config, calls) = (Config::from_lookup(setting).unwrap(), Arc::default());
    let http = SharedHttpConnector::new(HalfAnswers(Arc::clone(&calls)));
    let (environment, _) = environment(credentials(), &[]);
    let endpoint = AnyEndpoint::new(http, &environment, config.endpoint.clone(), &config.parameters);
    let (output, dead_letter) = (TestWriter::default(), TestWriter::default());
    let to = |writer: &TestWriter| Destination::Stdout(StdoutLines::new(Box::new(writer.clone())));
    let handler = Handler::new(&config, endpoint.await.unwrap(), to(&output), Some(to(&dead_letter)));
    let records = [("1", "good"), ("2", "bad"), ("3", "good")].map(|(number, data)| {
        let mut record = entry(number);
        record["kinesis"]["data"] = BASE64.encode(data).into();
        record
    });
    let invocation = Invocation {
        function_arn: "",
        request_id: "",
        trace_id: None,
        deadline_ms: 60_000,
        now: SystemTime::UNIX_EPOCH,
    };
    let event = json!({ "Records": records }).to_string();
    let response = handler.handle(event.as_bytes(), invocation).await.unwrap();
    assert_eq!(
        serde_json::to_value(response).unwrap(),
        json!({ "batchItemFailures": [] })
    );
    assert_eq!(output.lines().len(), 2);
    let [dead_letter] = &dead_letter.lines()[..] else {
        panic!("the bad record has a dead letter");
    };
    assert_eq!(dead_letter["reason"]["kind"], "GivenUp");
    let message = dead_letter["reason"]["message"].as_str().unwrap();
    assert!(
        message.contains("the content type of the response is JSON, but its body is not"),
        "{message}"
    );
    assert!(!message.contains("4929"), "{message}");
    let bad_calls = calls.lock().unwrap().iter().filter(|body| *body == "bad").count();
    assert!(bad_calls >= 3, "MAX_ATTEMPTS and the last attempts: {bad_calls}");
}
