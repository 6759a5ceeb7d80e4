//! Packs user records into inference requests. Makes no calls.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::iter;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;

use crate::event::{Batch, Pace, UserRecord};
use crate::outcome::{Failure, Outcome, Rejection, RejectionKind, catch_panic};

use super::body_template::BodyTemplate;
use super::model_input::{InputSpec, ModelInput};
use super::request::{InferenceRequest, Part};

/// The maximum length of `InferenceId`, in characters:
/// <https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_runtime_InvokeEndpoint.html>.
const INFERENCE_ID_CHARS_MAX: usize = 64;

/// The rules by which requests are built from records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestSpec {
    /// The rules by which a record becomes a model input.
    pub input: InputSpec,
    /// The form of the body.
    pub body_template: Arc<BodyTemplate>,
    /// The maximum number of records in one request, 1–10,000. It is 1 with `SingleRecord`.
    pub max_records: usize,
    /// The maximum size of a body, 1–26,214,400 bytes.
    pub max_payload_bytes: usize,
}

/// The requests of a batch, and the outcomes that need no request.
#[derive(Debug, Default)]
pub struct Requests {
    /// The requests to send, in the order of their first records.
    pub to_send: Vec<InferenceRequest>,
    /// The outcomes of user records that need no request, each with the index of its user record.
    pub settled: Vec<(usize, Outcome)>,
}

/// Builds the requests of a batch. With `SingleRecord`, each user record has its own request. With `MultiRecord`, each
/// request holds up to as many records as the limits allow, all for the same model. Records keep their order. A record
/// that cannot be in any request is settled, and so is a record with a `remembered` outcome. A record that is
/// remembered as Failed is sent again, in a request of the size that its [`Failure`] allows. A record after the end of
/// the `pace` fails.
pub async fn build(
    batch: &Batch<'_>,
    remembered: Vec<Option<Outcome>>,
    request_spec: &RequestSpec,
    mut pace: Pace,
) -> Requests {
    // The records for each model and each maximum number of records.
    let mut groups: BTreeMap<_, Vec<_>> = BTreeMap::new();
    let mut settled = Vec::new();
    let mut is_over = false;
    let user_records = batch.user_records.iter().zip(remembered).enumerate();
    for (index, (user_record, remembered)) in user_records {
        let max_records = match &remembered {
            Some(Outcome::Failed(failure)) => failure.max_records_next().unwrap_or(request_spec.max_records),
            _ => request_spec.max_records,
        };
        let part = match remembered {
            None | Some(Outcome::Failed(_)) if is_over => Err(Outcome::Failed(Failure::OutOfTime)),
            None | Some(Outcome::Failed(_)) => {
                let part = catch_panic(|| request_spec.part(batch, index, user_record)).flatten();
                is_over = pace.is_check_due(user_record.data.as_ref().map_or(0, Bytes::len)) && pace.is_over().await;
                part
            }
            Some(outcome) => Err(outcome),
        };
        match part {
            Ok((part, target_model)) => {
                let group = (target_model, max_records);
                groups.entry(group).or_default().push(part);
            }
            Err(outcome) => settled.push((index, outcome)),
        }
    }
    let mut to_send = Vec::new();
    for ((target_model, max_records), parts) in groups {
        request_spec.pack(parts, target_model.as_ref(), max_records, &mut to_send);
    }
    to_send.sort_unstable_by_key(InferenceRequest::first_record);
    Requests { to_send, settled }
}

impl RequestSpec {
    /// Returns the request for a record that is not from the stream, such as the setting `PROBE`. With `MultiRecord`,
    /// it holds the record twice, because some containers fail on a single row.
    ///
    /// # Errors
    ///
    /// Returns the [`Rejection`] if the record cannot be in any request.
    pub fn probe(&self, record: &str) -> Result<InferenceRequest, Rejection> {
        let input = self.input.model_input(&Bytes::copy_from_slice(record.as_bytes()))?;
        let (part, target_model) = self.part_of(0, "probe".to_owned(), input)?;
        let probe = InferenceRequest {
            parts: vec![part],
            body_template: Arc::clone(&self.body_template),
            target_model,
            several_bytes_max: self.several_bytes_max(),
        };
        Ok(Arc::unwrap_or_clone(Arc::new(probe).for_attempt(true)))
    }

    fn several_bytes_max(&self) -> usize {
        if self.max_records > 1 {
            self.max_payload_bytes
        } else {
            0
        }
    }

