//! Selects letters from a source and gathers them into batches. A run sends each record once.

use std::collections::{HashSet, VecDeque};

use instream_local::esm::EVENT_BYTES_MAX;

use super::Run;
use super::journal::Journal;
use super::letter::Letter;
use super::letter::forms::{self, Form};
use super::source::{Item, Source};
use super::stream::StreamReader;
use super::summary::{Counts, Summary};

/// The size of an event without its entries, in bytes.
const FRAME_BYTES: usize = 100;

/// Reads letters from the sources.
pub(super) struct Intake<'r> {
    run: &'r Run,
    /// The maximum number of letters in a batch.
    size: usize,
    streams: StreamReader,
    /// The letters of the latest item that were not yet returned.
    letters: VecDeque<Letter>,
    /// The letter that did not fit into the last batch.
    overflow: Option<Letter>,
    /// The identities of all selected records. A function may write its dead letters to the queue that is being read.
    seen: HashSet<u128>,
}

impl<'r> Intake<'r> {
    pub(super) fn new(run: &'r Run, size_max: usize) -> Self {
        Self {
            run,
            size: usize::from(run.batch_size).min(size_max),
            streams: StreamReader::new(run.settings.clone()),
            letters: VecDeque::new(),
            overflow: None,
            seen: HashSet::new(),
        }
    }

    /// Returns the next batch: letters that fit into an event, all of one stream, with different sequence numbers. It
    /// is empty at the end of the source.
    pub(super) async fn batch(&mut self, source: &mut Source, journal: &Journal, summary: &mut Summary) -> Vec<Letter> {
        let mut batch: Vec<Letter> = Vec::new();
        let mut numbers = HashSet::new();
        let mut bytes = FRAME_BYTES;
        while batch.len() < self.size {
            let letter = match self.overflow.take() {
                Some(letter) => letter,
                None => match self.next(source, journal, summary).await {
                    Some(letter) => letter,
                    None => break,
                },
            };
            let is_other_stream = batch.first().is_some_and(|first| first.stream_arn != letter.stream_arn);
            let is_repeated_number = !numbers.insert(letter.sequence_number.clone());
            bytes += letter.entry().len() + 1;
            // A letter that is too large for an event is sent alone.
            if !batch.is_empty() && (bytes > EVENT_BYTES_MAX || is_other_stream || is_repeated_number) {
                self.overflow = Some(letter);
                break;
            }
            batch.push(letter);
        }
        batch
    }

    /// Returns the next letter to send, with its payload unless the run is dry.
    async fn next(&mut self, source: &mut Source, journal: &Journal, summary: &mut Summary) -> Option<Letter> {
        while self.run.limit.is_none_or(|limit| summary.survey.records < limit) {
            if let Some(mut letter) = self.letters.pop_front() {
                if self.is_wanted(&letter, journal, &mut summary.counts)
                    && self.read_payload(&mut letter, &mut summary.counts).await
                {
                    self.seen.insert(letter.record_key);
                    summary.survey.add(&letter, &source.name);
                    return Some(letter);
                }
                continue;
            }
            let item = source.next().await?;
            let keys = self.read(&item, &mut summary.counts).await;
            if let (Some(queue), Some(keys)) = (source.queue(), keys) {
                queue.set_letters(&item.location, keys);
            }
        }
        None
    }

    /// Reads the letters in an item. Returns their keys if all of them could be read.
    async fn read(&mut self, item: &Item, counts: &mut Counts) -> Option<Vec<u128>> {
        let read = match forms::read(item) {
            Ok(Form::Letters(letters)) => Ok((letters, 0)),
            Ok(Form::Batch(batch, condition)) => {
                let read = batch.read(&mut self.streams, &condition, item).await;
                read.map_err(|error| format!("its batch cannot be read from the stream: {error:#}"))
            }
            Ok(Form::Prediction) => {
                counts.predictions += 1;
                return None;
            }
            Err(why) => Err(why),
        };
        match read {
            Ok((letters, gone)) => {
                counts.report_gone(gone, "records of a discarded batch", &item.location);
                self.letters.extend(letters);
                (gone == 0).then(|| self.letters.iter().map(|letter| letter.key).collect())
            }
            Err(why) => {
                counts.report_unreadable(&item.location, &why);
                None
            }
        }
    }

    /// Returns `true` if this letter is to be sent. Counts it either way.
    fn is_wanted(&self, letter: &Letter, journal: &Journal, counts: &mut Counts) -> bool {
        counts.read += 1;
        let kinds = &self.run.reasons;
        let is_selected = kinds.is_empty() || kinds.iter().any(|kind| kind.eq_ignore_ascii_case(&letter.kind));
        let count = if !is_selected {
            &mut counts.left_out
        } else if journal.has(letter.key) {
            &mut counts.done_before
        } else if self.seen.contains(&letter.record_key) {
            &mut counts.repeated
        } else {
            return true;
        };
        *count += 1;
        false
    }

    /// Reads the payload of a letter that has none from the stream, unless the run is dry. If it cannot be read,
    /// reports that and returns `false`.
    async fn read_payload(&mut self, letter: &mut Letter, counts: &mut Counts) -> bool {
        let Some(payload) = letter.payload.as_ref().filter(|_| self.run.yes) else {
            return true;
        };
        match payload.read(&mut self.streams).await {
            Ok(Some(data)) => {
                letter.record.data = Some(data);
                return true;
            }
            Ok(None) => counts.report_gone(1, &format!("record, {}", letter.name), &letter.location),
            Err(error) => {
                let why = format!("its payload cannot be read from the stream: {error:#}");
                counts.report_unreadable(&letter.location, &why);
            }
        }
        false
    }
}
