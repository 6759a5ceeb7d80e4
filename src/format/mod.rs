//! The formats of records, requests and responses: media types, JSON, CSV, `JSONPath` and event patterns. Independent
//! of records and requests themselves.

pub mod csv;
pub mod json_path;
pub mod json_record;
pub mod lazy_json;
pub mod media_type;
pub mod pattern;
