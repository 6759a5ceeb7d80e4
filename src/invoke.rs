//! One inference request to its end.

use std::time::Duration;

use tokio::time::timeout;

use crate::capacity::Permit;
use crate::endpoint::{Endpoint, Fault, FaultKind};
use crate::outcome::Outcome;
use crate::prediction::Prediction;
use crate::request::InferenceRequest;

/// Makes one attempt at `request` with the permit it was given, and gives the permit back as soon as the call has
/// ended. The clock starts here, when the permit is held: waiting in the queue is not charged. A call that passes
/// `call_timeout` is cancelled.
pub async fn invoke<E: Endpoint>(
    endpoint: &E,
    request: &InferenceRequest,
    permit: Permit,
    call_timeout: Duration,
) -> Outcome {
    let answer = timeout(call_timeout, endpoint.invoke(request)).await;
    drop(permit);
    match answer {
        Ok(Ok(response)) => Outcome::Predicted(Prediction::read(response)),
        Ok(Err(fault)) => fault.into(),
        Err(_elapsed) => {
            let timeout_ms = call_timeout.as_millis();
            Fault::new(
                FaultKind::Suspect,
                format!("no answer within CALL_TIMEOUT_MS, {timeout_ms} ms"),
            )
            .into()
        }
    }
}
