//! The form of a request's body: the text around the model inputs.

use bytes::Bytes;

use super::json_template::{JsonTemplate, Piece, Placeholder};
use crate::format::media_type::MediaType;

/// The form of a body.
#[derive(Debug, PartialEq, Eq)]
pub struct BodyTemplate {
    /// The text, the number of model inputs, and in place of each other value all model inputs.
    pieces: Vec<Piece>,
    /// The text between two model inputs.
    separator: &'static str,
    /// The size of the text, in bytes.
    text_bytes: usize,
    /// How often the body holds the number of model inputs.
    counts: usize,
    /// How often the body holds all model inputs.
    repeats: usize,
    /// Whether the body is a list of model inputs, even of a single one. Then the answer may be a list of predictions.
    pub(super) is_list: bool,
}

impl BodyTemplate {
    /// A body of one model input, after the CSV `header` line if there is one.
    pub fn single_record(header: Option<&str>) -> Self {
        Self::new(after_header(header, Placeholder::Record), "", false)
    }

    /// A body of several model inputs. For CSV and JSON Lines, each is a line, after the CSV `header` line if there is
    /// one. For JSON, each is an element of `{"instances":[…]}`.
    pub fn multi_record(media_type: MediaType, header: Option<&str>) -> Self {
        match media_type {
            MediaType::Csv | MediaType::JsonLines => Self::new(after_header(header, Placeholder::Records), "\n", true),
            MediaType::Json => {
                let template = JsonTemplate::of_request("instances", None).expect("the preset is valid");
                Self::json(&template)
            }
        }
    }

    /// A body in the form of a `REQUEST_TEMPLATE`.
    pub fn json(template: &JsonTemplate) -> Self {
        let (mut pieces, mut is_list) = (Vec::new(), false);
        for piece in template.pieces() {
            match piece {
                Piece::Value(Placeholder::Records | Placeholder::Rows) => {
                    is_list = true;
                    pieces.push(Piece::Text("[".to_owned()));
                    pieces.push(piece.clone());
                    pieces.push(Piece::Text("]".to_owned()));
                }
                Piece::Text(_) | Piece::Value(_) => pieces.push(piece.clone()),
            }
        }
        Self::new(pieces, ",", is_list)
    }

    fn new(pieces: Vec<Piece>, separator: &'static str, is_list: bool) -> Self {
        let (mut text_bytes, mut counts, mut repeats) = (0, 0, 0);
        for piece in &pieces {
            match piece {
                Piece::Text(text) => text_bytes += text.len(),
                Piece::Value(Placeholder::Count) => counts += 1,
                Piece::Value(_) => repeats += 1,
            }
        }
        Self {
            pieces,
            separator,
            text_bytes,
            counts,
            repeats,
            is_list,
        }
    }

    /// Returns the size of a body of `count` model inputs with `input_bytes` bytes in total.
    pub(super) fn body_bytes(&self, count: usize, input_bytes: usize) -> usize {
        let inputs = input_bytes + count.saturating_sub(1) * self.separator.len();
        let digits = count.checked_ilog10().unwrap_or(0) as usize + 1;
        self.text_bytes + self.counts * digits + self.repeats * inputs
    }

    /// Returns the body of these model inputs.
    pub(super) fn render<'i>(&self, inputs: &(impl ExactSizeIterator<Item = &'i Bytes> + Clone)) -> Bytes {
        if let ([Piece::Value(_)], 1, Some(input)) = (self.pieces.as_slice(), inputs.len(), inputs.clone().next()) {
            // Without text around it, the single input is the body and is not copied.
            return input.clone();
        }
        let input_bytes = inputs.clone().map(Bytes::len).sum();
        let mut body = Vec::with_capacity(self.body_bytes(inputs.len(), input_bytes));
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => body.extend_from_slice(text.as_bytes()),
                Piece::Value(Placeholder::Count) => body.extend_from_slice(inputs.len().to_string().as_bytes()),
                Piece::Value(_) => {
                    for (index, input) in inputs.clone().enumerate() {
                        if index > 0 {
                            body.extend_from_slice(self.separator.as_bytes());
                        }
                        body.extend_from_slice(input);
                    }
                }
            }
        }
        body.into()
    }
}

/// Returns the pieces of a body of lines, after the `header` line if there is one.
fn after_header(header: Option<&str>, inputs: Placeholder) -> Vec<Piece> {
    let header = header.map(|header| Piece::Text(format!("{header}\n")));
    header.into_iter().chain([Piece::Value(inputs)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_has_the_form_of_its_template_and_the_size_that_was_calculated() {
        for (template, count, expected) in [
            ("$records", 0, "[]"),
            ("array", 2, "[10,11]"),
            ("$record", 1, "10"),
            ("{\"x\":$row}", 1, "{\"x\":10}"),
            (
                "{\"$n\":$n,\"a\":$rows,\"b\":$rows}",
                3,
                "{\"$n\":3,\"a\":[10,11,12],\"b\":[10,11,12]}",
            ),
            ("[$n,$records]", 10, "[10,[10,11,12,13,14,15,16,17,18,19]]"),
        ] {
            let body_template = BodyTemplate::json(&JsonTemplate::of_request(template, None).unwrap());
            let inputs: Vec<_> = (10..10 + count)
                .map(|number: usize| Bytes::from(number.to_string()))
                .collect();
            assert_eq!(body_template.render(&inputs.iter()), expected);
            assert_eq!(body_template.body_bytes(count, 2 * count), expected.len());
        }
    }
}
