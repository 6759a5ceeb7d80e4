//! What a model answers, and an endpoint that answers so at once.

use std::hint::black_box;

use bytes::Bytes;
use instream::endpoint::{Endpoint, Fault, Response};
use instream::prediction::Prediction;
use instream::prediction::split::split;
use instream::request::InferenceRequest;

use super::{RECORDS, TOGETHER};

const PREDICTION: &str = r#"{"fraud":true,"score":0.9903}"#;

/// The shape of an answer.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Shape {
    /// One record's prediction.
    Object,
    /// That of each record of a request in a line.
    Lines,
    /// In a JSON array, a member of an object.
    Member,
}

impl Shape {
    fn response(self) -> Response {
        let (body, content_type) = match self {
            Self::Object => (PREDICTION.to_owned(), "application/json"),
            Self::Lines => ([PREDICTION; TOGETHER].join("\n"), "application/jsonlines"),
            Self::Member => {
                let predictions = [PREDICTION; TOGETHER].join(",");
                (format!(r#"{{"predictions":[{predictions}]}}"#), "application/json")
            }
        };
        Response {
            body: body.into(),
            content_type: Some(content_type.to_owned()),
            variant: Some("AllTraffic".to_owned()),
        }
    }
}

/// The answers for a batch.
#[derive(Debug)]
pub(crate) struct Answers {
    responses: Vec<Response>,
    records_each: usize,
}

impl Answers {
    pub(crate) fn of(shape: Shape) -> Self {
        let records_each = match shape {
            Shape::Object => 1,
            Shape::Lines | Shape::Member => TOGETHER,
        };
        let response = |_| shape.response();
        Self {
            responses: (0..RECORDS / records_each).map(response).collect(),
            records_each,
        }
    }

    pub(crate) fn read(self) -> Vec<Prediction> {
        if self.records_each == 1 {
            return self.responses.into_iter().map(Prediction::read).collect();
        }
        let split = |response| split(response, self.records_each).expect("there is one for each");
        self.responses.into_iter().flat_map(split).collect()
    }
}

/// An endpoint that answers at once, with a line for each record.
#[derive(Debug)]
pub(crate) struct AtOnce {
    alone: Bytes,
    together: Bytes,
}

impl AtOnce {
    pub(crate) fn new() -> Self {
        Self {
            alone: Shape::Object.response().body,
            together: Shape::Lines.response().body,
        }
    }
}

impl Endpoint for AtOnce {
    async fn invoke(&self, request: &InferenceRequest) -> Result<Response, Fault> {
        // Each call makes it, whatever becomes of it then.
        black_box(request.body());
        let (body, content_type) = if request.is_packed() {
            (&self.together, "application/jsonlines")
        } else {
            (&self.alone, "application/json")
        };
        Ok(Response {
            body: body.clone(),
            content_type: Some(content_type.to_owned()),
            variant: Some("AllTraffic".to_owned()),
        })
    }

    fn name(&self) -> &'static str {
        "fraud-detector"
    }
}
