//! Sets up the log, in the format and at the level of Lambda's own settings:
//! <https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs-log-level.html>.

use std::io::{IsTerminal as _, stderr};
use std::panic;
use std::sync::Mutex;

use lambda_runtime::tracing::subscriber::filter::{EnvFilter, LevelFilter};
use lambda_runtime::tracing::subscriber::layer::{Layer, SubscriberExt as _};
use lambda_runtime::tracing::subscriber::registry::LookupSpan;
use lambda_runtime::tracing::subscriber::util::SubscriberInitExt as _;
use lambda_runtime::tracing::subscriber::{fmt, registry};
use tracing::Subscriber;

use super::log_writer::LogWriter;

/// Sends logs to standard error, as set by `AWS_LAMBDA_LOG_FORMAT` and `AWS_LAMBDA_LOG_LEVEL`, or by `RUST_LOG` if
/// Lambda sets no level. Logs only the location of a panic, because its message may quote a record. `lookup` reads the
/// process's environment.
///
/// # Panics
///
/// If the process already has a subscriber.
pub fn init(lookup: impl Fn(&str) -> Option<String>) {
    let is_json = lookup("AWS_LAMBDA_LOG_FORMAT").is_some_and(|format| format.eq_ignore_ascii_case("json"));
    let subscriber = registry().with(layer(is_json).with_filter(filter(&lookup)));
    #[cfg(not(feature = "opentelemetry"))]
    subscriber.init();
    #[cfg(feature = "opentelemetry")]
    match super::traces::layer(lookup("AWS_LAMBDA_FUNCTION_NAME")) {
        Ok(traces) => subscriber.with(traces).init(),
        Err(error) => {
            subscriber.init();
            tracing::error!(%error, "traces are off");
        }
    }
    panic::set_hook(Box::new(|panic| {
        let location = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(place = location, "the function panicked, which is a defect");
    }));
}

fn layer<S>(is_json: bool) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'s> LookupSpan<'s>,
{
    let log = fmt::layer()
        .with_writer(Mutex::new(LogWriter::new(stderr())))
        .with_target(false);
    if is_json {
        // With a timestamp: Lambda treats a line without one as a line of level INFO.
        log.json().flatten_event(true).with_current_span(false).boxed()
    } else {
        log.without_time().with_ansi(stderr().is_terminal()).boxed()
    }
}

/// Silences the SDK's warnings. A call without credentials, or with a response that is not HTTP, is already logged as
/// one line. The SDK would add the whole error for each call.
const SDK_DIRECTIVES: &str = "aws_config=error,aws_smithy_http_client=error";

fn filter(lookup: impl Fn(&str) -> Option<String>) -> EnvFilter {
    let level = match lookup("AWS_LAMBDA_LOG_LEVEL") {
        Some(level) if level.eq_ignore_ascii_case("fatal") => Some(LevelFilter::ERROR),
        level => level.and_then(|level| level.parse().ok()),
    };
    let with_sdk_errors_only =
        |level: LevelFilter| EnvFilter::builder().parse_lossy(format!("{level},{SDK_DIRECTIVES}"));
    match (level, lookup("RUST_LOG").filter(|own| !own.is_empty())) {
        (Some(level), _) if level >= LevelFilter::DEBUG => EnvFilter::default().add_directive(level.into()),
        (Some(level), _) => with_sdk_errors_only(level),
        (None, None) => with_sdk_errors_only(LevelFilter::INFO),
        (None, Some(own)) => EnvFilter::builder()
            .with_default_directive(LevelFilter::INFO.into())
            .parse_lossy(own),
    }
}
