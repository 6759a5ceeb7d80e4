//! What stands around and between the rows of a request's body.

use bytes::Bytes;

use crate::inference::format::media_type::Media;

/// A body's shape.
#[derive(Debug, PartialEq, Eq)]
pub struct Frame {
    before: String,
    between: &'static str,
    after: &'static str,
    /// Whether there may be several rows in it.
    pub(super) is_of_many: bool,
}

impl Frame {
    /// Nothing but the row.
    pub const NONE: Self = Self {
        before: String::new(),
        between: "",
        after: "",
        is_of_many: false,
    };

    /// One row, below the `header` where there is one.
    pub fn of_one(header: Option<&str>) -> Self {
        Self {
            before: first_line(header),
            ..Self::NONE
        }
    }

    /// Many rows: a line each, below the `header` of CSV where there is one, or an element each of `{"instances":[…]}`.
    pub fn of_many(media: Media, header: Option<&str>) -> Self {
        let (before, between, after) = match media {
            Media::Csv | Media::JsonLines => (first_line(header), "\n", ""),
            Media::Json => ("{\"instances\":[".to_owned(), ",", "]}"),
        };
        Self {
            before,
            between,
            after,
            is_of_many: true,
        }
    }

    pub(super) fn bytes_around(&self) -> usize {
        self.before.len() + self.after.len()
    }

    pub(super) fn bytes_between(&self) -> usize {
        self.between.len()
    }

    pub(super) fn around<'r>(&self, rows: impl ExactSizeIterator<Item = &'r Bytes> + Clone) -> Bytes {
        if self.bytes_around() == 0 && rows.len() == 1 {
            // Nothing to add: a row is seldom copied.
            return rows.clone().next().cloned().unwrap_or_default();
        }
        let of_rows: usize = rows.clone().map(|row| row.len() + self.between.len()).sum();
        let mut body = Vec::with_capacity(self.bytes_around() + of_rows);
        body.extend_from_slice(self.before.as_bytes());
        for (place, row) in rows.enumerate() {
            if place > 0 {
                body.extend_from_slice(self.between.as_bytes());
            }
            body.extend_from_slice(row);
        }
        body.extend_from_slice(self.after.as_bytes());
        body.into()
    }
}

fn first_line(header: Option<&str>) -> String {
    header.map(|header| format!("{header}\n")).unwrap_or_default()
}
