//! `cargo local check`: finds the settings with which the function can call a model server.
//!
//! The function itself makes the requests and reads the answers, in a fresh process for each trial. So the check shows
//! what a stream would get.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail, ensure};
use bytes::Bytes;

use crate::build::{self, Profile};
use crate::check::{Observation, Report, Row, Runner, broken_record, shapes};
use crate::environment::Settings;
use crate::function::Program;
use crate::model_server::ModelServer;
use crate::sagemaker::Exchange;
use crate::source::lines;

/// The options of a check.
#[derive(Debug, Clone)]
pub struct Check {
    /// The file with the sample records, one a line.
    pub input: PathBuf,
    /// The number of records to send together, at least 3.
    pub limit: usize,
    /// The URL of the model server.
    pub model_server: String,
    /// The function's program. If `None`, the function is built with cargo.
    pub program: Option<Program>,
    /// Environment variables for the function.
    pub settings: Settings,
}

/// Makes the trials and returns what was seen.
///
/// # Errors
///
/// If the model server does not answer, or has nothing at the URL's path; if the records cannot be read, or the
/// function cannot be built or started.
pub async fn run(check: Check) -> Result<Report> {
    let url = ModelServer::connect(&check.model_server).await?.url();
    let samples = check.samples()?;
    let program = match check.program {
        Some(program) => program,
        None => Program::Binary(build::function(Profile::Dev)?),
    };
    let shapes = shapes(&samples, &check.settings);
    let runner = Runner {
        program,
        model_server: check.model_server,
        settings: check.settings,
    };
    let (mut rows, mut refused) = (Vec::new(), None);
    for shape in shapes {
        let together = match runner.observe(&samples, &shape, "100").await {
            Ok(together) => together,
            // The function may refuse a shape with the user's settings, such as CSV with names.
            Err(error) => {
                refused.get_or_insert(error);
                continue;
            }
        };
        check_url(&together, &url)?;
        let alone = if shape.is_multi_record() && together.is_predicted_together() {
            Some(runner.observe(&samples, &shape, "1").await?)
        } else {
            None
        };
        rows.push(Row::new(shape, together, alone));
    }
    if let (true, Some(error)) = (rows.is_empty(), refused) {
        return Err(error);
    }
    let mut report = Report::new(url, check.input, rows);
    if let Some(fitting) = report.fitting() {
        let mut records = samples;
        records.extend(records.first().map(broken_record));
        let broken = runner.observe(&records, &fitting.shape, "100").await?;
        report.set_broken(broken);
    }
    Ok(report)
}

/// Checks that the model server has answered some call, if there was one, and not only that there is nothing.
fn check_url(seen: &Observation, url: &str) -> Result<()> {
    let answers = || seen.exchanges.iter().filter(|exchange| exchange.status != 0);
    if seen.calls > 0 && answers().next().is_none() {
        match seen.exchanges.first() {
            Some(exchange) => bail!("no answer from {url}: {}", String::from_utf8_lossy(&exchange.answer)),
            None => bail!("no answer from {url} in time: set CALL_TIMEOUT_MS if the model is slow"),
        }
    }
    let is_nothing_there = |status| [404, 405].contains(&status);
    if let Some(first) = answers().next()
        && answers().all(|exchange| is_nothing_there(exchange.status))
    {
        bail!(
            "{url} answers each request with status {}: is it the URL of the model?",
            first.status
        );
    }
    let is_empty = |exchange: &Exchange| exchange.is_prediction() && exchange.answer.is_empty();
    if seen.calls > 0 && answers().all(is_empty) {
        bail!("{url} answers each request with an empty body");
    }
    Ok(())
}

impl Check {
    fn samples(&self) -> Result<Vec<Bytes>> {
        let file = self.input.display();
        let text = std::fs::read(&self.input).with_context(|| format!("cannot read {file}"))?;
        let text = Bytes::from(text);
        let samples: Vec<_> = lines(&text)
            .take(self.limit)
            .map(|(_, line)| text.slice_ref(line))
            .collect();
        ensure!(
            samples.len() > 2,
            "{file} holds fewer than three records, so it cannot be seen whether a request can have several"
        );
        Ok(samples)
    }
}
