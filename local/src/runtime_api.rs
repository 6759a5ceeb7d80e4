//! Lambda's Runtime API for one process of a function:
//! <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html>.
//!
//! Several invocations may be in progress at once, as on Lambda Managed Instances.

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

/// The maximum size of a response, in bytes. From a function that a mapping invokes, Lambda takes 6 MB and a little for
/// the framing.
const RESPONSE_BYTES_MAX: usize = 6 * 1024 * 1024 + 100;

/// The function's reply to one event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FunctionReply {
    /// The response.
    Response(Bytes),
    /// An error.
    Error(FunctionError),
}

/// An error as the function reports it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub struct FunctionError {
    /// The error's type.
    pub error_type: String,
    /// The error's message.
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
    /// The invocations that wait for a reply, by request ID.
    pending: StdMutex<HashMap<String, oneshot::Sender<FunctionReply>>>,
    /// Whether the function has asked for an event.
    polled: watch::Sender<bool>,
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
    /// The operating system's error, if no port is available.
    pub async fn start() -> io::Result<Self> {
        let (to_function, invocations) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            to_function,
            invocations: Mutex::new(invocations),
            pending: StdMutex::default(),
            polled: watch::Sender::new(false),
            last_id: AtomicU64::new(0),
        });
        let router = Router::new()
            .route("/2018-06-01/runtime/invocation/next", get(next))
            .route("/2018-06-01/runtime/invocation/{id}/response", post(response))
            .route("/2018-06-01/runtime/invocation/{id}/error", post(error))
            .layer(DefaultBodyLimit::max(RESPONSE_BYTES_MAX))
            .with_state(Arc::clone(&shared));
        let server = Server::start(0, router).await?;
        Ok(Self { server, shared })
    }

    /// Returns the address for the function's `AWS_LAMBDA_RUNTIME_API`.
    pub fn address(&self) -> SocketAddr {
        self.server.address
    }

    /// Waits until the function asks for its first event, which ends its start-up.
    pub async fn ready(&self) {
        // The sender lives in `self`, so the wait cannot fail.
        _ = self.shared.polled.subscribe().wait_for(|polled| *polled).await;
    }

    /// Sends the function an event and a deadline, in milliseconds since 1970, and waits for its reply.
    pub async fn invoke(&self, event: Bytes, deadline_ms: u128) -> FunctionReply {
        let id = format!(
            "00000000-0000-0000-0000-{:012}",
            self.shared.last_id.fetch_add(1, Ordering::Relaxed) + 1
        );
        let (sender, reply) = oneshot::channel();
        self.shared.pending().insert(id.clone(), sender);
        let guard = PendingGuard {
            shared: &self.shared,
            id: id.clone(),
        };
        let invocation = Invocation { id, event, deadline_ms };
        self.shared
            .to_function
            .send(invocation)
            .expect("the receiver lives in `self`");
        let reply = reply.await.expect("the sender stays in `self` until it is used");
        drop(guard);
        reply
    }
}

/// Removes an invocation from the pending ones when its caller is gone. A later reply is rejected.
struct PendingGuard<'a> {
    shared: &'a Shared,
    id: String,
}

impl Drop for PendingGuard<'_> {
    fn drop(&mut self) {
        self.shared.pending().remove(&self.id);
    }
}

impl Shared {
    fn pending(&self) -> std::sync::MutexGuard<'_, HashMap<String, oneshot::Sender<FunctionReply>>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Delivers the function's reply to the caller of invocation `id`. Returns the status to answer the function with.
    fn deliver_reply(&self, id: &str, reply: FunctionReply) -> StatusCode {
        match self.pending().remove(id) {
            // The receiver may be gone, if the invocation has just timed out.
            Some(sender) => {
                _ = sender.send(reply);
                StatusCode::ACCEPTED
            }
            None => StatusCode::BAD_REQUEST,
        }
    }
}

async fn next(State(shared): State<Arc<Shared>>) -> Response<Body> {
    shared.polled.send_replace(true);
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

/// Returns the ID of a trace that is not sampled. Lambda sends one with each invocation while tracing is off.
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
    shared.deliver_reply(&id, FunctionReply::Response(body))
}

async fn error(State(shared): State<Arc<Shared>>, Path(id): Path<String>, body: Bytes) -> StatusCode {
    shared.deliver_reply(
        &id,
        FunctionReply::Error(serde_json::from_slice(&body).unwrap_or_default()),
    )
}
