//! The event source mapping for a stream with one shard: batches in order, checkpoint, retries, bisecting, giving up.
//!
//! Its rules are AWS's: <https://docs.aws.amazon.com/lambda/latest/dg/services-kinesis-batchfailurereporting.html> and
//! <https://docs.aws.amazon.com/lambda/latest/dg/kinesis-on-failure-destination.html>. The batch goes on from the lowest
//! sequence number that the answer names. An empty answer is full success. An answer that cannot be understood, an
//! unknown sequence number and a failed invocation are the failure of the whole batch. What is given up goes to the
//! destination for failures, healthy records included.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep};

use crate::function::Answer;
use crate::stream::{self, StreamRecord};

mod answer;

use answer::{Verdict, judge};

/// An event holds at most 6 MB, base64 included.
const EVENT_BYTES_MAX: usize = 6 * 1024 * 1024;
/// First pause before a batch that made no progress comes again; it doubles up to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LAST_PAUSE: Duration = Duration::from_secs(2);

/// The mapping's settings.
#[derive(Debug, Clone, Copy)]
pub struct Mapping {
    /// Records in a batch at most, 1–10,000.
    pub batch_size: usize,
    /// `MaximumRetryAttempts`: how often a batch comes again without any progress before the rest of it is discarded.
    pub max_retries: usize,
    /// `MaximumRecordAgeInSeconds`: a record that is older is discarded. Here, all records arrive when the run begins.
    pub max_record_age: Option<Duration>,
    /// `BisectBatchOnFunctionError`: a batch that fails as a whole comes again in two halves, which spends no retry.
    pub bisect: bool,
}

/// What the mapping has to tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    /// A batch was handed to the function.
    Invoked(Invoked),
    /// Records were given up.
    Discarded(Discarded),
}

/// What happened to one invocation's batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invoked {
    /// How many records the event held.
    pub records: usize,
    /// How many of them, from the first on, need not come again.
    pub finished: usize,
    /// From the event to the answer.
    pub latency: Duration,
    /// Why the whole batch failed, where it did.
    pub failure: Option<String>,
}

/// Records that were given up, as the destination for failures gets them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Discarded {
    /// In the order of the stream.
    pub records: Vec<StreamRecord>,
    /// Why.
    pub condition: Condition,
    /// How often the function was invoked with them.
    pub invocations: usize,
}

/// Why records were given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// There was no retry left.
    RetryAttemptsExhausted,
    /// They are too old.
    RecordAgeExceeded,
}

/// A batch on its way.
#[derive(Debug, Default)]
struct Batch {
    records: VecDeque<StreamRecord>,
    /// Invocations without progress since the last one with any.
    retries: usize,
    invocations: usize,
}

impl Mapping {
    /// Feeds `records` to `invoke`, batch by batch, until all are finished or discarded, and reports what happens.
    pub async fn run(
        self,
        records: Vec<StreamRecord>,
        mut invoke: impl AsyncFnMut(Bytes) -> Answer,
        mut report: impl FnMut(Report),
    ) {
        let arrived = Instant::now();
        let mut stream = VecDeque::from(records);
        // One batch, or the parts of one that was split, in the order of the stream.
        let mut batches = VecDeque::new();
        loop {
            if batches.is_empty() {
                batches.extend(self.next_batch(&mut stream));
            }
            let Some(mut batch) = batches.pop_front() else {
                return;
            };
            if self.max_record_age.is_some_and(|age| arrived.elapsed() > age) {
                report(Report::Discarded(batch.discard(Condition::RecordAgeExceeded)));
                continue;
            }
            let invoked = batch.invoke(&mut invoke).await;
            let Invoked {
                finished, ref failure, ..
            } = invoked;
            let failed = failure.is_some();
            report(Report::Invoked(invoked));
            if batch.records.is_empty() {
                continue;
            }
            if failed && self.bisect && batch.records.len() > 1 {
                let rest = batch.split();
                batches.push_front(rest);
            } else if finished == 0 {
                batch.retries += 1;
            }
            if batch.retries > self.max_retries {
                report(Report::Discarded(batch.discard(Condition::RetryAttemptsExhausted)));
                continue;
            }
            if finished == 0 {
                sleep(pause(batch.retries)).await;
            }
            batches.push_front(batch);
        }
    }

