//! A batch, a scripted endpoint and what came of it.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Write};
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use instream::config::Config;
use instream::deadline::Invocation;
use instream::handler::{Handler, HandlerError};
use instream::output::Output;
use instream::output::stdout::Lines;
use instream::telemetry::metrics::Metrics;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};

use crate::emf::{self, Metric};
use crate::logs::{self, MARKER};
use crate::over::{self, Called};
pub(crate) use crate::scripted::Does;
use crate::scripted::{Script, Scripted, Seen};

/// An invocation's time, unless the test says otherwise: Lambda's longest.
const LONG: Duration = Duration::from_mins(15);

/// When every handler starts, in seconds since 1970.
const NOW_S: f64 = 1_800_000_000.0;

/// A writer whose bytes can be read, or that refuses to write.
#[derive(Debug, Clone, Default)]
pub(crate) struct Page {
    text: Arc<Mutex<Vec<u8>>>,
    broken: bool,
}

impl Write for Page {
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

impl Page {
    fn lines(&self) -> Vec<Value> {
        let text = String::from_utf8(self.text.lock().unwrap().clone()).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// A handler for a batch whose record `n` has the body `n`, as the endpoint takes it down, and the sequence number `n`.
pub(crate) struct Scenario {
    records: usize,
    arrival: Option<f64>,
    script: HashMap<String, Script>,
    deadline: Option<Duration>,
    settings: Vec<(&'static str, String)>,
    output: Page,
    dead_letter: Page,
    metrics: Page,
    real_output: Option<Output>,
    real_dead_letter: Option<Output>,
}

impl Scenario {
    /// A batch of `records` that are all predicted after 10 ms, with dead letters on.
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
            deadline: Some(LONG),
            settings,
            output: Page::default(),
            dead_letter: Page::default(),
            metrics: Page::default(),
            real_output: None,
            real_dead_letter: None,
        }
    }

    /// What becomes of every attempt at record `number`.
    pub(crate) fn record(self, number: usize, does: Does) -> Self {
        self.script(number, &[], does)
    }

    /// What becomes of the first attempts at record `number`; each further one is answered.
    pub(crate) fn attempts(self, number: usize, attempts: &[Does]) -> Self {
        self.script(number, attempts, Does::PredictAfter(10))
    }

    /// What becomes of the first attempts at record `number`, and of all that follow.
    pub(crate) fn attempts_then(self, number: usize, attempts: &[Does], then: Does) -> Self {
        self.script(number, attempts, then)
    }

    fn script(mut self, number: usize, attempts: &[Does], then: Does) -> Self {
        let attempts = attempts.to_vec();
        self.script.insert(number.to_string(), Script { attempts, then });
        self
    }

    /// What becomes of every attempt at a record with this body.
    pub(crate) fn body(mut self, body: &str, then: Does) -> Self {
        let attempts = Vec::new();
        self.script.insert(body.to_owned(), Script { attempts, then });
        self
    }

    /// The records arrived so many seconds before the handler starts.
    pub(crate) fn arrived_before(mut self, seconds: f64) -> Self {
        self.arrival = Some(NOW_S - seconds);
        self
    }

    /// Time for each invocation; `None` where Lambda does not tell.
    pub(crate) fn deadline(mut self, time: Option<Duration>) -> Self {
        self.deadline = time;
        self
    }

    pub(crate) fn with(mut self, name: &'static str, value: &str) -> Self {
        self.settings.push((name, value.to_string()));
        self
    }

    /// Up to so many records a request, a line each.
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

    /// Delivers predictions here.
    pub(crate) fn output(mut self, output: Output) -> Self {
        self.real_output = Some(output);
        self
    }

    /// Delivers dead letters here.
    pub(crate) fn dead_letter(mut self, output: Output) -> Self {
        self.real_dead_letter = Some(output);
        self
    }

    /// The handler, to be invoked as often as the test likes.
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
        let endpoint = over::endpoint(Scripted {
            script: self.script,
            seen: Arc::clone(&seen),
        });
        let page = |page: &Page| Output::Stdout(Lines::new(Box::new(page.clone())));
        let output = self.real_output.unwrap_or_else(|| page(&self.output));
        let dead_letter = config.dead_letter.as_ref();
        let dead_letter = dead_letter.map(|_| self.real_dead_letter.unwrap_or_else(|| page(&self.dead_letter)));
        let lines = Lines::new(Box::new(self.metrics.clone()));
        let metrics = Metrics::new(lines, "instream", "a-function");
        let handler = Handler::new(&config, endpoint, output, dead_letter).with_metrics(Some(metrics));
        let Self {
            records,
            arrival,
            deadline,
            output,
            dead_letter,
            metrics,
            ..
        } = self;
        Running {
            handler,
            seen,
            records,
            arrival,
            deadline,
            output,
            dead_letter,
            metrics,
            started: Instant::now(),
        }
    }

