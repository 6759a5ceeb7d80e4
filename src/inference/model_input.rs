//! A user record in, its model input out: the bytes that represent the record in the body of a request.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::value::RawValue;

use super::features::Features;
use super::json_template::{JsonTemplate, Placeholder};
use super::url_template::UrlTemplate;
use crate::format::csv;
use crate::format::json_path::JsonPath;
use crate::format::json_record::read_record;
use crate::format::lazy_json::on_one_line;
use crate::format::media_type::MediaType;
use crate::outcome::{Rejection, RejectionKind};

/// The rules by which a record becomes a model input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputSpec {
    /// The format of the records. `None` if it is not known.
    pub record_type: Option<MediaType>,
    /// The format of the requests, by `CONTENT_TYPE`. `None` if it is not known.
    pub request_type: Option<MediaType>,
    /// `FEATURES`: the values of a JSON record that make up the model input.
    pub features: Arc<Features>,
    /// `INPUT_FILTER`: the part of a record that the model gets.
    pub input_filter: JsonPath,
    /// `TARGET_MODEL`, if it is a `JSONPath`: selects the name of the model in a record.
    pub target_model: Option<JsonPath>,
    /// `RECORD_TEMPLATE`, or its default: `$row` with `FEATURES`, otherwise `$record`.
    pub record_template: JsonTemplate,
    /// Whether a body may hold text or other inputs around the model input, so that it must be checked to be exactly
    /// one.
    pub is_embedded: bool,
    /// The placeholders of `ENDPOINT_URL`.
    pub url_template: Option<UrlTemplate>,
    /// Whether a request has a body. A GET request has none.
    pub has_body: bool,
}

/// The representation of a record in a request, the model that it names, and the path and query of its URL if they
/// hold values of the record.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ModelInput {
    pub(super) data: Bytes,
    pub(super) target_model: Option<Arc<str>>,
    pub(super) path_and_query: Option<Box<str>>,
}

impl ModelInput {
    fn of(data: Bytes) -> Self {
        Self {
            data,
            target_model: None,
            path_and_query: None,
        }
    }
}

impl InputSpec {
    /// Returns the model input of a record.
    ///
    /// # Errors
    ///
    /// Returns a rejection if the record does not have the shape that the settings require. If a `JSONPath` finds
    /// nothing, the rejection names its setting and the path.
    pub(super) fn model_input(&self, record: &Bytes) -> Result<ModelInput, Rejection> {
        let is_whole = self.input_filter.is_identity() && self.record_template.is(Placeholder::Record);
        if is_whole && self.target_model.is_none() && self.url_template.is_none() {
            return Ok(ModelInput::of(self.ensure_single(record.clone())?));
        }
        if self.needs_only_features()
            && let Some(found) = self.features.select_members(record)
        {
            let row = self.features.row(&found, self.request_type == Some(MediaType::Csv))?;
            return Ok(ModelInput::of(self.ensure_single(row)?));
        }
        let record = if self.record_type == Some(MediaType::Csv) {
            Document::Csv(
                std::str::from_utf8(record).map_err(|_| wrong_shape("the record is not UTF-8"))?,
                record,
            )
        } else {
            Document::Json(parse_json(record)?, record)
        };
        let target_model = self.target_model.as_ref().map(|path| record.target_model(path));
        let url = self.url_template.as_ref();
        let path_and_query = url.map(|template| template.fill(|path| record.scalar(path)));
        let data = if self.has_body {
            let data = self.record_template.fill(|placeholder| {
                if placeholder == Placeholder::Row {
                    record.features(&self.features, self.request_type)
                } else {
                    record.filtered(&self.input_filter)
                }
            })?;
            self.ensure_single(data)?
        } else {
            Bytes::new()
        };
        Ok(ModelInput {
            data,
            target_model: target_model.transpose()?,
            path_and_query: path_and_query.transpose()?.map(Into::into),
        })
    }

    fn needs_only_features(&self) -> bool {
        let has_row = self.has_body && self.record_template.is(Placeholder::Row);
        has_row
            && self.record_type != Some(MediaType::Csv)
            && self.target_model.is_none()
            && self.url_template.is_none()
    }

