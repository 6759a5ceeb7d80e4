//! Reads and writes single CSV rows (RFC 4180).

use std::io::Read as _;

use csv::{ByteRecord, ReaderBuilder, StringRecord, Terminator, WriterBuilder};

/// Returns the row without the line break at its end.
pub fn trim_line_break(row: &[u8]) -> &[u8] {
    let row = row.strip_suffix(b"\n").unwrap_or(row);
    row.strip_suffix(b"\r").unwrap_or(row)
}

/// Returns true if `row` is exactly one row: it is not empty, its quotes are closed, and it has no line break outside
/// of quotes.
pub fn is_single_row(row: &[u8]) -> bool {
    // Nearly all rows have neither quotes nor line breaks and need not be parsed.
    let needs_parsing = || memchr::memchr3(b'"', b'\n', b'\r', row).is_some();
    !row.trim_ascii().is_empty() && (!needs_parsing() || parse_row(row).is_some())
}

/// Returns the columns of a row, without their quotes. A line break at the end is allowed. Returns `None` if `row` is
/// not a single row.
pub fn columns(row: &str) -> Option<Vec<String>> {
    let record = StringRecord::from_byte_record(parse_row(trim_line_break(row.as_bytes()))?).ok()?;
    Some(record.iter().map(str::to_owned).collect())
}

/// Returns a row of these columns, with quotes where they are needed, and without a line break at the end.
pub fn write<C: AsRef<str>>(columns: impl IntoIterator<Item = C>) -> String {
    let mut writer = WriterBuilder::new()
        .terminator(Terminator::Any(b'\n'))
        .from_writer(Vec::new());
    let columns = columns.into_iter().map(|column| column.as_ref().as_bytes().to_vec());
    writer.write_record(columns).expect("a write to memory cannot fail");
    let row = writer.into_inner().expect("a write to memory cannot fail");
    String::from_utf8(trim_line_break(&row).to_vec()).expect("a row of text columns is text")
}

/// Parses a single row. To check that it is exactly one, appends a sentinel line. If the sentinel is not exactly the
/// second record, the row has an unclosed quote or a line break.
fn parse_row(row: &[u8]) -> Option<ByteRecord> {
    const SENTINEL: &[u8] = b"\nnext";
    // The reader would skip empty lines.
    let is_line_break = |byte: Option<&u8>| matches!(byte, Some(b'\n' | b'\r'));
    if is_line_break(row.first()) || is_line_break(row.last()) {
        return None;
    }
    let mut records = ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .buffer_capacity(row.len() + SENTINEL.len())
        .from_reader(row.chain(SENTINEL))
        .into_byte_records();
    let record = records.next()?.ok()?;
    let second = records.next()?.ok()?;
    (second.as_slice() == b"next" && second.len() == 1 && records.next().is_none()).then_some(record)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_single_complete_row_is_accepted() {
        for row in [
            "1,2",
            "",
            " ",
            "1,\"a\nb\"",
            "\"say \"\"hi\"\"\",2",
            "5\" pipe,2",
            "next",
            "\"\"",
            ",",
        ] {
            assert_eq!(is_single_row(row.as_bytes()), !row.trim().is_empty(), "{row:?}");
        }
        for rows in [
            "1\n2",
            "1\r2",
            "1,\"a",
            "1\n\n",
            "\n1\n2",
            "\"a\"\nnext",
            "1,\"a\"\"",
            "\n",
        ] {
            assert!(!is_single_row(rows.as_bytes()), "{rows:?}");
            assert_eq!(columns(rows), None, "{rows:?}");
        }
        assert!(is_single_row(b"\xE9,1"), "a row may be Latin-1");
    }

    #[test]
    fn columns_are_read_back_as_written() {
        let columns_in = ["a", "", "1,5", "say \"hi\"", "two\nlines", "é"];
        let row = write(columns_in);
        assert_eq!(row, "a,,\"1,5\",\"say \"\"hi\"\"\",\"two\nlines\",é");
        assert_eq!(columns(&row).unwrap(), columns_in);
        assert_eq!(trim_line_break(b"1,2\r\n"), b"1,2");
    }
}
