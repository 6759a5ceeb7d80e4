//! Traces: a span for each invocation, in the trace that Lambda names, and in it a span for each attempt at a call.
//! They are sent to a collector in the OpenTelemetry protocol, for example the one in AWS's Lambda layer. The
//! protocol's own variables set its address and the sampling, such as `OTEL_EXPORTER_OTLP_ENDPOINT` and
//! `OTEL_TRACES_SAMPLER`: <https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/>.
//!
//! Lambda's runtime crate has a layer for traces too, but it cannot serve several invocations at once and sets no
//! parent span.

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

/// The maximum time for which the next invocation waits for the export of this invocation's spans.
const EXPORT_MAX: Duration = Duration::from_secs(1);
/// The time before the deadline at which the export ends at the latest.
const EXPORT_MARGIN: Duration = Duration::from_millis(50);

/// The provider of the process, which has one subscriber.
static PROVIDER: OnceLock<SdkTracerProvider> = OnceLock::new();

/// Returns the layer that collects this crate's spans at every log level.
///
/// # Errors
///
/// If the variables of the protocol are invalid.
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

/// Adds an invocation's span to the trace of this `X-Amzn-Trace-Id`. The span must not have begun.
pub fn join_trace(span: &Span, trace_id: Option<&str>) {
    if let Some(parent) = trace_id.and_then(span_context_from_str) {
        // An error means that no layer collects spans, so there is no trace to join.
        _ = span.set_parent(opentelemetry::Context::new().with_remote_span_context(parent));
    }
}

/// Exports the spans of an invocation after its response and before Lambda freezes the process.
#[derive(Debug, Clone, Copy)]
pub struct ExportSpans;

/// The service that [`ExportSpans`] adds.
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
        let handling = self.0.call(invocation);
        Box::pin(async move {
            let result = handling.await;
            export(export_time(deadline_ms)).await;
            result
        })
    }
}

/// Returns the time that the export may take. An invocation's time ends with the next request for an event, not with
/// the response. A deadline in the past is treated as unknown, as in
/// [`Schedule`](crate::lambda::time_budget::Schedule).
fn export_time(deadline_ms: u64) -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    match Duration::from_millis(deadline_ms).checked_sub(now) {
        Some(left) => left.saturating_sub(EXPORT_MARGIN).min(EXPORT_MAX),
        None => EXPORT_MAX,
    }
}

async fn export(time: Duration) {
    let Some(provider) = PROVIDER.get() else { return };
    // The exporter's own timeout is five seconds, which no setting changes.
    let exported = timeout(time, spawn_blocking(|| provider.force_flush())).await;
    if !matches!(exported, Ok(Ok(Ok(())))) {
        warn!("the spans of this invocation may be lost: no collector accepted them in time");
    }
}
