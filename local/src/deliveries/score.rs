//! The score in a prediction.

use serde_json::Value;
use serde_json::value::RawValue;

/// A number in a prediction.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Score {
    /// The model calls it a score.
    Named(f64),
    /// It may be a score, or something else, such as a price.
    Bare(f64),
}

pub(super) fn score_of(output: &RawValue) -> Option<Score> {
    // An output with a number that fits no type has no score.
    serde_json::from_str(output.get())
        .ok()
        .and_then(|output| score(&output))
}

/// Returns the score of a prediction: the number itself, or the value of `score`, `probability` or `predictions`. A
/// list has a score only if it has one element: several are the scores of several classes. The score beside a `label`
/// is the model's confidence in any label.
fn score(output: &Value) -> Option<Score> {
    match output {
        Value::Number(number) => number.as_f64().map(Score::Bare),
        Value::String(text) => {
            let number = text.trim().parse().ok();
            number.filter(|number: &f64| number.is_finite()).map(Score::Bare)
        }
        Value::Array(list) => match list.as_slice() {
            [only] => score(only),
            _ => None,
        },
        Value::Object(members) if members.contains_key("label") => None,
        Value::Object(members) => {
            let named = ["score", "probability"]
                .iter()
                .find_map(|name| score(members.get(*name)?));
            match named {
                Some(Score::Named(score) | Score::Bare(score)) => Some(Score::Named(score)),
                None => score(members.get("predictions")?),
            }
        }
        Value::Null | Value::Bool(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_score_is_found_in_the_output_formats_of_common_models() {
        let (named, bare) = (Some(Score::Named(0.5)), Some(Score::Bare(0.5)));
        for (output, expected) in [
            (json!(0.5), bare),
            (json!("0.5\n"), bare),
            (json!([0.5]), bare),
            (json!([0.5, 0.1]), None),
            (json!({"version": 3, "score": 0.5}), named),
            (json!({"score": [0.5]}), named),
            (json!({"predictions": [{"score": 0.5}]}), named),
            (json!({"predictions": [0.5]}), bare),
            (json!([{"label": "NEGATIVE", "score": 0.5}]), None),
            (json!({"label": "fraud"}), None),
            (json!("fraud"), None),
            (json!("NaN"), None),
            (json!(null), None),
        ] {
            assert_eq!(score(&output), expected, "{output}");
        }
    }
}
