//! Predictions in, the delivered part of them out: joined with the record and filtered, as Batch Transform does:
//! <https://docs.aws.amazon.com/sagemaker/latest/dg/batch-transform-data-processing.html>.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use serde_json::value::RawValue;

use crate::format::csv;
use crate::format::json_path::JsonPath;
use crate::format::lazy_json::{members, object, on_one_line, raw_value, text};
use crate::format::media_type::MediaType;
use crate::outcome::{ModelOutput, Rejection, RejectionKind};

/// The member for the model's output in a joined object, as a JSON string.
const OUTPUT_MEMBER: &str = "\"SageMakerOutput\"";
/// The member for the record in a joined object, if the record is not a JSON object, as a JSON string.
const INPUT_MEMBER: &str = "\"SageMakerInput\"";

/// Selects the part of a prediction that is delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Projection {
    /// `JOIN_SOURCE=Input`: whether the record is delivered too.
    pub join_input: bool,
    /// `OUTPUT_FILTER`: the part of the output, or of the joined record and output, that is delivered.
    pub output_filter: JsonPath,
    /// The format of the records. `None` if it is not known.
    pub record_type: Option<MediaType>,
}

/// The delivered part of a prediction.
#[derive(Debug)]
pub struct Projected<'p> {
    /// The record, if it is delivered beside the output.
    pub input: Option<ModelOutput>,
    /// The model's output, or the joined and filtered record and output.
    pub output: Cow<'p, ModelOutput>,
}

impl Projection {
    /// Returns the delivered part of this `output` for this `record`. If both are delivered in full and may be
    /// `side_by_side`, they are not joined into one value.
    ///
    /// # Errors
    ///
    /// Returns a rejection if the filter finds nothing.
    pub fn apply<'p>(
        &self,
        record: &Bytes,
        output: &'p ModelOutput,
        side_by_side: bool,
    ) -> Result<Projected<'p>, Rejection> {
        let is_unfiltered = self.output_filter.is_identity();
        if is_unfiltered && (side_by_side || !self.join_input) {
            let input = self.join_input.then(|| self.record(record));
            let output = Cow::Borrowed(output);
            return Ok(Projected { input, output });
        }
        let joined = if self.join_input {
            Cow::Owned(self.join(record, output))
        } else {
            Cow::Borrowed(output)
        };
        let output = if is_unfiltered {
            joined
        } else {
            Cow::Owned(self.filter(&joined)?)
        };
        Ok(Projected { input: None, output })
    }

    fn record(&self, record: &Bytes) -> ModelOutput {
        let Ok(text) = std::str::from_utf8(record) else {
            return ModelOutput::Bytes(record.clone());
        };
        if self.record_type != Some(MediaType::Csv)
            && let Ok(json) = serde_json::from_str(text)
        {
            return ModelOutput::Json(on_one_line(json));
        }
        ModelOutput::Text(text.to_owned())
    }

    fn join(&self, record: &Bytes, output: &ModelOutput) -> ModelOutput {
        let input = self.record(record);
        if let (Some(MediaType::Csv), ModelOutput::Text(input)) = (self.record_type, &input) {
            let input = csv::trim_line_break(input.as_bytes());
            return ModelOutput::Text(format!("{},{}", String::from_utf8_lossy(input), as_columns(output)));
        }
        let (input, output) = (as_json(&input), as_json(output));
        let output = (OUTPUT_MEMBER, output.get());
        let joined = if input.get().trim_ascii_start().starts_with('{') {
            let own = OUTPUT_MEMBER.trim_matches('"');
            let others = members(input.get()).filter(|(name, _)| text(name).as_deref() != Some(own));
            object(others.chain([output]))
        } else {
            object([(INPUT_MEMBER, input.get()), output].into_iter())
        };
        ModelOutput::Json(raw_value(joined.expect("the object has at least the output")))
    }

    fn filter(&self, joined: &ModelOutput) -> Result<ModelOutput, Rejection> {
        let path = &self.output_filter;
        let found = match joined {
            ModelOutput::Json(json) => path
                .select(json)
                .map(|found| ModelOutput::Json(raw_value(found.into_owned()))),
            ModelOutput::Text(text) => path.select_columns(text).map(ModelOutput::Text),
            ModelOutput::Bytes(_) => None,
        };
        let searched = if self.join_input {
            "the record and its prediction"
        } else {
            "the prediction"
        };
        found.ok_or_else(|| Rejection {
            kind: RejectionKind::WrongShape,
            message: format!("OUTPUT_FILTER {path} finds nothing in {searched}"),
        })
    }
}

fn as_json(value: &ModelOutput) -> Cow<'_, RawValue> {
    let string = |text: &str| Cow::Owned(serde_json::value::to_raw_value(text).expect("text is JSON"));
    match value {
        ModelOutput::Json(json) => Cow::Borrowed(json),
        ModelOutput::Text(text) => string(text),
        ModelOutput::Bytes(bytes) => string(&BASE64.encode(bytes)),
    }
}

