//! The scripted model as the endpoint itself, and a `SageMaker` endpoint where it matters what goes over the wire.

use std::time::Duration;

use instream::endpoint::{Endpoint, Fault, FaultKind, Load, Response};
use instream::request::InferenceRequest;

use crate::scripted::{Does, Refusal, Scripted};

/// What a batch is sent to.
pub(crate) type Called = Scripted;

/// The settings that name an endpoint whose wire is looked at.
pub(crate) const ENDPOINT: [(&str, &str); 2] = [("ENDPOINT_NAME", "fraud"), ("OUTPUT", "none:")];

/// What only a `SageMaker` endpoint says.
pub(crate) const DOUBT: [Does; 1] = [Does::Doubt];
pub(crate) const NOT_READY: [Does; 1] = [Does::NotReady];

/// What a connection is that is lost twice.
pub(crate) const LOST: FaultKind = FaultKind::Unreachable;

pub(crate) fn endpoint(scripted: Scripted) -> Called {
    scripted
}

impl Endpoint for Scripted {
    async fn invoke(&self, request: &InferenceRequest) -> Result<Response, Fault> {
        let fault = |kind| Fault::new(kind, "as the script says");
        let answer = self.call(&request.body()).await;
        let answer = answer.map_err(|refusal| match refusal {
            Refusal::Fault(kind) => fault(kind),
            Refusal::BusyFor(seconds) => Fault {
                retry_after: Some(Duration::from_secs(seconds)),
                ..fault(FaultKind::Overload)
            },
            Refusal::NotReady => Fault {
                load: Load::OneModels,
                ..fault(FaultKind::Overload)
            },
            Refusal::Doubt => Fault {
                is_doubtful: true,
                ..fault(FaultKind::Refused)
            },
        })?;
        Ok(Response {
            body: answer.into(),
            content_type: None,
            variant: None,
        })
    }

    fn name(&self) -> &'static str {
        "scripted"
    }
}
