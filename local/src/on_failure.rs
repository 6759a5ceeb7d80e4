//! The mapping's on-failure destination. Builds the object for discarded records, with their payload, as an S3
//! destination receives it: <https://docs.aws.amazon.com/lambda/latest/dg/kinesis-on-failure-destination.html>.

use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;
use serde_json::{Value, json};

use crate::esm::{Condition, Discarded};
use crate::stream::{self, FUNCTION_ARN, StreamRecord};

/// Returns the destination's object for `discarded`. `now_ms` is the current time, in milliseconds since 1970.
pub fn object(discarded: &Discarded, now_ms: u64) -> Value {
    let condition = match discarded.condition {
        Condition::RetryAttemptsExhausted => "RetryAttemptsExhausted",
        Condition::RecordAgeExceeded => "RecordAgeExceeded",
    };
    let number = |record: Option<&StreamRecord>| record.map(|record| record.sequence_number.clone());
    let arrival = |record: Option<&StreamRecord>| record.map(|record| time(record.arrival_ms));
    let (first, last) = (discarded.records.first(), discarded.records.last());
    json!({
        "requestContext": {
            "functionArn": FUNCTION_ARN,
            "condition": condition,
            "approximateInvokeCount": discarded.invocations,
        },
        "version": "1.0",
        "timestamp": time(now_ms),
        "KinesisBatchInfo": {
            "shardId": first.map(|record| record.shard.clone()),
            "startSequenceNumber": number(first),
            "endSequenceNumber": number(last),
            "approximateArrivalOfFirstRecord": arrival(first),
            "approximateArrivalOfLastRecord": arrival(last),
            "batchSize": discarded.records.len(),
            "streamArn": first.map(|record| record.stream_arn.to_string()),
        },
        "payload": String::from_utf8_lossy(&stream::event(&discarded.records)),
    })
}

/// Formats a time in milliseconds since 1970, as in `2026-03-14T02:11:09.5Z`.
fn time(milliseconds: u64) -> String {
    let time = DateTime::from_millis(i64::try_from(milliseconds).unwrap_or(i64::MAX));
    time.fmt(Format::DateTime).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_holds_the_discarded_event() {
        let record = |number| StreamRecord {
            shard: stream::shard_id(3),
            ..StreamRecord::from_line(number, b"x", 1_795_419_096_520)
        };
        let records: Vec<_> = (1..=2).map(record).collect();
        let discarded = Discarded {
            records: records.clone(),
            condition: Condition::RetryAttemptsExhausted,
            invocations: 6,
        };
        let object = object(&discarded, 1_795_419_100_000);
        assert_eq!(object["requestContext"]["condition"], "RetryAttemptsExhausted");
        assert_eq!(object["timestamp"], "2026-11-23T07:31:40Z");
        let batch = &object["KinesisBatchInfo"];
        assert_eq!(batch["shardId"], "shardId-000000000003");
        assert_eq!(batch["streamArn"], *records[0].stream_arn);
        assert_eq!(batch["batchSize"], 2);
        assert_eq!(batch["endSequenceNumber"], *records[1].sequence_number);
        assert_eq!(batch["approximateArrivalOfFirstRecord"], "2026-11-23T07:31:36.52Z");
        assert_eq!(object["payload"].as_str().unwrap().as_bytes(), stream::event(&records));
    }
}
