//! The formats of records, requests and responses: media types, JSON, CSV, `JSONPath` and event patterns. Independent
//! of records and requests themselves.

pub mod csv;
pub mod json_path;
pub mod json_record;
pub mod lazy_json;
pub mod media_type;
pub mod pattern;

/// Returns the bytes without the byte order mark with which some programs begin UTF-8. Parsers may ignore it:
/// <https://www.rfc-editor.org/rfc/rfc8259#section-8.1>.
pub fn without_byte_order_mark(text: &[u8]) -> &[u8] {
    text.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(text)
}
