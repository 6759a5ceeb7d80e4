//! The formats of records, requests and responses: media types, JSON, CSV and `JSONPath`. Independent of records and
//! requests themselves.

pub mod csv;
pub mod json_path;
pub mod lazy_json;
pub mod media_type;
