//! Reads an SQS queue. A message stays invisible to other consumers while its records are in flight. It is deleted when
//! all of them have succeeded, and otherwise made visible again.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::rc::{Rc, Weak};

use anyhow::{Context as _, Result, ensure};
use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::{
    ChangeMessageVisibilityBatchRequestEntry, DeleteMessageBatchRequestEntry, Message, MessageSystemAttributeName,
};

use super::aws::{Services, error_with_causes};
use super::dead_letter::{DeadLetter, Origin, Version};
use super::source::SourceItem;

/// The maximum number of messages in a batch request.
const BATCH_MAX: usize = 10;
/// The wait time of a receive, in seconds. With a wait, SQS asks all servers of the queue, so an empty response means
/// that the queue is empty.
const RECEIVE_WAIT_S: i32 = 1;
/// The number of consecutive receives that return only known messages after which the queue counts as read.
const REPEATED_RECEIVES_MAX: usize = 20;

/// A queue that is read to its end.
#[derive(Debug)]
pub(super) struct Queue {
    shared: Rc<Shared>,
    visibility_timeout_s: i32,
    /// All messages that were received, by ID. The reference is empty once a message is no longer in flight.
    seen: HashMap<String, Weak<HeldMessage>>,
    has_failed: bool,
    received: std::vec::IntoIter<Message>,
}

/// The state that a queue and its messages share.
#[derive(Debug)]
struct Shared {
    client: Client,
    url: String,
    /// The receipts of messages whose records have all succeeded.
    to_delete: RefCell<Vec<String>>,
    /// The receipts of messages to make visible again.
    to_release: RefCell<Vec<String>>,
    held_count: Cell<usize>,
    /// True in a dry run, which deletes no messages.
    is_dry: bool,
}

/// A message in flight. Dropping it decides whether the message is deleted or made visible again.
#[derive(Debug)]
pub(crate) struct HeldMessage {
    /// The newest receipt. With an older one, a message that was received again may be neither hidden nor deleted.
    receipt: RefCell<String>,
    queue: Rc<Shared>,
    /// The number of its records, if all of them could be read.
    records: Cell<Option<usize>>,
    succeeded: Cell<usize>,
}

impl HeldMessage {
    fn new(queue: &Rc<Shared>, message: &Message) -> Rc<Self> {
        queue.held_count.set(queue.held_count.get() + 1);
        Rc::new(Self {
            receipt: RefCell::new(message.receipt_handle.clone().unwrap_or_default()),
            queue: Rc::clone(queue),
            records: Cell::new(None),
            succeeded: Cell::new(0),
        })
    }

    /// Sets the number of records in the message. A message without this number is never deleted.
    pub(super) fn set_record_count(&self, records: usize) {
        self.records.set(Some(records));
    }

    /// Counts one of its records as succeeded.
    pub(super) fn count_succeeded(&self) {
        self.succeeded.set(self.succeeded.get() + 1);
    }
}

impl Drop for HeldMessage {
    fn drop(&mut self) {
        self.queue.held_count.set(self.queue.held_count.get() - 1);
        // A message without records is kept: its purpose is unknown.
        let have_succeeded = |records| records > 0 && self.succeeded.get() >= records;
        let is_done = !self.queue.is_dry && self.records.get().is_some_and(have_succeeded);
        let list = if is_done {
            &self.queue.to_delete
        } else {
            &self.queue.to_release
        };
        list.borrow_mut().push(self.receipt.take());
    }
}

impl Queue {
    /// Opens the queue with this URL. Receives nothing yet, because waiting messages would be invisible without need.
    pub(super) async fn open(services: &Services, url: &str, visibility_timeout_s: i32, is_dry: bool) -> Self {
        let client = Client::new(&services.config("SQS").await);
        Self {
            shared: Rc::new(Shared {
                client,
                url: url.to_owned(),
                to_delete: RefCell::default(),
                to_release: RefCell::default(),
                held_count: Cell::new(0),
                is_dry,
            }),
            visibility_timeout_s,
            seen: HashMap::new(),
            has_failed: false,
            received: Vec::new().into_iter(),
        }
    }

    pub(super) async fn next(&mut self) -> Option<SourceItem> {
        for _ in 0..REPEATED_RECEIVES_MAX {
            for message in self.received.by_ref() {
                let id = message.message_id.clone().unwrap_or_default();
                // The visibility timeout of a message in flight has expired, or a released message is back.
                if let Some(held_message) = self.seen.get(&id) {
                    self.shared.renew_receipt(held_message, message);
                    continue;
                }
                let held_message = HeldMessage::new(&self.shared, &message);
                self.seen.insert(id.clone(), Rc::downgrade(&held_message));
                return Some(source_item(held_message, message, &id));
            }
            match self.receive().await {
                Ok(0) if self.shared.held_count.get() > 0 && !self.shared.is_dry => return Some(SourceItem::Pause),
                Ok(0) => return None,
                Ok(_) => {}
                Err(error) => {
                    return Some(SourceItem::Unreadable {
                        location: self.shared.url.clone(),
                        why: format!("{error:#}"),
                    })
                    .filter(|_| !std::mem::replace(&mut self.has_failed, true));
                }
            }
        }
        None
    }

