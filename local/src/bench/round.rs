//! One round: a fresh process and a fresh endpoint, and the batches from the first to the last.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use super::process::{Memory, cpu_time, memory};
use super::timeline::Timeline;
use crate::esm::{Discarded, Invoked, Mapping, Report};
use crate::function::{Answer, Function, Line};
use crate::sagemaker::Recorded;
use crate::setup::{Options, Setup};
use crate::stream::StreamRecord;

/// How long to wait for calls that were under way when the process ended.
const LAST_CALLS_MAX: Duration = Duration::from_secs(5);

/// What one round came to.
#[derive(Debug)]
pub struct Round {
    /// From the start of the process to its asking for the first event.
    pub start_up: Duration,
    /// The invocations, in their order; at least one.
    pub batches: Vec<Batch>,
    /// CPU time up to the end of the first invocation, and up to the end of the last; none where it cannot be read.
    pub cpu: Option<[Duration; 2]>,
    /// Memory when the process first asked for an event, and after the last; none where it cannot be read.
    pub memory: Option<[Memory; 2]>,
    /// The endpoint's calls by outcome, in the order of [`Outcome::ALL`](crate::sagemaker::Outcome::ALL).
    pub calls: [u64; 5],
    /// The most calls in flight at once.
    pub most_in_flight: u64,
    /// Connections that the endpoint accepted.
    pub connections: u64,
    /// The function's last word on how many calls it may have in flight; none where it says nothing of it.
    pub limit: Option<f64>,
    /// What happened when.
    pub timeline: Timeline,
}

/// One invocation.
#[derive(Debug, Clone, Copy)]
pub struct Batch {
    /// When the function answered.
    pub end: Instant,
    /// From the event to the answer.
    pub latency: Duration,
    /// How many records the event held.
    pub records: usize,
    /// How many of them need not come again.
    pub finished: usize,
}

/// Runs `records` through a fresh process, in batches of `batch_size`. Tells `done` how many are finished, each time
/// that some are.
///
/// # Errors
///
/// If the process or its endpoint cannot be started, the process ends or does not answer, or a record was not finished
/// after five retries.
pub(crate) async fn run(
    options: Options,
    records: &[StreamRecord],
    batch_size: usize,
    done: &impl Fn(usize),
) -> Result<Round> {
    let Setup {
        endpoint,
        launch,
        lines,
    } = Setup::new(options).await?;
    let endpoint = endpoint.context("a bench calls an endpoint on this machine")?;
    let limits = tokio::spawn(limits(lines));
    let function = Function::start(&launch).await?;
    drop(launch);
    let idle = function.id().and_then(memory);
    let (stop, stopped) = mpsc::unbounded_channel();
    let feed = Feed {
        function: &function,
        seen: RefCell::default(),
        is_lost: Cell::new(false),
        stop,
    };
    if let Err(why) = feed.run(records.to_vec(), batch_size, done, stopped).await {
        bail!("{why}; its last words:\n{}", function.log());
    }
    let (cpu, last) = (function.id().and_then(cpu_time), function.id().and_then(memory));
    let Seen { batches, first_cpu, .. } = feed.seen.into_inner();
    let start_up = function.start_up();
    function.stop().await;
    // Calls that hang end with their connections.
    _ = timeout(LAST_CALLS_MAX, endpoint.in_flight_ends()).await;
    let Recorded { calls, counts } = endpoint.take_recorded();
    let limits = limits.await?;
    Ok(Round {
        start_up,
        cpu: first_cpu.zip(cpu).map(|(first, last)| [first, last]),
        memory: idle.zip(last).map(|(idle, last)| [idle, last]),
        calls: counts,
        most_in_flight: endpoint.most_in_flight(),
        connections: endpoint.connections(),
        limit: limits.last().map(|(_, limit)| *limit),
        timeline: Timeline::of(&batches, &calls, &limits),
        batches,
    })
}

/// The batches of a round, on their way through the function.
struct Feed<'f> {
    function: &'f Function,
    seen: RefCell<Seen>,
    /// The process has ended, or does not answer: it cannot be given the batch again.
    is_lost: Cell<bool>,
    /// Takes why the round cannot be finished.
    stop: mpsc::UnboundedSender<String>,
}

