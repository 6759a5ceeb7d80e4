//! Request bodies with one record or many, read by their content type, and the built-in models' responses to them.
//!
//! | content type | records | response |
//! |---|---|---|
//! | `application/json`, and any other | the body, or each of `{"instances":[…]}` | a score, or `{"predictions":[…]}` |
//! | `application/jsonlines`, `x-ndjson`, `jsonl` | each line | one score per line |
//! | `text/csv` | each row, without a header | `0.0082,false`, one per line |
//!
//! In JSON, a record is a transaction, as an object or an array of its six values, or the object of a ride. The
//! response to a ride is a fare.

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::{fare, model};

/// A request's body, split into records.
#[derive(Debug, PartialEq, Eq)]
pub struct RequestBody<'b> {
    shape: Shape,
    records: Vec<&'b [u8]>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    Single,
    Instances,
    Lines,
    CsvRows,
}

#[derive(Deserialize)]
struct Instances<'b> {
    #[serde(borrow)]
    instances: Vec<&'b RawValue>,
}

impl<'b> RequestBody<'b> {
    /// Splits a body into records. The records are not validated until they are scored.
    ///
    /// # Errors
    ///
    /// The message for a response with status 400: the body holds no records, or is not CSV.
    pub fn split(content_type: Option<&str>, body: &'b [u8]) -> Result<Self, String> {
        let media_type = content_type.unwrap_or_default().split(';').next().unwrap_or_default();
        let (shape, records) = match media_type.trim().to_ascii_lowercase().as_str() {
            "application/jsonlines" | "application/x-ndjson" | "application/jsonl" => (Shape::Lines, lines(body)),
            "text/csv" => (Shape::CsvRows, rows(body)?),
            _ => match instances(body) {
                Some(instances) => (Shape::Instances, instances),
                None => (Shape::Single, vec![body]),
            },
        };
        if records.is_empty() {
            return Err("the request holds no records".to_owned());
        }
        let records = records.into_iter().map(<[u8]>::trim_ascii).collect();
        Ok(Self { shape, records })
    }

    /// The bytes of each record, without surrounding white space. They are the same whether a record is alone or with
    /// others.
    pub fn records(&self) -> &[&'b [u8]] {
        &self.records
    }

