//! The fixed parts of a request's body: the text before, between and after the model inputs.

use bytes::Bytes;

use crate::format::media_type::MediaType;

/// The fixed parts of a body.
#[derive(Debug, PartialEq, Eq)]
pub struct BodyTemplate {
    prefix: String,
    separator: &'static str,
    suffix: &'static str,
    /// Whether the body may hold several model inputs (`BATCH_STRATEGY=MultiRecord`).
    pub(super) is_multi_record: bool,
}

impl BodyTemplate {
    /// A body that consists of one model input.
    pub const NONE: Self = Self {
        prefix: String::new(),
        separator: "",
        suffix: "",
        is_multi_record: false,
    };

    /// A body of one model input, after the CSV `header` line if there is one.
    pub fn single_record(header: Option<&str>) -> Self {
        Self {
            prefix: header_line(header),
            ..Self::NONE
        }
    }

    /// A body of several model inputs. For CSV and JSON Lines, each is a line, after the CSV `header` line if there is
    /// one. For JSON, each is an element of `{"instances":[…]}`.
    pub fn multi_record(media_type: MediaType, header: Option<&str>) -> Self {
        let (prefix, separator, suffix) = match media_type {
            MediaType::Csv | MediaType::JsonLines => (header_line(header), "\n", ""),
            MediaType::Json => ("{\"instances\":[".to_owned(), ",", "]}"),
        };
        Self {
            prefix,
            separator,
            suffix,
            is_multi_record: true,
        }
    }

    /// Returns the length of the prefix and the suffix, in bytes.
    pub(super) fn fixed_bytes(&self) -> usize {
        self.prefix.len() + self.suffix.len()
    }

    /// Returns the length of the separator, in bytes.
    pub(super) fn separator_bytes(&self) -> usize {
        self.separator.len()
    }

    /// Returns the body of these model inputs.
    pub(super) fn render<'i>(&self, inputs: impl ExactSizeIterator<Item = &'i Bytes> + Clone) -> Bytes {
        if self.fixed_bytes() == 0 && inputs.len() == 1 {
            // Without fixed parts, the single input is the body and is not copied.
            return inputs.clone().next().cloned().unwrap_or_default();
        }
        let input_bytes: usize = inputs.clone().map(|input| input.len() + self.separator.len()).sum();
        let mut body = Vec::with_capacity(self.fixed_bytes() + input_bytes);
        body.extend_from_slice(self.prefix.as_bytes());
        for (index, input) in inputs.enumerate() {
            if index > 0 {
                body.extend_from_slice(self.separator.as_bytes());
            }
            body.extend_from_slice(input);
        }
        body.extend_from_slice(self.suffix.as_bytes());
        body.into()
    }
}

fn header_line(header: Option<&str>) -> String {
    header.map(|header| format!("{header}\n")).unwrap_or_default()
}
