//! Simulates Lambda: the mapping, warm execution environments, timeouts and killed environments.

use std::cell::RefCell;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use instream::event::kpl::deaggregate;
use instream::handler::Handler;
use instream::lambda::time_budget::Invocation;
use instream_local::aggregate::{KplUserRecord, aggregate};
use instream_local::esm::{Mapping, Report};
use instream_local::function::InvocationResult;
use instream_local::runtime_api::FunctionError;
use instream_local::stream::StreamRecord;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

use crate::cloud::{Cloud, Gate};
use crate::endpoint::{EnvironmentCalls, EnvironmentEndpoint, Service};
use crate::oracle::{DeadLetter, RunResult};
use crate::world::{Reliability, START_MS, World, record_name};

/// The function's process in one execution environment.
struct Process {
    handler: Handler<EnvironmentEndpoint>,
    endpoint: EnvironmentEndpoint,
    gate: Arc<Gate>,
}

struct Lambda<'w> {
    world: &'w World,
    service: Arc<Service>,
    output: Cloud,
    dead_letter: Cloud,
    /// The idle processes. The most recently used one is the last.
    warm: RefCell<Vec<Process>>,
    random: RefCell<fastrand::Rng>,
    started: Instant,
}

/// Runs the stream until the mapping has finished it.
pub(crate) async fn run(world: &Arc<World>) -> RunResult {
    let lambda = Lambda::new(world);
    let mapping = Mapping {
        batch_size: world.batch_size,
        batch_window: Duration::ZERO,
        parallelization_factor: world.parallelization_factor,
        max_retries: world.max_retries,
        max_record_age: Some(world.max_record_age),
        bisect: world.bisect,
    };
    let discarded = RefCell::new(Vec::new());
    let report = |report| match report {
        Report::Invoked(invoked) => {
            let mut counts = lambda.service.counts.lock().unwrap();
            counts.redelivered += (invoked.records - invoked.finished) as u64;
        }
        Report::Discarded(it) => {
            let names = it.records.iter().flat_map(|record| names(&record.data));
            discarded.borrow_mut().extend(names);
        }
    };
    let invoke = async |event: Bytes| lambda.invoke(event).await;
    mapping.run(stream(world), &invoke, &report).await;
    let discarded = discarded.into_inner();
    lambda.into_result(discarded)
}

/// Returns the shards of the stream. All records are available from the start.
fn stream(world: &World) -> Vec<mpsc::UnboundedReceiver<StreamRecord>> {
    let mut random = fastrand::Rng::with_seed(world.seed ^ 0x5713);
    let shard = |(shard, kinds): (usize, &Vec<_>)| {
        let (sender, receiver) = mpsc::unbounded_channel();
        let numbers: Vec<_> = (0..kinds.len()).collect();
        for group in numbers.chunks(world.records_per_aggregate) {
            let partition_key = format!("key-{}", random.u64(..world.keys));
            let data: Vec<_> = group.iter().map(|number| record_name(shard, *number)).collect();
            let mut record = StreamRecord::from_line(group[0] as u64 + 1, data[0].as_bytes(), START_MS);
            if world.records_per_aggregate > 1 {
                let put = |data| put(&partition_key, data);
                record.data = aggregate(&data.iter().map(put).collect::<Vec<_>>());
            }
            record.shard = format!("shardId-{shard:012}");
            record.partition_key = partition_key;
            record.user_records = group.len();
            sender.send(record).unwrap();
        }
        receiver
    };
    world.shards.iter().enumerate().map(shard).collect()
}

fn put<'p>(partition_key: &'p str, data: &'p String) -> KplUserRecord<'p> {
    KplUserRecord {
        partition_key,
        explicit_hash_key: None,
        data: data.as_bytes(),
    }
}

/// Returns the names of the user records in a Kinesis record.
fn names(data: &Bytes) -> Vec<String> {
    let name = |data: &Bytes| String::from_utf8(data.to_vec()).unwrap();
    match deaggregate(data).unwrap() {
        Some(puts) => puts.iter().map(|put| name(&put.data)).collect(),
        None => vec![name(data)],
    }
}

impl<'w> Lambda<'w> {
    fn new(world: &'w Arc<World>) -> Self {
        let started = Instant::now();
        let cloud = |reliability: &Reliability, salt: u64| {
            let (reliability, mut random) = (reliability.clone(), fastrand::Rng::with_seed(world.seed ^ salt));
            Cloud::deciding(move |_, entries| reliability.decide(&mut random, started.elapsed(), entries))
        };
        Self {
            world,
            service: Arc::new(Service::new(world)),
            output: cloud(&world.output_reliability, 0x0707),
            dead_letter: cloud(&world.dead_letter_reliability, 0xDEAD),
            warm: RefCell::default(),
            random: RefCell::new(fastrand::Rng::with_seed(world.seed ^ 0x1A3B)),
            started,
        }
    }

    fn process(&self) -> Process {
        let gate = Arc::new(Gate::default());
        let endpoint = EnvironmentEndpoint {
            service: Arc::clone(&self.service),
            gate: Arc::clone(&gate),
            calls: Arc::new(Mutex::new(EnvironmentCalls::default())),
        };
        let output = self.output.through(&gate).open(&self.world.output);
        let dead_letter = self.world.dead_letter.as_ref();
        let dead_letter = dead_letter.map(|destination| self.dead_letter.through(&gate).open(destination));
        let handler = Handler::new(&self.world.config(), endpoint.clone(), output, dead_letter);
        Process {
            handler,
            endpoint,
            gate,
        }
    }