    /// Applies `function` to every record, in order.
    ///
    /// # Errors
    ///
    /// The first error message. If there are several records, it names the number of the record.
    pub fn map_records<T>(&self, function: impl Fn(&'b [u8]) -> Result<T, String>) -> Result<Vec<T>, String> {
        let count = self.records.len();
        let with_number = |number: usize, message| match count {
            1 => message,
            _ => format!("record {number} of {count}: {message}"),
        };
        let records = (1..).zip(&self.records);
        records
            .map(|(number, record)| function(record).map_err(|message| with_number(number, message)))
            .collect()
    }

    /// The models' response: its content type and its body.
    ///
    /// # Errors
    ///
    /// The message for a response with status 400. One invalid record causes the whole request to be refused, as in
    /// most containers.
    pub fn answer(&self) -> Result<(&'static str, String), String> {
        if self.shape == Shape::CsvRows {
            let scores = self.map_records(model::score_row)?;
            let rows = scores.iter().map(|it| format!("{},{}\n", it.score, it.fraud));
            return Ok(("text/csv", rows.collect()));
        }
        let predictions = self.map_records(predict)?;
        Ok(match self.shape {
            Shape::Single => (
                "application/json",
                predictions.into_iter().map(|it| it.to_string()).collect(),
            ),
            Shape::Instances => ("application/json", json!({ "predictions": predictions }).to_string()),
            Shape::Lines | Shape::CsvRows => (
                "application/jsonlines",
                predictions
                    .iter()
                    .flat_map(|it| [it.to_string(), "\n".to_owned()])
                    .collect(),
            ),
        })
    }
}

/// Returns the prediction of the model that the record in JSON is for.
fn predict(record: &[u8]) -> Result<Value, String> {
    if fare::is_ride(record) {
        fare::fare(record).map(|fare| json!(fare))
    } else {
        model::score(record).map(|score| json!(score))
    }
}

fn instances(body: &[u8]) -> Option<Vec<&[u8]>> {
    // Serde would also read an array as this struct.
    if !body.trim_ascii_start().starts_with(b"{") {
        return None;
    }
    let Instances { instances } = serde_json::from_slice(body).ok()?;
    Some(instances.into_iter().map(|raw| raw.get().as_bytes()).collect())
}

/// Splits the body into lines. An empty line is an invalid record, but the end after the last line feed is not a line.
fn lines(body: &[u8]) -> Vec<&[u8]> {
    let body = body.strip_suffix(b"\n").unwrap_or(body);
    if body.is_empty() {
        return Vec::new();
    }
    body.split(|byte| *byte == b'\n').collect()
}

/// Splits the body into CSV rows. A quoted field may contain line feeds. Empty lines are skipped.
fn rows(body: &[u8]) -> Result<Vec<&[u8]>, String> {
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .from_reader(body);
    let offset = |reader: &csv::Reader<_>| usize::try_from(reader.position().byte()).unwrap_or(usize::MAX);
    let (mut rows, mut row) = (Vec::new(), csv::ByteRecord::new());
    loop {
        let start = offset(&reader);
        let more = reader.read_byte_record(&mut row);
        if !more.map_err(|error| format!("the body is not CSV: {error}"))? {
            return Ok(rows);
        }
        rows.extend(body.get(start..offset(&reader)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OBJECT: &str = r#"{"time":"2026-03-14T12:00:00Z","amount":9,"merchant_category":"groceries","country":"DE","card_country":"DE","source_address":"192.0.2.1"}"#;
    const ARRAY: &str = r#"["2026-03-14T12:00:00Z",9,"groceries","DE","DE","192.0.2.1"]"#;
    const ROW: &str = "2026-03-14T12:00:00Z,9,groceries,DE,DE,192.0.2.1";
    const SCORE: &str = r#"{"fraud":false,"score":0.0082}"#;

    fn answer(content_type: &str, body: &str) -> Result<(&'static str, String), String> {
        RequestBody::split(Some(content_type), body.as_bytes())?.answer()
    }

    fn objects(text: &str) -> Vec<Value> {
        let values = serde_json::Deserializer::from_str(text).into_iter();
        values.map(Result::unwrap).collect()
    }

    #[test]
    fn each_shape_gets_a_response_of_the_same_shape() {
        let instances = format!(r#"{{"instances":[{OBJECT}, {ARRAY}]}}"#);
        let predictions = format!(r#"{{"predictions":[{SCORE},{SCORE}]}}"#);
        let (two_scores, pretty) = (format!("{SCORE}\n{SCORE}\n"), format!(" \n{OBJECT}\r\n"));
        for (asked, body, answered, expected) in [
            ("application/json", OBJECT, "application/json", SCORE),
            ("application/json", ARRAY, "application/json", SCORE),
            ("application/octet-stream", &pretty, "application/json", SCORE),
            (
                "Application/JSON ; charset=utf-8",
                &instances,
                "application/json",
                &predictions,
            ),
            (
                "application/jsonlines",
                &format!("{OBJECT}\n{ARRAY}"),
                "application/jsonlines",
                &two_scores,
            ),
            (
                "application/x-ndjson",
                &format!("{OBJECT}\r\n{OBJECT}\r\n"),
                "application/jsonlines",
                &two_scores,
            ),
            (
                "application/jsonl",
                &format!("{OBJECT}\n"),
                "application/jsonlines",
                SCORE,
            ),
        ] {
            let (content_type, body) = answer(asked, body).unwrap();
            assert_eq!((content_type, objects(&body)), (answered, objects(expected)), "{asked}");
        }
    }

    #[test]
    fn each_score_is_on_its_own_line() {
        let (_, lines) = answer("application/jsonlines", &format!("{OBJECT}\n{ARRAY}\n")).unwrap();
        assert_eq!(lines.matches('\n').count(), 2, "{lines:?}");
        for body in [format!("{ROW}\n{ROW}"), format!("{ROW}\r\n{ROW}\r\n")] {
            let expected = ("text/csv", "0.0082,false\n0.0082,false\n".to_owned());
            assert_eq!(answer("text/csv; header=absent", &body), Ok(expected));
        }
    }

    #[test]
    fn a_quoted_field_may_hold_commas_quotes_and_line_feeds() {
        let quoted = ROW.replace("groceries", "\"shoes, \"\"used\"\"\nand new\"");
        let body = format!("{quoted}\n{ROW}\n");
        let request = RequestBody::split(Some("text/csv"), body.as_bytes()).unwrap();
        assert_eq!(request.records(), [quoted.as_bytes(), ROW.as_bytes()]);
        assert_eq!(request.answer().unwrap().1, "0.0082,false\n0.0082,false\n");
    }

    #[test]
    fn an_invalid_record_is_named_and_the_whole_request_is_refused() {
        let instances = |records: &[&str]| format!(r#"{{"instances":[{}]}}"#, records.join(","));
        for (content_type, good) in [
            ("application/json", ARRAY),
            ("application/jsonlines", ARRAY),
            ("text/csv", ROW),
        ] {
            let body = |records: &[&str]| match content_type {
                "application/json" => instances(records),
                _ => records.join("\n"),
            };
            let bad = good.replace(",9,", ",-9,");
            let alone = answer(content_type, &body(&[&bad])).unwrap_err();
            assert_eq!(alone, "amount must be a number of at least 0");
            let message = answer(content_type, &body(&[good, good, &bad, good])).unwrap_err();
            assert_eq!(message, format!("record 3 of 4: {alone}"));
        }
    }

    #[test]
    fn a_body_without_valid_transactions_is_refused() {
        for (content_type, body, why) in [
            ("application/json", r#"{"instances":[]}"#, "holds no records"),
            ("application/jsonlines", "", "holds no records"),
            ("application/jsonlines", "\n", "holds no records"),
            ("text/csv", "\r\n", "holds no records"),
            ("application/json", "", "the body is not a transaction"),
            (
                "application/json",
                r#"{"instances":5}"#,
                "the body is not a transaction",
            ),
            (
                "application/json",
                &format!("[[{OBJECT}]]"),
                "the body is not a transaction",
            ),
            (
                "application/jsonlines",
                &format!("{OBJECT}\n\n{OBJECT}"),
                "record 2 of 3: ",
            ),
            ("text/csv", "1,2", "the row is not a transaction"),
            ("text/csv", &format!("{ROW},7"), "the row is not a transaction"),
        ] {
            let message = answer(content_type, body).unwrap_err();
            assert!(message.contains(why), "{body}: {message}");
        }
    }

    #[test]
    fn a_record_has_the_same_bytes_alone_and_with_others() {
        let records = |content_type: Option<&str>, body: &str| {
            let request = RequestBody::split(content_type, body.as_bytes()).unwrap();
            request
                .records()
                .iter()
                .map(|record| String::from_utf8_lossy(record).into_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(records(None, &format!("{OBJECT}\n")), [OBJECT]);
        let instances = format!("{{\"instances\" : [ {ARRAY} , {OBJECT}\n]}}");
        assert_eq!(records(None, &instances), [ARRAY, OBJECT]);
        let lines = format!("{OBJECT}\r\n {ARRAY}");
        assert_eq!(records(Some("application/jsonlines"), &lines), [OBJECT, ARRAY]);
    }
}
