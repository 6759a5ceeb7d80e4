//! The formats of records, requests and responses: media types, JSON, CSV and `JSONPath`. Knows nothing of records.

pub mod csv;
pub mod json_path;
pub mod lazy_json;
pub mod media_type;