    /// Runs one invocation, usually in a warm environment. The environment may be killed before the invocation ends.
    async fn invoke(&self, event: Bytes) -> InvocationResult {
        let (is_fresh, kill_after) = {
            let mut random = self.random.borrow_mut();
            let kill = random.f64() < self.world.kills;
            (
                random.f64() < self.world.fresh,
                kill.then(|| Duration::from_millis(random.u64(..1000))),
            )
        };
        if is_fresh {
            self.warm.borrow_mut().pop();
        }
        let idle = self.warm.borrow_mut().pop();
        let process = idle.unwrap_or_else(|| self.process());
        self.count_answered_before(&event, &process);
        process.gate.is_running.store(true, Ordering::Relaxed);
        let killed = async {
            match kill_after {
                Some(after) => sleep(after).await,
                None => std::future::pending().await,
            }
        };
        let answer = tokio::select! {
            biased;
            () = killed => InvocationResult::Exited("killed".to_owned()),
            () = sleep(self.world.timeout) => InvocationResult::TimedOut(self.world.timeout),
            answer = self.handle(&process, &event) => answer,
        };
        process.gate.is_running.store(false, Ordering::Relaxed);
        match &answer {
            InvocationResult::Exited(_) => self.service.counts.lock().unwrap().kills += 1,
            InvocationResult::TimedOut(_) => self.service.counts.lock().unwrap().late_responses += 1,
            InvocationResult::Response(_) | InvocationResult::Error(_) => {
                self.check_after_response(&process);
                self.warm.borrow_mut().push(process);
            }
        }
        answer
    }

    async fn handle(&self, process: &Process, event: &Bytes) -> InvocationResult {
        let now = SystemTime::UNIX_EPOCH + Duration::from_millis(START_MS) + self.started.elapsed();
        let deadline = now + self.world.timeout;
        let deadline_ms = deadline.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis();
        let invocation = Invocation {
            function_arn: "arn:aws:lambda:us-east-1:000000000000:function:instream",
            request_id: "",
            trace_id: None,
            deadline_ms: deadline_ms.try_into().unwrap(),
            now,
        };
        match process.handler.handle(event, invocation).await {
            Ok(response) => InvocationResult::Response(serde_json::to_vec(&response).unwrap().into()),
            Err(error) => InvocationResult::Error(FunctionError {
                error_type: "HandlerError".to_owned(),
                error_message: error.to_string(),
            }),
        }
    }

    /// Counts the event's records for which this environment has already received an answer.
    fn count_answered_before(&self, event: &Bytes, process: &Process) {
        let event: Value = serde_json::from_slice(event).unwrap();
        let mut calls = process.endpoint.calls.lock().unwrap();
        calls.attempts.clear();
        calls.most_in_flight = 0;
        let records = event["Records"].as_array().unwrap().iter();
        let data = records.map(|record| bytes(&record["kinesis"]["data"]));
        let answered_before = data
            .flat_map(|data| names(&data))
            .filter(|name| calls.answered.contains(name))
            .count();
        self.service.counts.lock().unwrap().answered_before += answered_before as u64;
    }

    /// Counts violations of the rules that hold after each response.
    fn check_after_response(&self, process: &Process) {
        let calls = process.endpoint.calls.lock().unwrap();
        let config = self.world.config();
        let mut counts = self.service.counts.lock().unwrap();
        counts.left_in_flight += (calls.in_flight + process.gate.in_flight.load(Ordering::Relaxed)) as u64;
        counts.over_capacity += u64::from(calls.most_in_flight > config.capacity.get());
        let attempts = calls.attempts.iter();
        // A record that is given up has at least two attempts, and an answered record may be called again as a probe.
        let attempts_max = config.retry.max_attempts.max(config.give_up_after.map_or(1, |_| 2));
        // A record is part of the whole request and of each half down to the record alone.
        let requests_max = self.world.records_per_request.next_power_of_two().ilog2() + 1;
        // Any record of a request may also be sent as a probe of the endpoint.
        let probes_max = if requests_max > 1 { requests_max } else { 0 };
        let attempts_max = attempts_max * requests_max + probes_max;
        let too_many = |(name, count): &(&String, &u32)| **count > attempts_max && !calls.answered.contains(*name);
        counts.too_many_attempts += attempts.filter(too_many).count() as u64;
    }

    fn into_result(self, discarded: Vec<String>) -> RunResult {
        let envelopes = |cloud: &Cloud| cloud.envelopes().into_iter();
        let predicted = envelopes(&self.output).map(|it| (it["output"].as_str().unwrap().to_owned(), key(&it)));
        let dead = envelopes(&self.dead_letter).map(|it| DeadLetter {
            record: String::from_utf8(bytes(&it["data"]).to_vec()).unwrap(),
            reason: it["reason"]["kind"].as_str().unwrap().to_owned(),
        });
        let mut counts = self.service.counts.lock().unwrap().clone();
        counts.seconds = self.started.elapsed().as_secs();
        counts.records = self.world.records() as u64;
        counts.requests_while_frozen = self.output.while_frozen() + self.dead_letter.while_frozen();
        counts.output_faults = self.output.faults() + self.dead_letter.faults();
        let mut answered: Vec<_> = self.service.answered.lock().unwrap().clone().into_iter().collect();
        answered.sort();
        RunResult {
            predicted: predicted.collect(),
            dead: dead.collect(),
            discarded,
            answered,
            counts,
        }
    }
}

fn key(envelope: &Value) -> String {
    envelope["partitionKey"].as_str().unwrap().to_owned()
}

fn bytes(data: &Value) -> Bytes {
    BASE64.decode(data.as_str().unwrap()).unwrap().into()
}
