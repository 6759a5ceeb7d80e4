//! Properties of every batch, whatever the endpoint does.

use std::time::Duration;

use instream::outcome::FaultKind;
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::support::{Behavior, Running, Scenario, on_a_paused_clock};

/// Records with numbers from here on are always predicted.
const GOOD: usize = 1000;

/// A batch, and the behavior of the attempts at each of its records before one is answered.
#[derive(Debug, Clone)]
struct TestCase {
    scripts: Vec<Vec<Behavior>>,
    capacity: usize,
    max_attempts: usize,
    dead_letter: bool,
    adaptive: bool,
}

/// The number of failed attempts that leaves a retry budget and does not look like an outage.
const FEW_FAULTS: usize = 9;

/// Generates the behavior of a call. For each `answered` calls that are answered within `within_ms` milliseconds,
/// `failed` calls end with a fault, one hangs and one panics.
pub(crate) fn behavior(answered: u32, within_ms: u64, failed: u32) -> impl Strategy<Value = Behavior> {
    let kind = prop_oneof![
        Just(FaultKind::Refused),
        Just(FaultKind::Suspect),
        Just(FaultKind::Overload),
        Just(FaultKind::Unreachable),
        Just(FaultKind::Misconfigured),
    ];
    prop_oneof![
        answered => (0..within_ms).prop_map(Behavior::PredictAfter),
        failed => (0..100_u64, kind).prop_map(|(after, kind)| Behavior::FailAfter(after, kind)),
        1 => Just(Behavior::Hang),
        1 => Just(Behavior::Panic),
    ]
}

