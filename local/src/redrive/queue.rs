//! A queue of SQS. A message is hidden from others as long as its records are under way, deleted when all of them have
//! gone through, and shown again otherwise.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::rc::{Rc, Weak};

use anyhow::{Context as _, Result, ensure};
use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::{
    ChangeMessageVisibilityBatchRequestEntry, DeleteMessageBatchRequestEntry, Message, MessageSystemAttributeName,
};

use super::aws::{Services, in_words};
use super::letter::{Letter, Origin, Version};
use super::source::Found;

/// A request takes so many.
const TOGETHER_MAX: usize = 10;
/// With such a wait, all servers of the queue are asked: nothing means that there is nothing.
const WAIT_S: i32 = 1;
/// How often nothing but messages that were seen before is taken for the end.
const SEEN_BEFORE_MAX: usize = 20;

/// A queue that is read to its end.
#[derive(Debug)]
pub(super) struct Queue {
    shared: Rc<Shared>,
    hidden_s: i32,
    /// The messages that were received, with what holds them as long as they are under way.
    seen: HashMap<String, Weak<Ticket>>,
    has_failed: bool,
    received: std::vec::IntoIter<Message>,
}

/// What a queue and its messages share.
#[derive(Debug)]
struct Shared {
    client: Client,
    url: String,
    /// Of messages whose records have all gone through.
    done: RefCell<Vec<String>>,
    /// Of those that are to be seen again.
    back: RefCell<Vec<String>>,
    under_way: Cell<usize>,
    /// Whether nothing may be deleted.
    is_dry: bool,
}

/// A message that is held as long as this lives.
#[derive(Debug)]
pub(crate) struct Ticket {
    /// The newest: with an older one, a message that came again is neither hidden nor deleted for sure.
    receipt: RefCell<String>,
    queue: Rc<Shared>,
    /// How many records it holds, where all of them could be read.
    records: Cell<Option<usize>>,
    gone_through: Cell<usize>,
}

impl Ticket {
    fn new(queue: &Rc<Shared>, message: &Message) -> Rc<Self> {
        queue.under_way.set(queue.under_way.get() + 1);
        Rc::new(Self {
            receipt: RefCell::new(message.receipt_handle.clone().unwrap_or_default()),
            queue: Rc::clone(queue),
            records: Cell::new(None),
            gone_through: Cell::new(0),
        })
    }

    /// So many records are in the message. One that is not told of is never deleted.
    pub(super) fn holds(&self, records: usize) {
        self.records.set(Some(records));
    }

    /// One of its records has gone through.
    pub(super) fn one_has_gone_through(&self) {
        self.gone_through.set(self.gone_through.get() + 1);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.queue.under_way.set(self.queue.under_way.get() - 1);
        // Nobody knows what a message is for that holds no record.
        let of_records = |records| records > 0 && self.gone_through.get() >= records;
        let is_done = !self.queue.is_dry && self.records.get().is_some_and(of_records);
        let list = if is_done { &self.queue.done } else { &self.queue.back };
        list.borrow_mut().push(self.receipt.take());
    }
}

impl Queue {
    /// The queue of this URL. Nothing is received before its turn comes: messages that wait are hidden for nothing.
    pub(super) async fn open(services: &Services, url: &str, hidden_s: i32, is_dry: bool) -> Self {
        let client = Client::new(&services.config("SQS").await);
        Self {
            shared: Rc::new(Shared {
                client,
                url: url.to_owned(),
                done: RefCell::default(),
                back: RefCell::default(),
                under_way: Cell::new(0),
                is_dry,
            }),
            hidden_s,
            seen: HashMap::new(),
            has_failed: false,
            received: Vec::new().into_iter(),
        }
    }