    /// One invocation with the whole batch.
    pub(crate) async fn run(self) -> Ran {
        let running = self.start();
        let answer = running.invoke(0..running.records).await.unwrap();
        running.ran(answer)
    }
}

/// A handler that is ready for events.
pub(crate) struct Running {
    handler: Handler<Called>,
    pub(crate) seen: Arc<Mutex<Seen>>,
    records: usize,
    arrival: Option<f64>,
    deadline: Option<Duration>,
    output: Page,
    dead_letter: Page,
    metrics: Page,
    started: Instant,
}

impl Running {
    /// Sends the records with these numbers as one event, and returns the answer.
    pub(crate) async fn invoke(&self, records: impl IntoIterator<Item = usize>) -> Result<Value, HandlerError> {
        self.handle(&self.event(records), self.deadline).await
    }

    /// As [`invoke`](Self::invoke), with another deadline.
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

    async fn handle(&self, event: &Value, time: Option<Duration>) -> Result<Value, HandlerError> {
        let payload = event.to_string();
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs_f64(NOW_S) + self.elapsed();
        let deadline = time.map_or(SystemTime::UNIX_EPOCH, |time| now + time);
        let since_1970 = deadline.duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let deadline_ms = since_1970.as_millis().try_into().unwrap();
        // On the paused clock this is no wait: where nothing can go on any more, it fails instead of hanging.
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
        // Where there was no time for anything, there are none.
        if let Some(metrics) = self.latest_metrics() {
            each_record_has_one_end(&metrics);
        }
        Ok(serde_json::to_value(response).unwrap())
    }

    /// The metrics of the latest invocation.
    pub(crate) fn metrics(&self) -> BTreeMap<String, Metric> {
        self.latest_metrics().expect("an invocation has metrics")
    }

    fn latest_metrics(&self) -> Option<BTreeMap<String, Metric>> {
        let text = String::from_utf8(self.metrics.text.lock().unwrap().clone()).unwrap();
        let line = text.lines().last()?;
        Some(emf::read(line).unwrap_or_else(|broken| panic!("{broken}: {line}")))
    }

    /// The event with the records of these numbers.
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

    /// Delivers the batch again and again, as the mapping does, from the record that each answer names on, up to so many
    /// times; returns the last answer.
    pub(crate) async fn deliver_again(&self, records: std::ops::Range<usize>, times: usize) -> Value {
        let mut from = records.start;
        let mut answer = Value::Null;
        for _ in 0..times {
            answer = self.invoke(from..records.end).await.unwrap();
            let named = answer["batchItemFailures"][0]["itemIdentifier"].as_str();
            let Some(named) = named else { break };
            from = named.parse().unwrap();
        }
        answer
    }

    /// From the start of the handler on.
    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// The lines in OUTPUT and in `DEAD_LETTER`.
    pub(crate) fn lines(&self) -> (Vec<Value>, Vec<Value>) {
        (self.output.lines(), self.dead_letter.lines())
    }

