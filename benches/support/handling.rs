//! The whole handler, on a runtime of one thread: Valgrind counts what runs on the bench's own.

use std::time::{Duration, SystemTime};

use instream::checkpoint::BatchResponse;
use instream::deadline::Invocation;
use instream::handler::Handler;
use instream::output::Output;
use tokio::runtime::{Builder, Runtime};

use super::answers::AtOnce;
use super::batch::{Form, Payload, payload};
use super::keep;
use super::settings::{Settings, config};

/// Seconds since 1970.
const NOW_S: u64 = 1_800_000_000;
const TIMEOUT_S: u64 = 120;

/// A handler with an event that waits for it.
#[derive(Debug)]
pub(crate) struct Handling {
    runtime: Runtime,
    handler: Handler<AtOnce>,
    payload: Payload,
}

/// A handler that has handled the event once: what is made for the first event is not counted.
pub(crate) fn start(settings: Settings) -> &'static Handling {
    let config = config(settings);
    let runtime = Builder::new_current_thread().enable_all().build();
    let handling = Handling {
        runtime: runtime.expect("a runtime needs no more than an event queue"),
        handler: Handler::new(&config, AtOnce::new(), Output::None, Some(Output::None)),
        payload: payload(Form::Plain),
    };
    let answer = handling.handle();
    assert_eq!(answer.batch_item_failures, [], "all records are predicted");
    keep(handling)
}

impl Handling {
    /// The only place that calls the handler.
    pub(crate) fn handle(&self) -> BatchResponse {
        let invocation = Invocation {
            function_arn: "arn:aws:lambda:us-east-1:123456789012:function:instream",
            request_id: "",
            trace_id: None,
            deadline_ms: (NOW_S + TIMEOUT_S) * 1000,
            now: SystemTime::UNIX_EPOCH + Duration::from_secs(NOW_S),
        };
        let handling = self.handler.handle(self.payload, invocation);
        self.runtime.block_on(handling).expect("the batch is answered")
    }
}
