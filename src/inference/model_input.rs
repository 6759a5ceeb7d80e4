//! A user record in, what stands for it in a request out.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::value::RawValue;

use crate::inference::format::csv;
use crate::inference::format::json_path::Path;
use crate::inference::format::lazy_json::{Level, array, on_one_line};
use crate::inference::format::media_type::Media;
use crate::outcome::{Rejection, RejectionKind};

/// How a record becomes a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rows {
    /// What the records are; `None` where the function knows nothing of them.
    pub records: Option<Media>,
    /// What the requests are, by `CONTENT_TYPE`.
    pub requests: Option<Media>,
    /// `FEATURES`: what of a JSON record makes the row.
    pub features: Vec<Path>,
    /// `INPUT_FILTER`: what of a record the model gets.
    pub input_filter: Path,
    /// `TARGET_MODEL`, where it is a path: where a record names its model.
    pub target_model: Option<Path>,
    /// Whether rows of several records stand in one request, so that each must be seen to be one.
    pub are_packed: bool,
}

/// What stands for a record.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) data: Bytes,
    pub(super) target_model: Option<Arc<str>>,
}

impl Rows {
    /// Makes the row of a record.
    ///
    /// # Errors
    ///
    /// A rejection that names the setting and the path, if the record is not of the shape that they take for granted.
    pub(super) fn row(&self, record: &Bytes) -> Result<Row, Rejection> {
        let looks_into_it = self.target_model.is_some() || !self.features.is_empty() || !self.input_filter.is_whole();
        if !looks_into_it {
            let data = self.packable(record.clone())?;
            let target_model = None;
            return Ok(Row { data, target_model });
        }
        let record = if self.records == Some(Media::Csv) {
            Document::Row(
                std::str::from_utf8(record).map_err(|_| wrong("the record is no UTF-8"))?,
                record,
            )
        } else {
            Document::Json(Level::of(json(record)?), record)
        };
        let target_model = self.target_model.as_ref().map(|path| record.target_model(path));
        let data = match self.features.as_slice() {
            [] => record.filtered(&self.input_filter)?,
            features => record.features(features, self.requests)?,
        };
        Ok(Row {
            data: self.packable(data)?,
            target_model: target_model.transpose()?,
        })
    }

    /// The row, if its neighbours in a request are safe from it.
    fn packable(&self, row: Bytes) -> Result<Bytes, Rejection> {
        match self.requests {
            _ if !self.are_packed => {}
            Some(Media::Csv) => {
                let row = row.slice_ref(csv::trimmed(&row));
                let is_one = csv::is_one(&row);
                return Some(row)
                    .filter(|_| is_one)
                    .ok_or_else(|| wrong("the record is no single CSV row"));
            }
            Some(Media::JsonLines) if memchr::memchr2(b'\n', b'\r', &row).is_some() => {
                return Ok(on_one_line(json(&row)?).get().to_owned().into());
            }
            Some(Media::JsonLines) if row.trim_ascii().is_empty() => return Err(wrong("the record is an empty line")),
            Some(Media::JsonLines) => {}
            Some(Media::Json) | None => _ = json(&row)?,
        }
        Ok(row)
    }
}

fn json(record: &[u8]) -> Result<&RawValue, Rejection> {
    serde_json::from_slice(record).map_err(|error| wrong(format!("the record is no JSON: {error}")))
}

/// A record that is looked into.
enum Document<'r> {
    Json(Level<'r>, &'r Bytes),
    Row(&'r str, &'r Bytes),
}

