//! Lambda's Runtime API, as a function's process sees it:
//! <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html>.
//!
//! Several invocations may be under way at once, as on Lambda Managed Instances.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex as StdMutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{Response, StatusCode};
use axum::routing::{get, post};
use bytes::Bytes;
use serde::Deserialize;
use tokio::sync::{Mutex, mpsc, oneshot, watch};

use crate::server::Server;
use crate::stream::FUNCTION_ARN;

/// Lambda takes answers of up to 6 MB from a function that was invoked by a mapping, and a little for their framing.
const ANSWER_BYTES_MAX: usize = 6 * 1024 * 1024 + 100;

/// What a function said to one event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// It answered.
    Response(Bytes),
    /// It reported an error.
    Error(FunctionError),
}

/// An error as a function reports it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub struct FunctionError {
    /// The error's name.
    pub error_type: String,
    /// What went wrong.
    pub error_message: String,
}

/// The emulated API. Dropping it closes its port.
#[derive(Debug)]
pub struct RuntimeApi {
    server: Server,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    to_function: mpsc::UnboundedSender<Invocation>,
    invocations: Mutex<mpsc::UnboundedReceiver<Invocation>>,
    waiting: StdMutex<HashMap<String, oneshot::Sender<Said>>>,
    asked: watch::Sender<bool>,
    last_id: AtomicU64,
}

#[derive(Debug)]
struct Invocation {
    id: String,
    event: Bytes,
    deadline_ms: u128,
}

impl RuntimeApi {
    /// Starts the API on a free port.
    ///
    /// # Errors
    ///
    /// The operating system's own, if no port can be had.
    pub async fn start() -> io::Result<Self> {
        let (to_function, invocations) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            to_function,
            invocations: Mutex::new(invocations),
            waiting: StdMutex::default(),
            asked: watch::Sender::new(false),
            last_id: AtomicU64::new(0),
        });
        let router = Router::new()
            .route("/2018-06-01/runtime/invocation/next", get(next))
            .route("/2018-06-01/runtime/invocation/{id}/response", post(response))
            .route("/2018-06-01/runtime/invocation/{id}/error", post(error))
            .layer(DefaultBodyLimit::max(ANSWER_BYTES_MAX))
            .with_state(Arc::clone(&shared));
        let server = Server::start(0, router).await?;
        Ok(Self { server, shared })
    }

    /// The value of `AWS_LAMBDA_RUNTIME_API` for the function.
    pub fn address(&self) -> SocketAddr {
        self.server.address
    }

    /// Waits until the function asks for its first event: its start-up is over.
    pub async fn ready(&self) {
        // The sender lives in `self`, so the wait cannot fail.
        _ = self.shared.asked.subscribe().wait_for(|asked| *asked).await;
    }

    /// Hands the function an event and a deadline, in milliseconds since 1970, and waits for what it says.
    pub async fn invoke(&self, event: Bytes, deadline_ms: u128) -> Said {
        let id = format!(
            "00000000-0000-0000-0000-{:012}",
            self.shared.last_id.fetch_add(1, Ordering::Relaxed) + 1
        );
        let (say, said) = oneshot::channel();
        self.shared.waiting().insert(id.clone(), say);
        let forget = Forget {
            shared: &self.shared,
            id: id.clone(),
        };
        let invocation = Invocation { id, event, deadline_ms };
        self.shared
            .to_function
            .send(invocation)
            .expect("the receiver lives in `self`");
        let said = said.await.expect("the sender waits in `self` until it is used");
        drop(forget);
        said
    }
}

/// Takes an invocation off the list when nobody waits for it any more: what the function says later is too late.
struct Forget<'a> {
    shared: &'a Shared,
    id: String,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.shared.waiting().remove(&self.id);
    }
}

impl Shared {
    fn waiting(&self) -> std::sync::MutexGuard<'_, HashMap<String, oneshot::Sender<Said>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn say(&self, id: &str, said: Said) -> StatusCode {
        match self.waiting().remove(id) {
            // Nobody listens any more if the invocation has just timed out.
            Some(listener) => {
                _ = listener.send(said);
                StatusCode::ACCEPTED
            }
            None => StatusCode::BAD_REQUEST,
        }
    }
}

async fn next(State(shared): State<Arc<Shared>>) -> Response<Body> {
    shared.asked.send_replace(true);
    let invocation = shared
        .invocations
        .lock()
        .await
        .recv()
        .await
        .expect("the sender lives in `shared`");
    Response::builder()
        .header("Content-Type", "application/json")
        .header("Lambda-Runtime-Aws-Request-Id", invocation.id)
        .header("Lambda-Runtime-Deadline-Ms", invocation.deadline_ms.to_string())
        .header("Lambda-Runtime-Invoked-Function-Arn", FUNCTION_ARN)
        .header("Lambda-Runtime-Trace-Id", trace_id())
        .body(Body::from(invocation.event))
        .expect("the headers are ASCII")
}

/// A trace that is not sampled, as Lambda has one for each invocation while tracing is off.
fn trace_id() -> String {
    let seconds = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    let [high, low, parent] = [(); 3].map(|()| fastrand::u64(1..));
    format!(
        "Root=1-{seconds:08x}-{:08x}{low:016x};Parent={parent:016x};Sampled=0",
        high >> 32
    )
}

async fn response(State(shared): State<Arc<Shared>>, Path(id): Path<String>, body: Bytes) -> StatusCode {
    shared.say(&id, Said::Response(body))
}

async fn error(State(shared): State<Arc<Shared>>, Path(id): Path<String>, body: Bytes) -> StatusCode {
    shared.say(&id, Said::Error(serde_json::from_slice(&body).unwrap_or_default()))
}
