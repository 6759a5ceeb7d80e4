//! Selects dead letters from the sources and gathers them into batches. Each record is selected once.

use std::collections::{HashSet, VecDeque};

use instream_local::esm::EVENT_BYTES_MAX;

use super::Selection;
use super::batch_reader::read_batch;
use super::counts::Counts;
use super::dead_letter::{DeadLetter, Origin};
use super::journal::{Journal, JournalStatus, fingerprint};
use super::printing::report;
use super::recognise::{BatchInfo, Recognised, recognise};
use super::source::{Reader, SourceItem};
use super::stream_reader::StreamReader;
use super::summary::Summary;

/// The size of an event without its entries, in bytes.
const FRAME_BYTES: usize = 100;

/// Reads dead letters from the sources, and remembers those that were read before.
#[derive(Debug)]
pub(super) struct Intake {
    pub(super) reader: Reader,
    selection: Selection,
    stream_reader: StreamReader,
    /// The dead letters of the latest text that were not yet returned.
    pending: VecDeque<DeadLetter>,
    source: String,
    /// The fingerprints of all selected records.
    seen: HashSet<u128>,
    selected: usize,
    /// The dead letter that did not fit into the last batch.
    overflow: Option<DeadLetter>,
}

/// The next dead letter, if there is one.
#[expect(clippy::large_enum_variant, reason = "it is matched immediately")]
pub(super) enum Next {
    DeadLetter(DeadLetter),
    /// None for now: a queue may have more once its messages in flight are settled.
    Pause,
    End,
}

impl Intake {
    pub(super) fn new(reader: Reader, stream_reader: StreamReader, selection: Selection) -> Self {
        Self {
            reader,
            selection,
            stream_reader,
            pending: VecDeque::new(),
            source: String::new(),
            seen: HashSet::new(),
            selected: 0,
            overflow: None,
        }
    }

    /// Returns the source of the latest dead letter, as it was named on the command line.
    pub(super) fn source(&self) -> &str {
        &self.source
    }

    /// Releases the dead letters that were not sent, and closes the sources. Returns the failures of queues.
    pub(super) async fn finish(self) -> Vec<String> {
        drop((self.pending, self.overflow));
        self.reader.finish().await
    }

    /// Returns the next batch: up to `size` dead letters that fit into an event, all of one stream, with different
    /// sequence numbers. It is empty at the end.
    pub(super) async fn batch(&mut self, size: usize, journal: &Journal, summary: &mut Summary) -> Vec<DeadLetter> {
        let mut batch: Vec<DeadLetter> = Vec::new();
        let mut numbers = HashSet::new();
        let mut bytes = FRAME_BYTES;
        while batch.len() < size {
            let letter = match self.overflow.take() {
                Some(letter) => letter,
                None => match self.next(journal, &mut summary.counts).await {
                    Next::DeadLetter(mut letter) => {
                        if !self.read_payload(&mut letter, &mut summary.counts).await {
                            continue;
                        }
                        summary.survey.add(&letter, self.source());
                        letter
                    }
                    Next::Pause if batch.is_empty() => continue,
                    Next::Pause | Next::End => break,
                },
            };
            let is_other_stream = batch.first().is_some_and(|first| first.stream_arn != letter.stream_arn);
            let is_repeated_number = !numbers.insert(letter.sequence_number.clone());
            bytes += letter.size_in_event();
            // A dead letter that is too large for an event is sent alone.
            if !batch.is_empty() && (bytes > EVENT_BYTES_MAX || is_other_stream || is_repeated_number) {
                self.overflow = Some(letter);
                break;
            }
            batch.push(letter);
        }
        batch
    }

    /// Returns the next selected dead letter whose record was not selected before.
    pub(super) async fn next(&mut self, journal: &Journal, counts: &mut Counts) -> Next {
        loop {
            if self.selection.limit.is_some_and(|limit| self.selected >= limit) {
                return Next::End;
            }
            if let Some(letter) = self.pending.pop_front() {
                if self.is_wanted(&letter, journal, counts) {
                    self.selected += 1;
                    return Next::DeadLetter(letter);
                }
                continue;
            }
            match self.reader.next().await {
                None => return Next::End,
                Some(SourceItem::Pause) => return Next::Pause,
                Some(SourceItem::Predictions) => counts.predictions += 1,
                Some(SourceItem::Unreadable { location, why }) => counts.report_unreadable(&location, &why),
                Some(SourceItem::Text { text, origin }) => self.take_text(&text, &origin, counts).await,
            }
        }
    }