impl Document<'_> {
    fn filtered(&self, path: &Path) -> Result<Bytes, Rejection> {
        let found = match self {
            Self::Json(_, record) | Self::Row(_, record) if path.is_whole() => return Ok((*record).clone()),
            Self::Json(level, _) => path.select(level).map(|found| found.get().to_owned()),
            Self::Row(text, _) => csv::pick(text, path),
        };
        found
            .map(Bytes::from)
            .ok_or_else(|| finds_nothing("INPUT_FILTER", path))
    }

    fn features(&self, paths: &[Path], requests: Option<Media>) -> Result<Bytes, Rejection> {
        let Self::Json(record, _) = self else {
            return Err(wrong("FEATURES are of a JSON record"));
        };
        let select = |path: &Path| path.select(record).ok_or_else(|| finds_nothing("FEATURES", path));
        if requests == Some(Media::Csv) {
            let columns = paths.iter().map(|path| column(path, &select(path)?));
            let columns = columns.collect::<Result<Vec<_>, _>>()?;
            return Ok(csv::write(columns).into());
        }
        let values = paths.iter().map(select).collect::<Result<Vec<_>, _>>()?;
        let array = array(values.into_iter()).expect("there is a path at least");
        Ok(array.get().to_owned().into())
    }

    fn target_model(&self, path: &Path) -> Result<Arc<str>, Rejection> {
        let found = match self {
            Self::Json(level, _) => path
                .select(level)
                .and_then(|found| serde_json::from_str(found.get()).ok()),
            Self::Row(text, _) => csv::columns(text).and_then(|columns| {
                let place = path.columns(columns.len())?.first().copied()?;
                columns.get(place).cloned()
            }),
        };
        let name: String = found.ok_or_else(|| wrong(format!("TARGET_MODEL {path} finds no text in the record")))?;
        let fits = name.bytes().all(|byte| byte.is_ascii_graphic()) && (1..=1024).contains(&name.len());
        if !fits {
            let message = format!("TARGET_MODEL {path} finds what is not 1–1024 printable ASCII characters");
            return Err(wrong(message));
        }
        Ok(name.into())
    }
}

/// A value as a CSV column, which models take for numbers: true and false are 1 and 0, null is empty.
fn column(path: &Path, value: &RawValue) -> Result<String, Rejection> {
    match value.get() {
        "null" => Ok(String::new()),
        "true" => Ok("1".to_owned()),
        "false" => Ok("0".to_owned()),
        text if text.starts_with(['{', '[']) => Err(wrong(format!(
            "FEATURES {path} finds an object or an array, which is no CSV column"
        ))),
        text => Ok(serde_json::from_str(text).unwrap_or_else(|_| text.to_owned())),
    }
}

fn finds_nothing(setting: &str, path: &Path) -> Rejection {
    wrong(format!("{setting} {path} finds nothing in the record"))
}

