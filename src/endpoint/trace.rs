//! The trace that a call belongs to: each carries the `X-Amzn-Trace-Id` that its invocation came with, as an AWS client in
//! a Lambda function does: <https://docs.aws.amazon.com/xray/latest/devguide/xray-concepts.html#xray-concepts-tracingheader>.

use std::future::Future;
use std::sync::Arc;

use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use tokio::task_local;

const HEADER: &str = "x-amzn-trace-id";

task_local! {
    static TRACE_ID: Option<Arc<str>>;
}

/// The calls that `work` makes carry this trace.
pub fn with_trace_id<T>(trace_id: &Option<Arc<str>>, work: impl Future<Output = T>) -> impl Future<Output = T> {
    TRACE_ID.scope(trace_id.clone(), work)
}

/// Marks a request that is signed already with the trace of the call under way, if there is one: services along the way may
/// change the header, and the signature leaves it out.
pub(super) fn add_header(request: &mut HttpRequest) {
    _ = TRACE_ID.try_with(|trace_id| {
        if let Some(trace_id) = trace_id {
            // What cannot stand in a header is no trace.
            _ = request.headers_mut().try_insert(HEADER, trace_id.to_string());
        }
    });
}
