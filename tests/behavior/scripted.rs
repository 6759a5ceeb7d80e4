//! A model that follows a script. The module `transport` turns it into an endpoint.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use instream::outcome::FaultKind;
use tokio::time::{Instant, sleep};

use crate::logs::MARKER;

/// The behavior of the scripted model in one attempt at a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Behavior {
    /// Answers after this many milliseconds.
    PredictAfter(u64),
    /// Answers at once with a text of this many bytes.
    PredictBytes(usize),
    /// Answers at once with this text.
    PredictText(&'static str),
    /// Answers a request for many records with a single prediction.
    Merge,
    /// Answers at once with this fault.
    Fail(FaultKind),
    /// Answers after this many milliseconds with this fault.
    FailAfter(u64, FaultKind),
    /// Answers at once that it is overloaded for this many seconds.
    RetryAfter(u64),
    /// Answers at once, with this fault if the request has only one line.
    FailAlone(FaultKind),
    /// Answers at once, by the container itself, that it is overloaded.
    ContainerOverload,
    /// Answers at once that the record's model is not ready.
    NotReady,
    /// Answers at once that the model that the record names does not exist.
    MissingModel,
    /// Never answers.
    Hang,
    /// Panics.
    Panic,
}

/// A model that follows its script and logs its calls.
#[derive(Debug, Default)]
pub(crate) struct ScriptedModel {
    pub(crate) script: HashMap<String, Script>,
    pub(crate) seen: Arc<Mutex<Seen>>,
}

/// The behavior for one record: first for each of `attempts`, then for all further attempts.
#[derive(Debug)]
pub(crate) struct Script {
    pub(crate) attempts: Vec<Behavior>,
    pub(crate) then: Behavior,
}

/// The calls that the endpoint got, and the state that a test sets from outside.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// The bodies in the order in which their calls started, one record a line.
    pub(crate) calls: Vec<String>,
    /// The start times of those calls.
    pub(crate) started: Vec<Instant>,
    /// The behavior for every call, in place of the script.
    pub(crate) outage: Option<Behavior>,
    /// Until this time, calls cannot be prepared, with a fault of this kind.
    pub(crate) unprepared: Option<(Instant, FaultKind)>,
    /// The number of failed preparations.
    pub(crate) failed_preparations: usize,
    /// Calls above this number in flight are throttled at once.
    pub(crate) throttle_above: Option<usize>,
    /// The number of calls throttled for that reason.
    pub(crate) throttled: usize,
    /// Calls that have started and not ended.
    pub(crate) in_flight: usize,
    /// The maximum of `in_flight` so far.
    pub(crate) most_in_flight: usize,
}

impl Seen {
    /// Returns the number of calls for record `number` alone, which may be in a request twice.
    pub(crate) fn attempts(&self, number: usize) -> usize {
        let body = number.to_string();
        self.calls.iter().filter(|call| is_alone(call, &body)).count()
    }

    /// Returns the number of calls that contained record `number`.
    pub(crate) fn calls_with(&self, number: usize) -> usize {
        let body = number.to_string();
        self.calls.iter().filter(|call| holds(call, &body)).count()
    }

    /// Returns the number of records of each call, in the order in which the calls started.
    pub(crate) fn sizes(&self) -> Vec<usize> {
        self.calls.iter().map(|call| call.lines().count()).collect()
    }

    /// Returns the start times of the calls for record `number` alone.
    pub(crate) fn times(&self, number: usize) -> Vec<Instant> {
        let body = number.to_string();
        let calls = self.calls.iter().zip(&self.started);
        calls
            .filter(|(call, _)| is_alone(call, &body))
            .map(|(_, at)| *at)
            .collect()
    }
}

fn is_alone(call: &str, body: &str) -> bool {
    call.lines().all(|line| line == body)
}

fn holds(call: &str, body: &str) -> bool {
    call.lines().any(|line| line == body)
}

