//! Letters, gathered into batches: those that are wanted, each record once.

use std::collections::{HashSet, VecDeque};

use super::Selection;
use super::counts::Counts;
use super::journal::{Journal, Known, short};
use super::letter::{Letter, Origin};
use super::recognise::{BatchInfo, Recognised, recognise};
use super::shard::Shards;
use super::source::{Found, Reader};
use super::summary::Summary;
use crate::esm::EVENT_BYTES_MAX;

/// What stands around the entries of an event.
const FRAME_BYTES: usize = 100;

/// What is read, and what of it was seen before.
#[derive(Debug)]
pub(super) struct Intake {
    pub(super) reader: Reader,
    selection: Selection,
    shards: Shards,
    /// Of one text.
    waiting: VecDeque<Letter>,
    source: String,
    /// The identities of all letters that were taken, in short.
    seen: HashSet<u128>,
    taken: usize,
    /// The letter that was too much for the last batch.
    held: Option<Letter>,
}

/// The next of what there is.
#[expect(clippy::large_enum_variant, reason = "it is taken apart at once")]
pub(super) enum Next {
    Letter(Letter),
    /// Nothing as long as others are under way.
    Pause,
    End,
}

impl Intake {
    pub(super) fn new(reader: Reader, shards: Shards, selection: Selection) -> Self {
        Self {
            reader,
            selection,
            shards,
            waiting: VecDeque::new(),
            source: String::new(),
            seen: HashSet::new(),
            taken: 0,
            held: None,
        }
    }

    /// The source of the latest letter, as it was named.
    pub(super) fn source(&self) -> &str {
        &self.source
    }

    /// Lets go of what was not put, and of the sources.
    pub(super) async fn finish(self) -> Vec<String> {
        drop((self.waiting, self.held));
        self.reader.finish().await
    }

    /// The next batch: up to `size` letters that fit into an event, all of one stream, no two with one sequence number.
    /// Empty at the end.
    pub(super) async fn batch(&mut self, size: usize, journal: &Journal, summary: &mut Summary) -> Vec<Letter> {
        let mut batch: Vec<Letter> = Vec::new();
        let mut numbers = HashSet::new();
        let mut bytes = FRAME_BYTES;
        while batch.len() < size {
            let letter = match self.held.take() {
                Some(held) => held,
                None => match self.next(journal, &mut summary.counts).await {
                    Next::Letter(letter) => {
                        summary.survey.add(&letter, self.source());
                        letter
                    }
                    Next::Pause if batch.is_empty() => continue,
                    Next::Pause | Next::End => break,
                },
            };
            let is_another = batch.first().is_some_and(|first| first.stream_arn != letter.stream_arn);
            let is_taken = !numbers.insert(letter.sequence_number.clone());
            bytes += letter.size_in_event();
            // A letter that is too large alone goes alone.
            if !batch.is_empty() && (bytes > EVENT_BYTES_MAX || is_another || is_taken) {
                self.held = Some(letter);
                break;
            }
            batch.push(letter);
        }
        batch
    }

    /// The next letter that is wanted, and whose record was not taken before.
    pub(super) async fn next(&mut self, journal: &Journal, counts: &mut Counts) -> Next {
        loop {
            if self.selection.limit.is_some_and(|limit| self.taken >= limit) {
                return Next::End;
            }
            if let Some(letter) = self.waiting.pop_front() {
                if self.is_wanted(&letter, journal, counts) {
                    self.taken += 1;
                    return Next::Letter(letter);
                }
                continue;
            }
            match self.reader.next().await {
                None => return Next::End,
                Some(Found::Pause) => return Next::Pause,
                Some(Found::Unreadable { place, why }) => counts.not_readable(&place, &why),
                Some(Found::Text { text, origin }) => self.take(&text, &origin, counts).await,
            }
        }
    }

    async fn take(&mut self, text: &str, origin: &Origin, counts: &mut Counts) {
        self.reader.name().clone_into(&mut self.source);
        let holds = |records: usize| {
            if let Some(ticket) = &origin.ticket {
                ticket.holds(records);
            }
        };
        match recognise(text, origin) {
            Recognised::Letters(letters, unreadable) => {
                if unreadable == 0 {
                    holds(letters.len());
                }
                for _ in 0..unreadable {
                    counts.not_readable(&origin.place, "an entry of its payload has no sequence number");
                }
                self.waiting.extend(letters);
            }
            Recognised::Batch(batch) => match self.shards.read(&batch, origin).await {
                Ok(read) => {
                    if read.is_whole {
                        holds(read.letters.len());
                    } else if read.gone > 0 {
                        tell_gone(&batch, read.gone, origin, counts);
                    } else {
                        counts.not_readable(&origin.place, "its batch has no size: more may be gone than is seen");
                    }
                    self.waiting.extend(read.letters);
                }
                Err(error) => {
                    let why = format!("its batch cannot be read from the stream: {error:#}");
                    counts.not_readable(&origin.place, &why);
                }
            },
            Recognised::Nothing(why) => counts.not_readable(&origin.place, &why),
        }
    }

    fn is_wanted(&mut self, letter: &Letter, journal: &Journal, counts: &mut Counts) -> bool {
        counts.read += 1;
        let kinds = &self.selection.reasons;
        if !kinds.is_empty() && !kinds.iter().any(|kind| kind.eq_ignore_ascii_case(&letter.kind)) {
            counts.left_out += 1;
            return false;
        }
        // The same record may be in a letter that was put by this very run, and rejected again.
        if self.seen.contains(&short(&letter.id())) {
            counts.repeated += 1;
            return false;
        }
        match journal.knows(letter) {
            Known::Done if !self.selection.again => {
                counts.done_before += 1;
                if let Some(ticket) = &letter.origin.ticket {
                    ticket.one_has_gone_through();
                }
                return false;
            }
            Known::InDoubt if self.selection.skip_in_doubt => {
                counts.in_doubt_left_out += 1;
                return false;
            }
            Known::InDoubt => counts.in_doubt_again += 1,
            Known::Done | Known::Open => {}
        }
        self.seen.insert(short(&letter.id()));
        true
    }
}

fn tell_gone(batch: &BatchInfo, gone: usize, origin: &Origin, counts: &mut Counts) {
    counts.gone += gone;
    let BatchInfo {
        shard_id,
        start_sequence_number: start,
        end_sequence_number: end,
        ..
    } = batch;
    let place = &origin.place;
    eprintln!("gone from the stream: {gone} records at least of {shard_id} between {start} and {end} ({place})");
}