/// Returns the output as CSV columns. A CSV row keeps its columns. Any other output becomes one column.
fn as_columns(output: &ModelOutput) -> String {
    match output {
        ModelOutput::Text(text) => String::from_utf8_lossy(csv::trim_line_break(text.as_bytes())).into_owned(),
        ModelOutput::Json(json) => {
            let text = serde_json::from_str::<String>(json.get());
            csv::write([text.as_deref().unwrap_or(json.get())])
        }
        ModelOutput::Bytes(bytes) => BASE64.encode(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoint::Response;
    use crate::inference::read_prediction;

    fn projection(join_input: bool, filter: &str, record_type: MediaType) -> Projection {
        Projection {
            join_input,
            output_filter: JsonPath::parse(filter).unwrap(),
            record_type: Some(record_type),
        }
    }

    fn text(value: &ModelOutput) -> String {
        match value {
            ModelOutput::Json(json) => json.get().to_owned(),
            ModelOutput::Text(text) => format!("text {text}"),
            ModelOutput::Bytes(_) => "bytes".to_owned(),
        }
    }

    fn model_output(body: &'static [u8], media_type: &str) -> ModelOutput {
        let response = Response {
            body: Bytes::from_static(body),
            content_type: Some(media_type.to_owned()),
            variant: None,
            custom_attributes: None,
        };
        read_prediction(&response).unwrap().output
    }

    /// Returns the delivered part of this output for this record, if they are not side by side.
    fn apply(
        projection: &Projection,
        record: &'static str,
        output: &'static [u8],
        media_type: &str,
    ) -> Result<String, String> {
        let output = model_output(output, media_type);
        let projected = projection.apply(&Bytes::from_static(record.as_bytes()), &output, false);
        projected
            .map(|projected| text(&projected.output))
            .map_err(|rejection| rejection.message)
    }

    const JSON: &str = "application/json";

    #[test]
    fn a_json_record_is_joined_as_in_batch_transform() {
        let projection = projection(true, "$", MediaType::Json);
        for (record, output, media_type, expected) in [
            (
                "{\"id\":1.50}",
                &b"0.90"[..],
                JSON,
                r#"{"id":1.50,"SageMakerOutput":0.90}"#,
            ),
            ("{}", b"{\"a\":[1]}", JSON, r#"{"SageMakerOutput":{"a":[1]}}"#),
            (
                "{\"SageMakerOutput\":1,\"b\":2}",
                b"3",
                JSON,
                r#"{"b":2,"SageMakerOutput":3}"#,
            ),
            ("[1,2]", b"3", JSON, r#"{"SageMakerInput":[1,2],"SageMakerOutput":3}"#),
            (
                "{\n\"id\":1}",
                b"0.9\n",
                "text/csv",
                r#"{"id":1,"SageMakerOutput":"0.9"}"#,
            ),
            (
                "no json",
                b"\xFF",
                "image/png",
                r#"{"SageMakerInput":"no json","SageMakerOutput":"/w=="}"#,
            ),
        ] {
            assert_eq!(
                apply(&projection, record, output, media_type).unwrap(),
                expected,
                "{record}"
            );
        }
    }

    #[test]
    fn a_csv_row_is_joined_by_its_columns() {
        let projection = projection(true, "$", MediaType::Csv);
        for (record, output, media_type, expected) in [
            ("1,a\r\n", &b"0.90,yes\n"[..], "text/csv", "text 1,a,0.90,yes"),
            ("1", b"0.90", JSON, "text 1,0.90"),
            ("1", b"\"a,b\"", JSON, "text 1,\"a,b\""),
            ("1", b"{\"a\":1}", JSON, "text 1,\"{\"\"a\"\":1}\""),
        ] {
            assert_eq!(
                apply(&projection, record, output, media_type).unwrap(),
                expected,
                "{record}"
            );
        }
    }

    #[test]
    fn the_output_filter_is_applied_after_the_join() {
        const RECORD: &str = "{\"id\":7,\"amount\":2}";
        for (join, filter, expected) in [
            (
                true,
                "$['id','SageMakerOutput']",
                r#"{"id":7,"SageMakerOutput":{"score":0.90}}"#,
            ),
            (true, "$.SageMakerOutput.score", "0.90"),
            (false, "$.score", "0.90"),
        ] {
            let found = apply(
                &projection(join, filter, MediaType::Json),
                RECORD,
                b"{\"score\":0.90}",
                JSON,
            );
            assert_eq!(found.unwrap(), expected);
        }
        let rows = |join, filter| {
            apply(
                &projection(join, filter, MediaType::Csv),
                "7,2",
                b"0.90,\"a,b\"\n",
                "text/csv",
            )
            .unwrap()
        };
        assert_eq!(rows(true, "$[0,-1]"), "text 7,\"a,b\"");
        assert_eq!(rows(false, "$[0]"), "text 0.90");
    }

    #[test]
    fn an_output_filter_that_finds_nothing_rejects_and_is_named() {
        for (filter, output, media_type) in [
            ("$.absent", &b"{\"score\":1}"[..], JSON),
            ("$.score", b"0.9", "text/csv"),
            ("$[3]", b"0.9,1", "text/csv"),
            ("$[0]", b"\xFF", "image/png"),
        ] {
            let message = apply(&projection(false, filter, MediaType::Json), "{}", output, media_type).unwrap_err();
            assert_eq!(
                message,
                format!("OUTPUT_FILTER {filter} finds nothing in the prediction")
            );
        }
    }

    #[test]
    fn an_unfiltered_record_and_output_can_be_side_by_side() {
        let output = model_output(b"0.90", JSON);
        let record = Bytes::from_static(b"{\"id\":7}");
        let both = projection(true, "$", MediaType::Json)
            .apply(&record, &output, true)
            .unwrap();
        assert_eq!(
            (text(&both.input.unwrap()), text(&both.output)),
            ("{\"id\":7}".to_owned(), "0.90".to_owned())
        );
        let filtered = projection(true, "$.id", MediaType::Json)
            .apply(&record, &output, true)
            .unwrap();
        assert!(filtered.input.is_none() && text(&filtered.output) == "7");
    }
}
