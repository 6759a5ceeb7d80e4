//! CSV rows (RFC 4180): what is one, its columns, and how one is made.

use std::io::Read as _;

use csv::{ByteRecord, ReaderBuilder, StringRecord, Terminator, WriterBuilder};

use crate::inference::format::json_path::Path;

/// A row without the line break at its end.
pub fn trimmed(row: &[u8]) -> &[u8] {
    let row = row.strip_suffix(b"\n").unwrap_or(row);
    row.strip_suffix(b"\r").unwrap_or(row)
}

/// Whether it is one row: not empty, its quotes closed, without a line break outside of them.
pub fn is_one(row: &[u8]) -> bool {
    // Nearly every row is seen to be one by this alone.
    let may_be_more = || memchr::memchr3(b'"', b'\n', b'\r', row).is_some();
    !row.trim_ascii().is_empty() && (!may_be_more() || read(row).is_some())
}

/// Its columns, quotes undone, whether a line break follows or not; `None` if it is no single row.
pub fn columns(row: &str) -> Option<Vec<String>> {
    let record = StringRecord::from_byte_record(read(trimmed(row.as_bytes()))?).ok()?;
    Some(record.iter().map(str::to_owned).collect())
}

/// A row of the columns that the path selects; `None` if it selects none, or there is no single row.
pub fn pick(row: &str, path: &Path) -> Option<String> {
    let columns = columns(row)?;
    let chosen = path.columns(columns.len())?;
    Some(write(chosen.iter().filter_map(|place| columns.get(*place))))
}

/// The row of these columns, with quotes where they are needed, and no line break at its end.
pub fn write<C: AsRef<str>>(columns: impl IntoIterator<Item = C>) -> String {
    let mut writer = WriterBuilder::new()
        .terminator(Terminator::Any(b'\n'))
        .from_writer(Vec::new());
    let columns = columns.into_iter().map(|column| column.as_ref().as_bytes().to_vec());
    writer.write_record(columns).expect("memory takes everything");
    let row = writer.into_inner().expect("memory takes everything");
    String::from_utf8(trimmed(&row).to_vec()).expect("columns of text make text")
}

/// What comes after a row shows whether the row ends where it should: a quote that is not closed takes it in, a line break
/// makes it the third.
fn read(row: &[u8]) -> Option<ByteRecord> {
    const NEXT: &[u8] = b"\nnext";
    // The reader passes over empty lines.
    let ends_in = |end: Option<&u8>| matches!(end, Some(b'\n' | b'\r'));
    if ends_in(row.first()) || ends_in(row.last()) {
        return None;
    }
    let mut records = ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .buffer_capacity(row.len() + NEXT.len())
        .from_reader(row.chain(NEXT))
        .into_byte_records();
    let record = records.next()?.ok()?;
    let next = records.next()?.ok()?;
    (next.as_slice() == b"next" && next.len() == 1 && records.next().is_none()).then_some(record)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_ends_where_its_bytes_end() {
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
            assert_eq!(is_one(row.as_bytes()), !row.trim().is_empty(), "{row:?}");
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
            assert!(!is_one(rows.as_bytes()), "{rows:?}");
            assert_eq!(columns(rows), None, "{rows:?}");
        }
        assert!(is_one(b"\xE9,1"), "Latin-1 has rows as well");
    }

    #[test]
    fn columns_are_read_as_they_were_written() {
        let columns_in = ["a", "", "1,5", "say \"hi\"", "two\nlines", "é"];
        let row = write(columns_in);
        assert_eq!(row, "a,,\"1,5\",\"say \"\"hi\"\"\",\"two\nlines\",é");
        assert_eq!(columns(&row).unwrap(), columns_in);
        assert_eq!(trimmed(b"1,2\r\n"), b"1,2");
    }
}
