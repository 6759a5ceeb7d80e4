//! Simulates Lambda: the mapping, warm execution environments, timeouts and killed environments.

use std::cell::RefCell;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use instream::handler::Handler;
use instream::lambda::time_budget::Invocation;
use instream_local::esm::{Mapping, Report};
use instream_local::function::InvocationResult;
use instream_local::runtime_api::FunctionError;
use tokio::time::{Instant, sleep};

use crate::cloud::{Cloud, Gate};
use crate::endpoint::{EnvironmentCalls, EnvironmentEndpoint, FREEZE, Service};
use crate::oracle::{RunResult, Stop};
use crate::world::{Reliability, START_MS, World};

mod checks;
mod stream;

use checks::Arrived;
use stream::{EventRecords, names, stream};

/// The function's process in one execution environment.
struct Process {
    handler: Handler<EnvironmentEndpoint>,
    calls: Arc<Mutex<EnvironmentCalls>>,
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
    arrived: RefCell<Arrived>,
    stops: RefCell<Vec<Stop>>,
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
    let invoke = async |event: Bytes| Box::pin(lambda.invoke(event)).await;
    mapping.run(stream(world), &invoke, &report).await;
    let discarded = discarded.into_inner();
    lambda.into_result(discarded)
}

impl<'w> Lambda<'w> {
    fn new(world: &'w Arc<World>) -> Self {
        let started = Instant::now();
        let cloud = |reliability: &Reliability, salt: u64| {
            let (reliability, mut random) = (reliability.clone(), fastrand::Rng::with_seed(world.seed ^ salt));
            Cloud::deciding(move |_, entries| reliability.decide(&mut random, started.elapsed(), entries))
        };
        let refusing = Arc::clone(world);
        let is_refused = move |line: &str| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            refusing.is_refused_by_output(line["output"].as_str().unwrap())
        };
        Self {
            world,
            service: Arc::new(Service::new(world)),
            output: cloud(&world.output_reliability, 0x0707).refusing(is_refused),
            dead_letter: cloud(&world.dead_letter_reliability, 0xDEAD),
            warm: RefCell::default(),
            random: RefCell::new(fastrand::Rng::with_seed(world.seed ^ 0x1A3B)),
            started,
            arrived: RefCell::default(),
            stops: RefCell::default(),
        }
    }

    async fn process(&self) -> Process {
        let (gate, calls) = (Arc::<Gate>::default(), Arc::default());
        let endpoint = EnvironmentEndpoint::new(&self.service, &gate, &calls).await;
        let output = self.output.through(&gate).open(&self.world.output);
        let dead_letter = self.world.dead_letter.as_ref();
        let dead_letter = dead_letter.map(|destination| self.dead_letter.through(&gate).open(destination));
        let handler = Handler::new(self.world.config(), endpoint, output, dead_letter);
        Process { handler, calls, gate }
    }

    /// Runs one invocation, usually in a warm environment. The environment may be frozen before the invocation, and
    /// killed before it ends.
    async fn invoke(&self, event: Bytes) -> InvocationResult {
        let (is_fresh, is_frozen, kill_after) = {
            let mut random = self.random.borrow_mut();
            let mut chance = |share| random.f64() < share;
            let (kill, is_fresh) = (chance(self.world.kills), chance(self.world.fresh));
            let is_frozen = chance(self.world.weather.freezes);
            (
                is_fresh,
                is_frozen,
                kill.then(|| Duration::from_millis(random.u64(..1000))),
            )
        };
        if is_frozen {
            sleep(FREEZE).await;
        }
        if is_fresh {
            self.warm.borrow_mut().pop();
        }
        let idle = self.warm.borrow_mut().pop();
        let process = match idle {
            Some(process) => process,
            None => self.process().await,
        };
        let records = EventRecords::read(&event);
        let stop = self.begin_invocation(&records, &process);
        self.service
            .trace(|| format!("invoked with {:?}", records.names().collect::<Vec<_>>()));
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
            () = self.time_out() => InvocationResult::TimedOut(self.world.timeout),
            answer = self.handle(&process, &event) => answer,
        };
        process.gate.is_running.store(false, Ordering::Relaxed);
        self.service.trace(|| format!("response {answer:?}"));
        match &answer {
            InvocationResult::Exited(_) => self.service.counts.lock().unwrap().kills += 1,
            InvocationResult::TimedOut(_) => self.service.counts.lock().unwrap().late_responses += 1,
            InvocationResult::Response(_) | InvocationResult::Error(_) => {
                if let InvocationResult::Response(response) = &answer {
                    self.check_checkpoint(response, &records, stop);
                }
                self.check_after_response(&process);
                self.warm.borrow_mut().push(process);
            }
        }
        answer
    }

    /// Waits for the function's timeout. If the clock jumps meanwhile, the function gets its time again, because no
    /// response could be in time.
    async fn time_out(&self) {
        loop {
            let jumps = self.service.jumps.load(Ordering::Relaxed);
            sleep(self.world.timeout).await;
            if jumps == self.service.jumps.load(Ordering::Relaxed) {
                return;
            }
        }
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
}
