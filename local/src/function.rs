//! A process of the function: starts it with a Runtime API of its own, watches it and stops it.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use crate::environment::Settings;
use crate::runtime_api::{FunctionError, FunctionReply, RuntimeApi};

/// The maximum start-up time. Lambda allows 10 s, but a laptop under load may need more.
const START_UP_MAX: Duration = Duration::from_secs(30);
/// The maximum time to read the remaining output after the process has ended.
const DRAIN_MAX: Duration = Duration::from_secs(5);
/// The number of last log lines to quote when the process ends.
const LAST_LINES_MAX: usize = 30;

/// The program to run, and its environment.
#[derive(Debug, Clone)]
pub struct Launch {
    /// The function's program.
    pub program: Program,
    /// The function's environment, without `AWS_LAMBDA_RUNTIME_API`.
    pub environment: Settings,
    /// The timeout of one invocation.
    pub timeout: Duration,
    /// The channel for the lines of the function's standard output and its log.
    pub lines: mpsc::UnboundedSender<Line>,
}

/// A Lambda function's program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Program {
    /// A binary.
    Binary(PathBuf),
    /// A command line for the shell.
    Shell(String),
}

impl Program {
    fn command(&self) -> Command {
        match self {
            Self::Binary(path) => Command::new(path),
            Self::Shell(line) => {
                let mut shell = Command::new("/bin/sh");
                // `exec` replaces the shell by the function, so that the function is the process to watch and to kill.
                shell.args(["-c", &format!("exec {line}")]);
                shell
            }
        }
    }
}

/// A line of the function's output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// On standard output: predictions, dead letters, metrics.
    Output(String),
    /// On standard error: the log.
    Log(String),
}

/// The result of an invocation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InvocationResult {
    /// The function's response.
    Response(Bytes),
    /// The error that the function reported.
    Error(FunctionError),
    /// The function did not respond within this timeout.
    TimedOut(Duration),
    /// The function's process ended, with this status or for this reason.
    Exited(String),
}

impl InvocationResult {
    /// An error of this type, with these words.
    pub fn failed(error_type: &str, error_message: &str) -> Self {
        Self::Error(FunctionError {
            error_type: error_type.to_owned(),
            error_message: error_message.to_owned(),
        })
    }
}

/// The function could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The process cannot be started, or no port is available.
    #[error("the function cannot be started")]
    Io(#[from] io::Error),
    /// The process ended before it asked for an event.
    #[error("the function ended while it started ({status}):\n{log}")]
    Ended {
        /// The exit status of the process.
        status: String,
        /// The last lines of its log.
        log: String,
    },
    /// The process runs but does not ask for an event.
    #[error("the function has not asked for an event within {} s:\n{log}", START_UP_MAX.as_secs())]
    Silent {
        /// The last lines of its log.
        log: String,
    },
}

/// A running process. Dropping it kills it.
#[derive(Debug)]
pub struct Function {
    api: RuntimeApi,
    /// The process ID. `None` if the process ended before the ID was read.
    id: Option<u32>,
    start_up: Duration,
    timeout: Duration,
    exit: watch::Receiver<Option<String>>,
    kill: Option<oneshot::Sender<()>>,
    watcher: JoinHandle<()>,
    last_lines: Arc<Mutex<VecDeque<String>>>,
}