    fn next_batch(self, stream: &mut VecDeque<StreamRecord>) -> Option<Batch> {
        let mut batch = Batch::default();
        let mut bytes = 0;
        while batch.records.len() < self.batch_size
            && let Some(record) = stream.front()
        {
            bytes += record.size_in_event();
            // A record that is too large alone goes alone.
            if bytes > EVENT_BYTES_MAX && !batch.records.is_empty() {
                break;
            }
            batch.records.extend(stream.pop_front());
        }
        (!batch.records.is_empty()).then_some(batch)
    }
}

impl Batch {
    /// Hands the batch to the function and takes from it what is finished.
    async fn invoke(&mut self, invoke: &mut impl AsyncFnMut(Bytes) -> Answer) -> Invoked {
        self.invocations += 1;
        let started = Instant::now();
        let answer = invoke(stream::event(&self.records)).await;
        let latency = started.elapsed();
        let (finished, failure) = match judge(&answer, &self.records) {
            Verdict::Finished(finished) => (finished, None),
            Verdict::Failed(why) => (0, Some(why)),
        };
        let records = self.records.len();
        self.records.drain(..finished);
        if finished > 0 {
            self.retries = 0;
        }
        Invoked {
            records,
            finished,
            latency,
            failure,
        }
    }

    /// Keeps the first half and returns the second.
    fn split(&mut self) -> Self {
        let middle = self.records.len() / 2;
        Self {
            records: self.records.split_off(middle),
            ..*self
        }
    }

    fn discard(self, condition: Condition) -> Discarded {
        Discarded {
            records: self.records.into(),
            condition,
            invocations: self.invocations,
        }
    }
}

