//! Simulated AWS destinations: an HTTP client that answers as Kinesis, Firehose, SQS and S3 and can refuse entries.

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
use instream::delivery::DestinationSetting;
use instream::delivery::destination::Destination;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

/// The result of one request.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Fate {
    /// All entries are accepted after this many milliseconds.
    Taken(u64),
    /// Only the entries marked `true` are accepted. Entries past the end of the list are accepted. S3 refuses the whole
    /// object if the first mark is `false`.
    Partly(Vec<bool>),
    /// No entry is accepted. The response has this status and error code.
    Refused(u16, &'static str),
    /// All entries are accepted, but the connection ends without a response.
    TakenWithoutResponse,
    /// No entry is accepted, and there is no response.
    Hangs,
}

impl Fate {
    fn is_fault(&self) -> bool {
        match self {
            Self::Taken(_) => false,
            Self::Partly(taken) => taken.contains(&false),
            Self::Refused(..) | Self::TakenWithoutResponse | Self::Hangs => true,
        }
    }
}

/// Decides the result of a request from its number, counted from 0, and its number of entries.
pub(crate) type Decide = Box<dyn FnMut(usize, usize) -> Fate + Send>;

/// An accepted entry.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Taken {
    pub(crate) text: String,
    /// The partition key in Kinesis, the message group in SQS, or the detail type in `EventBridge`.
    pub(crate) key: String,
    /// The message deduplication identifier in SQS.
    pub(crate) deduplication: String,
}

/// A request, whatever its result.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) at: Instant,
    pub(crate) entries: usize,
    pub(crate) bytes: usize,
}

/// Decides from its text whether an entry is never accepted.
type Refuse = Box<dyn Fn(&str) -> bool + Send>;

#[derive(Default)]
struct State {
    decide: Option<Decide>,
    refuse: Option<Refuse>,
    refuses_requests: bool,
    requests: Vec<Request>,
    taken: Vec<Taken>,
    objects: BTreeMap<String, String>,
    in_flight: usize,
    most_in_flight: usize,
    faults: u64,
    while_frozen: u64,
}

/// The services and the entries that they hold. Clones share this state.
#[derive(Clone, Default)]
pub(crate) struct Cloud {
    state: Arc<Mutex<State>>,
    gate: Arc<Gate>,
}

/// The state of one execution environment and its requests.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    /// Whether an invocation is running. Otherwise Lambda has frozen the environment.
    pub(crate) is_running: AtomicBool,
    /// The number of requests to destinations in flight.
    pub(crate) in_flight: AtomicUsize,
}

impl fmt::Debug for Cloud {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cloud")
    }
}

impl Cloud {
    /// Creates services that call `decide` for the result of each request.
    pub(crate) fn deciding(decide: impl FnMut(usize, usize) -> Fate + Send + 'static) -> Self {
        let cloud = Self::default();
        cloud.state.lock().unwrap().decide = Some(Box::new(decide));
        cloud
    }

    /// Makes the services refuse for good each entry for which `refuse` returns true.
    pub(crate) fn refusing(self, refuse: impl Fn(&str) -> bool + Send + 'static) -> Self {
        self.state.lock().unwrap().refuse = Some(Box::new(refuse));
        self
    }

    /// Makes the services refuse for good each request with such an entry, instead of the entry.
    pub(crate) fn refusing_requests(self, refuse: impl Fn(&str) -> bool + Send + 'static) -> Self {
        let cloud = self.refusing(refuse);
        cloud.state.lock().unwrap().refuses_requests = true;
        cloud
    }

    /// Returns the same services for the requests of one execution environment.
    pub(crate) fn through(&self, gate: &Arc<Gate>) -> Self {
        Self {
            state: Arc::clone(&self.state),
            gate: Arc::clone(gate),
        }
    }

    /// Returns the number of requests that were not accepted completely or had no response.
    pub(crate) fn faults(&self) -> u64 {
        self.state.lock().unwrap().faults
    }

    /// Returns the number of requests that started while their environment was frozen.
    pub(crate) fn while_frozen(&self) -> u64 {
        self.state.lock().unwrap().while_frozen
    }

    /// Opens an output to a destination in these services.
    pub(crate) fn open(&self, destination: &DestinationSetting) -> Destination {
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
        Destination::open(destination, &environment)
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.state.lock().unwrap().requests.clone()
    }

    pub(crate) fn taken(&self) -> Vec<Taken> {
        self.state.lock().unwrap().taken.clone()
    }

    /// Returns the accepted envelopes in order of arrival.
    pub(crate) fn envelopes(&self) -> Vec<Value> {
        let taken = self.taken();
        taken.iter().map(|it| serde_json::from_str(&it.text).unwrap()).collect()
    }

