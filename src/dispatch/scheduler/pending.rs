//! One call, and one request that waits for its outcome.

use std::sync::Arc;
use std::time::Duration;

use crate::dispatch::attempt::RecordOutputs;
use crate::dispatch::capacity::Permit;
use crate::dispatch::evidence::Moment;
use crate::inference::InferenceRequest;
use crate::outcome::{Failure, Fault};

/// An attempt that has ended. The permit is released only after the result is processed: the result may forbid attempts
/// at later records.
pub(super) struct FinishedCall {
    pub(super) target: CallTarget,
    /// The request that was sent.
    pub(super) request: Arc<InferenceRequest>,
    pub(super) start: Moment,
    pub(super) duration: Duration,
    pub(super) ended: Result<RecordOutputs, Fault>,
    pub(super) permit: Permit,
}

/// The purpose of a call.
#[derive(Debug, Clone)]
pub(super) enum CallTarget {
    /// An attempt at the request at this index.
    Request(usize),
    /// Evidence that the endpoint works.
    Probe(Arc<InferenceRequest>),
}

/// A request whose records have no outcomes yet.
pub(super) struct PendingRequest {
    pub(super) request: Arc<InferenceRequest>,
    /// The number of failed attempts.
    pub(super) attempts: u32,
    /// The start of its first attempt.
    pub(super) first_start: Option<Moment>,
    /// The number of last attempts: attempts at a single accused record, after evidence.
    pub(super) last_attempts: u32,
    /// For a part of an accused request, the end of that request's last call. A part is not retried after a Suspect
    /// fault.
    pub(super) split_off_since: Option<Moment>,
    /// The duration of its latest attempt, or of the attempt at the request that it was split off.
    pub(super) latest_duration: Duration,
    /// The latest failure that its records may have caused. At first, that of the request that it was split off. Boxed,
    /// because most requests have none and the map of the requests moves its values.
    pub(super) latest_failure: Option<Box<Failure>>,
}

impl PendingRequest {
    /// Creates a request without attempts.
    pub(super) fn new(request: InferenceRequest) -> Self {
        Self {
            request: Arc::new(request),
            attempts: 0,
            first_start: None,
            last_attempts: 0,
            split_off_since: None,
            latest_duration: Duration::ZERO,
            latest_failure: None,
        }
    }
}
