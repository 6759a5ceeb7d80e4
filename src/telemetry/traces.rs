//! Traces: a span for each invocation, in the trace that Lambda tells of, and in it one for each attempt at a call. They go to
//! a collector in the OpenTelemetry protocol, such as AWS's Lambda layers have one. Where it is, and what is sampled, the
//! protocol's own variables say, as `OTEL_EXPORTER_OTLP_ENDPOINT` and `OTEL_TRACES_SAMPLER`:
//! <https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/>.
//!
//! Lambda's runtime crate has a layer for this, but one that cannot serve several invocations at once and knows no parent.

use std::future::Future;
use std::pin::Pin;
use std::sync::OnceLock;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lambda_runtime::tower::{Layer, Service};
use lambda_runtime::tracing::subscriber;
use lambda_runtime::tracing::subscriber::filter::filter_fn;
use lambda_runtime::tracing::subscriber::registry::LookupSpan;
use lambda_runtime::{Error, LambdaInvocation};
use opentelemetry::trace::{TraceContextExt as _, TracerProvider as _};
use opentelemetry_aws::trace::xray_propagator::span_context_from_str;
use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tracing::{Span, Subscriber, warn};
use tracing_opentelemetry::{OpenTelemetryLayer, OpenTelemetrySpanExt as _};

/// How long the next invocation may wait for the export of this one's spans.
const EXPORT_MAX: Duration = Duration::from_secs(1);
/// And how long before the deadline it ends at the latest.
const KEPT_BACK: Duration = Duration::from_millis(50);

/// One for the process, since it has one subscriber.
static PROVIDER: OnceLock<SdkTracerProvider> = OnceLock::new();

/// What takes our spans, whatever the log's level is. `None`, with the reason, where the variables make no sense.
pub(super) fn layer<S>(service: Option<String>) -> Result<impl subscriber::Layer<S>, Error>
where
    S: Subscriber + for<'s> LookupSpan<'s>,
{
    let exporter = SpanExporter::builder().with_http().build()?;
    let resource = Resource::builder().with_service_name(service.unwrap_or_else(|| "instream".to_owned()));
    let provider = SdkTracerProvider::builder().with_batch_exporter(exporter);
    let provider = PROVIDER.get_or_init(|| provider.with_resource(resource.build()).build());
    let layer = OpenTelemetryLayer::new(provider.tracer("instream"))
        .with_location(false)
        .with_threads(false);
    let is_ours = filter_fn(|metadata| metadata.is_span() && metadata.target().starts_with("instream"));
    Ok(subscriber::Layer::with_filter(layer, is_ours))
}

/// Puts an invocation's span, before it begins, into the trace of this `X-Amzn-Trace-Id`.
pub fn join_trace(span: &Span, trace_id: Option<&str>) {
    if let Some(parent) = trace_id.and_then(span_context_from_str) {
        // Where nobody takes spans, there is nothing to put it into.
        _ = span.set_parent(opentelemetry::Context::new().with_remote_span_context(parent));
    }
}

/// Has the spans of an invocation exported when it has been answered: then Lambda freezes the process.
#[derive(Debug, Clone, Copy)]
pub struct ExportSpans;

/// The service behind [`ExportSpans`].
#[derive(Debug, Clone)]
pub struct Exporting<S>(S);

impl<S> Layer<S> for ExportSpans {
    type Service = Exporting<S>;

    fn layer(&self, inner: S) -> Exporting<S> {
        Exporting(inner)
    }
}

impl<S> Service<LambdaInvocation> for Exporting<S>
where
    S: Service<LambdaInvocation, Response = (), Error = Error>,
    S::Future: Send + 'static,
{
    type Response = ();
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, invocation: LambdaInvocation) -> Self::Future {
        let deadline_ms = invocation.context.deadline;
        let answering = self.0.call(invocation);
        Box::pin(async move {
            let answered = answering.await;
            export(time_left(deadline_ms)).await;
            answered
        })
    }
}

/// What of an invocation's time the export may take: it ends with the next request for an event, not with the answer. A
/// deadline that is past is an unknown one, as in [`Schedule`](crate::lambda::time_budget::Schedule).
fn time_left(deadline_ms: u64) -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    match Duration::from_millis(deadline_ms).checked_sub(now) {
        Some(left) => left.saturating_sub(KEPT_BACK).min(EXPORT_MAX),
        None => EXPORT_MAX,
    }
}

async fn export(time: Duration) {
    let Some(provider) = PROVIDER.get() else { return };
    // The exporter itself waits for five seconds, which no setting changes.
    let exported = timeout(time, spawn_blocking(|| provider.force_flush())).await;
    if !matches!(exported, Ok(Ok(Ok(())))) {
        warn!("the spans of this invocation may be lost: no collector has taken them in time");
    }
}
