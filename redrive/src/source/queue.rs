//! Reads an SQS queue. A message stays invisible to other consumers while its records are in flight. It is deleted once
//! the journal has all of its letters, and otherwise made visible again at the end.

use std::collections::HashMap;

use anyhow::{Context as _, Result, ensure};
use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::{ChangeMessageVisibilityBatchRequestEntry, DeleteMessageBatchRequestEntry, Message};
use instream_local::environment::Settings;

use super::Item;
use crate::aws::config;
use crate::journal::Journal;

/// The maximum number of messages in a request.
const BATCH_MAX: usize = 10;
/// The wait time of a receive, in seconds. With a wait, SQS asks all servers of the queue, so an empty response means
/// that the queue is empty.
const RECEIVE_WAIT_S: i32 = 1;
/// The number of consecutive receives that return only known messages after which the queue counts as read.
const REPEATED_RECEIVES_MAX: usize = 20;
/// The time for which a received message is invisible, in seconds. It is longer than the longest invocation.
const VISIBILITY_TIMEOUT_S: i32 = 20 * 60;

/// A queue that is read to its end.
pub(crate) struct Queue {
    client: Client,
    url: String,
    received: std::vec::IntoIter<Message>,
    /// The messages that were received and not deleted, by the location of their item.
    in_flight: HashMap<String, InFlight>,
    has_failed: bool,
}

struct InFlight {
    /// The newest receipt. With an older one, a message that was received again might not be deleted.
    receipt: String,
    /// The keys of its letters; empty if not all of them could be read.
    letters: Vec<u128>,
}

impl Queue {
    /// Opens the queue with this URL. Receives nothing yet, because waiting messages would be invisible without need.
    pub(super) async fn open(settings: &Settings, url: &str) -> Self {
        Self {
            client: Client::new(&config(settings, "SQS").await),
            url: url.to_owned(),
            received: Vec::new().into_iter(),
            in_flight: HashMap::new(),
            has_failed: false,
        }
    }

    pub(super) async fn next(&mut self) -> Option<Item> {
        for _ in 0..REPEATED_RECEIVES_MAX {
            for message in self.received.by_ref() {
                let id = message.message_id.unwrap_or_default();
                let name = self.url.rsplit('/').next().unwrap_or_default();
                let location = format!("message {id} of {name}");
                let receipt = message.receipt_handle.unwrap_or_default();
                // The visibility timeout of a message in flight has expired.
                if let Some(in_flight) = self.in_flight.get_mut(&location) {
                    in_flight.receipt = receipt;
                    continue;
                }
                let letters = Vec::new();
                self.in_flight.insert(location.clone(), InFlight { receipt, letters });
                return Some(Item::new(location, "", Ok(message.body.unwrap_or_default())));
            }
            let request = self.client.receive_message().queue_url(&self.url);
            let request = request.max_number_of_messages(10).wait_time_seconds(RECEIVE_WAIT_S);
            match request.visibility_timeout(VISIBILITY_TIMEOUT_S).send().await {
                Ok(response) => {
                    self.received = response.messages.filter(|messages| !messages.is_empty())?.into_iter();
                }
                Err(_) if self.has_failed => return None,
                Err(error) => {
                    self.has_failed = true;
                    let why = format!("{:#}", anyhow::Error::from(error));
                    return Some(Item::new(self.url.clone(), "", Err(why)));
                }
            }
        }
        None
    }

    /// Sets the keys of all letters in the message at this location.
    pub(crate) fn set_letters(&mut self, location: &str, keys: Vec<u128>) {
        if let Some(in_flight) = self.in_flight.get_mut(location) {
            in_flight.letters = keys;
        }
    }

    /// Deletes the messages whose letters are all in the journal. Returns their number.
    pub(crate) async fn delete_done(&mut self, journal: &Journal) -> Result<usize> {
        let is_done = |_: &String, message: &mut InFlight| {
            let mut letters = message.letters.iter();
            !message.letters.is_empty() && letters.all(|key| journal.has(*key))
        };
        let done: Vec<_> = self.in_flight.extract_if(is_done).collect();
        for messages in done.chunks(BATCH_MAX) {
            let entry = |(number, (_, message)): (usize, &(String, InFlight))| {
                let entry = DeleteMessageBatchRequestEntry::builder().id(number.to_string());
                entry.receipt_handle(&message.receipt).build()
            };
            let entries = messages.iter().enumerate().map(entry).collect::<Result<_, _>>()?;
            let request = self.client.delete_message_batch().queue_url(&self.url);
            let response = request.set_entries(Some(entries)).send().await;
            let failed = response.context("finished messages cannot be deleted")?.failed.len();
            ensure!(failed == 0, "{failed} finished messages cannot be deleted");
        }
        Ok(done.len())
    }

    /// Makes all messages visible again that were not deleted. Failures of single messages are ignored: such a message
    /// has become visible meanwhile.
    pub(crate) async fn release(&mut self) -> Result<()> {
        let unread = self.received.by_ref().filter_map(|message| message.receipt_handle);
        let receipts = self.in_flight.drain().map(|(_, message)| message.receipt);
        let receipts: Vec<_> = receipts.chain(unread).collect();
        for receipts in receipts.chunks(BATCH_MAX) {
            let entry = |(number, receipt): (usize, &String)| {
                let entry = ChangeMessageVisibilityBatchRequestEntry::builder().id(number.to_string());
                entry.receipt_handle(receipt).visibility_timeout(0).build()
            };
            let entries = receipts.iter().enumerate().map(entry).collect::<Result<_, _>>()?;
            let request = self.client.change_message_visibility_batch().queue_url(&self.url);
            let response = request.set_entries(Some(entries)).send().await;
            response.context("messages cannot be made visible again")?;
        }
        Ok(())
    }
}
