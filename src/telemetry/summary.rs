//! Logs the result of an invocation: one line for each reason for which records failed or were rejected, and a summary.
//!
//! The message of a rejection may quote the record, so only its kind is logged.

use tracing::{error, info, warn};

use super::invocation_stats::InvocationStats;
use super::log_writer::lost_lines;
use crate::delivery::Progress;
use crate::event::Batch;
use crate::outcome::{Failure, FaultKind, Outcome};

/// The maximum number of failure reasons that get a line of their own in one invocation.
const REASONS_MAX: usize = 10;

/// Logs the result of the batch and, if it is unfinished, the reason.
pub fn log_summary(batch: &Batch<'_>, progress: &Progress<'_>, stats: &InvocationStats) {
    for (kind, records) in &stats.delivered.rejected {
        warn!(reason = ?kind, records, "rejected");
    }
    let lost = lost_lines();
    if lost > 0 {
        warn!(lines = lost, "log lines were lost, because nobody read standard error");
    }
    if stats.miscounted_records > 0 {
        warn!(
            records = stats.miscounted_records,
            "the number of predictions differs from the number of records: the endpoint was called for each record"
        );
    }
    log_failures(batch, progress);
    let (user_records, predicted, rejected, failed) = (
        stats.user_records,
        stats.delivered.predicted,
        stats.rejected(),
        stats.failed(),
    );
    let InvocationStats {
        kinesis_records: records,
        delivered_before: delivered,
        skipped,
        attempts,
        hedges,
        limit,
        ..
    } = *stats;
    // Rounded like the metric.
    let limit = (limit * 100.0).round() / 100.0;
    let finished = progress.finished_prefix();
    let Some(unfinished) = batch.records.get(finished) else {
        info!(
            records,
            user_records, predicted, rejected, skipped, delivered, attempts, hedges, limit, "batch finished"
        );
        return;
    };
    warn!(
        records,
        user_records,
        predicted,
        rejected,
        failed,
        skipped,
        delivered,
        attempts,
        hedges,
        limit,
        finished,
        from = unfinished.sequence_number.as_deref(),
        why = why(batch, progress).unwrap_or_else(|| "its prediction was not delivered".to_owned()),
        "batch is redelivered from here"
    );
}

/// A reason for which records have failed.
struct Reason<'p> {
    failure: &'p Failure,
    /// The index of the first of these user records.
    index: usize,
    records: usize,
}

/// Logs a line for each reason for which records failed. Records that were not tried because an earlier one failed are
/// left out.
fn log_failures(batch: &Batch<'_>, progress: &Progress<'_>) {
    let (reasons, others) = reasons(progress);
    for Reason {
        failure,
        index,
        records,
    } in reasons
    {
        let first = batch
            .record_of(index)
            .and_then(|record| record.sequence_number.as_deref());
        match failure {
            Failure::Fault { fault, .. } if fault.kind == FaultKind::Misconfigured => {
                let summary = fault.summary_with_remedy();
                error!(
                    records,
                    first, "the endpoint cannot be called as it is configured: {summary}"
                );
            }
            Failure::Fault { fault, .. } if fault.kind == FaultKind::Refused => {
                let summary = fault.summary_with_remedy();
                error!(
                    records,
                    first,
                    "the model refuses these records and has not answered any other since, so none is rejected: \
                     {summary}"
                );
            }
            Failure::Fault { .. }
            | Failure::OutOfTime
            | Failure::DeadLetterRefused
            | Failure::BatchTooLarge
            | Failure::AfterFailure => warn!(records, first, "failed: {failure}"),
        }
    }
    if others > 0 {
        warn!(records = others, "failed for other reasons");
    }
}

/// Returns the reasons, and the number of records that failed for other reasons.
fn reasons<'p>(progress: &'p Progress<'_>) -> (Vec<Reason<'p>>, usize) {
    let mut reasons: Vec<Reason<'_>> = Vec::new();
    let mut others = 0;
    for (index, outcome) in progress.outcomes() {
        let Outcome::Failed(failure) = outcome else { continue };
        if *failure == Failure::AfterFailure {
            continue;
        }
        if let Some(reason) = reasons
            .iter_mut()
            .find(|reason| has_same_log_line(reason.failure, failure))
        {
            reason.records += 1;
        } else if reasons.len() < REASONS_MAX {
            let records = 1;
            reasons.push(Reason {
                failure,
                index,
                records,
            });
        } else {
            others += 1;
        }
    }
    (reasons, others)
}

/// Returns whether both failures give the same log line. A container's message is not logged, so it is not compared.
fn has_same_log_line(one: &Failure, other: &Failure) -> bool {
    match (one, other) {
        (Failure::Fault { fault: one, .. }, Failure::Fault { fault: other, .. }) => {
            one.kind == other.kind && one.summary == other.summary
        }
        _ => one == other,
    }
}

/// Returns the reason why the first unfinished Kinesis record is unfinished.
fn why(batch: &Batch<'_>, progress: &Progress<'_>) -> Option<String> {
    let finished = progress.finished_prefix();
    progress.outcomes().find_map(|(index, outcome)| {
        let is_its_own = batch.user_records.get(index)?.record_index == finished;
        match outcome {
            _ if !is_its_own => None,
            Outcome::Predicted(_) | Outcome::Delivered | Outcome::Skipped => None,
            Outcome::Rejected(rejection) => {
                Some(format!("{:?}, but its dead letter was not delivered", rejection.kind))
            }
            Outcome::Failed(failure) => Some(failure.to_string()),
        }
    })
}
