//! The whole handler on a single-threaded runtime, since Valgrind counts only the bench's own thread.

use std::time::{Duration, SystemTime};

use instream::delivery::destination::Destination;
use instream::handler::Handler;
use instream::lambda::response::BatchResponse;
use instream::lambda::time_budget::Invocation;
use tokio::runtime::{Builder, Runtime};

use super::answers::ImmediateEndpoint;
use super::batch::{Form, Payload, payload};
use super::leak;
use super::settings::{Settings, config};

/// Seconds since 1970.
const NOW_S: u64 = 1_800_000_000;
const TIMEOUT_S: u64 = 120;

/// A handler and the event that it handles.
#[derive(Debug)]
pub(crate) struct Handling {
    runtime: Runtime,
    handler: Handler<ImmediateEndpoint>,
    payload: Payload,
}

/// Returns a handler that has handled the event once, so that the setup during the first event is not counted.
pub(crate) fn start(settings: Settings) -> &'static Handling {
    let config = config(settings);
    let runtime = Builder::new_current_thread().enable_all().build();
    let handling = Handling {
        runtime: runtime.expect("the runtime can be built"),
        handler: Handler::new(
            &config,
            ImmediateEndpoint::new(),
            Destination::None,
            Some(Destination::None),
        ),
        payload: payload(Form::Plain),
    };
    let response = handling.handle();
    assert_eq!(response.failures.batch_item_failures, [], "all records are predicted");
    leak(handling)
}

impl Handling {
    /// Handles the event. The benches call the handler only here.
    pub(crate) fn handle(&self) -> BatchResponse {
        let invocation = Invocation {
            function_arn: "arn:aws:lambda:us-east-1:123456789012:function:instream",
            request_id: "",
            trace_id: None,
            deadline_ms: (NOW_S + TIMEOUT_S) * 1000,
            now: SystemTime::UNIX_EPOCH + Duration::from_secs(NOW_S),
        };
        let handling = self.handler.handle(self.payload, invocation);
        self.runtime.block_on(handling).expect("the batch is handled")
    }
}
