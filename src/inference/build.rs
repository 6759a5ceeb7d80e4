//! User records in, inference requests out: bodies and identities, ready to be sent. Calls nothing.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use crate::event::{Batch, UserRecord};
use crate::outcome::{Outcome, Rejection, RejectionKind, catch_panic};

use super::body_template::Frame;
use super::model_input::{self, Rows};
use super::request::{InferenceRequest, Part};

/// `InferenceId` has 1 to 64 characters:
/// <https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_runtime_InvokeEndpoint.html>.
const INFERENCE_ID_MAX: usize = 64;

/// How requests are made of records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// How a record becomes a row.
    pub rows: Rows,
    /// What stands around and between the rows.
    pub frame: Arc<Frame>,
    /// Records in one request at most, 1–10,000: 1 with `SingleRecord`.
    pub max_records: usize,
    /// Bytes of a body at most, 1–26,214,400.
    pub max_payload_bytes: usize,
}

/// What a batch is to the endpoint.
#[derive(Debug, Default)]
pub struct Requests {
    /// The calls to be made, in the order of their first records.
    pub to_call: Vec<InferenceRequest>,
    /// The user records that have their outcomes without a call.
    pub ended: Vec<(usize, Outcome)>,
}

/// Builds the requests: of `SingleRecord`, one for each user record; of `MultiRecord`, as many records in each as there may
/// be, and each model its own. Records keep their order. What can be in none has its outcome already, which may be a
/// `remembered` one.
pub fn build(batch: &Batch<'_>, remembered: Vec<Option<Outcome>>, rules: &Rules) -> Requests {
    let mut packing = Packing {
        rules,
        requests: Vec::new(),
        open: HashMap::new(),
    };
    let mut ended = Vec::new();
    let user_records = batch.user_records.iter().zip(remembered).enumerate();
    for (index, (user_record, remembered)) in user_records {
        let part = match remembered {
            Some(outcome) => Err(outcome),
            None => catch_panic(|| rules.part(batch, index, user_record)).flatten(),
        };
        match part {
            Ok((part, target_model)) => packing.add(part, target_model),
            Err(outcome) => ended.push((index, outcome)),
        }
    }
    Requests {
        to_call: packing.requests.into_iter().map(|(request, _)| request).collect(),
        ended,
    }
}

/// The requests so far, with the bytes of their bodies.
struct Packing<'r> {
    rules: &'r Rules,
    requests: Vec<(InferenceRequest, usize)>,
    /// The last request for each model.
    open: HashMap<Option<Arc<str>>, usize>,
}

impl Packing<'_> {
    fn add(&mut self, part: Part, target_model: Option<Arc<str>>) {
        let Rules {
            frame,
            max_records,
            max_payload_bytes,
            ..
        } = self.rules;
        let last = self.open.get(&target_model);
        if let Some((request, bytes)) = last.and_then(|place| self.requests.get_mut(*place)) {
            let with_this = *bytes + frame.bytes_between() + part.row.len();
            if request.parts.len() < *max_records && with_this <= *max_payload_bytes {
                request.parts.push(part);
                *bytes = with_this;
                return;
            }
        }
        self.open.insert(target_model.clone(), self.requests.len());
        let bytes = frame.bytes_around() + part.row.len();
        let request = InferenceRequest {
            parts: vec![part],
            frame: Arc::clone(frame),
            target_model,
        };
        self.requests.push((request, bytes));
    }
}

impl Rules {
    fn part(
        &self,
        batch: &Batch<'_>,
        index: usize,
        user_record: &UserRecord,
    ) -> Result<(Part, Option<Arc<str>>), Outcome> {
        let model_input::Row { data, target_model } =
            self.rows.row(user_record.data.as_ref().map_err(Clone::clone)?)?;
        self.check_size(data.len())?;
        let record = batch.records.get(user_record.position);
        let sequence_number = record.and_then(|record| record.sequence_number.as_deref());
        let id = inference_id(sequence_number.unwrap_or_default(), user_record.sub_sequence_number);
        Ok((Part { index, id, row: data }, target_model))
    }

    fn check_size(&self, row: usize) -> Result<(), Rejection> {
        let size = self.frame.bytes_around() + row;
        let max_payload_bytes = self.max_payload_bytes;
        if size <= max_payload_bytes {
            return Ok(());
        }
        Err(Rejection {
            kind: RejectionKind::PayloadTooLarge,
            message: format!("the body has {size} bytes, MAX_PAYLOAD_BYTES allows {max_payload_bytes}"),
        })
    }
}

