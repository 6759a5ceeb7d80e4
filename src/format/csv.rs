//! Reads and writes single CSV rows (RFC 4180). Reading a row takes no memory for columns that are not selected.

use std::borrow::Cow;
use std::iter;

use memchr::{memchr, memchr3};

const BYTE_ORDER_MARK: &[u8] = "\u{FEFF}".as_bytes();

/// The initial capacity of a row that is written. It fits most rows.
const ROW_CAPACITY_BYTES: usize = 64;

/// A column without its quotes.
pub type Column<'r> = Cow<'r, [u8]>;

/// Returns the row without the line break at its end.
pub fn trim_line_break(row: &[u8]) -> &[u8] {
    let row = row.strip_suffix(b"\n").unwrap_or(row);
    row.strip_suffix(b"\r").unwrap_or(row)
}

/// Returns true if `row` is exactly one row: it is not empty, its quotes are closed, and it has no line break outside
/// of quotes.
pub fn is_single_row(row: &[u8]) -> bool {
    // Nearly all rows have neither quotes nor line breaks and need not be parsed.
    let needs_parsing = || memchr3(b'"', b'\n', b'\r', row).is_some();
    !row.trim_ascii().is_empty() && (!needs_parsing() || count_columns(row).is_some())
}

/// Returns the number of columns of a row. Returns `None` if `row` is empty or is not a single row.
pub fn count_columns(row: &[u8]) -> Option<usize> {
    let count = columns(row).try_fold(0, |count, column| column.map(|_| count + 1));
    count.filter(|count| *count > 0)
}

/// Returns the columns of a row, without their quotes. If `row` is not a single row, one of them is `None`.
pub fn columns(row: &[u8]) -> impl Iterator<Item = Option<Column<'_>>> {
    let row = row.strip_prefix(BYTE_ORDER_MARK).unwrap_or(row);
    let mut rest = (!row.is_empty()).then_some(row);
    iter::from_fn(move || {
        let column = split_column(rest.take()?);
        Some(column.map(|(column, after)| {
            rest = after;
            column
        }))
    })
}

/// Returns the first column of a row, and the rest of the row after the comma if there is one. Returns `None` if the
/// column's quotes are not closed, or if a line break ends it.
fn split_column(row: &[u8]) -> Option<(Column<'_>, Option<&[u8]>)> {
    let (quoted, row) = match row.strip_prefix(b"\"") {
        Some(inside) => unquote(inside)?,
        None => (Vec::new(), row),
    };
    let (literal, rest) = row.split_at(memchr3(b',', b'\n', b'\r', row).unwrap_or(row.len()));
    let rest = match rest.split_first() {
        None => None,
        Some((b',', after)) => Some(after),
        Some(_) => return None,
    };
    let column = if quoted.is_empty() {
        Cow::Borrowed(literal)
    } else {
        Cow::Owned([&quoted, literal].concat())
    };
    Some((column, rest))
}

/// Returns the text up to the closing quote, and the rest after the quote. Returns `None` if there is no such quote.
/// Two quotes are an escaped quote.
fn unquote(mut inside: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut text = Vec::new();
    loop {
        let (part, quote) = inside.split_at(memchr(b'"', inside)?);
        text.extend_from_slice(part);
        let after = quote.strip_prefix(b"\"")?;
        match after.strip_prefix(b"\"") {
            Some(more) => inside = more,
            None => return Some((text, after)),
        }
        text.push(b'"');
    }
}

/// Writes a row, with quotes where they are needed, and without a line break at the end.
#[derive(Debug)]
pub struct RowWriter {
    row: Vec<u8>,
    columns: usize,
}

impl Default for RowWriter {
    fn default() -> Self {
        Self {
            row: Vec::with_capacity(ROW_CAPACITY_BYTES),
            columns: 0,
        }
    }
}

impl RowWriter {
    /// Appends a column, which must be text.
    pub fn push(&mut self, column: &[u8]) {
        if self.columns > 0 {
            self.row.push(b',');
        }
        write_column(&mut self.row, column);
        self.columns += 1;
    }