    /// Returns the objects by their keys.
    pub(crate) fn objects(&self) -> BTreeMap<String, String> {
        self.state.lock().unwrap().objects.clone()
    }

    pub(crate) fn most_in_flight(&self) -> usize {
        self.state.lock().unwrap().most_in_flight
    }

    async fn serve(self, request: HttpRequest) -> Result<HttpResponse, ConnectorError> {
        let put = Put::read(&request);
        let (fate, refused) = {
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
            let is_refused = |entry: &Taken| state.refuse.as_ref().is_some_and(|refuse| refuse(&entry.text));
            let refused: Vec<_> = put.entries.iter().map(is_refused).collect();
            let is_refused_whole = refused.contains(&true) && (state.refuses_requests || put.service == "s3");
            let code = if put.service == "sqs" {
                "InvalidParameterValue"
            } else {
                "ValidationException"
            };
            let refusal = Fate::Refused(400, code);
            (if is_refused_whole { refusal } else { fate }, refused)
        };
        let _in_flight = InFlight(&self);
        match &fate {
            Fate::Taken(after) => sleep(Duration::from_millis(*after)).await,
            Fate::Hangs => std::future::pending().await,
            Fate::Partly(_) | Fate::Refused(..) | Fate::TakenWithoutResponse => sleep(Duration::from_millis(5)).await,
        }
        if let Fate::Refused(status, code) = fate {
            let body = match put.service {
                "s3" => format!("<Error><Code>{code}</Code><Message>m</Message></Error>"),
                _ => "{}".to_owned(),
            };
            return Ok(answer(status, &[("x-amzn-errortype", code)], &body));
        }
        let is_taken = |index: usize| match &fate {
            Fate::Partly(taken) => *taken.get(index).unwrap_or(&true),
            Fate::Taken(_) | Fate::Refused(..) | Fate::TakenWithoutResponse | Fate::Hangs => true,
        };
        let accepted: Vec<_> = (0..put.entries.len())
            .map(|index| is_taken(index) && !refused[index])
            .collect();
        self.take(&put, &accepted);
        if fate == Fate::TakenWithoutResponse {
            return Err(ConnectorError::io(
                io::Error::from(io::ErrorKind::ConnectionReset).into(),
            ));
        }
        Ok(put.answer(&accepted, &refused))
    }

    fn take(&self, put: &Put, accepted: &[bool]) {
        let mut state = self.state.lock().unwrap();
        if let Some(key) = &put.object {
            if accepted.first() == Some(&true) {
                state.objects.insert(key.clone(), put.entries[0].text.clone());
            }
            return;
        }
        for (entry, _) in put.entries.iter().zip(accepted).filter(|(_, taken)| **taken) {
            // A FIFO queue drops duplicates.
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

/// A parsed request.
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
            "AWSEvents.PutEvents" => ("eventbridge", "Entries", "Detail", "DetailType"),
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

    /// Returns the response: each entry is accepted, `refused` for good, or not accepted this time.
    fn answer(&self, accepted: &[bool], refused: &[bool]) -> HttpResponse {
        let numbered = || accepted.iter().zip(refused).enumerate();
        let failed = accepted.iter().filter(|taken| !**taken).count();
        let results = |taken: Value, throttled: Value| -> Vec<Value> {
            let result = |(_, (is_taken, is_refused)): (usize, (&bool, &bool))| match (is_taken, is_refused) {
                (true, _) => taken.clone(),
                (false, true) => json!({"ErrorCode": "InvalidArgumentException", "ErrorMessage": "never"}),
                (false, false) => throttled.clone(),
            };
            numbered().map(result).collect()
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
            "eventbridge" => {
                let refused = json!({"ErrorCode": "ThrottlingException", "ErrorMessage": "slow down"});
                json!({"FailedEntryCount": failed, "Entries": results(json!({"EventId": "1"}), refused)})
            }
            "sqs" => {
                let taken = numbered().filter(|(_, (taken, _))| **taken);
                let taken = taken
                    .map(|(number, _)| json!({"Id": number.to_string(), "MessageId": "1", "MD5OfMessageBody": "0"}));
                let failed = numbered().filter(|(_, (taken, _))| !**taken);
                let failed = failed.map(|(number, (_, is_refused))| {
                    let code = if *is_refused {
                        "InvalidParameterValue"
                    } else {
                        "InternalError"
                    };
                    json!({"Id": number.to_string(), "Code": code, "SenderFault": is_refused, "Message": "never"})
                });
                json!({"Successful": taken.collect::<Vec<_>>(), "Failed": failed.collect::<Vec<_>>()})
            }
            _ if accepted.first() == Some(&false) => return answer(503, &[], "<Error><Code>SlowDown</Code></Error>"),
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
