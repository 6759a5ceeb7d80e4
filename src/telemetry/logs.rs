//! Logs, in the format and from the level on that Lambda's own settings ask for:
//! <https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs-log-level.html>.

use std::io::{IsTerminal as _, stderr};
use std::panic;

use lambda_runtime::tracing::subscriber::filter::{EnvFilter, LevelFilter};
use lambda_runtime::tracing::subscriber::layer::{Layer, SubscriberExt as _};
use lambda_runtime::tracing::subscriber::registry::LookupSpan;
use lambda_runtime::tracing::subscriber::util::SubscriberInitExt as _;
use lambda_runtime::tracing::subscriber::{fmt, registry};
use tracing::Subscriber;

/// Sends logs to standard error, by `AWS_LAMBDA_LOG_FORMAT` and `AWS_LAMBDA_LOG_LEVEL`, or `RUST_LOG` where Lambda does not
/// say. A panic is told of by its place alone: its message may quote a record. `lookup` reads the process's environment.
///
/// # Panics
///
/// If the process has a subscriber already.
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
            tracing::error!(%error, "there are no traces");
        }
    }
    panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(place, "a defect in the function: panicked");
    }));
}

fn layer<S>(is_json: bool) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'s> LookupSpan<'s>,
{
    let log = fmt::layer().with_writer(stderr).with_target(false);
    if is_json {
        // With its time: Lambda takes a line without one for one of level INFO.
        log.json().flatten_event(true).with_current_span(false).boxed()
    } else {
        log.without_time().with_ansi(stderr().is_terminal()).boxed()
    }
}

/// A call that is in vain for want of credentials says so itself, in a line; the SDK would add its whole error.
const QUIET: &str = "aws_config=error";

fn filter(lookup: impl Fn(&str) -> Option<String>) -> EnvFilter {
    let level = match lookup("AWS_LAMBDA_LOG_LEVEL") {
        Some(level) if level.eq_ignore_ascii_case("fatal") => Some(LevelFilter::ERROR),
        level => level.and_then(|level| level.parse().ok()),
    };
    let quiet = |level: LevelFilter| EnvFilter::builder().parse_lossy(format!("{level},{QUIET}"));
    match (level, lookup("RUST_LOG").filter(|own| !own.is_empty())) {
        (Some(level), _) if level >= LevelFilter::DEBUG => EnvFilter::default().add_directive(level.into()),
        (Some(level), _) => quiet(level),
        (None, None) => quiet(LevelFilter::INFO),
        (None, Some(own)) => EnvFilter::builder()
            .with_default_directive(LevelFilter::INFO.into())
            .parse_lossy(own),
    }
}