impl Function {
    /// Starts the process and waits until it asks for its first event.
    ///
    /// # Errors
    ///
    /// [`StartError`], with the last lines of the function's log.
    pub async fn start(launch: &Launch) -> Result<Self, StartError> {
        let api = RuntimeApi::start().await?;
        let spawned = Instant::now();
        let mut child = launch
            .program
            .command()
            .env_clear()
            .envs(&launch.environment)
            .env("AWS_LAMBDA_RUNTIME_API", api.address().to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // In its own process group, Ctrl-C at the terminal does not reach the function. This program kills it
            // instead.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let id = child.id();
        let last_lines = Arc::new(Mutex::new(VecDeque::new()));
        let pumps = pumps(&mut child, launch.lines.clone(), &last_lines);
        let (exit_sender, exit) = watch::channel(None);
        let (kill, killed) = oneshot::channel();
        let watcher = tokio::spawn(watch_over(child, killed, pumps, exit_sender));
        let mut function = Self {
            api,
            id,
            start_up: Duration::ZERO,
            timeout: launch.timeout,
            exit,
            kill: Some(kill),
            watcher,
            last_lines,
        };
        let started = tokio::select! {
            () = function.api.ready() => Ok(()),
            status = function.exited() => Err(StartError::Ended { status, log: function.log() }),
            () = tokio::time::sleep(START_UP_MAX) => Err(StartError::Silent { log: function.log() }),
        };
        function.start_up = spawned.elapsed();
        started.map(|()| function)
    }

    /// Returns the process ID, or `None` if the process ended before the ID was read.
    pub fn id(&self) -> Option<u32> {
        self.id
    }

    /// Returns the time from the start of the process to its request for the first event.
    pub fn start_up(&self) -> Duration {
        self.start_up
    }

    /// Invokes the function with an event and waits for the result.
    pub async fn invoke(&self, event: Bytes) -> InvocationResult {
        self.invoke_within(event, self.timeout).await
    }

    /// Like [`invoke`](Self::invoke), with a deadline `time_left` from now. The function receives the deadline, but it
    /// is not enforced.
    pub async fn invoke_within(&self, event: Bytes, time_left: Duration) -> InvocationResult {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.invoke_until(event, (now + time_left).as_millis()).await
    }

    /// Like [`invoke`](Self::invoke), with a deadline in the distant past, as cargo-lambda sends it.
    pub async fn invoke_without_deadline(&self, event: Bytes) -> InvocationResult {
        self.invoke_until(event, 600_000).await
    }

    async fn invoke_until(&self, event: Bytes, deadline_ms: u128) -> InvocationResult {
        tokio::select! {
            reply = timeout(self.timeout, self.api.invoke(event, deadline_ms)) => match reply {
                Ok(FunctionReply::Response(response)) => InvocationResult::Response(response),
                Ok(FunctionReply::Error(error)) => InvocationResult::Error(error),
                Err(_elapsed) => InvocationResult::TimedOut(self.timeout),
            },
            status = self.exited() => InvocationResult::Exited(status),
        }
    }

    /// Kills the process and waits until all its output has been read.
    pub async fn stop(mut self) {
        drop(self.kill.take());
        _ = (&mut self.watcher).await;
    }

    async fn exited(&self) -> String {
        let mut exit = self.exit.clone();
        match exit.wait_for(Option::is_some).await {
            Ok(status) => status.clone().unwrap_or_default(),
            Err(_) => "the watcher task is gone".to_owned(),
        }
    }

    /// Returns the last lines of the log, or a note that there are none.
    pub fn log(&self) -> String {
        let lines = self.last_lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.is_empty() {
            return "the function wrote nothing to standard error".to_owned();
        }
        lines.iter().map(String::as_str).collect::<Vec<_>>().join("\n")
    }
}

/// Waits until the process ends by itself or is killed, and reads its remaining output. Then publishes its exit status.
async fn watch_over(
    mut child: Child,
    killed: oneshot::Receiver<()>,
    pumps: [JoinHandle<()>; 2],
    exit: watch::Sender<Option<String>>,
) {
    let status = tokio::select! {
        status = child.wait() => status,
        _ = killed => match child.start_kill() {
            Ok(()) => child.wait().await,
            Err(error) => Err(error),
        },
    };
    for mut pump in pumps {
        // A child process that the function left behind may hold the pipe open forever.
        if timeout(DRAIN_MAX, &mut pump).await.is_err() {
            pump.abort();
        }
    }
    exit.send_replace(Some(describe(status)));
}

fn describe(status: io::Result<ExitStatus>) -> String {
    status.map_or_else(|error| error.to_string(), |status| status.to_string())
}

fn pumps(
    child: &mut Child,
    lines: mpsc::UnboundedSender<Line>,
    last_lines: &Arc<Mutex<VecDeque<String>>>,
) -> [JoinHandle<()>; 2] {
    let stdout = child.stdout.take().expect("standard output is piped");
    let stderr = child.stderr.take().expect("standard error is piped");
    let last_lines = Arc::clone(last_lines);
    let logs = lines.clone();
    let log = tokio::spawn(pump(stderr, move |line| {
        let mut last = last_lines.lock().unwrap_or_else(PoisonError::into_inner);
        last.push_back(line.clone());
        if last.len() > LAST_LINES_MAX {
            last.pop_front();
        }
        // The receiver may be gone, if nobody reads the lines.
        _ = logs.send(Line::Log(line));
    }));
    let output = tokio::spawn(pump(stdout, move |line| _ = lines.send(Line::Output(line))));
    [output, log]
}

async fn pump(pipe: impl AsyncRead + Unpin, mut take: impl FnMut(String)) {
    let mut pipe = BufReader::new(pipe);
    let mut line = Vec::new();
    // A broken pipe counts as its end.
    while pipe.read_until(b'\n', &mut line).await.is_ok_and(|length| length > 0) {
        take(String::from_utf8_lossy(&line).trim_end_matches(['\n', '\r']).to_owned());
        line.clear();
    }
}
