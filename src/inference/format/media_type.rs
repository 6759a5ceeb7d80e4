//! The media types whose shape the function knows.

/// What a body is, by its media type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Media {
    /// `application/json`.
    Json,
    /// A JSON value a line: `application/jsonlines`, as `SageMaker` calls it, and its other names.
    JsonLines,
    /// `text/csv`.
    Csv,
}

impl Media {
    /// What a media type stands for, whatever its parameters; `None` if the function does not know its shape.
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
