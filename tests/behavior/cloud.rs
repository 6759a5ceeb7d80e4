//! AWS's destinations in small: an HTTP client behind which Kinesis, Firehose, SQS and S3 take what is put, or not.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_sagemakerruntime::config::{Credentials, HttpClient, SharedCredentialsProvider};
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use instream::config::Destination;
use instream::output::Output;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

/// What becomes of one request.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Fate {
    /// All is taken, after so many milliseconds.
    Taken(u64),
    /// Only the entries for which this is true are taken; all, where it is too short. S3 takes all or, if the first is
    /// false, nothing.
    Partly(Vec<bool>),
    /// Nothing is taken; the answer has this status and error code.
    Refused(u16, &'static str),
    /// All is taken, but the connection ends without an answer.
    TakenInSilence,
    /// Nothing is taken, and there is no answer.
    Hangs,
}

impl Fate {
    fn is_fault(&self) -> bool {
        match self {
            Self::Taken(_) => false,
            Self::Partly(taken) => taken.contains(&false),
            Self::Refused(..) | Self::TakenInSilence | Self::Hangs => true,
        }
    }
}

/// Decides about each request: which one it is, counted from 0, and how many entries it has.
pub(crate) type Decide = Box<dyn FnMut(usize, usize) -> Fate + Send>;

/// One entry that was taken.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Taken {
    pub(crate) text: String,
    /// Kinesis's partition key, or SQS's message group and deduplication identifier.
    pub(crate) key: String,
    pub(crate) deduplication: String,
}

/// One request, whatever became of it.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) at: Instant,
    pub(crate) entries: usize,
    pub(crate) bytes: usize,
}

#[derive(Default)]
struct State {
    decide: Option<Decide>,
    requests: Vec<Request>,
    taken: Vec<Taken>,
    objects: BTreeMap<String, String>,
    in_flight: usize,
    most_in_flight: usize,
    faults: u64,
    while_frozen: u64,
}

/// The services, and what they hold. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct Cloud {
    state: Arc<Mutex<State>>,
    gate: Arc<Gate>,
}

/// What one execution environment may do, and does.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    /// Whether an invocation is under way: without one, Lambda has the environment frozen.
    pub(crate) is_running: AtomicBool,
    /// Requests to destinations that have begun and not ended.
    pub(crate) in_flight: AtomicUsize,
}

impl fmt::Debug for Cloud {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cloud")
    }
}

impl Cloud {
    /// Services that do with each request as `decide` says.
    pub(crate) fn that(decide: impl FnMut(usize, usize) -> Fate + Send + 'static) -> Self {
        let cloud = Self::default();
        cloud.state.lock().unwrap().decide = Some(Box::new(decide));
        cloud
    }

    /// The same services, as one execution environment reaches them.
    pub(crate) fn behind(&self, gate: &Arc<Gate>) -> Self {
        Self {
            state: Arc::clone(&self.state),
            gate: Arc::clone(gate),
        }
    }

    /// Requests that did not go well.
    pub(crate) fn faults(&self) -> u64 {
        self.state.lock().unwrap().faults
    }

    /// Requests that began while their environment was frozen.
    pub(crate) fn while_frozen(&self) -> u64 {
        self.state.lock().unwrap().while_frozen
    }

    /// A destination here.
    pub(crate) fn open(&self, destination: &Destination) -> Output {
        let credentials = Credentials::new("id", "secret", None, None, "test");
        let environment = SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("eu-central-1"))
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .sleep_impl(aws_sdk_sagemakerruntime::config::SharedAsyncSleep::new(
                aws_smithy_async::rt::sleep::TokioSleep::new(),
            ))
            .http_client(self.clone())
            .build();
        Output::open(destination, &environment)
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.state.lock().unwrap().requests.clone()
    }

    pub(crate) fn taken(&self) -> Vec<Taken> {
        self.state.lock().unwrap().taken.clone()
    }

    /// The envelopes that were taken, in the order in which they were.
    pub(crate) fn envelopes(&self) -> Vec<Value> {
        let taken = self.taken();
        taken.iter().map(|it| serde_json::from_str(&it.text).unwrap()).collect()
    }

    /// The objects by their keys.
    pub(crate) fn objects(&self) -> BTreeMap<String, String> {
        self.state.lock().unwrap().objects.clone()
    }

    pub(crate) fn most_in_flight(&self) -> usize {
        self.state.lock().unwrap().most_in_flight
    }

    async fn serve(self, request: HttpRequest) -> Result<HttpResponse, ConnectorError> {
        let put = Put::read(&request);
        let fate = {
            let mut state = self.state.lock().unwrap();
            let number = state.requests.len();
            state.requests.push(Request {
                at: Instant::now(),
                entries: put.entries.len(),
                bytes: put.entries.iter().map(|entry| entry.text.len()).sum(),
            });
            state.while_frozen += u64::from(!self.gate.is_running.load(Ordering::Relaxed));
            self.gate.in_flight.fetch_add(1, Ordering::Relaxed);
            state.in_flight += 1;
            state.most_in_flight = state.most_in_flight.max(state.in_flight);
            let decide = state.decide.as_mut();
            let fate = decide.map_or(Fate::Taken(5), |decide| decide(number, put.entries.len()));
            state.faults += u64::from(fate.is_fault());
            fate
        };
        let _in_flight = InFlight(&self);
        match &fate {
            Fate::Taken(after) => sleep(Duration::from_millis(*after)).await,
            Fate::Hangs => std::future::pending().await,
            Fate::Partly(_) | Fate::Refused(..) | Fate::TakenInSilence => sleep(Duration::from_millis(5)).await,
        }
        if let Fate::Refused(status, code) = fate {
            return Ok(answer(status, &[("x-amzn-errortype", code)], "{}"));
        }
        let is_taken = |place: usize| match &fate {
            Fate::Partly(taken) => *taken.get(place).unwrap_or(&true),
            Fate::Taken(_) | Fate::Refused(..) | Fate::TakenInSilence | Fate::Hangs => true,
        };
        let codes: Vec<_> = (0..put.entries.len()).map(is_taken).collect();
        self.take(&put, &codes);
        if fate == Fate::TakenInSilence {
            return Err(ConnectorError::io(
                io::Error::from(io::ErrorKind::ConnectionReset).into(),
            ));
        }
        Ok(put.answer(&codes))
    }

    fn take(&self, put: &Put, codes: &[bool]) {
        let mut state = self.state.lock().unwrap();
        if let Some(key) = &put.object {
            if codes.first() == Some(&true) {
                state.objects.insert(key.clone(), put.entries[0].text.clone());
            }
            return;
        }
        for (entry, _) in put.entries.iter().zip(codes).filter(|(_, taken)| **taken) {
            // A FIFO queue drops what it has.
            let is_repeat = |it: &Taken| !entry.deduplication.is_empty() && it.deduplication == entry.deduplication;
            if !state.taken.iter().any(is_repeat) {
                state.taken.push(entry.clone());
            }
        }
    }
}