    /// Packs the records for one model into balanced requests: each takes an equal share of the records that are left,
    /// or fewer if the body would be too large. Full requests could leave a lone record for the last one, and some
    /// containers fail on a lone record.
    fn pack(
        &self,
        parts: Vec<Part>,
        target_model: Option<&Arc<str>>,
        max_records: usize,
        requests: &mut Vec<InferenceRequest>,
    ) {
        let input_bytes = |part: &Part| part.input.len();
        let fixed_bytes = self.body_template.body_bytes(0, 0);
        let bytes_max = self.max_payload_bytes.saturating_sub(fixed_bytes).max(1);
        let mut input_bytes_left: usize = parts.iter().map(input_bytes).sum();
        let mut left = parts.into_iter().peekable();
        while let Some(first) = left.next() {
            let records_left = left.len() + 1;
            // One more record than there is counts a separator for each record.
            let bytes_left = self.body_template.body_bytes(records_left + 1, input_bytes_left) - fixed_bytes;
            let requests_left = records_left.div_ceil(max_records).max(bytes_left.div_ceil(bytes_max));
            let share = records_left.div_ceil(requests_left);
            let (mut count, mut bytes) = (1, input_bytes(&first));
            let mut fits = |part: &Part| {
                count += 1;
                bytes += input_bytes(part);
                self.body_template.body_bytes(count, bytes) <= self.max_payload_bytes
            };
            let others = iter::from_fn(|| left.next_if(&mut fits)).take(share - 1);
            let mut parts = vec![first];
            parts.extend(others);
            input_bytes_left -= parts.iter().map(input_bytes).sum::<usize>();
            requests.push(InferenceRequest {
                parts,
                body_template: Arc::clone(&self.body_template),
                target_model: target_model.cloned(),
                several_bytes_max: self.several_bytes_max(),
            });
        }
    }

    fn part(
        &self,
        batch: &Batch<'_>,
        index: usize,
        user_record: &UserRecord,
    ) -> Result<(Part, Option<Arc<str>>), Outcome> {
        let input = self
            .input
            .model_input(user_record.data.as_ref().map_err(Clone::clone)?)?;
        let record = batch.records.get(user_record.record_index);
        let sequence_number = record.and_then(|record| record.sequence_number.as_deref());
        let id = inference_id(sequence_number.unwrap_or_default(), user_record.sub_sequence_number);
        Ok(self.part_of(index, id, input)?)
    }

    /// Returns the part of a request for this model input, and the model that it names.
    fn part_of(&self, index: usize, id: String, input: ModelInput) -> Result<(Part, Option<Arc<str>>), Rejection> {
        self.check_size(input.data.len())?;
        let part = Part {
            index,
            id,
            input: input.data,
            path_and_query: input.path_and_query,
        };
        Ok((part, input.target_model))
    }

    fn check_size(&self, input_bytes: usize) -> Result<(), Rejection> {
        let size = self.body_template.body_bytes(1, input_bytes);
        let max_payload_bytes = self.max_payload_bytes;
        if size <= max_payload_bytes {
            return Ok(());
        }
        Err(Rejection {
            kind: RejectionKind::PayloadTooLarge,
            message: format!("the body has {size} bytes, but MAX_PAYLOAD_BYTES allows only {max_payload_bytes}"),
        })
    }
}

/// Returns `SEQUENCE-SUB`, or its hash if it is not a valid value of the header that carries it.
fn inference_id(sequence_number: &str, sub_sequence_number: u64) -> String {
    let mut id = String::with_capacity(INFERENCE_ID_CHARS_MAX);
    // Formatting the text as well would take three times as long.
    id.push_str(sequence_number);
    write!(id, "-{sub_sequence_number}").expect("a write to memory cannot fail");
    // `all` would stop at the first other byte, and so compare byte by byte.
    let is_graphic = id.bytes().fold(true, |so_far, byte| so_far & byte.is_ascii_graphic());
    if id.len() <= INFERENCE_ID_CHARS_MAX && is_graphic {
        return id;
    }
    sha256(&id)
}

