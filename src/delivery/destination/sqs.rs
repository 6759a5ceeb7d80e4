//! `sqs:URL`: a message for each line. In a FIFO queue, whose name ends with `.fifo`, a message's group is the partition
//! key of its record, and its deduplication identifier is the record's own, so that the queue itself drops what comes
//! again within five minutes.

use std::borrow::Cow;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::SendMessageBatchRequestEntry;

use super::OutputLine;
use super::batch_put::{BatchLimits, PutError, Service, client_config};
use crate::inference::sha256;

/// `SendMessageBatch` takes so many messages at once, and so many bytes in all:
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessageBatch.html>.
const ENTRIES_MAX: usize = 10;
/// One message may have as much, where the queue is not set up for less.
const BYTES_MAX: usize = 1024 * 1024;
/// So few messages a request need several requests at once, where the queue keeps no order.
const REQUESTS_AT_ONCE: usize = 8;
/// What a message's group and deduplication identifier may have in characters.
const IDENTIFIER_MAX: usize = 128;

/// A queue.
#[derive(Debug)]
pub struct Sqs {
    client: Client,
    url: String,
    is_fifo: bool,
}

impl Sqs {
    /// The queue behind `url`.
    pub fn new(environment: &aws_config::SdkConfig, url: String) -> Self {
        Self {
            client: Client::new(&client_config(environment)),
            is_fifo: url.strip_suffix(".fifo").is_some(),
            url,
        }
    }

    /// The limit in bytes that the line is too long for.
    pub(super) fn exceeded_limit(line: &str) -> Option<usize> {
        (body(line).len() > BYTES_MAX).then_some(BYTES_MAX)
    }

    fn message(&self, number: usize, line: &OutputLine) -> SendMessageBatchRequestEntry {
        let message = SendMessageBatchRequestEntry::builder()
            .id(number.to_string())
            .message_body(body(&line.text));
        let message = if self.is_fifo {
            message
                .message_group_id(identifier(&line.partition_key))
                .message_deduplication_id(identifier(&line.id))
        } else {
            message
        };
        message
            .build()
            .expect("an identifier and a body are all that a message needs")
    }
}

impl Service for Sqs {
    const NAME: &'static str = "sqs:";

    fn limits(&self) -> BatchLimits {
        BatchLimits {
            lines: ENTRIES_MAX,
            bytes: BYTES_MAX,
            concurrent_requests: if self.is_fifo { 1 } else { REQUESTS_AT_ONCE },
        }
    }

    fn size(line: &OutputLine) -> usize {
        body(&line.text).len()
    }

    async fn put(&self, lines: &[&OutputLine]) -> Result<Vec<Option<String>>, PutError> {
        let numbered = lines.iter().enumerate();
        let messages = numbered.map(|(number, line)| self.message(number, line)).collect();
        let request = self.client.send_message_batch().queue_url(&self.url);
        let answer = request.set_entries(Some(messages)).send().await;
        let answer = answer.map_err(|error| PutError::from_sdk_error(&error))?;
        let mut codes = vec![Some("the answer does not tell of it".to_owned()); lines.len()];
        let mut tell = |id: &str, code: Option<String>| {
            if let Some(slot) = id.parse().ok().and_then(|number: usize| codes.get_mut(number)) {
                *slot = code;
            }
        };
        for taken in answer.successful {
            tell(&taken.id, None);
        }
        for refused in answer.failed {
            tell(&refused.id, Some(refused.code));
        }
        Ok(codes)
    }
}

/// A message may hold all but a few characters, of which only two can come in a line: in JSON these stand in strings,
/// where they may be escaped.
fn body(line: &str) -> Cow<'_, str> {
    if line.contains(['\u{fffe}', '\u{ffff}']) {
        return Cow::Owned(line.replace('\u{fffe}', "\\ufffe").replace('\u{ffff}', "\\uffff"));
    }
    Cow::Borrowed(line)
}

/// A group or deduplication identifier: the text itself where SQS takes it as such, else its hash.
fn identifier(text: &str) -> String {
    let fits = (1..=IDENTIFIER_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    if fits {
        return text.to_owned();
    }
    sha256(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identifier_is_the_text_where_sqs_takes_it() {
        assert_eq!(identifier("card-7"), "card-7");
        for odd in ["", "two words", "é", &"9".repeat(129)] {
            let hashed = identifier(odd);
            assert_eq!(hashed.len(), 64, "{odd}");
            assert_ne!(hashed, identifier(&format!("{odd} ")));
        }
    }

    #[test]
    fn characters_that_sqs_refuses_are_escaped() {
        assert_eq!(body("{\"a\":\"b\"}"), "{\"a\":\"b\"}");
        let escaped = body("{\"a\":\"\u{ffff}\u{fffe}\"}");
        let value: serde_json::Value = serde_json::from_str(&escaped).unwrap();
        assert_eq!(value["a"], "\u{ffff}\u{fffe}");
        assert!(escaped.is_ascii());
    }
}
