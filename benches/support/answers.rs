//! Responses of a model, and an endpoint that returns them immediately.

use std::hint::black_box;

use bytes::Bytes;
use instream::endpoint::{Call, Endpoint, Response};
use instream::inference::{read_prediction, split_response};
use instream::outcome::{Fault, Prediction};

use super::{GROUP_SIZE, RECORDS};

const PREDICTION: &str = r#"{"fraud":true,"score":0.9903}"#;

/// The shape of a response body.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Shape {
    /// The prediction of one record, as a JSON object.
    Object,
    /// One prediction per line, for each record of a request.
    Lines,
    /// A JSON object with a member that is the array of the predictions.
    Member,
}

impl Shape {
    fn response(self) -> Response {
        let (body, content_type) = match self {
            Self::Object => (PREDICTION.to_owned(), "application/json"),
            Self::Lines => ([PREDICTION; GROUP_SIZE].join("\n"), "application/jsonlines"),
            Self::Member => {
                let predictions = [PREDICTION; GROUP_SIZE].join(",");
                (format!(r#"{{"predictions":[{predictions}]}}"#), "application/json")
            }
        };
        Response {
            body: body.into(),
            content_type: Some(content_type.to_owned()),
            variant: Some("AllTraffic".into()),
            custom_attributes: None,
        }
    }
}

/// The responses for a batch.
#[derive(Debug)]
pub(crate) struct Answers {
    responses: Vec<Response>,
    records_each: usize,
}

impl Answers {
    pub(crate) fn of(shape: Shape) -> Self {
        let records_each = match shape {
            Shape::Object => 1,
            Shape::Lines | Shape::Member => GROUP_SIZE,
        };
        let response = |_| shape.response();
        Self {
            responses: (0..RECORDS / records_each).map(response).collect(),
            records_each,
        }
    }

    pub(crate) fn read(self) -> Vec<Prediction> {
        if self.records_each == 1 {
            let read = |response| read_prediction(&response).expect("the response is JSON");
            return self.responses.into_iter().map(read).collect();
        }
        let split = |response| {
            let predictions = split_response(&response, self.records_each, None).expect("the response is JSON");
            predictions.expect("there is one prediction for each record").each
        };
        self.responses.into_iter().flat_map(split).collect()
    }
}

/// An endpoint that answers immediately, with one line for each record.
#[derive(Debug)]
pub(crate) struct ImmediateEndpoint {
    single: Bytes,
    packed: Bytes,
}

impl ImmediateEndpoint {
    pub(crate) fn new() -> Self {
        Self {
            single: Shape::Object.response().body,
            packed: Shape::Lines.response().body,
        }
    }
}

impl Endpoint for ImmediateEndpoint {
    async fn invoke(&self, call: Call<'_>) -> Result<Response, Fault> {
        // The body of each call is used, so that the compiler does not drop the work of building it.
        let body = black_box(call.body);
        let has_several_records = memchr::memchr(b'\n', &body).is_some();
        let (body, content_type) = if has_several_records {
            (&self.packed, "application/jsonlines")
        } else {
            (&self.single, "application/json")
        };
        Ok(Response {
            body: body.clone(),
            content_type: Some(content_type.to_owned()),
            variant: Some("AllTraffic".into()),
            custom_attributes: None,
        })
    }

    fn name(&self) -> &'static str {
        "fraud-detector"
    }
}
