//! What is delivered of a prediction: joined with its record and filtered, as Batch Transform does it:
//! <https://docs.aws.amazon.com/sagemaker/latest/dg/batch-transform-data-processing.html>.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use serde_json::value::RawValue;

use super::prediction::read_body;
use crate::inference::format::csv;
use crate::inference::format::json_path::Path;
use crate::inference::format::lazy_json::{Level, object};
use crate::inference::format::media_type::Media;
use crate::outcome::{ModelOutput, Rejection, RejectionKind};

/// The member that the model's answer becomes, where it is joined with its record.
const OUTPUT_MEMBER: &str = "SageMakerOutput";
/// The member that a record becomes, where it is no JSON object.
const INPUT_MEMBER: &str = "SageMakerInput";

/// What of a prediction is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// `JOIN_SOURCE=Input`: the record is shown as well.
    pub join_input: bool,
    /// `OUTPUT_FILTER`: what is left of both.
    pub output_filter: Path,
    /// What the records are.
    pub records: Option<Media>,
}

/// What a prediction is delivered as.
#[derive(Debug)]
pub struct Shown<'p> {
    /// The record, where it stands beside the output.
    pub input: Option<ModelOutput>,
    /// The model's answer, or what was made of it and of the record.
    pub output: Cow<'p, ModelOutput>,
}

impl View {
    /// What is shown of this `output` for this `record`. Where all of both is, and they may stand `side_by_side`, they are
    /// not put into one another.
    ///
    /// # Errors
    ///
    /// A rejection if the filter finds nothing.
    pub fn show<'p>(
        &self,
        record: &Bytes,
        output: &'p ModelOutput,
        side_by_side: bool,
    ) -> Result<Shown<'p>, Rejection> {
        let keeps_all = self.output_filter.is_whole();
        if keeps_all && (side_by_side || !self.join_input) {
            let input = self.join_input.then(|| self.record(record));
            let output = Cow::Borrowed(output);
            return Ok(Shown { input, output });
        }
        let joined = if self.join_input {
            Cow::Owned(self.join(record, output))
        } else {
            Cow::Borrowed(output)
        };
        let output = if keeps_all {
            joined
        } else {
            Cow::Owned(self.filter(&joined)?)
        };
        Ok(Shown { input: None, output })
    }

    fn record(&self, record: &Bytes) -> ModelOutput {
        let media_type = if self.records == Some(Media::Csv) {
            "text/csv"
        } else {
            ""
        };
        read_body(record.clone(), media_type)
    }

    fn join(&self, record: &Bytes, output: &ModelOutput) -> ModelOutput {
        let input = self.record(record);
        if let (Some(Media::Csv), ModelOutput::Text(input)) = (self.records, &input) {
            let input = csv::trimmed(input.as_bytes());
            return ModelOutput::Text(format!("{},{}", String::from_utf8_lossy(input), as_columns(output)));
        }
        let (input, output) = (as_json(&input), as_json(output));
        let joined = match Level::of(&input) {
            Level::Object(_, members) => {
                let others = members.iter().map(|(name, value)| (name.as_ref(), *value));
                let others = others.filter(|(name, _)| *name != OUTPUT_MEMBER);
                object(others.chain([(OUTPUT_MEMBER, &*output)]))
            }
            Level::Array(..) | Level::Scalar(_) => {
                object([(INPUT_MEMBER, &*input), (OUTPUT_MEMBER, &*output)].into_iter())
            }
        };
        ModelOutput::Json(joined.expect("it has the output at least"))
    }

    fn filter(&self, joined: &ModelOutput) -> Result<ModelOutput, Rejection> {
        let path = &self.output_filter;
        let found = match joined {
            ModelOutput::Json(json) => path
                .select(&Level::of(json))
                .map(|found| ModelOutput::Json(found.into_owned())),
            ModelOutput::Text(text) => csv::pick(text, path).map(ModelOutput::Text),
            ModelOutput::Bytes(_) => None,
        };
        let where_ = if self.join_input {
            "the record and its prediction"
        } else {
            "the prediction"
        };
        found.ok_or_else(|| Rejection {
            kind: RejectionKind::WrongShape,
            message: format!("OUTPUT_FILTER {path} finds nothing in {where_}"),
        })
    }
}

