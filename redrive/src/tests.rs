//! A run in a test: its services are on this machine, and its target is a stream.

use std::path::Path;

use instream_local::environment::Settings;
use instream_local::server::Server;

use super::{Redrive, RetryLimits, Selection, Source, Summary, Target, run};

/// The settings with which `server` is this AWS service.
pub(crate) fn settings(service: &str, server: &Server) -> Settings {
    let url = format!("http://{}", server.address);
    Settings::from([(format!("AWS_ENDPOINT_URL_{service}"), url)])
}

/// Redrives the dead letters of a source, without retries.
pub(crate) async fn redrive(source: Source, journal: &Path, settings: Settings, yes: bool) -> Summary {
    let redrive = Redrive {
        sources: vec![source],
        selection: Selection::default(),
        target: Target::Stream("target".to_owned()),
        yes,
        batch_size: 10,
        retry_limits: RetryLimits {
            max_retries: 0,
            stop_after: 1,
        },
        journal: Some(journal.to_owned()),
        folder: std::env::temp_dir(),
        settings,
    };
    run(redrive).await.unwrap()
}
