//! Gives the handler the raw bytes of the event. Without this layer, Lambda's runtime crate would parse the event into
//! a value of our own type first, which costs a second pass over the event and a second copy in memory.

use std::task::{Context, Poll};

use bytes::Bytes;
use lambda_runtime::tower::{Layer, Service};
use lambda_runtime::{Error, LambdaInvocation};
use tokio::task::futures::TaskLocalFuture;
use tokio::task_local;

task_local! {
    static PAYLOAD: Bytes;
}

/// Returns the bytes of the current event. They are empty outside an invocation that went through [`RawPayloadLayer`].
pub fn raw_payload() -> Bytes {
    PAYLOAD.try_with(Clone::clone).unwrap_or_default()
}

/// Stores the event's bytes for the handler, and gives the runtime crate `null` to parse instead.
#[derive(Debug, Clone, Copy)]
pub struct RawPayloadLayer;

/// The service that [`RawPayloadLayer`] adds.
#[derive(Debug, Clone)]
pub struct RawPayloadService<S>(S);

impl<S> Layer<S> for RawPayloadLayer {
    type Service = RawPayloadService<S>;

    fn layer(&self, inner: S) -> RawPayloadService<S> {
        RawPayloadService(inner)
    }
}

impl<S> Service<LambdaInvocation> for RawPayloadService<S>
where
    S: Service<LambdaInvocation, Response = (), Error = Error>,
{
    type Response = ();
    type Error = Error;
    type Future = TaskLocalFuture<Bytes, S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, mut invocation: LambdaInvocation) -> Self::Future {
        let payload = std::mem::replace(&mut invocation.body, Bytes::from_static(b"null"));
        PAYLOAD.scope(payload, self.0.call(invocation))
    }
}