#[derive(Default)]
struct Seen {
    batches: Vec<Batch>,
    first_cpu: Option<Duration>,
    /// Why the last invocation failed as a whole, if it did.
    failure: Option<String>,
}

impl Feed<'_> {
    /// Ends with the last record, or with the first that will not be finished, and then tells why.
    async fn run(
        &self,
        records: Vec<StreamRecord>,
        batch_size: usize,
        done: &impl Fn(usize),
        mut stopped: mpsc::UnboundedReceiver<String>,
    ) -> Result<(), String> {
        let mapping = Mapping {
            batch_size,
            batch_window: Duration::ZERO,
            parallelization_factor: 1,
            max_retries: Some(5),
            max_record_age: None,
            bisect: false,
        };
        let invoke = async |event: Bytes| {
            let answer = self.function.invoke(event).await;
            self.is_lost
                .set(matches!(answer, Answer::TimedOut(_) | Answer::Exited(_)));
            answer
        };
        let report = |report| self.take(report, done);
        tokio::select! {
            biased;
            why = stopped.recv() => Err(why.unwrap_or_default()),
            () = mapping.run_all(vec![records], &invoke, &report) => match stopped.try_recv() {
                Ok(why) => Err(why),
                Err(_) => Ok(()),
            },
        }
    }

    fn take(&self, report: Report, done: &impl Fn(usize)) {
        let mut seen = self.seen.borrow_mut();
        let stop = match report {
            Report::Invoked(invoked) => {
                let end = Instant::now();
                if seen.batches.is_empty() {
                    seen.first_cpu = self.function.id().and_then(cpu_time);
                }
                let Invoked {
                    latency,
                    records,
                    finished,
                    failure,
                    ..
                } = invoked;
                done(finished);
                seen.batches.push(Batch {
                    end,
                    latency,
                    records,
                    finished,
                });
                seen.failure.clone_from(&failure);
                let lost = failure.filter(|_| self.is_lost.get());
                lost.map(|why| format!("batch {} was not answered: {why}", seen.batches.len()))
            }
            Report::Discarded(discarded) => Some(given_up(&discarded, seen.failure.as_deref())),
        };
        if let Some(why) = stop {
            // Whoever does not listen any more has a reason already.
            _ = self.stop.send(why);
        }
    }
}

fn given_up(discarded: &Discarded, failure: Option<&str>) -> String {
    let (count, times) = (discarded.records.len(), discarded.invocations);
    let why = failure.unwrap_or("the function called them unfinished");
    format!("{count} records were given up after {times} invocations: {why}")
}

/// Reads all that the function writes, and keeps what it says of its limit, and when.
async fn limits(mut lines: mpsc::UnboundedReceiver<Line>) -> Vec<(Instant, f64)> {
    let mut limits = Vec::new();
    while let Some(line) = lines.recv().await {
        if let Line::Log(line) = line
            && let Some(limit) = limit(&line)
        {
            limits.push((Instant::now(), limit));
        }
    }
    limits
}

/// The field `limit` of a log line in JSON, be it among `fields`, as Rust's loggers have it, or not.
fn limit(line: &str) -> Option<f64> {
    #[derive(Deserialize)]
    struct Logged {
        fields: Option<Fields>,
        limit: Option<f64>,
    }
    #[derive(Deserialize)]
    struct Fields {
        limit: Option<f64>,
    }
    let logged: Logged = serde_json::from_str(line).ok()?;
    logged.limit.or_else(|| logged.fields?.limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_read_where_loggers_put_it() {
        for (line, expected) in [
            (
                r#"{"level":"INFO","fields":{"message":"batch finished","limit":19.5}}"#,
                Some(19.5),
            ),
            (r#"{"message":"batch finished","limit":20}"#, Some(20.0)),
            (r#"{"level":"INFO","fields":{"message":"start"}}"#, None),
            ("INFO batch finished limit=20", None),
        ] {
            assert_eq!(limit(line), expected, "{line}");
        }
    }
}
