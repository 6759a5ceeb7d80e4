//! Lambda around the function: the mapping, execution environments that stay warm, time limits and sudden ends.

use std::cell::RefCell;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use instream::deadline::Invocation;
use instream::decode::kpl::deaggregate;
use instream::handler::Handler;
use instream_local::aggregate::{Put, aggregate};
use instream_local::esm::{Mapping, Report};
use instream_local::function::Answer;
use instream_local::runtime_api::FunctionError;
use instream_local::stream::StreamRecord;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

use crate::cloud::{Cloud, Gate};
use crate::endpoint::{Environment, Seen, Service};
use crate::oracle::{DeadLetter, Told};
use crate::world::{Reliability, START_MS, World, name};

/// A function's process.
struct Process {
    handler: Handler<Seen>,
    seen: Seen,
    gate: Arc<Gate>,
}

struct Lambda<'w> {
    world: &'w World,
    service: Arc<Service>,
    output: Cloud,
    dead_letter: Cloud,
    /// Idle processes, the one that was used last at the end.
    warm: RefCell<Vec<Process>>,
    random: RefCell<fastrand::Rng>,
    started: Instant,
}

/// Runs the stream until the mapping has come through it.
pub(crate) async fn run(world: &Arc<World>) -> Told {
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
    lambda.tell(discarded)
}

/// The records, all there from the start on.
fn stream(world: &World) -> Vec<mpsc::UnboundedReceiver<StreamRecord>> {
    let mut random = fastrand::Rng::with_seed(world.seed ^ 0x5713);
    let shard = |(shard, natures): (usize, &Vec<_>)| {
        let (sender, receiver) = mpsc::unbounded_channel();
        let numbers: Vec<_> = (0..natures.len()).collect();
        for group in numbers.chunks(world.aggregated) {
            let partition_key = format!("key-{}", random.u64(..world.keys));
            let data: Vec<_> = group.iter().map(|number| name(shard, *number)).collect();
            let mut record = StreamRecord::from_line(group[0] as u64 + 1, data[0].as_bytes(), START_MS);
            if world.aggregated > 1 {
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

fn put<'p>(partition_key: &'p str, data: &'p String) -> Put<'p> {
    Put {
        partition_key,
        explicit_hash_key: None,
        data: data.as_bytes(),
    }
}

/// The user records in a Kinesis record.
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
        let cloud = |is: &Reliability, salt: u64| {
            let (is, mut random) = (is.clone(), fastrand::Rng::with_seed(world.seed ^ salt));
            Cloud::that(move |_, entries| is.decide(&mut random, started.elapsed(), entries))
        };
        Self {
            world,
            service: Arc::new(Service::new(world)),
            output: cloud(&world.output_is, 0x0707),
            dead_letter: cloud(&world.dead_letter_is, 0xDEAD),
            warm: RefCell::default(),
            random: RefCell::new(fastrand::Rng::with_seed(world.seed ^ 0x1A3B)),
            started,
        }
    }

    fn process(&self) -> Process {
        let gate = Arc::new(Gate::default());
        let seen = Seen {
            service: Arc::clone(&self.service),
            gate: Arc::clone(&gate),
            environment: Arc::new(Mutex::new(Environment::default())),
        };
        let output = self.output.behind(&gate).open(&self.world.output);
        let dead_letter = self.world.dead_letter.as_ref();
        let dead_letter = dead_letter.map(|destination| self.dead_letter.behind(&gate).open(destination));
        let handler = Handler::new(&self.world.config(), seen.clone(), output, dead_letter);
        Process { handler, seen, gate }
    }

    /// One invocation: in a warm environment where there is one, mostly, and sometimes not to its end.
    async fn invoke(&self, event: Bytes) -> Answer {
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
        self.count_saved(&event, &process);
        process.gate.is_running.store(true, Ordering::Relaxed);
        let killed = async {
            match kill_after {
                Some(after) => sleep(after).await,
                None => std::future::pending().await,
            }
        };
        let answer = tokio::select! {
            biased;
            () = killed => Answer::Exited("killed".to_owned()),
            () = sleep(self.world.timeout) => Answer::TimedOut(self.world.timeout),
            answer = self.handle(&process, &event) => answer,
        };
        process.gate.is_running.store(false, Ordering::Relaxed);
        match &answer {
            Answer::Exited(_) => self.service.counts.lock().unwrap().kills += 1,
            Answer::TimedOut(_) => self.service.counts.lock().unwrap().late_answers += 1,
            Answer::Response(_) | Answer::Error(_) => {
                self.check_at_rest(&process);
                self.warm.borrow_mut().push(process);
            }
        }
        answer
    }

    async fn handle(&self, process: &Process, event: &Bytes) -> Answer {
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
            Ok(response) => Answer::Response(serde_json::to_vec(&response).unwrap().into()),
            Err(error) => Answer::Error(FunctionError {
                error_type: "HandlerError".to_owned(),
                error_message: error.to_string(),
            }),
        }
    }

    /// How many of the event's records this environment has had an answer for.
    fn count_saved(&self, event: &Bytes, process: &Process) {
        let event: Value = serde_json::from_slice(event).unwrap();
        let mut environment = process.seen.environment.lock().unwrap();
        environment.attempts.clear();
        environment.most_in_flight = 0;
        let records = event["Records"].as_array().unwrap().iter();
        let data = records.map(|record| bytes(&record["kinesis"]["data"]));
        let saved = data
            .flat_map(|data| names(&data))
            .filter(|name| environment.answered.contains(name))
            .count();
        self.service.counts.lock().unwrap().answered_before += saved as u64;
    }

    /// What must hold whenever an answer has been sent.
    fn check_at_rest(&self, process: &Process) {
        let environment = process.seen.environment.lock().unwrap();
        let config = self.world.config();
        let mut counts = self.service.counts.lock().unwrap();
        counts.left_behind += (environment.in_flight + process.gate.in_flight.load(Ordering::Relaxed)) as u64;
        counts.over_capacity += u64::from(environment.most_in_flight > config.capacity.get());
        let attempts = environment.attempts.iter();
        // What is given up has two attempts at least, and a record that was answered may be called once more for it.
        let attempts_max = config.retry.max_attempts.max(config.give_up_after.map_or(1, |_| 2));
        // As often as a request for it can be halved, and once more for the whole.
        let requests_max = self.world.packed.next_power_of_two().ilog2() + 1;
        // Any record of a request may be asked for, to see whether the endpoint answers.
        let asked_max = if requests_max > 1 { requests_max } else { 0 };
        let attempts_max = attempts_max * requests_max + asked_max;
        let too_many =
            |(name, count): &(&String, &u32)| **count > attempts_max && !environment.answered.contains(*name);
        counts.too_many_attempts += attempts.filter(too_many).count() as u64;
    }

    fn tell(self, discarded: Vec<String>) -> Told {
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
        Told {
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
