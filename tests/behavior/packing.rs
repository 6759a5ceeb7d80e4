//! Records packed into requests: no record is lost, duplicated or out of order, whatever the limits are.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use instream::event::{Batch, Pace, UserRecord};
use instream::format::json_path::JsonPath;
use instream::format::media_type::MediaType;
use instream::inference::{
    BodyTemplate, InferenceRequest, InputSpec, JsonTemplate, Placeholder, RequestSpec, Requests, build,
};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::support::on_a_paused_clock;

fn user_record(row: &str) -> UserRecord {
    UserRecord {
        record_index: 0,
        sub_sequence_number: 0,
        partition_key: None,
        explicit_hash_key: None,
        original: None,
        around: None,
        data: Ok(Bytes::copy_from_slice(row.as_bytes())),
    }
}

fn packed(rows: &[String], max_records: usize, max_payload_bytes: usize) -> Requests {
    let user_records: Vec<_> = rows.iter().map(|row| user_record(row)).collect();
    let batch = Batch {
        records: &[],
        user_records: &user_records,
        stream_arn: "",
    };
    let request_spec = RequestSpec {
        input: InputSpec {
            record_type: Some(MediaType::Csv),
            request_type: Some(MediaType::Csv),
            features: Arc::default(),
            input_filter: JsonPath::parse("$").unwrap(),
            target_model: JsonPath::parse("$[0]"),
            record_template: JsonTemplate::of(Placeholder::Record),
            is_embedded: true,
            url_template: None,
            has_body: true,
        },
        body_template: Arc::new(BodyTemplate::multi_record(MediaType::Csv, None)),
        max_records,
        max_payload_bytes,
    };
    let remembered = rows.iter().map(|_| None).collect();
    on_a_paused_clock(async { build(&batch, remembered, &request_spec, Pace::start(Duration::from_mins(15))).await })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn packing_neither_loses_nor_duplicates_nor_reorders_records(
        rows in vec("[abc],[0-9]{1,30}", 0..80),
        max_records in 1..12_usize,
        max_bytes in prop_oneof![10..120_usize, Just(10_000)],
    ) {
        let requests = packed(&rows, max_records, max_bytes);
        let mut settled: Vec<_> = requests.settled.iter().map(|(index, _)| *index).collect();
        prop_assert!(settled.iter().all(|index| rows[*index].len() > max_bytes));
        let mut sizes: HashMap<String, Vec<usize>> = HashMap::new();
        let mut last: HashMap<String, usize> = HashMap::new();
        for request in &requests.to_send {
            let records: Vec<_> = request.records().collect();
            let body = String::from_utf8(request.body().to_vec()).unwrap();
            let expected: Vec<_> = records.iter().map(|index| rows[*index].as_str()).collect();
            prop_assert_eq!(&body, &expected.join("\n"));
            prop_assert!(records.is_sorted() && records.len() <= max_records && body.len() <= max_bytes);
            let model = request.target_model().unwrap().to_string();
            prop_assert!(expected.iter().all(|row| row.starts_with(&model)));
            // The records come after the previous request of their model.
            let before = last.insert(model.clone(), records[records.len() - 1]);
            prop_assert!(before.is_none_or(|before| before < records[0]));
            sizes.entry(model).or_default().push(records.len());
            settled.extend(records);
        }
        if rows.join("\n").len() <= max_bytes {
            for sizes in sizes.values() {
                prop_assert_eq!(sizes.len(), sizes.iter().sum::<usize>().div_ceil(max_records));
                prop_assert!(sizes.iter().max().unwrap() - sizes.iter().min().unwrap() <= 1, "{:?}", sizes);
            }
        }
        prop_assert!(requests.to_send.is_sorted_by_key(InferenceRequest::first_record));
        settled.sort_unstable();
        prop_assert_eq!(settled, (0..rows.len()).collect::<Vec<_>>());
    }
}
