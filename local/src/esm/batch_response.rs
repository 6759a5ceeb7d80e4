//! Reads the function's batch response: how many records are finished, or why the whole batch failed.

use serde_json::Value;

use crate::function::InvocationResult;

/// The result of an invocation, as the mapping applies it to the batch.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// All records before this position are finished.
    Finished(usize),
    /// The whole batch failed, for this reason.
    Failed(String),
}

/// Returns the verdict on a batch. `batch` holds the sequence numbers of the event's records.
pub fn judge(result: &InvocationResult, batch: &[&str]) -> Verdict {
    match result {
        InvocationResult::Response(response) => judge_response(response, batch),
        InvocationResult::Error(error) => Verdict::Failed(format!("{}: {}", error.error_type, error.error_message)),
        InvocationResult::TimedOut(limit) => Verdict::Failed(format!(
            "no response within the invocation timeout of {} s",
            limit.as_secs_f64()
        )),
        InvocationResult::Exited(status) => Verdict::Failed(format!("the function's process ended: {status}")),
    }
}

fn judge_response(response: &[u8], batch: &[&str]) -> Verdict {
    if response.is_empty() {
        return Verdict::Finished(batch.len());
    }
    let failures = match serde_json::from_slice::<Value>(response) {
        Ok(Value::Null) => Value::Null,
        Ok(Value::Object(mut members)) => match members.remove("batchItemFailures") {
            Some(failures) => failures,
            None if members.is_empty() => Value::Null,
            None => return Verdict::Failed("the response has no batchItemFailures".to_owned()),
        },
        Ok(_) | Err(_) => return Verdict::Failed("the response is not a JSON object".to_owned()),
    };
    let failures = match failures {
        Value::Null => Vec::new(),
        Value::Array(failures) => failures,
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
            return Verdict::Failed("batchItemFailures is not a list".to_owned());
        }
    };
    let mut finished = batch.len();
    for failure in failures {
        let named = failure
            .get("itemIdentifier")
            .and_then(Value::as_str)
            .unwrap_or_default();
        match batch.iter().position(|sequence_number| *sequence_number == named) {
            Some(position) => finished = finished.min(position),
            None => return Verdict::Failed(format!("the response names {named:?}, which is not in the batch")),
        }
    }
    Verdict::Finished(finished)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::esm::tests::{failing, records};

    #[test]
    fn a_batch_response_is_read_as_aws_reads_it() {
        let records = records(5);
        let batch: Vec<_> = records.iter().map(|record| &*record.sequence_number).collect();
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
}
