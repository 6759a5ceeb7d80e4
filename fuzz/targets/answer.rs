//! Responses of a model.

use bytes::Bytes;
use instream::endpoint::Response;
use instream::inference::{describe_shape, read_prediction, split_response};
use instream::outcome::ModelOutput;
use memchr::{memchr2, memmem::find};
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

/// Splits a response to several records. It must give one prediction for each record, unchanged and in order, or none.
/// A response that is called JSON and is not has no predictions.
pub(crate) fn check(data: &[u8]) {
    let types = "application/json,application/jsonlines,text/csv,text/plain,TEXT/é,";
    let (&[content_type, count], mut rest) = data.split_first_chunk().unwrap_or((&[0; 2], data));
    let response = Response {
        body: Bytes::copy_from_slice(rest),
        content_type: types.split(',').cycle().nth(content_type.into()).map(str::to_owned),
        variant: None,
        custom_attributes: None,
    };
    let count = usize::from(count) % 8 + 1;
    let Ok(predictions) = split_response(&response, count, None) else {
        assert!(serde_json::from_slice::<&RawValue>(rest).is_err());
        return;
    };
    let predictions = predictions.map(|predictions| predictions.each);
    assert!(
        predictions
            .as_ref()
            .map_or(count > 1, |predictions| predictions.len() == count)
    );
    assert!(describe_shape(&response).len() < 60, "the description has no content");
    // These are delivered as null.
    let is_changed = find(rest, b"NaN").or(find(rest, b"Infinity")).is_some();
    let alone = read_prediction(&response).ok();
    for prediction in alone.iter().filter(|_| !is_changed) {
        check_is_in(rest, &prediction.output);
    }
    for prediction in predictions.unwrap_or_default() {
        if is_changed {
            continue;
        }
        rest = check_is_in(rest, &prediction.output);
    }
}

/// Returns the part of the body after the output, which must be in it.
fn check_is_in<'b>(rest: &'b [u8], output: &ModelOutput) -> &'b [u8] {
    match output {
        ModelOutput::Json(json) => after(rest, json.get().as_bytes(), true),
        ModelOutput::Text(text) => after(rest, text.as_bytes(), false),
        ModelOutput::Bytes(bytes) => after(rest, bytes, false),
    }
}

/// Returns the part of the body after the prediction. A JSON prediction is on one line, even if it has line breaks in
/// the body.
fn after<'b>(body: &'b [u8], prediction: &[u8], json: bool) -> &'b [u8] {
    let flat = |byte: &u8| if json && b"\r\n".contains(byte) { b' ' } else { *byte };
    let flat: Vec<_> = body.iter().map(flat).collect();
    let start = find(&flat, prediction).expect("the prediction is in the body");
    let (written, rest) = body[start..].split_at(prediction.len());
    assert!(!json || serde_json::from_slice::<IgnoredAny>(written).is_ok());
    assert!(!json || memchr2(b'\n', b'\r', prediction).is_none());
    rest
}