fn wrong(message: impl Into<String>) -> Rejection {
    Rejection {
        kind: RejectionKind::WrongShape,
        message: message.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JSON: Option<Media> = Some(Media::Json);
    const CSV: Option<Media> = Some(Media::Csv);

    fn rows(records: Option<Media>, requests: Option<Media>) -> Rows {
        Rows {
            records,
            requests,
            features: Vec::new(),
            input_filter: Path::read("$").unwrap(),
            target_model: None,
            are_packed: false,
        }
    }

    fn row(rows: &Rows, record: &'static str) -> Result<String, String> {
        let row = rows.row(&Bytes::from_static(record.as_bytes()));
        let text = |row: Row| String::from_utf8(row.data.to_vec()).unwrap();
        row.map(text).map_err(|rejection| {
            assert_eq!(rejection.kind, RejectionKind::WrongShape);
            rejection.message
        })
    }

    #[test]
    fn features_make_a_csv_row_or_a_json_array() {
        const RECORD: &str = r#"{"amount":2731.360,"hour":5,"name":"a, \"b\"","abroad":true,"none":null,"list":[1]}"#;
        let features = |paths, requests| Rows {
            features: Path::read_list(paths).unwrap(),
            ..rows(JSON, requests)
        };
        let all = "$.amount,$.hour,$.name,$.abroad,$.none,$.list[0]";
        assert_eq!(
            row(&features(all, CSV), RECORD).unwrap(),
            "2731.360,5,\"a, \"\"b\"\"\",1,,1"
        );
        let array = r#"[2731.360,5,"a, \"b\"",true,null,1]"#;
        assert_eq!(row(&features(all, JSON), RECORD).unwrap(), array);
        for (paths, record, expected) in [
            (
                "$.amount,$.absent",
                RECORD,
                "FEATURES $.absent finds nothing in the record",
            ),
            (
                "$.list",
                RECORD,
                "FEATURES $.list finds an object or an array, which is no CSV column",
            ),
            ("$.amount", "[1]", "FEATURES $.amount finds nothing in the record"),
            (
                "$.amount",
                "no",
                "the record is no JSON: expected ident at line 1 column 2",
            ),
        ] {
            assert_eq!(row(&features(paths, CSV), record).unwrap_err(), expected);
        }
    }

    #[test]
    fn the_input_filter_chooses_what_the_model_gets() {
        let filtered = |path, media| Rows {
            input_filter: Path::read(path).unwrap(),
            ..rows(media, media)
        };
        assert_eq!(
            row(&filtered("$.x", JSON), r#"{"x":{"y":1.0}}"#).unwrap(),
            "{\"y\":1.0}"
        );
        assert_eq!(
            row(&filtered("$['x','y']", JSON), r#"{"y":1,"z":2}"#).unwrap(),
            "{\"y\":1}"
        );
        assert_eq!(row(&filtered("$[1:]", CSV), "id,1,\"a,b\"\r\n").unwrap(), "1,\"a,b\"");
        for (path, media, record) in [("$.x", JSON, "{}"), ("$[3]", CSV, "1,2,3"), ("$[0]", CSV, "1\n2")] {
            let message = row(&filtered(path, media), record).unwrap_err();
            assert_eq!(message, format!("INPUT_FILTER {path} finds nothing in the record"));
        }
    }

    #[test]
    fn a_record_names_its_model() {
        let by = |path, media| Rows {
            target_model: Some(Path::read(path).unwrap()),
            ..rows(media, media)
        };
        let target = |rows: &Rows, record: &'static str| {
            let row = rows
                .row(&Bytes::from_static(record.as_bytes()))
                .map_err(|rejection| rejection.message)?;
            assert_eq!(row.data, record, "the model gets all of it");
            Ok::<_, String>(row.target_model.unwrap().to_string())
        };
        assert_eq!(target(&by("$.m", JSON), r#"{"m":"a.tar.gz"}"#).unwrap(), "a.tar.gz");
        assert_eq!(target(&by("$[-1]", CSV), "1,b.tar.gz").unwrap(), "b.tar.gz");
        for record in ["{}", r#"{"m":7}"#, r#"{"m":null}"#] {
            let message = target(&by("$.m", JSON), record).unwrap_err();
            assert_eq!(message, "TARGET_MODEL $.m finds no text in the record");
        }
        assert!(
            target(&by("$.m", JSON), r#"{"m":"a\nb"}"#)
                .unwrap_err()
                .contains("printable")
        );
    }

    #[test]
    fn a_row_among_others_is_one_row_or_rejected() {
        let packed = |media| Rows {
            are_packed: true,
            ..rows(media, media)
        };
        let lines = packed(Some(Media::JsonLines));
        assert_eq!(row(&lines, "{\"a\":\n1}\r\n").unwrap(), "{\"a\": 1}");
        assert_eq!(row(&lines, "no json, for the endpoint to refuse").unwrap().len(), 35);
        assert!(
            row(&lines, "{\"a\":1}\n{\"a\":2}")
                .unwrap_err()
                .starts_with("the record is no JSON")
        );
        assert_eq!(row(&lines, " ").unwrap_err(), "the record is an empty line");
        assert_eq!(row(&packed(CSV), "1,\"a\nb\"\r\n").unwrap(), "1,\"a\nb\"");
        for record in ["1\n2", "1,\"a", "", "\n"] {
            assert_eq!(
                row(&packed(CSV), record).unwrap_err(),
                "the record is no single CSV row"
            );
        }
        assert_eq!(row(&packed(JSON), "{\"a\":\n1}").unwrap(), "{\"a\":\n1}");
        for record in ["1],\"x\":[2", "1,2", ""] {
            assert!(
                row(&packed(JSON), record)
                    .unwrap_err()
                    .starts_with("the record is no JSON")
            );
        }
        assert_eq!(
            row(&rows(CSV, CSV), "1\n2").unwrap(),
            "1\n2",
            "alone, it is the endpoint's to judge"
        );
    }
}
