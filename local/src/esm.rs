//! The event source mapping for a stream with one shard: batches in order, checkpoint, retries.
//!
//! Its rules are AWS's: <https://docs.aws.amazon.com/lambda/latest/dg/services-kinesis-batchfailurereporting.html>.
//! The batch goes on from the lowest sequence number that the answer names. An empty answer is full success. An answer
//! that cannot be understood, an unknown sequence number and a failed invocation are the failure of the whole batch.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::function::Answer;
use crate::stream::{self, StreamRecord};

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
}

/// What happened to one invocation's batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchReport {
    /// How many records the event held.
    pub records: usize,
    /// How many of them, from the first on, need not come again.
    pub finished: usize,
    /// How many were given up, because retries are exhausted.
    pub discarded: usize,
    /// From the event to the answer.
    pub latency: Duration,
    /// Why the whole batch failed, where it did.
    pub failure: Option<String>,
}

/// What the mapping makes of an answer.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// All records up to this position need not come again.
    Finished(usize),
    /// The whole batch comes again.
    Failed(String),
}

impl Mapping {
    /// Feeds `records` to `invoke`, batch by batch, until all are finished or discarded, and reports each invocation.
    pub async fn run(
        self,
        records: Vec<StreamRecord>,
        mut invoke: impl AsyncFnMut(Bytes) -> Answer,
        mut report: impl FnMut(BatchReport),
    ) {
        let mut stream = VecDeque::from(records);
        let mut batch = VecDeque::new();
        let mut retries = 0;
        loop {
            if batch.is_empty() {
                batch = self.next_batch(&mut stream);
                retries = 0;
            }
            if batch.is_empty() {
                return;
            }
            let event = stream::event(&batch);
            let started = Instant::now();
            let answer = invoke(event).await;
            let latency = started.elapsed();
            let (finished, failure) = match judge(&answer, &batch) {
                Verdict::Finished(finished) => (finished, None),
                Verdict::Failed(why) => (0, Some(why)),
            };
            let records = batch.len();
            batch.drain(..finished);
            retries = if finished > 0 { 0 } else { retries + 1 };
            let discarded = if retries > self.max_retries { batch.len() } else { 0 };
            batch.drain(..discarded);
            report(BatchReport {
                records,
                finished,
                discarded,
                latency,
                failure,
            });
            if finished == 0 && discarded == 0 {
                sleep(pause(retries)).await;
            }
        }
    }

    fn next_batch(self, stream: &mut VecDeque<StreamRecord>) -> VecDeque<StreamRecord> {
        let mut batch = VecDeque::new();
        let mut bytes = 0;
        while batch.len() < self.batch_size
            && let Some(record) = stream.front()
        {
            bytes += record.size_in_event();
            // A record that is too large alone goes alone.
            if bytes > EVENT_BYTES_MAX && !batch.is_empty() {
                break;
            }
            batch.extend(stream.pop_front());
        }
        batch
    }
}

fn pause(retries: usize) -> Duration {
    let doublings = u32::try_from(retries.saturating_sub(1)).unwrap_or(u32::MAX);
    FIRST_PAUSE
        .saturating_mul(2_u32.saturating_pow(doublings))
        .min(LAST_PAUSE)
}

fn judge(answer: &Answer, batch: &VecDeque<StreamRecord>) -> Verdict {
    match answer {
        Answer::Response(response) => judge_response(response, batch),
        Answer::Error(error) => Verdict::Failed(format!("{}: {}", error.error_type, error.error_message)),
        Answer::TimedOut(limit) => Verdict::Failed(format!(
            "no answer within {} s, the time for an invocation",
            limit.as_secs_f64()
        )),
        Answer::Exited(status) => Verdict::Failed(format!("the function's process ended: {status}")),
    }
}