impl Behavior {
    /// Returns the precedence among the records of one request: the highest decides.
    fn precedence(self) -> u8 {
        match self {
            Self::PredictAfter(_) | Self::PredictBytes(_) | Self::PredictText(_) => 0,
            Self::Merge | Self::FailAlone(_) => 1,
            Self::Fail(_) | Self::FailAfter(..) | Self::RetryAfter(_) | Self::NotReady | Self::ContainerOverload => 2,
            Self::MissingModel => 3,
            Self::Hang => 4,
            Self::Panic => 5,
        }
    }
}

impl ScriptedModel {
    /// Returns the behavior for a call with this body: the one with the highest precedence among its records.
    fn decide(&self, body: &str, calls: &[String]) -> Behavior {
        let of_record = |record: &str| {
            let earlier = calls.iter().filter(|call| holds(call, record)).count();
            let script = self.script.get(record)?;
            Some(script.attempts.get(earlier).copied().unwrap_or(script.then))
        };
        let each = body.lines().filter_map(of_record);
        each.max_by_key(|behavior| behavior.precedence())
            .unwrap_or(Behavior::PredictAfter(10))
    }
}

struct InFlight(Arc<Mutex<Seen>>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.lock().unwrap().in_flight -= 1;
    }
}

/// The error of a call without a prediction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ScriptedError {
    /// A fault of this kind.
    Fault(FaultKind),
    /// The endpoint is overloaded for this many seconds.
    RetryAfter(u64),
    /// The record's model is not ready.
    NotReady,
    /// The container itself reports overload.
    ContainerOverload,
    /// The model that the record names does not exist.
    MissingModel,
}

impl ScriptedModel {
    /// Prepares a call, unless the script says that this fails.
    pub(crate) fn prepare(&self) -> Result<(), FaultKind> {
        let mut seen = self.seen.lock().unwrap();
        match seen.unprepared.filter(|(end, _)| Instant::now() < *end) {
            Some((_, kind)) => {
                seen.failed_preparations += 1;
                Err(kind)
            }
            None => Ok(()),
        }
    }

    /// Logs the call, follows the script, and returns the model's answer.
    pub(crate) async fn call(&self, body: &[u8]) -> Result<String, ScriptedError> {
        let body = str::from_utf8(body).unwrap().replace(MARKER, "");
        let behavior = {
            let mut seen = self.seen.lock().unwrap();
            let behavior = seen.outage.unwrap_or_else(|| self.decide(&body, &seen.calls));
            seen.calls.push(body.clone());
            seen.started.push(Instant::now());
            seen.in_flight += 1;
            seen.most_in_flight = seen.most_in_flight.max(seen.in_flight);
            if seen.throttle_above.is_some_and(|most| seen.in_flight > most) {
                seen.throttled += 1;
                Behavior::Fail(FaultKind::Overload)
            } else {
                behavior
            }
        };
        let _in_flight = InFlight(Arc::clone(&self.seen));
        match behavior {
            Behavior::PredictAfter(milliseconds) => sleep(Duration::from_millis(milliseconds)).await,
            Behavior::PredictBytes(bytes) => return Ok("x".repeat(bytes)),
            Behavior::PredictText(text) => return Ok(text.to_owned()),
            Behavior::Merge if body.contains('\n') => return Ok("\"all\"".to_owned()),
            Behavior::FailAlone(kind) if !body.contains('\n') => return Err(ScriptedError::Fault(kind)),
            Behavior::Merge | Behavior::FailAlone(_) => {}
            Behavior::Fail(kind) => return Err(ScriptedError::Fault(kind)),
            Behavior::FailAfter(milliseconds, kind) => {
                sleep(Duration::from_millis(milliseconds)).await;
                return Err(ScriptedError::Fault(kind));
            }
            Behavior::RetryAfter(seconds) => return Err(ScriptedError::RetryAfter(seconds)),
            Behavior::NotReady => return Err(ScriptedError::NotReady),
            Behavior::ContainerOverload => return Err(ScriptedError::ContainerOverload),
            Behavior::MissingModel => return Err(ScriptedError::MissingModel),
            Behavior::Hang => std::future::pending().await,
            Behavior::Panic => panic!("as the script says"),
        }
        let lines: Vec<_> = body.lines().map(|record| format!("{{\"of\":\"{record}\"}}")).collect();
        Ok(lines.join("\n"))
    }
}
