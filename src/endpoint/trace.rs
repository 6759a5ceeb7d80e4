//! Adds the trace header of the invocation, `X-Amzn-Trace-Id`, to each call, as AWS clients in a Lambda function do:
//! <https://docs.aws.amazon.com/xray/latest/devguide/xray-concepts.html#xray-concepts-tracingheader>.

use std::future::Future;
use std::sync::Arc;

use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use http::HeaderName;
use tokio::task_local;

static HEADER: HeaderName = HeaderName::from_static("x-amzn-trace-id");

task_local! {
    static TRACE_ID: Option<Arc<str>>;
}

/// Runs `work` with this trace ID, which is sent with each of its calls.
pub fn with_trace_id<T>(trace_id: &Option<Arc<str>>, work: impl Future<Output = T>) -> impl Future<Output = T> {
    TRACE_ID.scope(trace_id.clone(), work)
}

/// Adds the trace header to a request, if the current task has a trace ID. The header is added after signing, because
/// services on the way may change it.
pub(super) fn add_header(request: &mut HttpRequest) {
    _ = TRACE_ID.try_with(|trace_id| {
        if let Some(trace_id) = trace_id {
            // A trace ID that is not a valid header value is left out.
            _ = request.headers_mut().try_insert(HEADER.clone(), trace_id.to_string());
        }
    });
}