fn as_json(value: &ModelOutput) -> Box<RawValue> {
    let string = |text: &str| serde_json::value::to_raw_value(text).expect("text is JSON");
    match value {
        ModelOutput::Json(json) => json.clone(),
        ModelOutput::Text(text) => string(text),
        ModelOutput::Bytes(bytes) => string(&BASE64.encode(bytes)),
    }
}

/// A row's columns are columns still; whatever else there is makes one.
fn as_columns(output: &ModelOutput) -> String {
    match output {
        ModelOutput::Text(text) => String::from_utf8_lossy(csv::trimmed(text.as_bytes())).into_owned(),
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

    fn view(join_input: bool, filter: &str, records: Media) -> View {
        View {
            join_input,
            output_filter: Path::read(filter).unwrap(),
            records: Some(records),
        }
    }

    fn text(value: &ModelOutput) -> String {
        match value {
            ModelOutput::Json(json) => json.get().to_owned(),
            ModelOutput::Text(text) => format!("text {text}"),
            ModelOutput::Bytes(_) => "bytes".to_owned(),
        }
    }

    /// What is shown of this answer to this record, as a line of its own.
    fn shown(view: &View, record: &'static str, output: &'static [u8], media_type: &str) -> Result<String, String> {
        let output = read_body(Bytes::from_static(output), media_type);
        let shown = view.show(&Bytes::from_static(record.as_bytes()), &output, false);
        shown
            .map(|shown| text(&shown.output))
            .map_err(|rejection| rejection.message)
    }

    const JSON: &str = "application/json";

    #[test]
    fn a_json_record_is_joined_as_batch_transform_does_it() {
        let view = view(true, "$", Media::Json);
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
                r#"{"id":1,"SageMakerOutput":"0.9\n"}"#,
            ),
            (
                "no json",
                b"\xFF",
                JSON,
                r#"{"SageMakerInput":"no json","SageMakerOutput":"/w=="}"#,
            ),
        ] {
            assert_eq!(shown(&view, record, output, media_type).unwrap(), expected, "{record}");
        }
    }

    #[test]
    fn a_row_is_joined_by_its_columns() {
        let view = view(true, "$", Media::Csv);
        for (record, output, media_type, expected) in [
            ("1,a\r\n", &b"0.90,yes\n"[..], "text/csv", "text 1,a,0.90,yes"),
            ("1", b"0.90", JSON, "text 1,0.90"),
            ("1", b"\"a,b\"", JSON, "text 1,\"a,b\""),
            ("1", b"{\"a\":1}", JSON, "text 1,\"{\"\"a\"\":1}\""),
        ] {
            assert_eq!(shown(&view, record, output, media_type).unwrap(), expected, "{record}");
        }
    }

    #[test]
    fn the_filter_is_applied_to_what_was_joined() {
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
            let found = shown(&view(join, filter, Media::Json), RECORD, b"{\"score\":0.90}", JSON);
            assert_eq!(found.unwrap(), expected);
        }
        let rows = |join, filter| shown(&view(join, filter, Media::Csv), "7,2", b"0.90,\"a,b\"\n", "text/csv").unwrap();
        assert_eq!(rows(true, "$[0,-1]"), "text 7,\"a,b\"");
        assert_eq!(rows(false, "$[0]"), "text 0.90");
    }

    #[test]
    fn a_filter_that_finds_nothing_rejects_with_its_path() {
        for (filter, output, media_type) in [
            ("$.absent", &b"{\"score\":1}"[..], JSON),
            ("$.score", b"0.9", "text/csv"),
            ("$[3]", b"0.9,1", "text/csv"),
            ("$[0]", b"\xFF", JSON),
        ] {
            let message = shown(&view(false, filter, Media::Json), "{}", output, media_type).unwrap_err();
            assert_eq!(
                message,
                format!("OUTPUT_FILTER {filter} finds nothing in the prediction")
            );
        }
    }

    #[test]
    fn side_by_side_nothing_is_put_into_one_another() {
        let output = read_body(Bytes::from_static(b"0.90"), JSON);
        let record = Bytes::from_static(b"{\"id\":7}");
        let both = view(true, "$", Media::Json).show(&record, &output, true).unwrap();
        assert_eq!(
            (text(&both.input.unwrap()), text(&both.output)),
            ("{\"id\":7}".to_owned(), "0.90".to_owned())
        );
        let filtered = view(true, "$.id", Media::Json).show(&record, &output, true).unwrap();
        assert!(filtered.input.is_none() && text(&filtered.output) == "7");
    }
}
