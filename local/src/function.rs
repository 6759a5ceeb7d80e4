//! A function's process: started against a Runtime API of its own, watched, and ended.

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
use crate::runtime_api::{FunctionError, RuntimeApi, Said};

/// Lambda gives up on a start-up after 10 s; a laptop under load may need more.
const START_MAX: Duration = Duration::from_secs(30);
/// How long to read on after the function's process has ended.
const LAST_WORDS_MAX: Duration = Duration::from_secs(5);
/// How many of its last lines of log a function that ends is quoted with.
const LAST_LINES: usize = 30;

/// What to run, and how.
#[derive(Debug, Clone)]
pub struct Launch {
    /// The function's program.
    pub program: Program,
    /// All of the function's environment but `AWS_LAMBDA_RUNTIME_API`.
    pub environment: Settings,
    /// Time for one invocation.
    pub timeout: Duration,
    /// Where the lines of the function's standard output and its log go.
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
                // `exec`: the process to watch and to end is the function, not a shell around it.
                shell.args(["-c", &format!("exec {line}")]);
                shell
            }
        }
    }
}

/// A line that the function wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// On standard output: predictions, dead letters, metrics.
    Output(String),
    /// On standard error: its log.
    Log(String),
}

/// How an invocation ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The function answered.
    Response(Bytes),
    /// The function reported an error.
    Error(FunctionError),
    /// The function did not answer in time.
    TimedOut(Duration),
    /// The function's process ended.
    Exited(String),
}

impl Answer {
    /// An error of this type, with these words.
    pub(crate) fn failed(error_type: &str, error_message: &str) -> Self {
        Self::Error(FunctionError {
            error_type: error_type.to_owned(),
            error_message: error_message.to_owned(),
        })
    }
}

/// The function could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No process, or no port.
    #[error("the function cannot be started")]
    Io(#[from] io::Error),
    /// It ended before it asked for an event.
    #[error("the function ended while it started ({status}):\n{log}")]
    Ended {
        /// The process's status.
        status: String,
        /// Its last lines.
        log: String,
    },
    /// It runs and asks for nothing.
    #[error("the function has not asked for an event within {} s:\n{log}", START_MAX.as_secs())]
    Silent {
        /// Its last lines.
        log: String,
    },
}

/// A running process. Dropping it kills it.
#[derive(Debug)]
pub struct Function {
    api: RuntimeApi,
    /// Of the process; none where it had ended before it could be asked.
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
    /// [`StartError`], with the function's own words where it said any.
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
            // A group of its own: Ctrl-C at the terminal ends us, and we end the function.
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
            () = tokio::time::sleep(START_MAX) => Err(StartError::Silent { log: function.log() }),
        };
        function.start_up = spawned.elapsed();
        started.map(|()| function)
    }

    /// The process's identifier; none where it had ended before it could be asked.
    pub fn id(&self) -> Option<u32> {
        self.id
    }

    /// From the start of the process to its asking for the first event.
    pub fn start_up(&self) -> Duration {
        self.start_up
    }

    /// Hands the function an event and waits for the answer, or for whatever comes instead.
    pub async fn invoke(&self, event: Bytes) -> Answer {
        self.invoke_within(event, self.timeout).await
    }

    /// As [`invoke`](Self::invoke), but with a deadline of its own, which is told to the function and not enforced.
    pub async fn invoke_within(&self, event: Bytes, time_left: Duration) -> Answer {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.invoke_until(event, (now + time_left).as_millis()).await
    }

    /// As [`invoke`](Self::invoke), but with a deadline that is long past, as cargo-lambda tells it.
    pub async fn invoke_without_deadline(&self, event: Bytes) -> Answer {
        self.invoke_until(event, 600_000).await
    }

    async fn invoke_until(&self, event: Bytes, deadline_ms: u128) -> Answer {
        tokio::select! {
            said = timeout(self.timeout, self.api.invoke(event, deadline_ms)) => match said {
                Ok(Said::Response(response)) => Answer::Response(response),
                Ok(Said::Error(error)) => Answer::Error(error),
                Err(_elapsed) => Answer::TimedOut(self.timeout),
            },
            status = self.exited() => Answer::Exited(status),
        }
    }

    /// Kills the process and waits until all that it wrote has been read.
    pub async fn stop(mut self) {
        drop(self.kill.take());
        _ = (&mut self.watcher).await;
    }

    async fn exited(&self) -> String {
        let mut exit = self.exit.clone();
        match exit.wait_for(Option::is_some).await {
            Ok(status) => status.clone().unwrap_or_default(),
            Err(_) => "its watcher is gone".to_owned(),
        }
    }

    /// The last lines of its log, or that there are none.
    pub fn log(&self) -> String {
        let lines = self.last_lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.is_empty() {
            return "it wrote nothing to its standard error".to_owned();
        }
        lines.iter().map(String::as_str).collect::<Vec<_>>().join("\n")
    }
}

/// Waits for the process to end, by itself or on demand, and for its last lines; then tells how it ended.
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
        // A process of its own that the function left behind may hold the pipe open for ever.
        if timeout(LAST_WORDS_MAX, &mut pump).await.is_err() {
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
        if last.len() > LAST_LINES {
            last.pop_front();
        }
        // Whoever does not listen does not want to know.
        _ = logs.send(Line::Log(line));
    }));
    let output = tokio::spawn(pump(stdout, move |line| _ = lines.send(Line::Output(line))));
    [output, log]
}

async fn pump(pipe: impl AsyncRead + Unpin, mut take: impl FnMut(String)) {
    let mut pipe = BufReader::new(pipe);
    let mut line = Vec::new();
    // A pipe that breaks has ended as well.
    while pipe.read_until(b'\n', &mut line).await.is_ok_and(|length| length > 0) {
        take(String::from_utf8_lossy(&line).trim_end_matches(['\n', '\r']).to_owned());
        line.clear();
    }
}
