//! Builds a handler with a scripted endpoint, sends batches to it, and reports the results.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Write};
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use instream::config::Config;
use instream::delivery::Alert;
use instream::delivery::destination::Destination;
use instream::delivery::destination::stdout::StdoutLines;
use instream::handler::{Handler, HandlerError};
use instream::lambda::time_budget::Invocation;
use instream::telemetry::emf::Metrics;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};

use crate::emf::{self, Metric};
use crate::logs::{self, MARKER};
pub(crate) use crate::scripted::Behavior;
use crate::scripted::{Script, ScriptedModel, Seen};
use crate::transport::{self, TestedEndpoint};

/// The time for an invocation unless a test sets another: Lambda's maximum timeout.
const LAMBDA_TIMEOUT_MAX: Duration = Duration::from_mins(15);

/// The wall-clock time at which every handler starts, in seconds since 1970.
const NOW_S: f64 = 1_800_000_000.0;

/// A writer that keeps the written bytes for the test, or fails every write.
#[derive(Debug, Clone, Default)]
pub(crate) struct TestWriter {
    text: Arc<Mutex<Vec<u8>>>,
    broken: bool,
}

impl Write for TestWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.broken {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        self.text.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl TestWriter {
    pub(crate) fn lines(&self) -> Vec<Value> {
        let text = String::from_utf8(self.text.lock().unwrap().clone()).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// Builds a handler and its batch. Record `n` has the sequence number `n`, and the endpoint logs its body as `n`.
pub(crate) struct Scenario {
    records: usize,
    arrival: Option<f64>,
    script: HashMap<String, Script>,
    deadline: Option<Duration>,
    settings: Vec<(&'static str, String)>,
    output: TestWriter,
    dead_letter: TestWriter,
    alert: TestWriter,
    metrics: TestWriter,
    real_output: Option<Destination>,
    real_dead_letter: Option<Destination>,
    real_alert: Option<Destination>,
}

impl Scenario {
    /// Creates a batch of `records`, all predicted after 10 ms, with `DEAD_LETTER` set.
    pub(crate) fn of(records: usize) -> Self {
        let settings = [
            ("ENDPOINT_NAME", "scripted"),
            ("OUTPUT", "stdout:"),
            ("DEAD_LETTER", "stdout:"),
        ];
        let settings = settings.map(|(name, value)| (name, value.to_owned())).into();
        Self {
            records,
            arrival: None,
            script: HashMap::new(),
            deadline: Some(LAMBDA_TIMEOUT_MAX),
            settings,
            output: TestWriter::default(),
            dead_letter: TestWriter::default(),
            alert: TestWriter::default(),
            metrics: TestWriter::default(),
            real_output: None,
            real_dead_letter: None,
            real_alert: None,
        }
    }

    /// Sets the behavior for every attempt at record `number`.
    pub(crate) fn record(self, number: usize, behavior: Behavior) -> Self {
        self.script(number, &[], behavior)
    }

    /// Sets the behavior for the first attempts at record `number`. Further attempts are predicted.
    pub(crate) fn attempts(self, number: usize, attempts: &[Behavior]) -> Self {
        self.script(number, attempts, Behavior::PredictAfter(10))
    }

    /// Sets the behavior for the first attempts at record `number`, and for all further attempts.
    pub(crate) fn attempts_then(self, number: usize, attempts: &[Behavior], then: Behavior) -> Self {
        self.script(number, attempts, then)
    }

    fn script(mut self, number: usize, attempts: &[Behavior], then: Behavior) -> Self {
        let attempts = attempts.to_vec();
        self.script.insert(number.to_string(), Script { attempts, then });
        self
    }

    /// Sets the behavior for every attempt at a record with this body.
    pub(crate) fn body(mut self, body: &str, then: Behavior) -> Self {
        let attempts = Vec::new();
        self.script.insert(body.to_owned(), Script { attempts, then });
        self
    }

    /// Sets the behavior for the first attempts at a record with this body. Further attempts are predicted.
    pub(crate) fn body_attempts(mut self, body: &str, attempts: &[Behavior]) -> Self {
        let (attempts, then) = (attempts.to_vec(), Behavior::PredictAfter(10));
        self.script.insert(body.to_owned(), Script { attempts, then });
        self
    }

    /// Lets the records arrive in the stream this many seconds before the handler starts.
    pub(crate) fn record_age(mut self, seconds: f64) -> Self {
        self.arrival = Some(NOW_S - seconds);
        self
    }

    /// Sets the time for each invocation. `None` is a deadline that Lambda does not report.
    pub(crate) fn deadline(mut self, time: Option<Duration>) -> Self {
        self.deadline = time;
        self
    }

    pub(crate) fn with(mut self, name: &'static str, value: &str) -> Self {
        self.settings.push((name, value.to_string()));
        self
    }

    /// Packs up to this many records into a request, one a line.
    pub(crate) fn packed(self, records: usize) -> Self {
        self.with("BATCH_STRATEGY", "MultiRecord")
            .with("CONTENT_TYPE", "application/jsonlines")
            .with("MAX_RECORDS_PER_REQUEST", &records.to_string())
    }

    pub(crate) fn broken_output(mut self) -> Self {
        self.output.broken = true;
        self
    }

    pub(crate) fn broken_dead_letter(mut self) -> Self {
        self.dead_letter.broken = true;
        self
    }

    pub(crate) fn broken_alert(mut self) -> Self {
        self.alert.broken = true;
        self
    }

    /// Delivers predictions to `output`.
    pub(crate) fn output(mut self, output: Destination) -> Self {
        self.real_output = Some(output);
        self
    }

    /// Delivers dead letters to `output`.
    pub(crate) fn dead_letter(mut self, output: Destination) -> Self {
        self.real_dead_letter = Some(output);
        self
    }

    /// Delivers alerts to `output`.
    pub(crate) fn alert(mut self, output: Destination) -> Self {
        self.real_alert = Some(output);
        self
    }

    /// Starts the handler. A test can invoke it any number of times.
    pub(crate) fn start(self) -> Running {
        logs::watch();
        let setting = |name: &str| {
            self.settings
                .iter()
                .rev()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| value.clone())
        };
        let config = Config::from_lookup(setting).unwrap();
        let seen = Arc::default();
        let endpoint = transport::endpoint(ScriptedModel {
            script: self.script,
            seen: Arc::clone(&seen),
        });
        let writing_to = |writer: &TestWriter| Destination::Stdout(StdoutLines::new(Box::new(writer.clone())));
        let output = self.real_output.unwrap_or_else(|| writing_to(&self.output));
        let dead_letter = config.dead_letter.as_ref();
        let dead_letter = dead_letter.map(|_| self.real_dead_letter.unwrap_or_else(|| writing_to(&self.dead_letter)));
        let lines = StdoutLines::new(Box::new(self.metrics.clone()));
        let metrics = Metrics::new(lines, "instream", "a-function");
        let alert = config.alert.as_ref().map(|(_, pattern)| Alert {
            destination: self.real_alert.unwrap_or_else(|| writing_to(&self.alert)),
            pattern: pattern.clone(),
        });
        let handler = Handler::new(&config, endpoint, output, dead_letter)
            .with_alert(alert)
            .with_metrics(Some(metrics));
        let Self {
            records,
            arrival,
            deadline,
            output,
            dead_letter,
            alert,
            metrics,
            ..
        } = self;
        Running {
            handler: Box::new(handler),
            seen,
            records,
            arrival,
            deadline,
            output,
            dead_letter,
            alert,
            metrics,
            started: Instant::now(),
        }
    }

    /// Runs one invocation with the whole batch.
    pub(crate) async fn run(self) -> RunReport {
        let running = self.start();
        let response = running.invoke(0..running.records).await.unwrap();
        running.finish(response)
    }
}

/// A started handler and its batch.
pub(crate) struct Running {
    /// Boxed, because the futures of the tests hold it.
    handler: Box<Handler<TestedEndpoint>>,
    pub(crate) seen: Arc<Mutex<Seen>>,
    records: usize,
    arrival: Option<f64>,
    deadline: Option<Duration>,
    output: TestWriter,
    dead_letter: TestWriter,
    alert: TestWriter,
    metrics: TestWriter,
    started: Instant,
}

impl Running {
    /// Sends the records with these numbers as one event and returns the response.
    pub(crate) async fn invoke(&self, records: impl IntoIterator<Item = usize>) -> Result<Value, HandlerError> {
        self.handle(&self.event(records), self.deadline).await
    }

    /// Like [`invoke`](Self::invoke), with this time for the invocation.
    pub(crate) async fn invoke_within(
        &self,
        records: impl IntoIterator<Item = usize>,
        time: Duration,
    ) -> Result<Value, HandlerError> {
        self.handle(&self.event(records), Some(time)).await
    }

    pub(crate) async fn invoke_event(&self, event: &Value) -> Result<Value, HandlerError> {
        self.handle(event, self.deadline).await
    }

    pub(crate) async fn handle(&self, event: &Value, time: Option<Duration>) -> Result<Value, HandlerError> {
        let payload = event.to_string();
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs_f64(NOW_S) + self.elapsed();
        let deadline = time.map_or(SystemTime::UNIX_EPOCH, |time| now + time);
        let since_1970 = deadline.duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let deadline_ms = since_1970.as_millis().try_into().unwrap();
        // On the paused clock, an invocation that makes no progress fails at once instead of hanging.
        let invocation = Invocation {
            function_arn: "arn:aws:lambda:eu-central-1:123456789012:function:instream",
            request_id: "",
            trace_id: None,
            deadline_ms,
            now,
        };
        let handling = self.handler.handle(payload.as_bytes(), invocation);
        let response = timeout(Duration::from_hours(1), handling).await;
        let response = response.expect("the invocation ends")?;
        // An invocation without time for anything has no metrics.
        if let Some(metrics) = self.latest_metrics() {
            assert_outcomes_add_up(&metrics);
        }
        Ok(serde_json::to_value(response).unwrap())
    }

    /// Returns the metrics of the latest invocation.
    pub(crate) fn metrics(&self) -> BTreeMap<String, Metric> {
        self.latest_metrics().expect("an invocation has metrics")
    }

    fn latest_metrics(&self) -> Option<BTreeMap<String, Metric>> {
        let text = String::from_utf8(self.metrics.text.lock().unwrap().clone()).unwrap();
        let line = text.lines().last()?;
        Some(emf::read(line).unwrap_or_else(|broken| panic!("{broken}: {line}")))
    }

    /// Builds an event of the records with these numbers.
    fn event(&self, records: impl IntoIterator<Item = usize>) -> Value {
        let entry = |number: usize| {
            let mut entry = entry(&number.to_string());
            if let Some(arrival) = self.arrival {
                entry["kinesis"]["approximateArrivalTimestamp"] = arrival.into();
            }
            entry
        };
        let entries: Vec<_> = records.into_iter().map(entry).collect();
        json!({ "Records": entries })
    }

    /// Delivers the batch up to `times` times, as the mapping does: each delivery starts at the record that the last
    /// response names. Returns the response of the final delivery.
    pub(crate) async fn deliver_repeatedly(&self, records: std::ops::Range<usize>, times: usize) -> Value {
        let mut from = records.start;
        let mut response = Value::Null;
        for _ in 0..times {
            response = self.invoke(from..records.end).await.unwrap();
            let named = response["batchItemFailures"][0]["itemIdentifier"].as_str();
            let Some(named) = named else { break };
            from = named.parse().unwrap();
        }
        response
    }

    /// Returns the time since the handler started.
    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Returns the lines in OUTPUT and in `DEAD_LETTER`.
    pub(crate) fn lines(&self) -> (Vec<Value>, Vec<Value>) {
        (self.output.lines(), self.dead_letter.lines())
    }

    /// Returns the lines in ALERT.
    pub(crate) fn alerts(&self) -> Vec<Value> {
        let lines = self.alert.lines().into_iter();
        lines.map(|mut line| line["alert"].take()).collect()
    }

    /// Makes the endpoint throttle calls above this number in flight. `None` removes the limit.
    pub(crate) fn throttle_above(&self, calls: Option<usize>) {
        self.seen.lock().unwrap().throttle_above = calls;
    }

    /// Ends the outage: calls follow the script again.
    pub(crate) fn bring_up(&self) {
        self.seen.lock().unwrap().outage = None;
    }

    /// Returns the limit of calls in flight.
    pub(crate) fn limit(&self) -> f64 {
        self.handler.limit()
    }

    /// Runs `work` and samples the limit every millisecond meanwhile.
    pub(crate) async fn sample_limits<T>(&self, work: impl Future<Output = T>) -> (T, Vec<f64>) {
        let mut limits = vec![self.limit()];
        let mut work = pin!(work);
        loop {
            tokio::select! {
                biased;
                done = &mut work => return (done, limits),
                () = sleep(Duration::from_millis(1)) => limits.push(self.limit()),
            }
        }
    }

    /// Starts an outage: every call behaves like this.
    pub(crate) fn take_down(&self, behavior: Behavior) {
        self.seen.lock().unwrap().outage = Some(behavior);
    }

    /// Ends the handler. Reports this response, and all deliveries and calls since the start.
    pub(crate) fn finish(self, response: Value) -> RunReport {
        let numbers = |writer: &TestWriter| {
            let number = |line: &Value| {
                line["eventId"]
                    .as_str()
                    .unwrap()
                    .strip_prefix("shard:")
                    .unwrap()
                    .parse()
                    .unwrap()
            };
            writer.lines().iter().map(number).collect()
        };
        let seen = std::mem::take(&mut *self.seen.lock().unwrap());
        RunReport {
            response,
            outputs: self.output.lines().iter().map(|line| line["output"].clone()).collect(),
            predicted: numbers(&self.output),
            dead_lettered: numbers(&self.dead_letter),
            elapsed: self.elapsed(),
            seen,
        }
    }
}

/// Asserts that the outcomes of an invocation add up to its user records, and their reasons to the outcomes.
fn assert_outcomes_add_up(metrics: &BTreeMap<String, Metric>) {
    let sum = |names: &[&str]| -> f64 {
        let named = names.iter().filter_map(|name| metrics.get(*name));
        named.map(Metric::sum).sum()
    };
    let outcomes = sum(&["Predicted", "Rejected", "Failed", "Skipped", "DeliveredBefore"]);
    let assert_equal = |one: f64, other: f64| assert!((one - other).abs() < 0.5, "{one} for {other}: {metrics:?}");
    assert_equal(outcomes, sum(&["UserRecords"]));
    for (total, part) in [("Rejected", "Rejected"), ("Failed", "Failed")] {
        let parts = metrics.keys().filter(|name| name.starts_with(part) && *name != total);
        let parts: Vec<_> = parts.map(String::as_str).collect();
        assert_equal(sum(&parts), sum(&[total]));
    }
}

/// Runs a future on a new runtime with a paused clock.
pub(crate) fn on_a_paused_clock<T>(work: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().start_paused(true).build().unwrap().block_on(work)
}

/// Builds a well-formed record with the sequence number `number`. Its body is `number` after a marker that no log may
/// show.
pub(crate) fn entry(number: &str) -> Value {
    json!({
        "eventID": format!("shard:{number}"),
        "eventSource": "aws:kinesis",
        "kinesis": { "sequenceNumber": number, "partitionKey": "key", "data": BASE64.encode(format!("{MARKER}{number}")) },
    })
}

/// The results of a scenario.
#[derive(Debug)]
pub(crate) struct RunReport {
    pub(crate) response: Value,
    outputs: Vec<Value>,
    /// Numbers of the records in OUTPUT, in delivery order.
    pub(crate) predicted: Vec<usize>,
    /// Numbers of the records in `DEAD_LETTER`, in delivery order.
    pub(crate) dead_lettered: Vec<usize>,
    /// Time since the handler started.
    pub(crate) elapsed: Duration,
    pub(crate) seen: Seen,
}

impl RunReport {
    /// Asserts that the response names record `number` and nothing else.
    #[track_caller]
    pub(crate) fn assert_redelivered_from(&self, number: usize) {
        let expected = json!({ "batchItemFailures": [{ "itemIdentifier": number.to_string() }] });
        assert_eq!(self.response, expected);
    }

    /// Returns the model's answers, in the order of OUTPUT.
    pub(crate) fn outputs(&self) -> &[Value] {
        &self.outputs
    }

    /// Asserts that every record is finished.
    #[track_caller]
    pub(crate) fn assert_finished(&self) {
        assert_eq!(self.response, json!({ "batchItemFailures": [] }));
    }
}
