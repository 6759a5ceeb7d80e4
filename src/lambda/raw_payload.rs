//! An event's own bytes. Lambda's runtime crate would read an event into a value of ours first, which is a second look at
//! all of it, and a second copy in memory.

use std::task::{Context, Poll};

use bytes::Bytes;
use lambda_runtime::tower::{Layer, Service};
use lambda_runtime::{Error, LambdaInvocation};
use tokio::task::futures::TaskLocalFuture;
use tokio::task_local;

task_local! {
    static PAYLOAD: Bytes;
}

/// The bytes of the event that is being handled. Empty outside of an invocation behind [`KeepPayload`].
pub fn payload() -> Bytes {
    PAYLOAD.try_with(Clone::clone).unwrap_or_default()
}

/// Keeps an event's bytes for the handler, and hands the runtime crate `null` to read in their place.
#[derive(Debug, Clone, Copy)]
pub struct KeepPayload;

/// The service behind [`KeepPayload`].
#[derive(Debug, Clone)]
pub struct Kept<S>(S);

impl<S> Layer<S> for KeepPayload {
    type Service = Kept<S>;

    fn layer(&self, inner: S) -> Kept<S> {
        Kept(inner)
    }
}

impl<S> Service<LambdaInvocation> for Kept<S>
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
