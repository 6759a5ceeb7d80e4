//! User records in, inference requests out: bodies and identities, ready to be sent. Calls nothing.

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use crate::decode::{Batch, UserRecord};
use crate::event::KinesisRecord;
use crate::outcome::{Outcome, Rejection, RejectionKind, contain};

/// `InferenceId` has 1 to 64 characters:
/// <https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_runtime_InvokeEndpoint.html>.
const INFERENCE_ID_MAX: usize = 64;

/// One call to be made: what differs between calls. What is the same for all of them, the endpoint holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InferenceRequest {
    /// The body, as the model gets it.
    pub body: Bytes,
    /// `SEQUENCE-SUB`: the same for every delivery of a record, so that a repeat can be seen in the data capture.
    pub inference_id: String,
}

/// Builds the requests, a `SingleRecord` one for each user record and in their order; where there can be none, the
/// outcome that the record has already, which may be a `remembered` one.
pub fn build(
    batch: &Batch<'_>,
    remembered: Vec<Option<Outcome>>,
    max_payload_bytes: usize,
) -> Vec<Result<InferenceRequest, Outcome>> {
    let build = |user_record| contain(|| build_one(batch.records, user_record, max_payload_bytes)).flatten();
    let user_records = batch.user_records.iter().zip(remembered);
    user_records
        .map(|(user_record, remembered)| remembered.map_or_else(|| build(user_record), Err))
        .collect()
}

fn build_one(
    records: &[KinesisRecord<'_>],
    user_record: &UserRecord,
    max_payload_bytes: usize,
) -> Result<InferenceRequest, Outcome> {
    let body = user_record.data.clone()?;
    check_size(&body, max_payload_bytes)?;
    let sequence_number = records
        .get(user_record.position)
        .and_then(|record| record.sequence_number.as_deref());
    let inference_id = inference_id(sequence_number.unwrap_or_default(), user_record.sub_sequence_number);
    Ok(InferenceRequest { body, inference_id })
}

fn check_size(body: &Bytes, max_payload_bytes: usize) -> Result<(), Rejection> {
    if body.len() <= max_payload_bytes {
        return Ok(());
    }
    let size = body.len();
    let message = format!("the body has {size} bytes, MAX_PAYLOAD_BYTES allows {max_payload_bytes}");
    Err(Rejection {
        kind: RejectionKind::PayloadTooLarge,
        message,
    })
}

/// Hashed where it would not fit the header that carries it.
fn inference_id(sequence_number: &str, sub_sequence_number: u64) -> String {
    let id = format!("{sequence_number}-{sub_sequence_number}");
    if id.len() <= INFERENCE_ID_MAX && id.bytes().all(|byte| byte.is_ascii_graphic()) {
        return id;
    }
    sha256(&id)
}

/// The text's SHA-256 in hexadecimal, 64 characters.
pub(crate) fn sha256(text: &str) -> String {
    format!("{:x}", Bytes::copy_from_slice(&Sha256::digest(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEQUENCE: &str = "49590338271490256608559692538361571095921575989136588898";

    #[test]
    fn an_inference_id_names_the_record_and_fits() {
        assert_eq!(inference_id(SEQUENCE, 3), format!("{SEQUENCE}-3"));
        for odd in ["9".repeat(128), "1\r\nX-Evil: 1".to_owned(), "é".to_owned()] {
            let id = inference_id(&odd, 0);
            assert_eq!(id.len(), 64, "{odd}");
            assert!(id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
            assert_ne!(id, inference_id(&odd, 1));
        }
    }

    #[test]
    fn a_body_may_have_max_payload_bytes_and_no_more() {
        let build_one = |length: usize| {
            let data = Ok(Bytes::from(vec![b'x'; length]));
            let user_records = [UserRecord {
                position: 0,
                sub_sequence_number: 0,
                data,
            }];
            let batch = Batch {
                records: &[],
                user_records: &user_records,
                stream_arn: "",
            };
            build(&batch, vec![None], 10).pop().unwrap()
        };
        assert_eq!(build_one(10).unwrap().body.len(), 10);
        let Outcome::Rejected(rejection) = build_one(11).unwrap_err() else {
            panic!("not rejected");
        };
        assert_eq!(rejection.kind, RejectionKind::PayloadTooLarge);
        assert_eq!(rejection.message, "the body has 11 bytes, MAX_PAYLOAD_BYTES allows 10");
    }
}