    async fn receive(&mut self) -> Result<usize> {
        let request = self.shared.client.receive_message().queue_url(&self.shared.url);
        let request = request.max_number_of_messages(10).wait_time_seconds(RECEIVE_WAIT_S);
        let request = request.message_system_attribute_names(MessageSystemAttributeName::SentTimestamp);
        let response = request.visibility_timeout(self.visibility_timeout_s).send().await;
        let messages = response
            .map_err(|error| error_with_causes(&error))?
            .messages
            .unwrap_or_default();
        let count = messages.len();
        self.received = messages.into_iter();
        Ok(count)
    }

    /// Deletes the messages whose records have all succeeded.
    pub(super) async fn delete_done(&self) -> Result<()> {
        let receipts = self.shared.to_delete.take();
        for receipts in receipts.chunks(BATCH_MAX) {
            let entries = receipts.iter().enumerate().map(|(number, receipt)| {
                let entry = DeleteMessageBatchRequestEntry::builder().id(number.to_string());
                entry.receipt_handle(receipt).build()
            });
            let request = self.shared.client.delete_message_batch().queue_url(&self.shared.url);
            let request = request.set_entries(Some(entries.collect::<Result<_, _>>()?));
            let response = request.send().await.map_err(|error| error_with_causes(&error));
            let failed = response.context("finished messages cannot be deleted")?.failed;
            ensure!(
                failed.is_empty(),
                "{} finished messages cannot be deleted",
                failed.len()
            );
        }
        Ok(())
    }

    /// Makes all messages visible again that are neither deleted nor in flight.
    pub(super) async fn release(&mut self) -> Result<()> {
        // The messages that were received and not read.
        let unread = self.received.by_ref().filter_map(|message| message.receipt_handle);
        let mut receipts = self.shared.to_release.take();
        receipts.extend(unread);
        self.shared.set_visibility_timeout(&receipts, 0).await
    }
}

/// Returns the text of a message with its origin.
fn source_item(held_message: Rc<HeldMessage>, message: Message, id: &str) -> SourceItem {
    let attributes = message.attributes.unwrap_or_default();
    let sent = attributes.get(&MessageSystemAttributeName::SentTimestamp);
    let written_ms = sent.and_then(|sent| sent.parse().ok()).unwrap_or_default();
    let queue = held_message.queue.url.rsplit('/').next().unwrap_or_default();
    SourceItem::Text {
        text: message.body.unwrap_or_default(),
        origin: Origin {
            location: format!("message {id} of {queue}"),
            version: Some(Version {
                id: id.to_owned(),
                written_ms,
            }),
            held_message: Some(held_message),
        },
    }
}

/// Sets the visibility timeout of the messages of these dead letters, counted from now.
pub(super) async fn extend_visibility(
    letters: impl Iterator<Item = &DeadLetter>,
    visibility_timeout_s: i32,
) -> Result<()> {
    let mut queues: HashMap<&str, (&Shared, HashSet<String>)> = HashMap::new();
    for held_message in letters.filter_map(|letter| letter.origin.held_message.as_deref()) {
        let (_, receipts) = queues
            .entry(&held_message.queue.url)
            .or_insert_with(|| (&held_message.queue, HashSet::new()));
        receipts.insert(held_message.receipt.borrow().clone());
    }
    for (queue, receipts) in queues.into_values() {
        let receipts: Vec<_> = receipts.into_iter().collect();
        queue.set_visibility_timeout(&receipts, visibility_timeout_s).await?;
    }
    Ok(())
}

impl Shared {
    /// Replaces the receipt of a message that was received again. If it is no longer in flight, makes it visible again
    /// at the end of the run.
    fn renew_receipt(&self, held_message: &Weak<HeldMessage>, message: Message) {
        let receipt = message.receipt_handle.unwrap_or_default();
        match held_message.upgrade() {
            Some(held_message) => *held_message.receipt.borrow_mut() = receipt,
            None => self.to_release.borrow_mut().push(receipt),
        }
    }

    /// Sets the visibility timeout of messages. Failures of single messages are ignored: such a message has become
    /// visible meanwhile.
    async fn set_visibility_timeout(&self, receipts: &[String], visibility_timeout_s: i32) -> Result<()> {
        for receipts in receipts.chunks(BATCH_MAX) {
            let entries = receipts.iter().enumerate().map(|(number, receipt)| {
                let entry = ChangeMessageVisibilityBatchRequestEntry::builder().id(number.to_string());
                entry
                    .receipt_handle(receipt)
                    .visibility_timeout(visibility_timeout_s)
                    .build()
            });
            let request = self.client.change_message_visibility_batch().queue_url(&self.url);
            let request = request.set_entries(Some(entries.collect::<Result<_, _>>()?));
            let response = request.send().await.map_err(|error| error_with_causes(&error));
            response.context("the visibility timeout of messages cannot be changed")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