    pub(super) async fn next(&mut self) -> Option<Found> {
        for _ in 0..SEEN_BEFORE_MAX {
            for message in self.received.by_ref() {
                let id = message.message_id.clone().unwrap_or_default();
                // One that took longer than it was hidden, or that is sent back at once.
                if let Some(ticket) = self.seen.get(&id) {
                    self.shared.came_again(ticket, message);
                    continue;
                }
                let ticket = Ticket::new(&self.shared, &message);
                self.seen.insert(id.clone(), Rc::downgrade(&ticket));
                return Some(text(ticket, message, &id));
            }
            match self.receive().await {
                Ok(0) if self.shared.under_way.get() > 0 && !self.shared.is_dry => return Some(Found::Pause),
                Ok(0) => return None,
                Ok(_) => {}
                Err(error) => {
                    return Some(Found::Unreadable {
                        place: self.shared.url.clone(),
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
        let request = request.max_number_of_messages(10).wait_time_seconds(WAIT_S);
        let request = request.message_system_attribute_names(MessageSystemAttributeName::SentTimestamp);
        let answer = request.visibility_timeout(self.hidden_s).send().await;
        let messages = answer.map_err(|error| in_words(&error))?.messages.unwrap_or_default();
        let count = messages.len();
        self.received = messages.into_iter();
        Ok(count)
    }

    /// Deletes the messages whose records have all gone through.
    pub(super) async fn settle(&self) -> Result<()> {
        let receipts = self.shared.done.take();
        for receipts in receipts.chunks(TOGETHER_MAX) {
            let entries = receipts.iter().enumerate().map(|(number, receipt)| {
                let entry = DeleteMessageBatchRequestEntry::builder().id(number.to_string());
                entry.receipt_handle(receipt).build()
            });
            let request = self.shared.client.delete_message_batch().queue_url(&self.shared.url);
            let request = request.set_entries(Some(entries.collect::<Result<_, _>>()?));
            let answer = request.send().await.map_err(|error| in_words(&error));
            let failed = answer.context("messages that are done with cannot be deleted")?.failed;
            ensure!(
                failed.is_empty(),
                "{} messages that are done with cannot be deleted",
                failed.len()
            );
        }
        Ok(())
    }

    /// Shows all that was not deleted again.
    pub(super) async fn show_again(&mut self) -> Result<()> {
        // What was received and not looked at.
        let left = self.received.by_ref().filter_map(|message| message.receipt_handle);
        let mut receipts = self.shared.back.take();
        receipts.extend(left);
        self.shared.hide(&receipts, 0).await
    }
}

fn text(ticket: Rc<Ticket>, message: Message, id: &str) -> Found {
    let attributes = message.attributes.unwrap_or_default();
    let sent = attributes.get(&MessageSystemAttributeName::SentTimestamp);
    let written_ms = sent.and_then(|sent| sent.parse().ok()).unwrap_or_default();
    let queue = ticket.queue.url.rsplit('/').next().unwrap_or_default();
    Found::Text {
        text: message.body.unwrap_or_default(),
        origin: Origin {
            place: format!("message {id} of {queue}"),
            version: Some(Version {
                id: id.to_owned(),
                written_ms,
            }),
            ticket: Some(ticket),
        },
    }
}

/// Hides the messages of these letters for so long from now.
pub(super) async fn hold(letters: impl Iterator<Item = &Letter>, hidden_s: i32) -> Result<()> {
    let mut queues: HashMap<&str, (&Shared, HashSet<String>)> = HashMap::new();
    for ticket in letters.filter_map(|letter| letter.origin.ticket.as_deref()) {
        let (_, receipts) = queues
            .entry(&ticket.queue.url)
            .or_insert_with(|| (&ticket.queue, HashSet::new()));
        receipts.insert(ticket.receipt.borrow().clone());
    }
    for (queue, receipts) in queues.into_values() {
        let receipts: Vec<_> = receipts.into_iter().collect();
        queue.hide(&receipts, hidden_s).await?;
    }
    Ok(())
}

impl Shared {
    /// A message that was received once more is held, or at last shown, by its new receipt.
    fn came_again(&self, ticket: &Weak<Ticket>, message: Message) {
        let receipt = message.receipt_handle.unwrap_or_default();
        match ticket.upgrade() {
            Some(ticket) => *ticket.receipt.borrow_mut() = receipt,
            None => self.back.borrow_mut().push(receipt),
        }
    }

    /// A message that has become visible meanwhile cannot be hidden any more, nor need it be shown: such failures are
    /// none.
    async fn hide(&self, receipts: &[String], hidden_s: i32) -> Result<()> {
        for receipts in receipts.chunks(TOGETHER_MAX) {
            let entries = receipts.iter().enumerate().map(|(number, receipt)| {
                let entry = ChangeMessageVisibilityBatchRequestEntry::builder().id(number.to_string());
                entry.receipt_handle(receipt).visibility_timeout(hidden_s).build()
            });
            let request = self.client.change_message_visibility_batch().queue_url(&self.url);
            let request = request.set_entries(Some(entries.collect::<Result<_, _>>()?));
            let answer = request.send().await.map_err(|error| in_words(&error));
            answer.context("messages cannot be hidden or shown again")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