/// Returns the SHA-256 of the bytes in hexadecimal, 64 characters.
pub(crate) fn sha256(bytes: impl AsRef<[u8]>) -> String {
    format!("{:x}", Bytes::copy_from_slice(digest(&SHA256, bytes.as_ref()).as_ref()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::{JsonTemplate, Placeholder};
    use super::*;
    use crate::event::on_a_paused_clock;
    use crate::format::json_path::JsonPath;
    use crate::format::media_type::MediaType;

    const SEQUENCE: &str = "49590338271490256608559692538361571095921575989136588898";

    #[test]
    fn an_inference_id_is_the_sequence_number_or_a_hash() {
        assert_eq!(inference_id(SEQUENCE, 3), format!("{SEQUENCE}-3"));
        for odd in ["9".repeat(128), "1\r\nX-Evil: 1".to_owned(), "é".to_owned()] {
            let id = inference_id(&odd, 0);
            assert_eq!(id.len(), 64, "{odd}");
            assert!(id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
            assert_ne!(id, inference_id(&odd, 1));
        }
    }

    fn request_spec(media_type: Option<MediaType>, max_records: usize, max_payload_bytes: usize) -> RequestSpec {
        RequestSpec {
            input: InputSpec {
                record_type: media_type,
                request_type: media_type,
                features: Arc::default(),
                input_filter: JsonPath::parse("$").unwrap(),
                target_model: None,
                record_template: JsonTemplate::of(Placeholder::Record),
                is_embedded: media_type.is_some(),
                url_template: None,
                has_body: true,
            },
            body_template: Arc::new(match media_type {
                Some(media_type) => BodyTemplate::multi_record(media_type, None),
                None => BodyTemplate::single_record(None),
            }),
            max_records,
            max_payload_bytes,
        }
    }

    fn requests(data: &[&str], request_spec: &RequestSpec) -> Requests {
        let remembered = data.iter().map(|_| None).collect();
        requests_within(Duration::from_mins(15), data, remembered, request_spec)
    }

    fn requests_within(
        left_for_calls: Duration,
        data: &[&str],
        remembered: Vec<Option<Outcome>>,
        request_spec: &RequestSpec,
    ) -> Requests {
        let user_record = |data: &&str| UserRecord {
            record_index: 0,
            sub_sequence_number: 0,
            partition_key: None,
            explicit_hash_key: None,
            original: None,
            around: None,
            data: Ok(Bytes::copy_from_slice(data.as_bytes())),
        };
        let user_records: Vec<_> = data.iter().map(user_record).collect();
        let batch = Batch {
            records: &[],
            user_records: &user_records,
            stream_arn: "",
        };
        on_a_paused_clock(async { build(&batch, remembered, request_spec, Pace::start(left_for_calls)).await })
    }

    fn bodies(requests: &Requests) -> Vec<String> {
        let bodies = requests.to_send.iter().map(InferenceRequest::body);
        bodies.map(|body| String::from_utf8(body.to_vec()).unwrap()).collect()
    }

    #[test]
    fn a_body_has_at_most_max_payload_bytes() {
        let ten = "x".repeat(10);
        let built = requests(&[&ten, &format!("{ten}x")], &request_spec(None, 1, 10));
        assert_eq!(bodies(&built), [ten]);
        let [(1, Outcome::Rejected(rejection))] = built.settled.as_slice() else {
            panic!("not rejected");
        };
        assert_eq!(rejection.kind, RejectionKind::PayloadTooLarge);
        assert_eq!(
            rejection.message,
            "the body has 11 bytes, but MAX_PAYLOAD_BYTES allows only 10"
        );
        let instances = requests(
            &["1", "12"],
            &request_spec(Some(MediaType::Json), 9, r#"{"instances":[1]}"#.len()),
        );
        assert_eq!(
            (bodies(&instances).len(), instances.settled.len()),
            (1, 1),
            "the bytes around an input count"
        );
    }

    #[test]
    fn records_are_packed_in_order_up_to_both_limits() {
        let numbers = ["1", "22", "3", "44", "5"];
        let packed = |media_type, max_records, max_bytes| {
            bodies(&requests(
                &numbers,
                &request_spec(Some(media_type), max_records, max_bytes),
            ))
        };
        assert_eq!(packed(MediaType::JsonLines, 2, 100), ["1\n22", "3\n44", "5"]);
        assert_eq!(
            packed(MediaType::Csv, 100, 6),
            ["1\n22\n3", "44\n5"],
            "six bytes and four bytes"
        );
        assert_eq!(
            packed(MediaType::Json, 4, 100),
            [r#"{"instances":[1,22,3]}"#, r#"{"instances":[44,5]}"#]
        );
        let header = RequestSpec {
            body_template: Arc::new(BodyTemplate::multi_record(MediaType::Csv, Some("n"))),
            ..request_spec(Some(MediaType::Csv), 3, 6)
        };
        assert_eq!(bodies(&requests(&numbers, &header)), ["n\n1\n22", "n\n3\n44", "n\n5"]);
    }

    #[test]
    fn bodies_in_a_template_keep_to_the_byte_limit() {
        let template = JsonTemplate::of_request(r#"{"n":$n,"x":$records}"#, None).unwrap();
        let within = |max_bytes| {
            let spec = RequestSpec {
                body_template: Arc::new(BodyTemplate::json(&template)),
                ..request_spec(Some(MediaType::Json), 100, max_bytes)
            };
            bodies(&requests(&["11"; 10], &spec))
        };
        let all = format!("{{\"n\":10,\"x\":[{}]}}", ["11"; 10].join(","));
        assert_eq!(within(all.len() + 2), [all]);
        for max_bytes in 17..50 {
            let bodies = within(max_bytes);
            assert!(
                bodies.iter().all(|body| body.len() <= max_bytes),
                "{max_bytes} {bodies:?}"
            );
            let records = bodies.iter().map(|body| body.matches("11").count());
            assert_eq!(records.sum::<usize>(), 10, "{max_bytes}");
        }
    }

    /// A specification by which the first column names the model.
    fn by_model(max_records: usize) -> RequestSpec {
        let spec = request_spec(Some(MediaType::Csv), max_records, 100_000);
        let target_model = JsonPath::parse("$[0]");
        RequestSpec {
            input: InputSpec {
                target_model,
                ..spec.input
            },
            ..spec
        }
    }

    fn sizes(requests: &Requests) -> Vec<usize> {
        let sizes = requests.to_send.iter().map(|request| request.records().len());
        sizes.collect()
    }

    #[test]
    fn the_requests_for_a_model_have_about_the_same_number_of_records() {
        for (records, expected) in [
            (0, vec![]),
            (1, vec![1]),
            (100, vec![100]),
            (101, vec![51, 50]),
            (200, vec![100, 100]),
            (250, vec![84, 83, 83]),
            (901, [vec![91], vec![90; 9]].concat()),
        ] {
            let built = requests(&vec!["1"; records], &request_spec(Some(MediaType::Csv), 100, 100_000));
            assert_eq!(sizes(&built), expected, "{records}");
        }
        // 101 records for one model and 3 for another between them.
        let mut interleaved = vec!["a,1"; 101];
        for index in [10, 60, 103] {
            interleaved.insert(index, "b,1");
        }
        let built = requests(&interleaved, &by_model(100));
        let models = built.to_send.iter().filter_map(InferenceRequest::target_model);
        let models: Vec<_> = models.map(|name| &**name).collect();
        assert_eq!((models, sizes(&built)), (vec!["a", "b", "a"], vec![51, 3, 50]));
    }

    #[test]
    fn a_request_that_the_byte_limit_cuts_leaves_the_rest_balanced() {
        let long = "x".repeat(10);
        let mut records = vec![&*long];
        records.extend(["1"; 11]);
        let built = requests(&records, &request_spec(Some(MediaType::Csv), 8, 15));
        assert_eq!(sizes(&built), [3, 5, 4]);
    }

    #[test]
    fn each_model_has_its_own_requests() {
        let built = requests(&["a,1", "b,2", "a,3", "a,4", "b,5"], &by_model(2));
        assert_eq!(bodies(&built), ["a,1\na,3", "b,2\nb,5", "a,4"]);
        let targets = built.to_send.iter().filter_map(InferenceRequest::target_model);
        let targets: Vec<_> = targets.map(|name| &**name).collect();
        assert_eq!(targets, ["a", "b", "a"]);
        let records: Vec<Vec<_>> = built
            .to_send
            .iter()
            .map(|request| request.records().collect())
            .collect();
        assert_eq!(records, [vec![0, 2], vec![1, 4], vec![3]]);
    }

    #[test]
    fn after_the_end_of_the_time_only_remembered_outcomes_count() {
        let delivered = || Some(Outcome::Delivered);
        let failed = Some(Outcome::Failed(Failure::BatchTooLarge));
        let remembered = vec![delivered(), None, None, delivered(), failed];
        let long = "2".repeat(64 * 1024);
        let spec = request_spec(Some(MediaType::Csv), 100, 100 * 1024);
        let built = requests_within(Duration::ZERO, &["1", &long, "3", "4", "5"], remembered, &spec);
        assert_eq!(bodies(&built), [long], "the first record is sent in any case");
        let settled: Vec<_> = built
            .settled
            .iter()
            .map(|(index, it)| format!("{index} {it:?}"))
            .collect();
        assert_eq!(
            settled,
            [
                "0 Delivered",
                "2 Failed(OutOfTime)",
                "3 Delivered",
                "4 Failed(OutOfTime)"
            ]
        );
    }

    #[test]
    fn halves_and_single_requests_hold_each_record_exactly_once() {
        let built = requests(&["1", "2", "3", "4", "5"], &request_spec(Some(MediaType::Csv), 5, 100));
        let whole = &built.to_send[0];
        let records = |requests: &[InferenceRequest]| -> Vec<Vec<usize>> {
            requests.iter().map(|request| request.records().collect()).collect()
        };
        assert_eq!(records(&whole.halves()), [vec![0, 1], vec![2, 3, 4]]);
        assert_eq!(records(&whole.split_each()).concat(), [0, 1, 2, 3, 4]);
        assert_eq!(whole.to_probe().body(), "1\n2");
    }
}
