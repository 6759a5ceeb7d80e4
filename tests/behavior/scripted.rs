//! What stands behind an endpoint, and does what a script says. `over` has the endpoint.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use instream::endpoint::FaultKind;
use tokio::time::{Instant, sleep};

use crate::logs::MARKER;

/// What the scripted endpoint does with an attempt at a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Does {
    /// Answers after so many milliseconds.
    PredictAfter(u64),
    /// Answers at once with a text of so many bytes.
    PredictBytes(usize),
    /// Answers for all records of a request at once, as if there were one.
    Merge,
    /// Answers at once with this fault.
    Fail(FaultKind),
    /// Answers after so many milliseconds with this fault.
    FailAfter(u64, FaultKind),
    /// Answers at once that it has too much to do for so many seconds.
    BusyFor(u64),
    /// Answers at once that the record's model is not ready.
    NotReady,
    /// Answers at once with a refusal that may be about the settings as well.
    Doubt,
    /// Never answers.
    Hang,
    /// Panics.
    Panic,
}

/// A model that does what the script says, and takes down what was asked of it.
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
    /// The bodies, in the order in which their calls started: a record a line.
    pub(crate) calls: Vec<String>,
    /// When those calls started.
    pub(crate) started: Vec<Instant>,
    /// What becomes of every call, whatever the script says.
    pub(crate) down: Option<Does>,
    /// Calls beyond so many in flight are throttled at once.
    pub(crate) room: Option<usize>,
    /// How many were.
    pub(crate) throttled: usize,
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

    /// How many calls were made that held record `number`, alone or not.
    pub(crate) fn calls_with(&self, number: usize) -> usize {
        let body = number.to_string();
        self.calls.iter().filter(|call| holds(call, &body)).count()
    }

    /// How many records each call held, in the order in which they started.
    pub(crate) fn sizes(&self) -> Vec<usize> {
        self.calls.iter().map(|call| call.lines().count()).collect()
    }

    /// When the calls for record `number` started.
    pub(crate) fn times(&self, number: usize) -> Vec<Instant> {
        let body = number.to_string();
        let calls = self.calls.iter().zip(&self.started);
        calls.filter(|(call, _)| **call == body).map(|(_, at)| *at).collect()
    }
}

fn holds(call: &str, body: &str) -> bool {
    call.lines().any(|line| line == body)
}

impl Does {
    /// The higher, the more of a request it decides.
    fn weight(self) -> u8 {
        match self {
            Self::PredictAfter(_) | Self::PredictBytes(_) => 0,
            Self::Merge => 1,
            Self::Fail(_) | Self::FailAfter(..) | Self::BusyFor(_) | Self::NotReady => 2,
            Self::Doubt => 3,
            Self::Hang => 4,
            Self::Panic => 5,
        }
    }
}

impl Scripted {
    /// What becomes of a call with this body, by the record in it that has most to say.
    fn decide(&self, body: &str, calls: &[String]) -> Does {
        let of_record = |record: &str| {
            let earlier = calls.iter().filter(|call| holds(call, record)).count();
            let script = self.script.get(record)?;
            Some(script.attempts.get(earlier).copied().unwrap_or(script.then))
        };
        let each = body.lines().filter_map(of_record);
        each.max_by_key(|does| does.weight()).unwrap_or(Does::PredictAfter(10))
    }
}

struct InFlight(Arc<Mutex<Seen>>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.lock().unwrap().in_flight -= 1;
    }
}

/// How a call ends that is not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// With a fault of this kind.
    Fault(FaultKind),
    /// Since it has too much to do for so many seconds.
    BusyFor(u64),
    /// As the record's model is not ready.
    NotReady,
    /// In words that may be about the settings as well.
    Doubt,
}

impl Scripted {
    /// Takes a call down and does what the script says: what the model answers, in the end.
    pub(crate) async fn call(&self, body: &[u8]) -> Result<String, Refusal> {
        let body = str::from_utf8(body).unwrap().replace(MARKER, "");
        let does = {
            let mut seen = self.seen.lock().unwrap();
            let does = seen.down.unwrap_or_else(|| self.decide(&body, &seen.calls));
            seen.calls.push(body.clone());
            seen.started.push(Instant::now());
            seen.in_flight += 1;
            seen.most_in_flight = seen.most_in_flight.max(seen.in_flight);
            if seen.room.is_some_and(|room| seen.in_flight > room) {
                seen.throttled += 1;
                Does::Fail(FaultKind::Overload)
            } else {
                does
            }
        };
        let _in_flight = InFlight(Arc::clone(&self.seen));
        match does {
            Does::PredictAfter(milliseconds) => sleep(Duration::from_millis(milliseconds)).await,
            Does::PredictBytes(bytes) => return Ok("x".repeat(bytes)),
            Does::Merge if body.contains('\n') => return Ok("\"all\"".to_owned()),
            Does::Merge => {}
            Does::Fail(kind) => return Err(Refusal::Fault(kind)),
            Does::FailAfter(milliseconds, kind) => {
                sleep(Duration::from_millis(milliseconds)).await;
                return Err(Refusal::Fault(kind));
            }
            Does::BusyFor(seconds) => return Err(Refusal::BusyFor(seconds)),
            Does::NotReady => return Err(Refusal::NotReady),
            Does::Doubt => return Err(Refusal::Doubt),
            Does::Hang => std::future::pending().await,
            Does::Panic => panic!("as the script says"),
        }
        let lines: Vec<_> = body.lines().map(|record| format!("{{\"of\":\"{record}\"}}")).collect();
        Ok(lines.join("\n"))
    }
}
