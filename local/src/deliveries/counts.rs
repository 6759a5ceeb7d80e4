//! The counts of what the function delivered.

use std::collections::HashSet;

use serde::Serialize;

use super::Reasons;

/// One of the highest scores.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HighScore {
    /// The score.
    pub score: f64,
    /// The record's partition key: `line-412` for line 412 of the input.
    pub partition_key: String,
    /// The beginning of the record.
    pub record: String,
}

/// The number of predictions and dead letters.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DeliveryCounts {
    /// The number of records with a prediction.
    pub predicted: u64,
    /// The number of alerts.
    pub alerted: u64,
    /// The number of records with a dead letter.
    pub rejected: u64,
    /// The number of predictions and dead letters after the first of each record.
    pub repeated: u64,
    /// The number of records that the function skipped, by its log.
    pub skipped: u64,
    /// The highest scores in descending order, if the predictions have scores.
    pub highest: Vec<HighScore>,
    /// The reasons of the dead letters.
    pub rejections: Reasons,
    /// The reasons for which batches were left unfinished, as the function's log has them.
    pub failures: Reasons,
    /// The event identifier and the subsequence number of each record with a prediction or a dead letter.
    pub(super) delivered: HashSet<(String, u64)>,
}

impl DeliveryCounts {
    /// Returns how many user records of the given Kinesis records have neither a prediction nor a dead letter. Each
    /// Kinesis record is given by its event identifier and its number of user records.
    pub fn count_undelivered(&self, kinesis_records: &[(String, usize)]) -> usize {
        let undelivered = |(event_id, user_records): &(String, usize)| {
            let numbers = 0..*user_records as u64;
            numbers
                .filter(|number| !self.delivered.contains(&(event_id.clone(), *number)))
                .count()
        };
        kinesis_records.iter().map(undelivered).sum()
    }
}
