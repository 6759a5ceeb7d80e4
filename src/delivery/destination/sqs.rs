//! `sqs:URL`: one message for each line.
//!
//! The name of a FIFO queue ends with `.fifo`. There, a message's group is its record's partition key, and its
//! deduplication ID is the record's ID, so that the queue drops duplicates within five minutes.

use std::borrow::Cow;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::SendMessageBatchRequestEntry;

use super::OutputLine;
use super::batch_put::{BatchLimits, LastAccepted, PutError, Service, client_config};
use crate::inference::sha256;

/// The maximum number of messages in a `SendMessageBatch` request:
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessageBatch.html>.
const MESSAGES_MAX: usize = 10;
/// The maximum size of a `SendMessageBatch` request, in bytes. One message may have the same size, unless the queue is
/// configured for less.
pub(super) const BYTES_MAX: usize = 1024 * 1024;
/// The number of concurrent requests. It makes up for the few messages in a request.
const CONCURRENT_REQUESTS: usize = 8;
/// The maximum length of a message group ID and of a message deduplication ID, in characters.
const IDENTIFIER_MAX: usize = 128;

/// An SQS queue.
#[derive(Debug)]
pub struct Sqs {
    client: Client,
    url: String,
    is_fifo: bool,
    last_accepted: LastAccepted,
}

impl Sqs {
    /// Creates a destination for the queue at `url`.
    pub fn new(environment: &aws_config::SdkConfig, url: String) -> Self {
        Self {
            client: Client::new(&client_config(environment)),
            is_fifo: url.strip_suffix(".fifo").is_some(),
            url,
            last_accepted: LastAccepted::default(),
        }
    }

    /// Returns whether a message can have this body: a character at least, and only characters that SQS allows. Of the
    /// others, the two that can occur in JSON are [escaped](body).
    pub(super) fn allows(text: &str) -> bool {
        let is_allowed = |character: char| match character {
            '\t' | '\n' | '\r' => true,
            '\0'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => false,
            _ => true,
        };
        !text.is_empty() && text.chars().all(is_allowed)
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
        message.build().expect("a message requires only an ID and a body")
    }
}

impl Service for Sqs {
    const NAME: &'static str = "sqs:";

    fn limits(&self) -> BatchLimits {
        BatchLimits {
            lines: MESSAGES_MAX,
            bytes: BYTES_MAX,
            concurrent_requests: CONCURRENT_REQUESTS,
        }
    }

    fn last_accepted(&self) -> &LastAccepted {
        &self.last_accepted
    }

    fn size(line: &OutputLine) -> usize {
        body(&line.text).len()
    }

    /// In a FIFO queue, a message overtakes an earlier one of its group if the queue accepts only the later one. So a
    /// message is sent after the earlier messages of its group were accepted.
    fn group<'l>(&self, line: &'l OutputLine) -> Option<&'l str> {
        self.is_fifo.then_some(&*line.partition_key)
    }

    async fn put(&self, lines: &[&OutputLine]) -> Result<Vec<Option<PutError>>, PutError> {
        let numbered = lines.iter().enumerate();
        let messages = numbered.map(|(number, line)| self.message(number, line)).collect();
        let request = self.client.send_message_batch().queue_url(&self.url);
        let response = request.set_entries(Some(messages)).send().await;
        let response = response.map_err(|error| PutError::from_sdk_error(&error))?;
        let mut errors = vec![Some(PutError::transient("the response has no result for it")); lines.len()];
        let mut set_error = |id: &str, error: Option<PutError>| {
            if let Some(slot) = id.parse().ok().and_then(|number: usize| errors.get_mut(number)) {
                *slot = error;
            }
        };
        for accepted in response.successful {
            set_error(&accepted.id, None);
        }
        for failed in response.failed {
            let error = if failed.sender_fault {
                PutError::of_line(&failed.code, failed.message())
            } else {
                PutError::transient(&failed.code)
            };
            set_error(&failed.id, Some(error));
        }
        Ok(errors)
    }
}

/// Returns the message body for a line. Of the few characters that SQS does not allow in a message, only two can occur
/// in a line. JSON has them only in strings, where they can be escaped.
fn body(line: &str) -> Cow<'_, str> {
    if line.contains(['\u{fffe}', '\u{ffff}']) {
        return Cow::Owned(line.replace('\u{fffe}', "\\ufffe").replace('\u{ffff}', "\\uffff"));
    }
    Cow::Borrowed(line)
}

/// Returns a group ID or deduplication ID: the text itself if SQS allows it as an ID, otherwise its hash.
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
    fn an_identifier_is_the_text_if_sqs_allows_it_and_its_hash_otherwise() {
        assert_eq!(identifier("card-7"), "card-7");
        for odd in ["", "two words", "é", &"9".repeat(129)] {
            let hashed = identifier(odd);
            assert_eq!(hashed.len(), 64, "{odd}");
            assert_ne!(hashed, identifier(&format!("{odd} ")));
        }
    }

    #[test]
    fn characters_that_sqs_does_not_allow_are_escaped() {
        assert_eq!(body("{\"a\":\"b\"}"), "{\"a\":\"b\"}");
        let escaped = body("{\"a\":\"\u{ffff}\u{fffe}\"}");
        let value: serde_json::Value = serde_json::from_str(&escaped).unwrap();
        assert_eq!(value["a"], "\u{ffff}\u{fffe}");
        assert!(escaped.is_ascii());
    }
}