    /// Checks an input that is embedded in a body, so that it cannot change the number of inputs in the body. A
    /// CSV input must be one row, a JSON Lines input one line that is not empty, and any other input one JSON value.
    /// Removes the line break at the end of a CSV row, and writes a JSON Lines value on one line.
    fn ensure_single(&self, input: Bytes) -> Result<Bytes, Rejection> {
        match self.request_type {
            _ if !self.is_embedded => {}
            Some(MediaType::Csv) => {
                let row = input.slice_ref(csv::trim_line_break(&input));
                let is_single = csv::is_single_row(&row);
                return Some(row)
                    .filter(|_| is_single)
                    .ok_or_else(|| wrong_shape("the record is not a single CSV row"));
            }
            Some(MediaType::JsonLines) if memchr::memchr2(b'\n', b'\r', &input).is_some() => {
                return Ok(on_one_line(parse_json(&input)?).get().to_owned().into());
            }
            Some(MediaType::JsonLines) if input.trim_ascii().is_empty() => {
                return Err(wrong_shape("the record is an empty line"));
            }
            Some(MediaType::JsonLines) => {}
            Some(MediaType::Json) | None => _ = parse_json(&input)?,
        }
        Ok(input)
    }
}

fn parse_json(record: &[u8]) -> Result<&RawValue, Rejection> {
    read_record(record).map_err(wrong_shape)
}

/// A parsed record, with its original bytes.
enum Document<'r> {
    Json(&'r RawValue, &'r Bytes),
    Csv(&'r str, &'r Bytes),
}

impl Document<'_> {
    fn filtered(&self, path: &JsonPath) -> Result<Bytes, Rejection> {
        let found = match self {
            Self::Json(_, record) | Self::Csv(_, record) if path.is_identity() => return Ok((*record).clone()),
            Self::Json(json, _) => path.select(json).map(Cow::into_owned),
            Self::Csv(row, _) => path.select_columns(row),
        };
        found
            .map(Bytes::from)
            .ok_or_else(|| finds_nothing("INPUT_FILTER", path))
    }

    fn features(&self, features: &Features, request_type: Option<MediaType>) -> Result<Bytes, Rejection> {
        match self {
            Self::Csv(..) => Err(wrong_shape("FEATURES requires a JSON record")),
            Self::Json(record, _) => features.row(&features.select(record), request_type == Some(MediaType::Csv)),
        }
    }

    /// Returns the text of a string, a number, a truth value or a column.
    fn scalar(&self, path: &JsonPath) -> Option<String> {
        match self {
            Self::Json(json, _) => {
                let found = path.select(json)?;
                match found.as_bytes().first()? {
                    b'"' => serde_json::from_str(&found).ok(),
                    b'{' | b'[' | b'n' => None,
                    _ => Some(found.into_owned()),
                }
            }
            Self::Csv(row, _) => path.columns(row)?.next().and_then(column_text),
        }
    }

    fn target_model(&self, path: &JsonPath) -> Result<Arc<str>, Rejection> {
        let found = match self {
            Self::Json(json, _) => path.select(json).and_then(|found| serde_json::from_str(&found).ok()),
            Self::Csv(row, _) => path.columns(row).and_then(|mut columns| column_text(columns.next()?)),
        };
        let name: String =
            found.ok_or_else(|| wrong_shape(format!("TARGET_MODEL {path} finds no string in the record")))?;
        let fits = name.bytes().all(|byte| byte.is_ascii_graphic()) && (1..=1024).contains(&name.len());
        if !fits {
            let message = format!("TARGET_MODEL {path} finds a string that is not 1–1024 printable ASCII characters");
            return Err(wrong_shape(message));
        }
        Ok(name.into())
    }
}

fn column_text(column: csv::Column<'_>) -> Option<String> {
    String::from_utf8(column.into_owned()).ok()
}

pub(super) fn finds_nothing(setting: &str, path: &JsonPath) -> Rejection {
    wrong_shape(format!("{setting} {path} finds nothing in the record"))
}