    /// Returns the row. A row that is only an empty column is two quotes, because an empty line is not a row.
    pub fn finish(mut self) -> String {
        if self.columns == 1 && self.row.is_empty() {
            self.row.extend_from_slice(b"\"\"");
        }
        String::from_utf8(self.row).expect("a row of text columns is text")
    }
}

/// Returns a row of these columns.
pub fn write(columns: impl IntoIterator<Item = impl AsRef<[u8]>>) -> String {
    let mut row = RowWriter::default();
    for column in columns {
        row.push(column.as_ref());
    }
    row.finish()
}

fn write_column(row: &mut Vec<u8>, column: &[u8]) {
    if !column.iter().any(|byte| matches!(byte, b',' | b'"' | b'\n' | b'\r')) {
        return row.extend_from_slice(column);
    }
    row.push(b'"');
    for part in column.split_inclusive(|byte| *byte == b'"') {
        row.extend_from_slice(part);
        if part.ends_with(b"\"") {
            row.push(b'"');
        }
    }
    row.push(b'"');
}

#[cfg(test)]
mod tests {
    use csv::{ByteRecord, ReaderBuilder, Terminator, WriterBuilder};
    use proptest::prelude::*;

    use super::*;

    fn columns_of(row: &str) -> Option<Vec<String>> {
        let column = |column: Option<Column<'_>>| Some(String::from_utf8(column?.into_owned()).unwrap());
        count_columns(row.as_bytes())?;
        columns(row.as_bytes()).map(column).collect()
    }

    /// Reads a row with the `csv` crate. A line after the row shows whether the row is exactly one.
    fn columns_by_the_crate(row: &str) -> Option<Vec<String>> {
        let row = row.trim_start_matches('\u{FEFF}');
        if row.starts_with(['\n', '\r']) || row.ends_with(['\n', '\r']) {
            return None;
        }
        let rows = format!("{row}\nnext");
        let mut reader = ReaderBuilder::new();
        let reader = reader.has_headers(false).flexible(true).from_reader(rows.as_bytes());
        let records: Vec<_> = reader.into_byte_records().collect::<Result<_, _>>().unwrap();
        let [record, next] = records.as_slice() else {
            return None;
        };
        let text = |column: &[u8]| String::from_utf8(column.to_vec()).unwrap();
        (next == &ByteRecord::from(vec!["next"])).then(|| record.iter().map(text).collect())
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_row_is_read_as_the_csv_crate_reads_it(row in "\u{FEFF}?[a\",\n\r é]{0,12}") {
            prop_assert_eq!(columns_of(&row), columns_by_the_crate(&row));
        }

        #[test]
        fn a_row_is_written_as_the_csv_crate_writes_it(columns in prop::collection::vec("[a\",\n\r é]{0,4}", 1..5)) {
            let mut writer = WriterBuilder::new().terminator(Terminator::Any(b'\n')).from_writer(Vec::new());
            writer.write_record(&columns).unwrap();
            let by_the_crate = writer.into_inner().unwrap();
            let row = write(&columns);
            prop_assert_eq!(row.as_bytes(), by_the_crate.strip_suffix(b"\n").unwrap());
            prop_assert_eq!(columns_of(&row), Some(columns));
        }
    }

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
            assert_eq!(columns_of(rows), None, "{rows:?}");
        }
        assert!(is_single_row(b"\xE9,1"), "a row may be Latin-1");
    }

    #[test]
    fn columns_are_read_back_as_written() {
        let columns_in = ["a", "", "1,5", "say \"hi\"", "two\nlines", "é"];
        let row = write(columns_in);
        assert_eq!(row, "a,,\"1,5\",\"say \"\"hi\"\"\",\"two\nlines\",é");
        assert_eq!(columns_of(&row).unwrap(), columns_in);
        assert_eq!(trim_line_break(b"1,2\r\n"), b"1,2");
    }
}