fn pause(retries: usize) -> Duration {
    let doublings = u32::try_from(retries.saturating_sub(1)).unwrap_or(u32::MAX);
    FIRST_PAUSE
        .saturating_mul(2_u32.saturating_pow(doublings))
        .min(LAST_PAUSE)
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::Value;

    use super::*;

    pub(super) const MAPPING: Mapping = Mapping {
        batch_size: 4,
        max_retries: 2,
        max_record_age: None,
        bisect: false,
    };

    pub(super) fn records(count: u64) -> Vec<StreamRecord> {
        (1..=count)
            .map(|number| StreamRecord::from_line(number, b"x", 0))
            .collect()
    }

    pub(super) fn failing(records: &[StreamRecord], positions: &[usize]) -> String {
        let named = |position: &usize| format!(r#"{{"itemIdentifier":"{}"}}"#, records[*position].sequence_number);
        let list: Vec<_> = positions.iter().map(named).collect();
        format!(r#"{{"batchItemFailures":[{}]}}"#, list.join(","))
    }

    /// What a mapping told of ten records: the sizes of the batches, how many records of each were finished, and what was
    /// discarded, as record numbers from 0.
    #[derive(Debug, Default, PartialEq, Eq)]
    struct Told {
        sizes: Vec<usize>,
        finished: Vec<usize>,
        failures: Vec<String>,
        discarded: Vec<(Condition, Vec<usize>, usize)>,
    }

    /// Runs a mapping over ten records; `answer` says what the function answers to which invocation, counted from 1, with
    /// a batch of which records.
    async fn run(mapping: Mapping, answer: impl Fn(usize, &[StreamRecord]) -> Answer) -> Told {
        let all = records(10);
        let place = |number: &str| all.iter().position(|record| record.sequence_number == number).unwrap();
        let mut invocation = 0;
        let invoke = async |event: Bytes| {
            let event: Value = serde_json::from_slice(&event).unwrap();
            let entries = event["Records"].as_array().unwrap();
            let start = place(entries[0]["kinesis"]["sequenceNumber"].as_str().unwrap());
            invocation += 1;
            answer(invocation, &all[start..start + entries.len()])
        };
        let mut told = Told::default();
        let report = |report| match report {
            Report::Invoked(invoked) => {
                told.sizes.push(invoked.records);
                told.finished.push(invoked.finished);
                told.failures.extend(invoked.failure);
            }
            Report::Discarded(discarded) => {
                let places = discarded.records.iter().map(|record| place(&record.sequence_number));
                told.discarded
                    .push((discarded.condition, places.collect(), discarded.invocations));
            }
        };
        mapping.run(all.clone(), invoke, report).await;
        told
    }

    fn success() -> Answer {
        Answer::Response(Bytes::new())
    }

    fn failure() -> Answer {
        Answer::TimedOut(Duration::from_secs(3))
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_goes_on_from_its_checkpoint() {
        let told = run(MAPPING, |invocation, batch| match invocation {
            1 => Answer::Response(failing(batch, &[1]).into()),
            _ => success(),
        })
        .await;
        assert_eq!(told.sizes, [4, 3, 4, 2]);
        assert_eq!(told.finished, [1, 3, 4, 2]);
    }

    #[test]
    fn a_batch_closes_at_6_mb_and_a_record_that_is_too_large_goes_alone() {
        let sizes = [1_500_000, 2_500_000, 2_500_000, 6_000_000, 10];
        let record = |(number, size): (u64, usize)| StreamRecord::from_line(number, &vec![b'x'; size], 0);
        let mut stream: VecDeque<_> = (1..).zip(sizes).map(record).collect();
        let batches = std::iter::from_fn(|| MAPPING.next_batch(&mut stream));
        let sizes: Vec<_> = batches.map(|batch| batch.records.len()).collect();
        assert_eq!(sizes, [2, 1, 1, 1]);
    }

    #[tokio::test(start_paused = true)]
    async fn exhausted_retries_discard_the_rest_of_the_batch_only() {
        let mapping = Mapping {
            batch_size: 5,
            ..MAPPING
        };
        let told = run(mapping, |invocation, batch| match invocation {
            1 => Answer::Response(failing(batch, &[3]).into()),
            2..=4 => failure(),
            _ => success(),
        })
        .await;
        assert_eq!(told.sizes, [5, 2, 2, 2, 5]);
        assert_eq!(told.discarded, [(Condition::RetryAttemptsExhausted, vec![3, 4], 4)]);
        assert_eq!(told.failures[0], "no answer within 3 s, the time for an invocation");
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_whose_first_record_is_named_spends_a_retry() {
        let told = run(MAPPING, |_, batch| Answer::Response(failing(batch, &[0]).into())).await;
        assert_eq!(told.sizes, [4, 4, 4, 4, 4, 4, 2, 2, 2]);
        let discarded: Vec<_> = told
            .discarded
            .iter()
            .flat_map(|(_, places, _)| places.clone())
            .collect();
        assert_eq!(discarded, (0..10).collect::<Vec<_>>());
    }

    #[tokio::test(start_paused = true)]
    async fn bisecting_leaves_only_the_record_that_fails() {
        let mapping = Mapping {
            bisect: true,
            ..MAPPING
        };
        let poison = records(10)[2].clone();
        let told = run(
            mapping,
            |_, batch| {
                if batch.contains(&poison) { failure() } else { success() }
            },
        )
        .await;
        // Four fail, then 0–1 succeed, 2–3 fail, 2 alone fails with all its retries, 3 succeeds.
        assert_eq!(told.sizes, [4, 2, 2, 1, 1, 1, 1, 4, 2]);
        assert_eq!(told.discarded, [(Condition::RetryAttemptsExhausted, vec![2], 5)]);
    }

    #[tokio::test(start_paused = true)]
    async fn records_that_grow_too_old_are_discarded() {
        let mapping = Mapping {
            max_retries: usize::MAX,
            max_record_age: Some(Duration::from_mins(1)),
            ..MAPPING
        };
        let told = run(mapping, |_, _| failure()).await;
        let too_old: Vec<_> = told
            .discarded
            .iter()
            .map(|(condition, places, _)| (*condition, places.len()))
            .collect();
        assert_eq!(
            too_old,
            [4, 4, 2].map(|records| (Condition::RecordAgeExceeded, records))
        );
        assert!((20..50).contains(&told.sizes.len()), "it came again for a minute");
    }
}