fn case() -> impl Strategy<Value = TestCase> {
    let script = || vec(behavior(6, 200, 6), 0..4);
    let scripts = prop_oneof![vec(script(), 0..6), vec(script(), 0..40)];
    let others = (1..10_usize, 1..5_usize, any::<bool>(), any::<bool>());
    (scripts, others).prop_map(|(scripts, (capacity, max_attempts, dead_letter, adaptive))| TestCase {
        scripts,
        capacity,
        max_attempts,
        dead_letter,
        adaptive,
    })
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum End {
    Predicted,
    Rejected,
    Failed,
}

impl TestCase {
    fn start(&self, deadline: Duration) -> Running {
        let mut scenario = Scenario::of(0)
            .with("CAPACITY", &self.capacity.to_string())
            .with("MAX_ATTEMPTS", &self.max_attempts.to_string())
            .with("ADAPTIVE_CAPACITY", if self.adaptive { "on" } else { "off" })
            .with("CALL_TIMEOUT_MS", "500")
            .with("DEAD_LETTER", if self.dead_letter { "stdout:" } else { "" })
            .deadline(Some(deadline));
        // The answer to a record that is not in the batch is always evidence.
        scenario = scenario.with("PROBE", &GOOD.to_string());
        for (number, script) in self.scripts.iter().enumerate() {
            // A record that is refused or predicted once always is.
            let is_final = |behavior: &Behavior| is_refusal(*behavior) || matches!(behavior, Behavior::PredictAfter(_));
            scenario = match script.iter().position(is_final) {
                Some(end) => scenario.attempts_then(number, &script[..end], script[end]),
                None => scenario.attempts(number, script),
            };
        }
        scenario.start()
    }

    /// Returns the outcome of a record that has all its attempts.
    fn end(&self, number: usize) -> End {
        let script = self.scripts[number].iter().copied();
        let attempts = script.chain(std::iter::repeat(Behavior::PredictAfter(10)));
        let end = |behavior| match behavior {
            Behavior::PredictAfter(_) | Behavior::PredictBytes(_) | Behavior::PredictText(_) => Some(End::Predicted),
            _ if is_refusal(behavior) => Some(End::Rejected),
            Behavior::Fail(FaultKind::Misconfigured) | Behavior::FailAfter(_, FaultKind::Misconfigured) => {
                Some(End::Failed)
            }
            Behavior::Fail(_) | Behavior::FailAfter(..) | Behavior::Hang | Behavior::Panic => None,
            Behavior::RetryAfter(_)
            | Behavior::MissingModel
            | Behavior::FailAlone(_)
            | Behavior::Merge
            | Behavior::NotReady
            | Behavior::ContainerOverload => {
                unreachable!("not generated: its outcome depends on the other records")
            }
        };
        attempts.take(self.max_attempts).find_map(end).unwrap_or(End::Failed)
    }

    /// Returns whether the faults are so few that each record certainly has all its attempts.
    fn has_few_faults(&self) -> bool {
        let attempts = self.scripts.iter().flatten();
        let answered = |behavior: &&Behavior| matches!(behavior, Behavior::PredictAfter(_));
        attempts.filter(|behavior| !answered(behavior)).count() <= FEW_FAULTS
    }

    /// Returns the numbers of the records before `checkpoint` that have this outcome.
    fn ending(&self, end: End, checkpoint: usize) -> Vec<usize> {
        (0..checkpoint).filter(|number| self.end(*number) == end).collect()
    }
}

fn is_refusal(behavior: Behavior) -> bool {
    matches!(
        behavior,
        Behavior::Fail(FaultKind::Refused) | Behavior::FailAfter(_, FaultKind::Refused)
    )
}

/// Returns the number of the record that the response names, or `records` if it names none.
fn checkpoint(response: &Value, records: usize) -> usize {
    let named = &response["batchItemFailures"][0]["itemIdentifier"];
    named.as_str().map_or(records, |number| number.parse().unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_record_has_its_outcome_and_the_response_names_the_first_unfinished_record(case in case()) {
        on_a_paused_clock(async {
            let running = case.start(Duration::from_mins(15));
            let count = case.scripts.len();
            let response = running.invoke(0..count).await.unwrap();
            // The oracle looks at each record by itself. Records that a failed one stops come after the checkpoint.
            let unfinished = |number: &usize| match case.end(*number) {
                End::Predicted => false,
                End::Rejected => !case.dead_letter,
                End::Failed => true,
            };
            let at_best = (0..count).find(unfinished).unwrap_or(count);
            let expected = checkpoint(&response, count);
            if case.has_few_faults() {
                prop_assert_eq!(expected, at_best);
            }
            prop_assert!(expected <= at_best);
            prop_assert!(running.seen.lock().unwrap().most_in_flight <= case.capacity);
            // A refused record has a last attempt, and up to eight after others have recovered. A predicted record may
            // be a probe.
            for number in (0..count).filter(|number| case.end(*number) != End::Predicted) {
                prop_assert!(running.seen.lock().unwrap().attempts(number) <= case.max_attempts + 8);
            }
            let ran = running.finish(response);
            prop_assert_eq!(ran.predicted, case.ending(End::Predicted, expected));
            prop_assert_eq!(ran.dead_lettered, case.ending(End::Rejected, expected));
            prop_assert_eq!(ran.seen.in_flight, 0);
            Ok(())
        })?;
    }

    #[test]
    fn no_permit_is_leaked_and_no_deadline_is_missed(case in case(), deadline_ms in 0..4000_u64) {
        on_a_paused_clock(async {
            let deadline = Duration::from_millis(deadline_ms.max(1));
            let running = case.start(deadline);
            let count = case.scripts.len();
            let response = running.invoke(0..count).await.unwrap();
            prop_assert!(running.elapsed() <= deadline, "{:?}", running.elapsed());
            prop_assert_eq!(running.seen.lock().unwrap().in_flight, 0);
            // All permits are available for the next invocation.
            running.seen.lock().unwrap().most_in_flight = 0;
            let next = running.invoke_within(GOOD..GOOD + 20, Duration::from_mins(1)).await.unwrap();
            prop_assert_eq!(next, json!({ "batchItemFailures": [] }));
            let most_in_flight = running.seen.lock().unwrap().most_in_flight;
            prop_assert!(most_in_flight <= case.capacity);
            if !case.adaptive {
                prop_assert_eq!(most_in_flight, case.capacity);
            }
            // Exactly the records before the checkpoint were delivered, each once.
            let expected = checkpoint(&response, count);
            let ran = running.finish(response);
            let mut delivered = [ran.predicted, ran.dead_lettered].concat();
            delivered.retain(|number| *number < GOOD);
            delivered.sort_unstable();
            prop_assert_eq!(delivered, (0..expected).collect::<Vec<_>>());
            Ok(())
        })?;
    }
}
