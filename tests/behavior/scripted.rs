//! An endpoint that does what a script says.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use instream::endpoint::{Endpoint, Fault, FaultKind, Response};
use instream::request::InferenceRequest;
use tokio::time::{Instant, sleep};

/// What the scripted endpoint does with an attempt at a record.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Does {
    /// Answers after so many milliseconds.
    PredictAfter(u64),
    /// Answers at once with a text of so many bytes.
    PredictBytes(usize),
    /// Answers at once with this fault.
    Fail(FaultKind),
    /// Answers after so many milliseconds with this fault.
    FailAfter(u64, FaultKind),
    /// Answers at once with a refusal that may be about the settings as well.
    Doubt,
    /// Never answers.
    Hang,
    /// Panics.
    Panic,
}

/// An endpoint that does what the script says, and takes down what was asked of it.
#[derive(Debug, Default)]
pub(crate) struct Scripted {
    pub(crate) script: HashMap<String, Script>,
    pub(crate) seen: Arc<Mutex<Seen>>,
}

/// What the endpoint does with one record: attempt by attempt, and with all that follow.
#[derive(Debug)]
pub(crate) struct Script {
    pub(crate) attempts: Vec<Does>,
    pub(crate) then: Does,
}

/// What was asked of the endpoint.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// The bodies, in the order in which their calls started.
    pub(crate) calls: Vec<String>,
    /// When those calls started.
    pub(crate) started: Vec<Instant>,
    /// Calls that have started and not ended.
    pub(crate) in_flight: usize,
    /// The most there were of them.
    pub(crate) most_in_flight: usize,
}

impl Seen {
    /// How many calls were made for record `number`.
    pub(crate) fn attempts(&self, number: usize) -> usize {
        let body = number.to_string();
        self.calls.iter().filter(|call| **call == body).count()
    }

    /// When the calls for record `number` started.
    pub(crate) fn times(&self, number: usize) -> Vec<Instant> {
        let body = number.to_string();
        let calls = self.calls.iter().zip(&self.started);
        calls.filter(|(call, _)| **call == body).map(|(_, at)| *at).collect()
    }
}

struct InFlight(Arc<Mutex<Seen>>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.lock().unwrap().in_flight -= 1;
    }
}

impl Endpoint for Scripted {
    async fn invoke(&self, request: &InferenceRequest) -> Result<Response, Fault> {
        let body = String::from_utf8(request.body.to_vec()).unwrap();
        let earlier = {
            let mut seen = self.seen.lock().unwrap();
            let earlier = seen.calls.iter().filter(|call| **call == body).count();
            seen.calls.push(body.clone());
            seen.started.push(Instant::now());
            seen.in_flight += 1;
            seen.most_in_flight = seen.most_in_flight.max(seen.in_flight);
            earlier
        };
        let scripted = self.script.get(&body);
        let does = scripted.map(|script| script.attempts.get(earlier).copied().unwrap_or(script.then));
        let _in_flight = InFlight(Arc::clone(&self.seen));
        match does.unwrap_or(Does::PredictAfter(10)) {
            Does::PredictAfter(milliseconds) => sleep(Duration::from_millis(milliseconds)).await,
            Does::PredictBytes(bytes) => {
                let (content_type, variant) = (None, None);
                return Ok(Response {
                    body: "x".repeat(bytes).into(),
                    content_type,
                    variant,
                });
            }
            Does::Fail(kind) => return Err(Fault::new(kind, "as the script says")),
            Does::FailAfter(milliseconds, kind) => {
                sleep(Duration::from_millis(milliseconds)).await;
                return Err(Fault::new(kind, "as the script says"));
            }
            Does::Doubt => {
                return Err(Fault {
                    is_doubtful: true,
                    ..Fault::new(FaultKind::Refused, "as the script says")
                });
            }
            Does::Hang => std::future::pending().await,
            Does::Panic => panic!("as the script says"),
        }
        Ok(Response {
            body: format!("{{\"of\":\"{body}\"}}").into(),
            content_type: None,
            variant: None,
        })
    }

    fn name(&self) -> &'static str {
        "scripted"
    }
}