    /// From now on, the endpoint takes so many calls at once, or any number.
    pub(crate) fn takes(&self, room: Option<usize>) {
        self.seen.lock().unwrap().room = room;
    }

    /// From now on, the endpoint is up.
    pub(crate) fn is_up(&self) {
        self.seen.lock().unwrap().down = None;
    }

    /// How many calls may be in flight now.
    pub(crate) fn limit(&self) -> f64 {
        self.handler.limit()
    }

    /// Does `work`, and looks at the limit every millisecond meanwhile.
    pub(crate) async fn watch<T>(&self, work: impl Future<Output = T>) -> (T, Vec<f64>) {
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

    /// From now on, this is what becomes of every call.
    pub(crate) fn is_down(&self, does: Does) {
        self.seen.lock().unwrap().down = Some(does);
    }

    pub(crate) fn ran(self, answer: Value) -> Ran {
        let numbers = |page: &Page| {
            let number = |line: &Value| {
                line["eventId"]
                    .as_str()
                    .unwrap()
                    .strip_prefix("shard:")
                    .unwrap()
                    .parse()
                    .unwrap()
            };
            page.lines().iter().map(number).collect()
        };
        let seen = std::mem::take(&mut *self.seen.lock().unwrap());
        Ran {
            answer,
            outputs: self.output.lines().iter().map(|line| line["output"].clone()).collect(),
            predicted: numbers(&self.output),
            dead_lettered: numbers(&self.dead_letter),
            elapsed: self.elapsed(),
            seen,
        }
    }
}

/// What becomes of an invocation's user records adds up.
fn each_record_has_one_end(metrics: &BTreeMap<String, Metric>) {
    let sum = |names: &[&str]| -> f64 {
        let named = names.iter().filter_map(|name| metrics.get(*name));
        named.map(Metric::sum).sum()
    };
    let ends = sum(&["Predicted", "Rejected", "Failed", "DeliveredBefore"]);
    let is = |one: f64, other: f64| assert!((one - other).abs() < 0.5, "{one} for {other}: {metrics:?}");
    is(ends, sum(&["UserRecords"]));
    for (total, part) in [("Rejected", "Rejected"), ("Failed", "Failed")] {
        let parts = metrics.keys().filter(|name| name.starts_with(part) && *name != total);
        let parts: Vec<_> = parts.map(String::as_str).collect();
        is(sum(&parts), sum(&[total]));
    }
}

/// Runs a future where no runtime is.
pub(crate) fn on_a_paused_clock<T>(work: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().start_paused(true).build().unwrap().block_on(work)
}

/// A well-formed record whose sequence number is `number`, as is its body, behind a marker that no log may show.
pub(crate) fn entry(number: &str) -> Value {
    json!({
        "eventID": format!("shard:{number}"),
        "eventSource": "aws:kinesis",
        "kinesis": { "sequenceNumber": number, "partitionKey": "key", "data": BASE64.encode(format!("{MARKER}{number}")) },
    })
}

/// What came of a scenario.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) answer: Value,
    outputs: Vec<Value>,
    /// Numbers of the records in OUTPUT, in its order.
    pub(crate) predicted: Vec<usize>,
    /// Numbers of the records in `DEAD_LETTER`, in its order.
    pub(crate) dead_lettered: Vec<usize>,
    /// From the start of the handler on.
    pub(crate) elapsed: Duration,
    pub(crate) seen: Seen,
}

impl Ran {
    /// Asserts that the answer names record `number` and nothing else.
    #[track_caller]
    pub(crate) fn comes_again_from(&self, number: usize) {
        let expected = json!({ "batchItemFailures": [{ "itemIdentifier": number.to_string() }] });
        assert_eq!(self.answer, expected);
    }

    /// What the model said, in the order of OUTPUT.
    pub(crate) fn answers(&self) -> &[Value] {
        &self.outputs
    }

    /// Asserts that every record is finished.
    #[track_caller]
    pub(crate) fn is_finished(&self) {
        assert_eq!(self.answer, json!({ "batchItemFailures": [] }));
    }
}
