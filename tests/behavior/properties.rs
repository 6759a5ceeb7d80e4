//! What holds for every batch, whatever the endpoint does.

use std::time::Duration;

use instream::endpoint::FaultKind;
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::support::{Does, Running, Scenario, on_a_paused_clock};

/// Records with numbers from here on are always predicted.
const GOOD: usize = 1000;

/// A batch, and what the endpoint does with each attempt at each of its records before it answers.
#[derive(Debug, Clone)]
struct Story {
    scripts: Vec<Vec<Does>>,
    capacity: usize,
    max_attempts: usize,
    dead_letter: bool,
    adaptive: bool,
}

/// So many attempts that fail leave something in the budget for further ones, and make no outage.
const FEW_FAULTS: usize = 9;

/// What becomes of a call: of so many that are answered within so many milliseconds, and so many with a fault, one hangs and
/// one panics.
pub(crate) fn does(answered: u32, within_ms: u64, failed: u32) -> impl Strategy<Value = Does> {
    let kind = prop_oneof![
        Just(FaultKind::Refused),
        Just(FaultKind::Suspect),
        Just(FaultKind::Overload),
        Just(FaultKind::Unreachable),
        Just(FaultKind::Misconfigured),
    ];
    prop_oneof![
        answered => (0..within_ms).prop_map(Does::PredictAfter),
        failed => (0..100_u64, kind).prop_map(|(after, kind)| Does::FailAfter(after, kind)),
        1 => Just(Does::Hang),
        1 => Just(Does::Panic),
    ]
}

fn story() -> impl Strategy<Value = Story> {
    let script = || vec(does(6, 200, 6), 0..4);
    let scripts = prop_oneof![vec(script(), 0..6), vec(script(), 0..40)];
    let others = (1..10_usize, 1..5_usize, any::<bool>(), any::<bool>());
    (scripts, others).prop_map(|(scripts, (capacity, max_attempts, dead_letter, adaptive))| Story {
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

impl Story {
    fn start(&self, deadline: Duration) -> Running {
        let mut scenario = Scenario::of(0)
            .with("CAPACITY", &self.capacity.to_string())
            .with("MAX_ATTEMPTS", &self.max_attempts.to_string())
            .with("ADAPTIVE_CAPACITY", if self.adaptive { "on" } else { "off" })
            .with("CALL_TIMEOUT_MS", "500")
            .with("DEAD_LETTER", if self.dead_letter { "stdout:" } else { "" })
            .deadline(Some(deadline));
        for (number, script) in self.scripts.iter().enumerate() {
            scenario = scenario.attempts(number, script);
        }
        scenario.start()
    }

    /// What becomes of a record that has all its attempts.
    fn end(&self, number: usize) -> End {
        let script = self.scripts[number].iter().copied();
        let attempts = script.chain(std::iter::repeat(Does::PredictAfter(10)));
        let end = |does| match does {
            Does::PredictAfter(_) | Does::PredictBytes(_) => Some(End::Predicted),
            Does::Fail(FaultKind::Refused) | Does::FailAfter(_, FaultKind::Refused) => Some(End::Rejected),
            Does::Fail(FaultKind::Misconfigured) | Does::FailAfter(_, FaultKind::Misconfigured) | Does::Panic => {
                Some(End::Failed)
            }
            Does::Fail(_) | Does::FailAfter(..) | Does::Hang => None,
            Does::BusyFor(_) | Does::Doubt | Does::Merge | Does::NotReady => {
                unreachable!("not drawn: what becomes of it depends on the others")
            }
        };
        attempts.take(self.max_attempts).find_map(end).unwrap_or(End::Failed)
    }

    /// Whether each record surely has all its attempts, were there no others.
    fn has_few_faults(&self) -> bool {
        let attempts = self.scripts.iter().flatten();
        let answered = |does: &&Does| matches!(does, Does::PredictAfter(_));
        attempts.filter(|does| !answered(does)).count() <= FEW_FAULTS
    }

    /// The numbers of the records before `checkpoint` that end like this.
    fn ending(&self, end: End, checkpoint: usize) -> Vec<usize> {
        (0..checkpoint).filter(|number| self.end(*number) == end).collect()
    }
}

/// Where the answer says that the stream goes on, for a batch of so many records.
fn checkpoint(answer: &Value, records: usize) -> usize {
    let named = &answer["batchItemFailures"][0]["itemIdentifier"];
    named.as_str().map_or(records, |number| number.parse().unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_record_has_its_outcome_and_the_answer_names_the_first_unfinished(story in story()) {
        on_a_paused_clock(async {
            let running = story.start(Duration::from_mins(15));
            let count = story.scripts.len();
            let answer = running.invoke(0..count).await.unwrap();
            // The oracle: each record by itself. What stops behind a failed one lies behind the checkpoint anyway.
            let unfinished = |number: &usize| match story.end(*number) {
                End::Predicted => false,
                End::Rejected => !story.dead_letter,
                End::Failed => true,
            };
            let at_best = (0..count).find(unfinished).unwrap_or(count);
            let expected = checkpoint(&answer, count);
            if story.has_few_faults() {
                prop_assert_eq!(expected, at_best);
            }
            prop_assert!(expected <= at_best);
            prop_assert!(running.seen.lock().unwrap().most_in_flight <= story.capacity);
            for number in 0..count {
                prop_assert!(running.seen.lock().unwrap().attempts(number) <= story.max_attempts);
            }
            let ran = running.ran(answer);
            prop_assert_eq!(ran.predicted, story.ending(End::Predicted, expected));
            prop_assert_eq!(ran.dead_lettered, story.ending(End::Rejected, expected));
            prop_assert_eq!(ran.seen.in_flight, 0);
            Ok(())
        })?;
    }

    #[test]
    fn no_permit_is_leaked_and_no_deadline_is_missed(story in story(), deadline_ms in 0..4000_u64) {
        on_a_paused_clock(async {
            let deadline = Duration::from_millis(deadline_ms.max(1));
            let running = story.start(deadline);
            let count = story.scripts.len();
            let answer = running.invoke(0..count).await.unwrap();
            prop_assert!(running.elapsed() <= deadline, "{:?}", running.elapsed());
            prop_assert_eq!(running.seen.lock().unwrap().in_flight, 0);
            // All permits are there again for those that come next.
            running.seen.lock().unwrap().most_in_flight = 0;
            let next = running.invoke_within(GOOD..GOOD + 20, Duration::from_mins(1)).await.unwrap();
            prop_assert_eq!(next, json!({ "batchItemFailures": [] }));
            let most_in_flight = running.seen.lock().unwrap().most_in_flight;
            prop_assert!(most_in_flight <= story.capacity);
            if !story.adaptive {
                prop_assert_eq!(most_in_flight, story.capacity);
            }
            // Exactly what lies before the checkpoint was delivered, each record once.
            let expected = checkpoint(&answer, count);
            let ran = running.ran(answer);
            let mut delivered = [ran.predicted, ran.dead_lettered].concat();
            delivered.retain(|number| *number < GOOD);
            delivered.sort_unstable();
            prop_assert_eq!(delivered, (0..expected).collect::<Vec<_>>());
            Ok(())
        })?;
    }
}
