//! One delivery: its lines go to their destinations, in the order of the mode.

use std::collections::HashSet;
use std::time::SystemTime;

use tokio::time::Instant;
use tracing::warn;

use super::destination::{DeliveryResult, Destination};
use super::line::PendingLine;
use super::{Delivery, OutputMode};
use crate::lambda::time_budget::Schedule;

impl Delivery {
    /// Delivers lines, which must be in batch order.
    pub(super) async fn deliver_lines(&self, lines: Vec<PendingLine>, schedule: Schedule) -> Vec<PutResult> {
        match self.mode {
            OutputMode::Ordered => self.deliver_in_order(lines, schedule).await,
            OutputMode::Unordered => {
                let end = schedule.delivery_end;
                let (dead_letters, predictions) = lines.into_iter().partition(PendingLine::is_dead_letter);
                let (predictions, dead_letters) = tokio::join!(
                    self.put_predictions(predictions, end, schedule),
                    put_lines(self.dead_letter.as_ref(), dead_letters, end, schedule)
                );
                vec![predictions, dead_letters]
            }
        }
    }

    /// Delivers in three steps: the predictions of the Kinesis records before the first dead letter, all dead letters,
    /// then the other predictions. After a failed step, the next steps deliver only the lines of the Kinesis records
    /// before the first undelivered line, or nothing, so that a redelivery repeats few lines.
    async fn deliver_in_order(&self, mut lines: Vec<PendingLine>, schedule: Schedule) -> Vec<PutResult> {
        let end = schedule.delivery_end;
        let first_dead_letter = lines.iter().find(|line| line.is_dead_letter());
        let record_index = first_dead_letter.map_or(usize::MAX, |line| line.record_index);
        let after = lines.split_off(lines.partition_point(|line| line.record_index < record_index));
        let before = self.put_predictions(lines, end, schedule).await;
        if !before.undelivered.is_empty() {
            return vec![before, PutResult::skipped(&after, schedule)];
        }
        let (dead_letters, predictions): (Vec<_>, Vec<_>) = after.into_iter().partition(PendingLine::is_dead_letter);
        // If DEAD_LETTER does not respond, OUTPUT still has half of the time.
        let dead_letter_end = if predictions.is_empty() { end } else { halfway(end) };
        let indexes: Vec<_> = dead_letters
            .iter()
            .map(|line| (line.index, line.record_index))
            .collect();
        let dead_letters = put_lines(self.dead_letter.as_ref(), dead_letters, dead_letter_end, schedule).await;
        // The undelivered lines are in batch order.
        let first = dead_letters.undelivered.first();
        let failed = indexes.iter().find(|(index, _)| Some(index) == first);
        let failed_record = failed.map_or(usize::MAX, |(_, record_index)| *record_index);
        let (predictions, skipped): (Vec<_>, Vec<_>) = predictions
            .into_iter()
            .partition(|line| line.record_index < failed_record);
        let predictions = self.put_predictions(predictions, end, schedule).await;
        vec![
            before,
            dead_letters,
            predictions,
            PutResult::skipped(&skipped, schedule),
        ]
    }

    /// Delivers predictions to OUTPUT and, at the same time, their alerts to ALERT. A prediction is delivered when both
    /// have accepted it.
    async fn put_predictions(&self, mut lines: Vec<PendingLine>, end: Instant, schedule: Schedule) -> PutResult {
        let alert = |line: &mut PendingLine| {
            let (index, record_index) = (line.index, line.record_index);
            line.alert.take().map(|line| PendingLine {
                index,
                record_index,
                line: *line,
                alert: None,
            })
        };
        let alerts: Vec<_> = lines.iter_mut().filter_map(alert).collect();
        let destination = self.alert.as_ref().map(|alert| &alert.destination);
        let (predictions, alerts) = tokio::join!(
            put_lines(Some(&self.output), lines, end, schedule),
            put_lines(destination, alerts, end, schedule)
        );
        predictions.and(alerts)
    }
}

/// The result of a delivery of lines to one destination, by the indexes of their user records.
#[derive(Debug)]
pub(super) struct PutResult {
    pub(super) delivered: Vec<usize>,
    /// The lines that are not known to be delivered, in batch order.
    pub(super) undelivered: Vec<usize>,
    /// The lines that the destination will never accept, with the reason, which may quote a record.
    pub(super) refused: Vec<(usize, String)>,
    /// The number of alerts that ALERT has accepted.
    pub(super) alerts: usize,
    /// The time at which the result was known.
    pub(super) at: SystemTime,
}

impl PutResult {
    /// Returns the result of predictions with that of their alerts.
    fn and(self, alerts: Self) -> Self {
        let by = |name, (index, reason)| (index, format!("{name} does not accept the prediction: {reason}"));
        let by_output = self.refused.into_iter().map(|refusal| by("OUTPUT", refusal));
        let by_alert = alerts.refused.into_iter().map(|refusal| by("ALERT", refusal));
        let mut refused: Vec<_> = by_output.chain(by_alert).collect();
        // If both destinations refuse a prediction, the reason of OUTPUT is kept.
        refused.sort_by_key(|(index, _)| *index);
        refused.dedup_by_key(|(index, _)| *index);
        let is_refused = |index: &usize| refused.binary_search_by_key(index, |(index, _)| *index).is_ok();
        let mut undelivered = [self.undelivered, alerts.undelivered].concat();
        undelivered.retain(|index| !is_refused(index));
        undelivered.sort_unstable();
        let is_delivered = |index: &usize| !is_refused(index) && undelivered.binary_search(index).is_err();
        Self {
            delivered: self.delivered.into_iter().filter(is_delivered).collect(),
            undelivered,
            refused,
            alerts: alerts.delivered.len(),
            at: alerts.at,
        }
    }

    /// Returns the result for lines that are not sent.
    fn skipped(lines: &[PendingLine], schedule: Schedule) -> Self {
        Self {
            delivered: Vec::new(),
            undelivered: lines.iter().map(|line| line.index).collect(),
            refused: Vec::new(),
            alerts: 0,
            at: schedule.now(),
        }
    }
}

fn halfway(end: Instant) -> Instant {
    let now = Instant::now();
    now + end.saturating_duration_since(now) / 2
}

/// Delivers lines to the destination. Stops at `end` at the latest. Without a destination, no line is delivered.
async fn put_lines(
    destination: Option<&Destination>,
    lines: Vec<PendingLine>,
    end: Instant,
    schedule: Schedule,
) -> PutResult {
    let Some(destination) = destination else {
        return PutResult::skipped(&lines, schedule);
    };
    let (indexes, lines): (Vec<_>, Vec<_>) = lines.into_iter().map(|line| (line.index, line.line)).unzip();
    let DeliveryResult {
        undelivered,
        refused,
        error,
    } = destination.deliver(&lines, end).await;
    if let Some(error) = error {
        warn!(%error, records = undelivered.len(), "some records were not delivered");
    }
    let index = |line: usize| indexes.get(line).copied();
    let (left, never): (HashSet<_>, HashSet<_>) = (
        undelivered.iter().copied().collect(),
        refused.iter().map(|(line, _)| *line).collect(),
    );
    let accepted = (0..indexes.len()).filter(|line| !left.contains(line) && !never.contains(line));
    PutResult {
        delivered: accepted.filter_map(index).collect(),
        undelivered: undelivered.into_iter().filter_map(index).collect(),
        refused: refused
            .into_iter()
            .filter_map(|(line, reason)| Some((index(line)?, reason)))
            .collect(),
        alerts: 0,
        at: schedule.now(),
    }
}
