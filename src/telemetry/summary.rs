//! What an invocation says in the log: each reason for which records failed or were rejected, once, and a summary.
//!
//! A rejection's message may quote the record, so its kind has to do.

use tracing::{error, info, warn};

use super::invocation_stats::InvocationStats;
use crate::delivery::Progress;
use crate::event::Batch;
use crate::outcome::FaultKind;
use crate::outcome::{Failure, Outcome};

/// Reasons that are told one by one, of one invocation.
const REASONS_MAX: usize = 10;

/// Tells what became of the batch, and what stopped it where something did.
pub fn log_summary(batch: &Batch<'_>, progress: &Progress<'_>, stats: &InvocationStats) {
    for (kind, records) in &stats.arrived.rejected {
        warn!(reason = ?kind, records, "rejected");
    }
    log_failures(batch, progress);
    let (user_records, predicted, rejected, failed) = (
        stats.user_records,
        stats.arrived.predicted,
        stats.rejected(),
        stats.failed(),
    );
    let InvocationStats {
        kinesis_records: records,
        before: delivered,
        attempts,
        hedges,
        limit,
        ..
    } = *stats;
    // As the metric has it.
    let limit = (limit * 100.0).round() / 100.0;
    let finished = progress.finished_prefix();
    let Some(unfinished) = batch.records.get(finished) else {
        info!(
            records,
            user_records, predicted, rejected, delivered, attempts, hedges, limit, "batch finished"
        );
        return;
    };
    warn!(
        records,
        user_records,
        predicted,
        rejected,
        failed,
        delivered,
        attempts,
        hedges,
        limit,
        finished,
        from = unfinished.sequence_number.as_deref(),
        why = why(batch, progress).unwrap_or_else(|| "its delivery fell short".to_owned()),
        "batch comes again from here"
    );
}

/// A reason for which records have failed.
struct Reason<'p> {
    failure: &'p Failure,
    /// The first of them.
    index: usize,
    records: usize,
}

/// A line for each reason for which records have failed, but not for those that were not tried since another had failed.
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
        if let Failure::Fault(fault) = failure
            && fault.kind == FaultKind::Misconfigured
        {
            let what = &fault.summary;
            error!(
                records,
                first, "the endpoint cannot be called as it is configured: {what}"
            );
        } else {
            warn!(records, first, "failed: {failure}");
        }
    }
    if others > 0 {
        warn!(records = others, "failed for other reasons");
    }
}

/// The reasons, and how many records have failed for none of them.
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
            .find(|reason| same_log_line(reason.failure, failure))
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

/// Whether a log shows the same for both: what a container said is none of its matter.
fn same_log_line(one: &Failure, other: &Failure) -> bool {
    match (one, other) {
        (Failure::Fault(one), Failure::Fault(other)) => one.kind == other.kind && one.summary == other.summary,
        _ => one == other,
    }
}

/// Why the first unfinished Kinesis record is unfinished.
fn why(batch: &Batch<'_>, progress: &Progress<'_>) -> Option<String> {
    let finished = progress.finished_prefix();
    progress.outcomes().find_map(|(index, outcome)| {
        let is_its_own = batch.user_records.get(index)?.record_index == finished;
        match outcome {
            _ if !is_its_own => None,
            Outcome::Predicted(_) | Outcome::Delivered => None,
            Outcome::Rejected(rejection) => Some(format!("{:?}, and its dead letter has gone nowhere", rejection.kind)),
            Outcome::Failed(failure) => Some(failure.to_string()),
        }
    })
}
