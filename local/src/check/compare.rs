//! Compares predictions, and finds the number in one.

use serde_json::Value;

/// The largest difference of two numbers that count as the same, in relation to the larger one. A model that computes
/// many rows at once can round otherwise than for one.
const TOLERANCE: f64 = 1e-5;

/// Returns whether two predictions are the same, apart from rounding and from white space around text.
pub fn are_same(one: &Value, other: &Value) -> bool {
    if let (Some(one), Some(other)) = (number(one), number(other)) {
        return (one - other).abs() <= TOLERANCE * one.abs().max(other.abs());
    }
    match (one, other) {
        (Value::String(one), Value::String(other)) => one.trim() == other.trim(),
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| are_same(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            let is_in_other = |(name, value)| other.get(name).is_some_and(|other| are_same(value, other));
            one.len() == other.len() && one.iter().all(is_in_other)
        }
        _ => one == other,
    }
}

/// Returns the number that a value is, also as text.
fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok().filter(|number: &f64| number.is_finite()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// Returns the path to the only number in a prediction, or to its score, as `OUTPUT_FILTER` has it. It is empty if the
/// prediction is a number.
pub fn score_path(prediction: &Value) -> Option<String> {
    if number(prediction).is_some() {
        return Some(String::new());
    }
    match prediction {
        Value::Array(elements) => match elements.as_slice() {
            [only] => Some(format!("[0]{}", score_path(only)?)),
            _ => None,
        },
        Value::Object(members) => {
            let is_plain = |name: &str| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
            let named = members.iter().filter(|(name, _)| is_plain(name));
            let paths = named.filter_map(|(name, value)| Some((name, format!(".{name}{}", score_path(value)?))));
            let paths: Vec<_> = paths.collect();
            let score = paths
                .iter()
                .find(|(name, _)| ["score", "probability"].contains(&name.as_str()));
            let only = || match paths.as_slice() {
                [only] => Some(only),
                _ => None,
            };
            score.or_else(only).map(|(_, path)| path.clone())
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn predictions_are_the_same_apart_from_rounding_and_white_space() {
        for (one, other, expected) in [
            (json!(0.5), json!("0.500001\n"), true),
            (json!(0.5), json!(0.51), false),
            (json!(1e-9), json!(2e-9), false),
            (json!("fraud\n"), json!("fraud"), true),
            (json!({"a": [1.0, "x"]}), json!({"a": [1, "x"]}), true),
            (json!({"a": 1}), json!({"a": 1, "b": 2}), false),
            (json!([0.1, 0.2]), json!([0.2, 0.1]), false),
            (json!(null), json!(0), false),
        ] {
            assert_eq!(are_same(&one, &other), expected, "{one} {other}");
        }
    }

    #[test]
    fn the_path_leads_to_the_only_number_or_to_the_score() {
        for (prediction, expected) in [
            (json!(0.5), Some("")),
            (json!("0.5\n"), Some("")),
            (json!({"predictions": [{"score": 0.5}]}), Some(".predictions[0].score")),
            (json!([{"label": "NEGATIVE", "score": 0.5}]), Some("[0].score")),
            (json!({"fraud": 1, "score": 0.5}), Some(".score")),
            (json!({"a": 1, "b": 2}), None),
            (json!([0.1, 0.2]), None),
            (json!("fraud"), None),
        ] {
            assert_eq!(score_path(&prediction).as_deref(), expected, "{prediction}");
        }
    }
}