/// Hashed where it would not fit the header that carries it.
fn inference_id(sequence_number: &str, sub_sequence_number: u64) -> String {
    let mut id = String::with_capacity(INFERENCE_ID_MAX);
    write!(id, "{sequence_number}-{sub_sequence_number}").expect("memory takes everything");
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
    use crate::inference::format::json_path::Path;
    use crate::inference::format::media_type::Media;

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

    fn rules(media: Option<Media>, max_records: usize, max_payload_bytes: usize) -> Rules {
        Rules {
            rows: Rows {
                records: media,
                requests: media,
                features: Vec::new(),
                input_filter: Path::read("$").unwrap(),
                target_model: None,
                are_packed: media.is_some(),
            },
            frame: Arc::new(media.map_or(Frame::NONE, |media| Frame::of_many(media, None))),
            max_records,
            max_payload_bytes,
        }
    }

    fn requests(data: &[&str], rules: &Rules) -> Requests {
        let user_record = |data: &&str| UserRecord {
            position: 0,
            sub_sequence_number: 0,
            partition_key: None,
            explicit_hash_key: None,
            original: None,
            data: Ok(Bytes::copy_from_slice(data.as_bytes())),
        };
        let user_records: Vec<_> = data.iter().map(user_record).collect();
        let batch = Batch {
            records: &[],
            user_records: &user_records,
            stream_arn: "",
        };
        let remembered = user_records.iter().map(|_| None).collect();
        build(&batch, remembered, rules)
    }

    fn bodies(requests: &Requests) -> Vec<String> {
        let bodies = requests.to_call.iter().map(InferenceRequest::body);
        bodies.map(|body| String::from_utf8(body.to_vec()).unwrap()).collect()
    }

    #[test]
    fn a_body_may_have_max_payload_bytes_and_no_more() {
        let ten = "x".repeat(10);
        let built = requests(&[&ten, &format!("{ten}x")], &rules(None, 1, 10));
        assert_eq!(bodies(&built), [ten]);
        let [(1, Outcome::Rejected(rejection))] = built.ended.as_slice() else {
            panic!("not rejected");
        };
        assert_eq!(rejection.kind, RejectionKind::PayloadTooLarge);
        assert_eq!(rejection.message, "the body has 11 bytes, MAX_PAYLOAD_BYTES allows 10");
        let instances = requests(&["1", "12"], &rules(Some(Media::Json), 9, r#"{"instances":[1]}"#.len()));
        assert_eq!(
            (bodies(&instances).len(), instances.ended.len()),
            (1, 1),
            "what is around a row counts"
        );
    }

    #[test]
    fn records_are_packed_in_order_up_to_both_limits() {
        let numbers = ["1", "22", "3", "44", "5"];
        let packed =
            |media, max_records, max_bytes| bodies(&requests(&numbers, &rules(Some(media), max_records, max_bytes)));
        assert_eq!(packed(Media::JsonLines, 2, 100), ["1\n22", "3\n44", "5"]);
        assert_eq!(packed(Media::Csv, 100, 6), ["1\n22\n3", "44\n5"], "six bytes, and four");
        assert_eq!(
            packed(Media::Json, 4, 100),
            [r#"{"instances":[1,22,3,44]}"#, r#"{"instances":[5]}"#]
        );
        let header = Rules {
            frame: Arc::new(Frame::of_many(Media::Csv, Some("n"))),
            ..rules(Some(Media::Csv), 3, 6)
        };
        assert_eq!(bodies(&requests(&numbers, &header)), ["n\n1\n22", "n\n3\n44", "n\n5"]);
    }

    #[test]
    fn each_model_has_its_own_requests() {
        let by_model = Rules {
            rows: Rows {
                target_model: Path::read("$[0]"),
                ..rules(Some(Media::Csv), 2, 100).rows
            },
            ..rules(Some(Media::Csv), 2, 100)
        };
        let built = requests(&["a,1", "b,2", "a,3", "a,4", "b,5"], &by_model);
        assert_eq!(bodies(&built), ["a,1\na,3", "b,2\nb,5", "a,4"]);
        let targets = built.to_call.iter().filter_map(InferenceRequest::target_model);
        let targets: Vec<_> = targets.map(|name| &**name).collect();
        assert_eq!(targets, ["a", "b", "a"]);
        let records: Vec<Vec<_>> = built
            .to_call
            .iter()
            .map(|request| request.records().collect())
            .collect();
        assert_eq!(records, [vec![0, 2], vec![1, 4], vec![3]]);
    }

    #[test]
    fn halves_and_singles_hold_all_records_and_none_twice() {
        let built = requests(&["1", "2", "3", "4", "5"], &rules(Some(Media::Csv), 5, 100));
        let whole = &built.to_call[0];
        let records = |requests: &[InferenceRequest]| -> Vec<Vec<usize>> {
            requests.iter().map(|request| request.records().collect()).collect()
        };
        assert_eq!(records(&whole.halves()), [vec![0, 1], vec![2, 3, 4]]);
        assert_eq!(records(&whole.singles()).concat(), [0, 1, 2, 3, 4]);
        assert_eq!(whole.only_first().body(), "1");
    }
}