struct InFlight<'c>(&'c Cloud);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.state.lock().unwrap().in_flight -= 1;
        self.0.gate.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A request, read.
struct Put {
    service: &'static str,
    object: Option<String>,
    entries: Vec<Taken>,
}

impl Put {
    fn read(request: &HttpRequest) -> Self {
        let body = request.body().bytes().unwrap();
        let target = request.headers().get("x-amz-target").unwrap_or_default();
        let (service, list, text, key) = match target {
            "Kinesis_20131202.PutRecords" => ("kinesis", "Records", "Data", "PartitionKey"),
            "Firehose_20150804.PutRecordBatch" => ("firehose", "Records", "Data", ""),
            "AmazonSQS.SendMessageBatch" => ("sqs", "Entries", "MessageBody", "MessageGroupId"),
            _ => {
                let path = request.uri().split('?').next().unwrap();
                let text = String::from_utf8(body.to_vec()).unwrap();
                let (key, deduplication) = Default::default();
                return Self {
                    service: "s3",
                    object: Some(path.to_owned()),
                    entries: vec![Taken {
                        text,
                        key,
                        deduplication,
                    }],
                };
            }
        };
        let body: Value = serde_json::from_slice(body).unwrap();
        let read = |entry: &Value| {
            let member = |name: &str| entry[name].as_str().unwrap_or_default().to_owned();
            let text = match text {
                "Data" => String::from_utf8(BASE64.decode(member(text)).unwrap()).unwrap(),
                _ => member(text),
            };
            Taken {
                text,
                key: member(key),
                deduplication: member("MessageDeduplicationId"),
            }
        };
        Self {
            service,
            object: None,
            entries: body[list].as_array().unwrap().iter().map(read).collect(),
        }
    }

    fn answer(&self, codes: &[bool]) -> HttpResponse {
        let numbered = || codes.iter().enumerate();
        let failed = codes.iter().filter(|taken| !**taken).count();
        let results = |taken: Value, refused: Value| -> Vec<Value> {
            codes
                .iter()
                .map(|is_taken| if *is_taken { taken.clone() } else { refused.clone() })
                .collect()
        };
        let body = match self.service {
            "kinesis" => {
                let refused =
                    json!({"ErrorCode": "ProvisionedThroughputExceededException", "ErrorMessage": "slow down"});
                let taken = json!({"SequenceNumber": "1", "ShardId": "shardId-000000000000"});
                json!({"FailedRecordCount": failed, "Records": results(taken, refused)})
            }
            "firehose" => {
                let refused = json!({"ErrorCode": "ServiceUnavailableException", "ErrorMessage": "slow down"});
                let taken = json!({"RecordId": "1"});
                json!({"FailedPutCount": failed, "RequestResponses": results(taken, refused)})
            }
            "sqs" => {
                let taken = numbered().filter(|(_, taken)| **taken);
                let taken = taken
                    .map(|(number, _)| json!({"Id": number.to_string(), "MessageId": "1", "MD5OfMessageBody": "0"}));
                let refused = numbered().filter(|(_, taken)| !**taken);
                let refused = refused.map(
                    |(number, _)| json!({"Id": number.to_string(), "Code": "InternalError", "SenderFault": false}),
                );
                json!({"Successful": taken.collect::<Vec<_>>(), "Failed": refused.collect::<Vec<_>>()})
            }
            _ if codes.first() == Some(&false) => return answer(503, &[], "<Error><Code>SlowDown</Code></Error>"),
            _ => return answer(200, &[("etag", "\"1\"")], ""),
        };
        answer(
            200,
            &[("content-type", "application/x-amz-json-1.1")],
            &body.to_string(),
        )
    }
}

fn answer(status: u16, headers: &[(&'static str, &'static str)], body: &str) -> HttpResponse {
    let mut response = HttpResponse::new(status.try_into().unwrap(), SdkBody::from(body));
    for (name, value) in headers {
        response.headers_mut().insert(*name, *value);
    }
    response
}

impl HttpConnector for Cloud {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        HttpConnectorFuture::new(self.clone().serve(request))
    }
}

impl HttpClient for Cloud {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}
