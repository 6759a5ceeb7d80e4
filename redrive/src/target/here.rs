//! The function on this machine. The lines that it delivers to `stdout:` are appended to files.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use instream_local::deliveries::Deliveries;
use instream_local::function::{InvocationResult, Line};
use instream_local::lambda::{Lambda, RunningLambda};
use instream_local::processes::Disruptions;
use instream_local::setup::Options;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::summary::Summary;

/// The silence after which all lines of an invocation have been read. The function writes them before it responds.
const SILENCE: Duration = Duration::from_millis(100);

pub(crate) struct Here {
    function: RunningLambda,
    lines: mpsc::UnboundedReceiver<Line>,
    deliveries: Deliveries,
}

impl Here {
    /// Starts the function. The files are in `folder`.
    pub(super) async fn start(options: Options, folder: &Path) -> Result<Self> {
        let disruptions = Disruptions::default();
        let (function, lines) = Lambda::Spawned { options, disruptions }.start().await?;
        let deliveries = Deliveries::append(folder, function.output_format, function.shows_alerts);
        Ok(Self {
            deliveries: deliveries.with_context(|| format!("cannot write to {}", folder.display()))?,
            function,
            lines,
        })
    }

    /// Invokes the function, and writes the lines that it delivers to disk.
    pub(super) async fn invoke(&mut self, event: Bytes) -> Result<InvocationResult> {
        let result = self.function.invoke(event).await;
        while let Ok(Some(line)) = timeout(SILENCE, self.lines.recv()).await {
            self.deliveries.add(&line)?;
        }
        self.deliveries.sync().context("cannot write the delivered lines")?;
        Ok(result)
    }

    /// Stops the function, writes its last lines, and adds its counts to the summary.
    pub(crate) async fn close(mut self, summary: &mut Summary) -> Result<()> {
        let (predicted, rejected) = (self.function.shows_predictions, self.function.shows_dead_letters);
        self.function.stop().await;
        while let Some(line) = self.lines.recv().await {
            self.deliveries.add(&line)?;
        }
        let (files, counts) = self.deliveries.finish().context("cannot write the delivered lines")?;
        summary.predicted = predicted.then_some(counts.predicted);
        summary.rejected_again = rejected.then_some(counts.rejected);
        summary.files = Some(files);
        Ok(())
    }
}
