//! The media types whose format the function can read and write.

/// The format of a record or a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MediaType {
    /// `application/json`.
    Json,
    /// One JSON value per line: `application/jsonlines`, the name that `SageMaker` uses, and its other names.
    JsonLines,
    /// `text/csv`.
    Csv,
}

impl MediaType {
    /// Returns the format of a media type, ignoring its parameters. Returns `None` if the format is not known.
    pub fn of(media_type: &str) -> Option<Self> {
        let name = media_type.split(';').next().unwrap_or_default().trim();
        let is = |names: &[&str]| names.iter().any(|it| name.eq_ignore_ascii_case(it));
        if is(&["application/json"]) {
            Some(Self::Json)
        } else if is(&["application/jsonlines", "application/jsonl", "application/x-ndjson"]) {
            Some(Self::JsonLines)
        } else if is(&["text/csv"]) {
            Some(Self::Csv)
        } else {
            None
        }
    }
}