pub(super) fn wrong_shape(message: impl Into<String>) -> Rejection {
    Rejection {
        kind: RejectionKind::WrongShape,
        message: message.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JSON: Option<MediaType> = Some(MediaType::Json);
    const CSV: Option<MediaType> = Some(MediaType::Csv);

    fn input_spec(record_type: Option<MediaType>, request_type: Option<MediaType>) -> InputSpec {
        InputSpec {
            record_type,
            request_type,
            features: Arc::default(),
            input_filter: JsonPath::parse("$").unwrap(),
            target_model: None,
            record_template: JsonTemplate::of(Placeholder::Record),
            is_embedded: false,
            url_template: None,
            has_body: true,
        }
    }

    fn input(input_spec: &InputSpec, record: &'static str) -> Result<String, String> {
        let input = input_spec.model_input(&Bytes::from_static(record.as_bytes()));
        let text = |input: ModelInput| String::from_utf8(input.data.to_vec()).unwrap();
        input.map(text).map_err(|rejection| {
            assert_eq!(rejection.kind, RejectionKind::WrongShape);
            rejection.message
        })
    }

    #[test]
    fn features_become_a_csv_row_or_a_json_array() {
        const RECORD: &str = r#"{"amount":2731.360,"hour":5,"name":"a, \"b\"","abroad":true,"none":null,"list":[1]}"#;
        let features = |paths: &str, request_type| InputSpec {
            features: Arc::new(paths.parse().unwrap()),
            record_template: JsonTemplate::of(Placeholder::Row),
            ..input_spec(JSON, request_type)
        };
        let all = "$.amount,$.hour,$.name,$.abroad,$.none,$.list[0]";
        assert_eq!(
            input(&features(all, CSV), RECORD).unwrap(),
            "2731.360,5,\"a, \"\"b\"\"\",1,,1"
        );
        let array = r#"[2731.360,5,"a, \"b\"",true,null,1]"#;
        assert_eq!(input(&features(all, JSON), RECORD).unwrap(), array);
        for (paths, record, expected) in [
            (
                "$.amount,$.absent",
                RECORD,
                "FEATURES $.absent finds nothing in the record",
            ),
            (
                "$.list",
                RECORD,
                "FEATURES $.list finds an object or an array, which cannot be a CSV column",
            ),
            ("$.amount", "[1]", "FEATURES $.amount finds nothing in the record"),
            (
                "$.amount",
                "no",
                "the record is not JSON: expected ident at line 1 column 2",
            ),
        ] {
            assert_eq!(input(&features(paths, CSV), record).unwrap_err(), expected);
        }
    }

    #[test]
    fn a_record_template_stands_around_the_record_or_its_features() {
        let templated = |template, request_type| InputSpec {
            features: Arc::new("$.a,$.b?".parse().unwrap()),
            input_filter: JsonPath::parse("$['id']").unwrap(),
            record_template: JsonTemplate::of_record(template).unwrap(),
            is_embedded: true,
            ..input_spec(JSON, request_type)
        };
        let both = templated("{\"id\":$record,\n\"$row\":$row}", JSON);
        assert_eq!(
            input(&both, r#"{"id":"x","a":1.0}"#).unwrap(),
            "{\"id\":\"x\",\n\"$row\":[1.0,null]}"
        );
        let lines = templated("{\"features\":\n$row}", Some(MediaType::JsonLines));
        assert_eq!(input(&lines, r#"{"a":1}"#).unwrap(), "{\"features\": [1,null]}");
        for (record, expected) in [
            ("{\"a\":1}", "INPUT_FILTER $['id'] finds nothing in the record"),
            ("{\"id\":1}", "FEATURES $.a finds nothing in the record"),
            (
                "{\"id\":NaN}",
                "the record is not JSON: it has NaN or Infinity, which are not JSON",
            ),
        ] {
            assert_eq!(input(&both, record).unwrap_err(), expected);
        }
    }

    #[test]
    fn the_input_filter_selects_the_part_for_the_model() {
        let filtered = |path, media_type| InputSpec {
            input_filter: JsonPath::parse(path).unwrap(),
            ..input_spec(media_type, media_type)
        };
        assert_eq!(
            input(&filtered("$.x", JSON), r#"{"x":{"y":1.0}}"#).unwrap(),
            "{\"y\":1.0}"
        );
        assert_eq!(
            input(&filtered("$['x','y']", JSON), r#"{"y":1,"z":2}"#).unwrap(),
            "{\"y\":1}"
        );
        assert_eq!(input(&filtered("$[1:]", CSV), "id,1,\"a,b\"\r\n").unwrap(), "1,\"a,b\"");
        for (path, media_type, record) in [("$.x", JSON, "{}"), ("$[3]", CSV, "1,2,3"), ("$[0]", CSV, "1\n2")] {
            let message = input(&filtered(path, media_type), record).unwrap_err();
            assert_eq!(message, format!("INPUT_FILTER {path} finds nothing in the record"));
        }
    }

    #[test]
    fn a_record_names_its_model() {
        let by = |path, media_type| InputSpec {
            target_model: Some(JsonPath::parse(path).unwrap()),
            ..input_spec(media_type, media_type)
        };
        let target = |input_spec: &InputSpec, record: &'static str| {
            let input = input_spec
                .model_input(&Bytes::from_static(record.as_bytes()))
                .map_err(|rejection| rejection.message)?;
            assert_eq!(input.data, record, "the model gets the whole record");
            Ok::<_, String>(input.target_model.unwrap().to_string())
        };
        assert_eq!(target(&by("$.m", JSON), r#"{"m":"a.tar.gz"}"#).unwrap(), "a.tar.gz");
        assert_eq!(target(&by("$[-1]", CSV), "1,b.tar.gz").unwrap(), "b.tar.gz");
        for record in ["{}", r#"{"m":7}"#, r#"{"m":null}"#] {
            let message = target(&by("$.m", JSON), record).unwrap_err();
            assert_eq!(message, "TARGET_MODEL $.m finds no string in the record");
        }
        assert!(
            target(&by("$.m", JSON), r#"{"m":"a\nb"}"#)
                .unwrap_err()
                .contains("printable")
        );
    }

    #[test]
    fn a_record_gives_the_values_for_its_url() {
        const RECORD: &str = r#"{"a":"x \u00fc","b":2.50,"c":true,"n":null,"o":{}}"#;
        let by_url = |query: &str, media_type| InputSpec {
            url_template: UrlTemplate::split(&format!("https://h/?{query}")).unwrap().1,
            has_body: false,
            ..input_spec(media_type, media_type)
        };
        let path = |query, media_type, record: &'static str| {
            let input = by_url(query, media_type).model_input(&Bytes::from_static(record.as_bytes()));
            let input = input.map_err(|rejection| rejection.message)?;
            assert!(input.data.is_empty(), "a GET request has no body");
            Ok::<_, String>(input.path_and_query.unwrap().into_string())
        };
        assert_eq!(
            path("a={$.a}&b={$.b}&c={$['c']}", JSON, RECORD).unwrap(),
            "/?a=x%20%C3%BC&b=2.50&c=true"
        );
        assert_eq!(path("a={$[1]}", CSV, "1,\"b,c\"\n").unwrap(), "/?a=b%2Cc");
        for query in ["a={$.n}", "a={$.o}", "a={$.absent}"] {
            let reason = path(query, JSON, RECORD).unwrap_err();
            assert!(
                reason.ends_with("finds no string, number or truth value in the record"),
                "{reason}"
            );
        }
        assert!(
            path("a={$.a}", JSON, "no")
                .unwrap_err()
                .starts_with("the record is not JSON")
        );
    }

    #[test]
    fn an_input_of_a_multi_record_request_is_exactly_one_row_or_is_rejected() {
        let multi_record = |media_type| InputSpec {
            is_embedded: true,
            ..input_spec(media_type, media_type)
        };
        let lines = multi_record(Some(MediaType::JsonLines));
        assert_eq!(input(&lines, "{\"a\":\n1}\r\n").unwrap(), "{\"a\": 1}");
        assert_eq!(input(&lines, "no json, for the endpoint to refuse").unwrap().len(), 35);
        assert!(
            input(&lines, "{\"a\":1}\n{\"a\":2}")
                .unwrap_err()
                .starts_with("the record is not JSON")
        );
        assert_eq!(input(&lines, " ").unwrap_err(), "the record is an empty line");
        assert_eq!(input(&multi_record(CSV), "1,\"a\nb\"\r\n").unwrap(), "1,\"a\nb\"");
        for record in ["1\n2", "1,\"a", "", "\n"] {
            assert_eq!(
                input(&multi_record(CSV), record).unwrap_err(),
                "the record is not a single CSV row"
            );
        }
        assert_eq!(input(&multi_record(JSON), "{\"a\":\n1}").unwrap(), "{\"a\":\n1}");
        for record in ["1],\"x\":[2", "1,2", ""] {
            assert!(
                input(&multi_record(JSON), record)
                    .unwrap_err()
                    .starts_with("the record is not JSON")
            );
        }
        assert_eq!(
            input(&input_spec(CSV, CSV), "1\n2").unwrap(),
            "1\n2",
            "a request for one record is not checked"
        );
    }
}
