//! Calls the scripted model directly, as an [`Endpoint`]. Tests that look at HTTP requests use a `SageMaker` endpoint.

use std::time::Duration;

use instream::endpoint::{Call, Endpoint, Response};
use instream::outcome::{Fault, FaultKind, LoadSignal};

use crate::scripted::{Behavior, ScriptedError, ScriptedModel};

/// The endpoint that a handler under test calls.
pub(crate) type TestedEndpoint = ScriptedModel;

/// The settings of the endpoint in tests that look at HTTP requests.
pub(crate) const ENDPOINT: [(&str, &str); 2] = [("ENDPOINT_NAME", "fraud"), ("OUTPUT", "none:")];

/// Behaviors that only a `SageMaker` endpoint can have.
pub(crate) const MISSING_MODEL: [Behavior; 1] = [Behavior::MissingModel];
pub(crate) const NOT_READY: [Behavior; 1] = [Behavior::NotReady];

pub(crate) fn endpoint(scripted: ScriptedModel) -> TestedEndpoint {
    scripted
}

impl Endpoint for ScriptedModel {
    async fn prepare(&self) -> Result<(), Fault> {
        self.prepare()
            .map_err(|kind| Fault::new(kind, "no credentials, as the script says"))
    }

    async fn invoke(&self, call: Call<'_>) -> Result<Response, Fault> {
        let fault = |kind| Fault::new(kind, "as the script says");
        let answer = self.call(&call.body).await;
        let answer = answer.map_err(|refusal| match refusal {
            ScriptedError::Fault(kind) => fault(kind),
            ScriptedError::RetryAfter(seconds) => Fault {
                retry_after: Some(Duration::from_secs(seconds)),
                ..fault(FaultKind::Overload)
            },
            ScriptedError::NotReady => Fault {
                load: LoadSignal::SingleModelOnly,
                ..fault(FaultKind::Overload)
            },
            ScriptedError::ContainerOverload => Fault {
                is_from_container: true,
                ..fault(FaultKind::Overload)
            },
            ScriptedError::MissingModel => Fault {
                is_about_named_model: true,
                ..fault(FaultKind::Refused)
            },
        })?;
        let has_room = call.memory.is_none_or(|memory| memory.expect(answer.len()).is_ok());
        if !has_room {
            return Err(Fault {
                load: LoadSignal::NoRoom,
                ..fault(FaultKind::Unreachable)
            });
        }
        Ok(Response {
            body: answer.into(),
            content_type: None,
            variant: None,
            custom_attributes: None,
        })
    }

    fn name(&self) -> &'static str {
        "scripted"
    }
}
