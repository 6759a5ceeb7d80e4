//! One trial: sends records through a fresh process of the function, and collects what is seen.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Result, bail};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;

use super::Shape;
use crate::deliveries::{rejection, why_unfinished};
use crate::environment::{Settings, is_set};
use crate::event_command::send;
use crate::function::{InvocationResult, Program};
use crate::sagemaker::{EndpointOptions, Exchange};
use crate::setup::Options;
use crate::source::now_ms;
use crate::stream::{self, StreamRecord};

/// The settings of every trial, over those of the user. Predictions and dead letters must be seen here, each record
/// must have one attempt, and a record that fails must be rejected in its first delivery.
const TRIAL_SETTINGS: [(&str, &str); 9] = [
    ("OUTPUT", "stdout:"),
    ("OUTPUT_FORMAT", "envelope"),
    ("OUTPUT_MODE", "unordered"),
    ("DEAD_LETTER", "stdout:"),
    ("GIVE_UP_AFTER_S", "0"),
    ("MAX_ATTEMPTS", "1"),
    ("HEDGE", "off"),
    ("METRICS", "off"),
    ("AWS_LAMBDA_LOG_FORMAT", "Text"),
];
/// The timeout of a call unless `CALL_TIMEOUT_MS` is set. A model that takes longer would make the check take minutes.
const CALL_TIMEOUT_MS: &str = "10000";

/// Makes trials.
#[derive(Debug, Clone)]
pub struct Runner {
    /// The function's program.
    pub program: Program,
    /// The URL of the model server.
    pub model_server: String,
    /// The user's settings.
    pub settings: Settings,
}

/// What was seen in a trial.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Observation {
    /// The number of calls.
    pub calls: u64,
    /// The requests that the model server answered.
    pub exchanges: Vec<Exchange>,
    /// The result of each record.
    pub results: Vec<RecordResult>,
}

/// The result of a record.
#[derive(Debug, Clone, PartialEq)]
pub enum RecordResult {
    /// It has this prediction.
    Predicted(Value),
    /// It has a dead letter with this reason.
    Rejected(String),
    /// It would be redelivered, for this reason.
    Unfinished(String),
}

impl Observation {
    /// Returns the predictions of all records, or `None` if a record has none.
    pub fn predictions(&self) -> Option<Vec<&Value>> {
        let predictions = self.results.iter().map(|result| match result {
            RecordResult::Predicted(prediction) => Some(prediction),
            RecordResult::Rejected(_) | RecordResult::Unfinished(_) => None,
        });
        predictions.collect()
    }

    /// Returns whether all records were predicted, and not by one call for each after one for all. The function trusts
    /// a list only after requests with two different numbers of records, so that three calls may be needed.
    pub fn is_predicted_together(&self) -> bool {
        let records = u64::try_from(self.results.len()).unwrap_or(u64::MAX);
        self.calls <= records && self.predictions().is_some()
    }
}

/// A line that the function delivers.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Delivery {
    event_id: String,
    output: Option<Value>,
    reason: Option<Value>,
}

impl Runner {
    /// Sends `records` in one event, as requests of this shape with at most `records_per_request` records.
    ///
    /// # Errors
    ///
    /// If the function cannot be started or fails as a whole.
    pub async fn observe(&self, records: &[Bytes], shape: &Shape, records_per_request: &str) -> Result<Observation> {
        let mut settings = self.settings.clone();
        let own = TRIAL_SETTINGS.into_iter().chain(shape.settings());
        let own = own.chain([("MAX_RECORDS_PER_REQUEST", records_per_request)]);
        settings.extend(own.map(|(name, value)| (name.to_owned(), value.to_owned())));
        if !is_set(&settings, "CALL_TIMEOUT_MS") {
            settings.insert("CALL_TIMEOUT_MS".to_owned(), CALL_TIMEOUT_MS.to_owned());
        }
        let options = Options {
            program: Some(self.program.clone()),
            local_endpoint: EndpointOptions {
                model_server: Some(self.model_server.clone()),
                keeps_exchanges: true,
                ..EndpointOptions::default()
            },
            timeout: Duration::from_mins(2),
            settings,
            user_endpoint: None,
        };
        let records: Vec<_> = (1..)
            .zip(records)
            .map(|(number, record)| StreamRecord::from_line(number, record, now_ms()))
            .collect();
        let (run, endpoint) = send(stream::event(&records), options).await?;
        if !matches!(run.result, InvocationResult::Response(_)) {
            bail!("the function failed: {}", run.result_line());
        }
        let endpoint = endpoint.expect("the endpoint is on this machine");
        Ok(Observation {
            calls: endpoint.calls(),
            exchanges: endpoint.take_exchanges(),
            results: results(&records, &run.output, &run.log),
        })
    }
}

/// Finds the result of each record in the function's output and log.
fn results(records: &[StreamRecord], output: &[String], log: &[String]) -> Vec<RecordResult> {
    let deliveries = output
        .iter()
        .filter_map(|line| serde_json::from_str::<Delivery>(line).ok());
    let mut results: HashMap<_, _> = deliveries
        .map(|delivery| {
            let result = match delivery.reason {
                Some(reason) => RecordResult::Rejected(rejection(&reason)),
                None => RecordResult::Predicted(delivery.output.unwrap_or_default()),
            };
            (delivery.event_id, result)
        })
        .collect();
    let why = log.iter().find_map(|line| why_unfinished(line)).unwrap_or_default();
    let result = |record: &StreamRecord| results.remove(&record.event_id());
    let found: Vec<_> = records.iter().map(result).collect();
    let or_unfinished = |result: Option<_>| result.unwrap_or_else(|| RecordResult::Unfinished(why.clone()));
    found.into_iter().map(or_unfinished).collect()
}