fn judge_response(response: &[u8], batch: &VecDeque<StreamRecord>) -> Verdict {
    if response.is_empty() {
        return Verdict::Finished(batch.len());
    }
    let failures = match serde_json::from_slice::<Value>(response) {
        Ok(Value::Null) => Value::Null,
        Ok(Value::Object(mut members)) => match members.remove("batchItemFailures") {
            Some(failures) => failures,
            None if members.is_empty() => Value::Null,
            None => return Verdict::Failed("the answer has no batchItemFailures".to_owned()),
        },
        Ok(_) | Err(_) => return Verdict::Failed("the answer is no JSON object".to_owned()),
    };
    let failures = match failures {
        Value::Null => Vec::new(),
        Value::Array(failures) => failures,
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
            return Verdict::Failed("batchItemFailures is no list".to_owned());
        }
    };
    let mut finished = batch.len();
    for failure in failures {
        let named = failure
            .get("itemIdentifier")
            .and_then(Value::as_str)
            .unwrap_or_default();
        match batch.iter().position(|record| record.sequence_number == named) {
            Some(position) => finished = finished.min(position),
            None => return Verdict::Failed(format!("the answer names {named:?}, which is not in the batch")),
        }
    }
    Verdict::Finished(finished)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(count: u64) -> Vec<StreamRecord> {
        (1..=count)
            .map(|number| StreamRecord::from_line(number, b"x", 0))
            .collect()
    }

    fn failing(records: &[StreamRecord], positions: &[usize]) -> String {
        let named = |position: &usize| format!(r#"{{"itemIdentifier":"{}"}}"#, records[*position].sequence_number);
        let list: Vec<_> = positions.iter().map(named).collect();
        format!(r#"{{"batchItemFailures":[{}]}}"#, list.join(","))
    }

    #[test]
    fn an_answer_is_read_as_aws_reads_it() {
        let records = records(5);
        let batch = VecDeque::from(records.clone());
        for (response, expected) in [
            (String::new(), Some(5)),
            ("null".to_owned(), Some(5)),
            ("{}".to_owned(), Some(5)),
            (r#"{"batchItemFailures":null}"#.to_owned(), Some(5)),
            (r#"{"batchItemFailures":[]}"#.to_owned(), Some(5)),
            (failing(&records, &[2]), Some(2)),
            (failing(&records, &[4, 1, 3]), Some(1)),
            (failing(&records, &[0]), Some(0)),
            (r#"{"batchItemFailures":[{"itemIdentifier":""}]}"#.to_owned(), None),
            (r#"{"batchItemFailures":[{"itemIdentifier":null}]}"#.to_owned(), None),
            (r#"{"batchItemFailures":[{"wrongKey":"7"}]}"#.to_owned(), None),
            (r#"{"batchItemFailures":[{"itemIdentifier":"7"}]}"#.to_owned(), None),
            (r#"{"something":"else"}"#.to_owned(), None),
            ("[]".to_owned(), None),
            ("oops".to_owned(), None),
        ] {
            let finished = match judge_response(response.as_bytes(), &batch) {
                Verdict::Finished(finished) => Some(finished),
                Verdict::Failed(_) => None,
            };
            assert_eq!(finished, expected, "{response}");
        }
    }

    /// Runs a mapping over ten records; `answer` says what the function answers to a batch of these record numbers.
    async fn run(
        mapping: Mapping,
        answer: impl Fn(usize, &[StreamRecord]) -> Answer,
    ) -> (Vec<usize>, Vec<BatchReport>) {
        let all = records(10);
        let mut sizes = Vec::new();
        let mut reports = Vec::new();
        let mut invocation = 0;
        let invoke = async |event: Bytes| {
            let event: Value = serde_json::from_slice(&event).unwrap();
            let entries = event["Records"].as_array().unwrap();
            let first = entries[0]["kinesis"]["sequenceNumber"].as_str().unwrap();
            let start = all.iter().position(|record| record.sequence_number == first).unwrap();
            sizes.push(entries.len());
            invocation += 1;
            answer(invocation, &all[start..start + entries.len()])
        };
        mapping.run(all.clone(), invoke, |report| reports.push(report)).await;
        (sizes, reports)
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_goes_on_from_its_checkpoint() {
        let mapping = Mapping {
            batch_size: 4,
            max_retries: 2,
        };
        let (sizes, reports) = run(mapping, |invocation, batch| {
            let response = if invocation == 1 {
                failing(batch, &[1])
            } else {
                String::new()
            };
            Answer::Response(response.into())
        })
        .await;
        assert_eq!(sizes, [4, 3, 4, 2]);
        assert_eq!(
            reports.iter().map(|report| report.finished).collect::<Vec<_>>(),
            [1, 3, 4, 2]
        );
    }

    #[test]
    fn a_batch_closes_at_6_mb_and_a_record_that_is_too_large_goes_alone() {
        let sizes = [1_500_000, 2_500_000, 2_500_000, 6_000_000, 10];
        let record = |(number, size): (u64, usize)| StreamRecord::from_line(number, &vec![b'x'; size], 0);
        let mut stream: VecDeque<_> = (1..).zip(sizes).map(record).collect();
        let mapping = Mapping {
            batch_size: 100,
            max_retries: 0,
        };
        let batches = std::iter::from_fn(|| Some(mapping.next_batch(&mut stream).len()).filter(|length| *length > 0));
        assert_eq!(batches.collect::<Vec<_>>(), [2, 1, 1, 1]);
    }

    #[tokio::test(start_paused = true)]
    async fn exhausted_retries_discard_the_rest_of_the_batch_only() {
        let mapping = Mapping {
            batch_size: 5,
            max_retries: 2,
        };
        let (sizes, reports) = run(mapping, |invocation, batch| match invocation {
            1 => Answer::Response(failing(batch, &[3]).into()),
            2..=4 => Answer::TimedOut(Duration::from_secs(3)),
            _ => Answer::Response(Bytes::new()),
        })
        .await;
        assert_eq!(sizes, [5, 2, 2, 2, 5]);
        assert_eq!(
            reports.iter().map(|report| report.discarded).collect::<Vec<_>>(),
            [0, 0, 0, 2, 0]
        );
        assert_eq!(
            reports[1].failure.as_deref(),
            Some("no answer within 3 s, the time for an invocation")
        );
    }
}
