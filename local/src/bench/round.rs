//! One round: sends all batches to a fresh process that calls a fresh endpoint.

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
use crate::function::{Function, InvocationResult, Line};
use crate::sagemaker::RecordedCalls;
use crate::setup::{Options, Setup};
use crate::stream::StreamRecord;

/// The maximum wait for the calls that were in flight when the process ended.
const LAST_CALLS_WAIT_MAX: Duration = Duration::from_secs(5);

/// The measurements of one round.
#[derive(Debug)]
pub struct Round {
    /// The time from the start of the process to its request for the first event.
    pub start_up: Duration,
    /// The invocations in order, at least one.
    pub batches: Vec<Batch>,
    /// The CPU time up to the end of the first invocation, and up to the end of the last. `None` if it cannot be read.
    pub cpu: Option<[Duration; 2]>,
    /// The memory at the process's request for the first event, and after the last event. `None` if it cannot be read.
    pub memory: Option<[Memory; 2]>,
    /// The endpoint's calls by outcome, in the order of [`CallOutcome::ALL`](crate::sagemaker::CallOutcome::ALL).
    pub calls: [u64; 5],
    /// The maximum number of calls in flight.
    pub most_in_flight: u64,
    /// The number of connections that the endpoint accepted.
    pub connections: u64,
    /// The last limit of calls in flight that the function logged. `None` if it logs no limit.
    pub limit: Option<f64>,
    /// The course of the round over time.
    pub timeline: Timeline,
}

/// One invocation.
#[derive(Debug, Clone, Copy)]
pub struct Batch {
    /// The time of the function's response.
    pub end: Instant,
    /// The time from the event to the response.
    pub latency: Duration,
    /// The number of records in the event.
    pub records: usize,
    /// The number of these records that are not redelivered.
    pub finished: usize,
}

/// Sends `records` through a fresh process, in batches of `batch_size`. After each invocation it calls `done` with the
/// number of records that the invocation finished.
///
/// # Errors
///
/// If the process or its endpoint cannot be started, the process ends or does not respond, or a record is not finished
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
    let limits = tokio::spawn(read_limits(lines));
    let function = Function::start(&launch).await?;
    drop(launch);
    let idle = function.id().and_then(memory);
    let (stop, stopped) = mpsc::unbounded_channel();
    let feed = Feed {
        function: &function,
        progress: RefCell::default(),
        is_lost: Cell::new(false),
        stop,
    };
    if let Err(why) = feed.run(records.to_vec(), batch_size, done, stopped).await {
        bail!("{why}; the last lines of its log:\n{}", function.log());
    }
    let (cpu, last) = (function.id().and_then(cpu_time), function.id().and_then(memory));
    let FeedProgress { batches, first_cpu, .. } = feed.progress.into_inner();
    let start_up = function.start_up();
    function.stop().await;
    // Calls that hang end when their connections are closed.
    _ = timeout(LAST_CALLS_WAIT_MAX, endpoint.in_flight_ends()).await;
    let RecordedCalls { calls, counts } = endpoint.take_recorded();
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

/// Sends the batches of a round to the function.
struct Feed<'f> {
    function: &'f Function,
    progress: RefCell<FeedProgress>,
    /// Whether the process has ended or does not respond, so that the batch cannot be redelivered to it.
    is_lost: Cell<bool>,
    /// Sends the reason for which the round cannot be finished.
    stop: mpsc::UnboundedSender<String>,
}

#[derive(Default)]
struct FeedProgress {
    batches: Vec<Batch>,
    first_cpu: Option<Duration>,
    /// The error of the last invocation, if it failed as a whole.
    failure: Option<String>,
}

impl Feed<'_> {
    /// Runs until all records are finished.
    ///
    /// # Errors
    ///
    /// The reason, as soon as it is known that a record will not be finished.
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
            let result = self.function.invoke(event).await;
            self.is_lost.set(matches!(
                result,
                InvocationResult::TimedOut(_) | InvocationResult::Exited(_)
            ));
            result
        };
        let report = |report| self.on_report(report, done);
        tokio::select! {
            biased;
            why = stopped.recv() => Err(why.unwrap_or_default()),
            () = mapping.run_all(vec![records], &invoke, &report) => match stopped.try_recv() {
                Ok(why) => Err(why),
                Err(_) => Ok(()),
            },
        }
    }

    fn on_report(&self, report: Report, done: &impl Fn(usize)) {
        let mut progress = self.progress.borrow_mut();
        let stop = match report {
            Report::Invoked(invoked) => {
                let end = Instant::now();
                if progress.batches.is_empty() {
                    progress.first_cpu = self.function.id().and_then(cpu_time);
                }
                let Invoked {
                    latency,
                    records,
                    finished,
                    failure,
                    ..
                } = invoked;
                done(finished);
                progress.batches.push(Batch {
                    end,
                    latency,
                    records,
                    finished,
                });
                progress.failure.clone_from(&failure);
                let lost = failure.filter(|_| self.is_lost.get());
                lost.map(|why| format!("batch {} was not answered: {why}", progress.batches.len()))
            }
            Report::Discarded(discarded) => Some(discard_reason(&discarded, progress.failure.as_deref())),
        };
        if let Some(why) = stop {
            // If the receiver is gone, it already has a reason.
            _ = self.stop.send(why);
        }
    }
}

fn discard_reason(discarded: &Discarded, failure: Option<&str>) -> String {
    let (count, times) = (discarded.records.len(), discarded.invocations);
    let why = failure.unwrap_or("the function reported them as unfinished");
    format!("{count} records were given up after {times} invocations: {why}")
}

/// Reads all lines of the function until it ends. Returns the limits that it logged, each with its time.
async fn read_limits(mut lines: mpsc::UnboundedReceiver<Line>) -> Vec<(Instant, f64)> {
    let mut limits = Vec::new();
    while let Some(line) = lines.recv().await {
        if let Line::Log(line) = line
            && let Some(limit) = logged_limit(&line)
        {
            limits.push((Instant::now(), limit));
        }
    }
    limits
}

/// Returns the field `limit` of a JSON log line, at the top level or inside `fields`, where Rust's loggers put it.
fn logged_limit(line: &str) -> Option<f64> {
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
    fn the_limit_is_read_from_log_lines_of_several_loggers() {
        for (line, expected) in [
            (
                r#"{"level":"INFO","fields":{"message":"batch finished","limit":19.5}}"#,
                Some(19.5),
            ),
            (r#"{"message":"batch finished","limit":20}"#, Some(20.0)),
            (r#"{"level":"INFO","fields":{"message":"start"}}"#, None),
            ("INFO batch finished limit=20", None),
        ] {
            assert_eq!(logged_limit(line), expected, "{line}");
        }
    }
}