    /// Reads the payload of a dead letter that has none from the stream. If it cannot be read, reports that and returns
    /// `false`.
    async fn read_payload(&mut self, letter: &mut DeadLetter, counts: &mut Counts) -> bool {
        let Some(payload) = &letter.payload else {
            return true;
        };
        let location = &letter.origin.location;
        match payload.read(&mut self.stream_reader).await {
            Ok(Some(data)) => {
                letter.set_data(data);
                return true;
            }
            Ok(None) => {
                counts.gone += 1;
                report(format_args!("gone from the stream: {} ({location})", letter.key));
            }
            Err(error) => {
                let why = format!("its payload cannot be read from the stream: {error:#}");
                counts.report_unreadable(location, &why);
            }
        }
        // Another dead letter of the record may have its data.
        self.seen.remove(&fingerprint(&letter.id()));
        self.selected -= 1;
        false
    }

    /// Reads the dead letters in a text. Reports a text or an entry that is not readable.
    async fn take_text(&mut self, text: &str, origin: &Origin, counts: &mut Counts) {
        self.reader.name().clone_into(&mut self.source);
        let set_record_count = |records: usize| {
            if let Some(held_message) = &origin.held_message {
                held_message.set_record_count(records);
            }
        };
        match recognise(text, origin) {
            Recognised::DeadLetters(letters, unreadable) => {
                if unreadable == 0 {
                    set_record_count(letters.len());
                }
                for _ in 0..unreadable {
                    counts.report_unreadable(&origin.location, "an entry of its payload has no sequence number");
                }
                self.pending.extend(letters);
            }
            Recognised::DiscardedBatch(batch) => match read_batch(&mut self.stream_reader, &batch, origin).await {
                Ok(read) => {
                    if read.is_whole {
                        set_record_count(read.letters.len());
                    } else if read.gone > 0 {
                        print_gone(&batch, read.gone, origin, counts);
                    } else {
                        counts.report_unreadable(
                            &origin.location,
                            "its batch has no size: records may be missing from the stream",
                        );
                    }
                    self.pending.extend(read.letters);
                }
                Err(error) => {
                    let why = format!("its batch cannot be read from the stream: {error:#}");
                    counts.report_unreadable(&origin.location, &why);
                }
            },
            Recognised::Prediction => counts.predictions += 1,
            Recognised::Unrecognised(why) => counts.report_unreadable(&origin.location, &why),
        }
    }

    /// Returns `true` if this dead letter is to be sent. Counts it either way.
    fn is_wanted(&mut self, letter: &DeadLetter, journal: &Journal, counts: &mut Counts) -> bool {
        counts.read += 1;
        let kinds = &self.selection.reasons;
        if !kinds.is_empty() && !kinds.iter().any(|kind| kind.eq_ignore_ascii_case(&letter.kind)) {
            counts.left_out += 1;
            return false;
        }
        // The record may have another dead letter: perhaps this run has sent it, and it was rejected again.
        if self.seen.contains(&fingerprint(&letter.id())) {
            counts.repeated += 1;
            return false;
        }
        match journal.status(letter) {
            JournalStatus::Done if !self.selection.again => {
                counts.done_before += 1;
                if let Some(held_message) = &letter.origin.held_message {
                    held_message.count_succeeded();
                }
                return false;
            }
            JournalStatus::InDoubt if self.selection.skip_in_doubt => {
                counts.in_doubt_left_out += 1;
                return false;
            }
            JournalStatus::InDoubt => counts.in_doubt_again += 1,
            JournalStatus::Done | JournalStatus::Pending => {}
        }
        self.seen.insert(fingerprint(&letter.id()));
        true
    }
}

fn print_gone(batch: &BatchInfo, gone: usize, origin: &Origin, counts: &mut Counts) {
    counts.gone += gone;
    let BatchInfo {
        shard_id,
        start_sequence_number: start,
        end_sequence_number: end,
        ..
    } = batch;
    let location = &origin.location;
    report(format_args!(
        "gone from the stream: at least {gone} records of {shard_id} between {start} and {end} ({location})"
    ));
}
