//! The Lambda function: reads the settings, creates the handler of the process, and runs the loop that fetches events.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::SystemTime;

use instream::config::{Config, is_stdout_dropped};
use instream::delivery::Alert;
use instream::delivery::destination::Destination;
use instream::delivery::destination::stdout::StdoutLines;
use instream::endpoint::target::AnyEndpoint;
use instream::endpoint::{http_client, sdk_config};
use instream::handler::Handler;
use instream::lambda::raw_payload::{RawPayloadLayer, raw_payload};
use instream::lambda::runtime;
use instream::lambda::time_budget::Invocation;
use instream::telemetry;
use instream::telemetry::emf::Metrics;
use lambda_runtime::{LambdaEvent, Runtime, service_fn};
use tracing::{Instrument as _, error_span};

/// A call takes some sixty short allocations. This allocator needs a third of the instructions of the C library's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    telemetry::logs::init(lookup);
    match start() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the only function that reads the environment")]
fn lookup(name: &str) -> Option<String> {
    std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
}

fn start() -> Result<(), lambda_runtime::Error> {
    let config = Config::from_lookup(lookup)?;
    runtime::build_runtime(lookup("AWS_LAMBDA_FUNCTION_MEMORY_SIZE").as_deref())?.block_on(serve(config))
}

fn open_metrics(namespace: &str) -> Metrics {
    let function_name = lookup("AWS_LAMBDA_FUNCTION_NAME").unwrap_or_default();
    Metrics::new(StdoutLines::new(Box::new(std::io::stdout())), namespace, &function_name)
}

async fn serve(config: Config) -> Result<(), lambda_runtime::Error> {
    if config.dead_letter.is_none() {
        tracing::warn!(
            "DEAD_LETTER is not set: a record that can never succeed is redelivered until the mapping discards it"
        );
    }
    if config.metrics.is_some() && is_stdout_dropped(lookup) {
        tracing::error!(
            "METRICS=on, but Lambda drops the metrics at this log level: set AWS_LAMBDA_LOG_LEVEL=INFO or METRICS=off"
        );
    }
    let http = http_client::shared_connector();
    let environment = sdk_config::load(http_client::http_client(http.clone())).await;
    let endpoint = AnyEndpoint::new(http, &environment, config.endpoint.clone(), &config.parameters).await?;
    if endpoint.is_unencrypted() {
        tracing::warn!("ENDPOINT_ALLOW_HTTP=1: every record goes to the endpoint unencrypted");
    }
    endpoint.warm_up(config.initial_concurrency()).await;
    let open = |destination| Destination::open(destination, &environment);
    let (output, dead_letter) = (open(&config.output), config.dead_letter.as_ref().map(open));
    let metrics = config.metrics.as_deref().map(open_metrics);
    let alert = config.alert.as_ref().map(|(destination, pattern)| Alert {
        destination: open(destination),
        pattern: pattern.clone(),
    });
    let handler = Handler::new(&config, endpoint, output, dead_letter)
        .with_alert(alert)
        .with_metrics(metrics);
    let handler = Arc::new(handler);
    let handle = move |event: LambdaEvent<()>| {
        let handler = Arc::clone(&handler);
        let trace_id = event.context.xray_trace_id.as_deref();
        // At the highest level, so that every log line shows it.
        let span = error_span!(
            "invocation",
            requestId = event.context.request_id,
            xrayTraceId = trace_id
        );
        #[cfg(feature = "opentelemetry")]
        telemetry::traces::join_trace(&span, trace_id);
        let handling = async move {
            let invocation = Invocation {
                function_arn: &event.context.invoked_function_arn,
                request_id: &event.context.request_id,
                trace_id: event.context.xray_trace_id.as_deref(),
                deadline_ms: event.context.deadline,
                now: SystemTime::now(),
            };
            handler.handle(&raw_payload(), invocation).await
        };
        handling.instrument(span)
    };
    let runtime = Runtime::new(service_fn(handle)).layer(RawPayloadLayer);
    #[cfg(feature = "opentelemetry")]
    let runtime = runtime.layer(telemetry::traces::ExportSpans);
    runtime.run_concurrent().await
}
