//! Batches on their way: put, put again what is unfinished, split where nobody can tell which letter is at fault, and
//! at last gone on behind the one that never ends.

use std::collections::VecDeque;

use anyhow::{Result, bail};
use tokio::time::sleep;

use super::counts::Counts;
use super::delivered::Delivered;
use super::journal::Journal;
use super::letter::Letter;
use super::queue::hold;
use super::stop::Stop;
use super::target::{Attempt, Open};
use crate::esm::pause;

/// How often, and how long.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// How often letters are put again without any progress before the first of them is left.
    pub max_retries: usize,
    /// After how many letters in a row that came to nothing the run ends; 0 for never.
    pub stop_after: usize,
    /// How long a message of a queue is hidden for each attempt.
    pub hidden_s: i32,
}

/// Puts batches, and takes down what becomes of them.
#[derive(Debug)]
pub(super) struct Putter<'r> {
    pub(super) target: &'r Open,
    pub(super) patience: Patience,
    pub(super) stop: &'r Stop,
    pub(super) journal: Journal,
    pub(super) delivered: Delivered,
    pub(super) batches: usize,
    pub(super) last_failure: Option<String>,
    /// Letters that came to nothing since the last that went through.
    pub(super) in_a_row: usize,
}

/// Letters that are put together, and how often that came to nothing.
struct Part {
    letters: Vec<Letter>,
    retries: usize,
}

impl Putter<'_> {
    /// Whether so many letters in a row came to nothing that the others would, too.
    pub(super) fn has_given_up(&self) -> bool {
        self.patience.stop_after > 0 && self.in_a_row >= self.patience.stop_after
    }

    /// Puts a batch until each of its letters has gone through or been left, or the run is to end.
    pub(super) async fn put(&mut self, letters: Vec<Letter>, counts: &mut Counts) -> Result<()> {
        counts.sent += letters.len();
        let mut parts = VecDeque::from([Part { letters, retries: 0 }]);
        while let Some(part) = parts.pop_front() {
            if self.stop.is_asked() || self.has_given_up() {
                break;
            }
            // Those of parts that wait for their turn would become visible meanwhile.
            let waiting = parts.iter().flat_map(|part| &part.letters);
            hold(part.letters.iter().chain(waiting), self.patience.hidden_s).await?;
            for part in self.attempt(part, counts).await?.into_iter().rev() {
                parts.push_front(part);
            }
        }
        Ok(())
    }

    /// Puts the letters once, and waits as long as must be before the next time. Returns what is to be put again.
    async fn attempt(&mut self, part: Part, counts: &mut Counts) -> Result<Vec<Part>> {
        let Attempt {
            finished,
            failure,
            failed_as_a_whole,
        } = self.invoke(&part.letters).await?;
        let (mut done, mut open) = (Vec::new(), Vec::new());
        for (letter, is_finished) in part.letters.into_iter().zip(finished) {
            if is_finished {
                done.push(letter);
            } else {
                open.push(letter);
            }
        }
        self.take_down(&done, &open).await?;
        counts.finished += done.len();
        self.last_failure = failure.or(self.last_failure.take());
        if !done.is_empty() {
            self.in_a_row = 0;
        }
        let retries = if done.is_empty() { part.retries + 1 } else { 0 };
        if open.is_empty() {
            return Ok(Vec::new());
        }
        if retries > self.patience.max_retries {
            return Ok(self.give_up(open, failed_as_a_whole, counts));
        }
        // Whoever interrupts does not want to wait.
        tokio::select! {
            () = sleep(pause(retries.max(1))) => {}
            () = self.stop.asked() => {}
        }
        Ok(vec![Part { letters: open, retries }])
    }

    async fn invoke(&mut self, letters: &[Letter]) -> Result<Attempt> {
        self.delivered.expect(letters);
        self.journal.intend(letters)?;
        self.batches += 1;
        tokio::select! {
            attempt = self.target.put(letters) => Ok(attempt),
            () = self.stop.asked_twice() => bail!("interrupted twice: the records under way are in doubt"),
        }
    }

    /// What was delivered is on disk before the journal says so.
    async fn take_down(&mut self, done: &[Letter], open: &[Letter]) -> Result<()> {
        let done: Vec<_> = done.iter().collect();
        self.delivered.read(&done).await?;
        let (rejected, through): (Vec<_>, Vec<_>) =
            done.into_iter().partition(|letter| self.delivered.is_rejected(letter));
        let open: Vec<_> = rejected.into_iter().chain(open).collect();
        self.journal.ended(&through, &open)?;
        let news = self.delivered.news();
        self.journal.reopen(news)?;
        for ticket in through.iter().filter_map(|letter| letter.origin.ticket.as_ref()) {
            ticket.one_has_gone_through();
        }
        Ok(())
    }

    /// Leaves the first letter, and goes on with those behind it. Where it is unknown which is at fault, both halves are
    /// put once each.
    fn give_up(&mut self, mut letters: Vec<Letter>, failed_as_a_whole: bool, counts: &mut Counts) -> Vec<Part> {
        let why = self.last_failure.as_deref().unwrap_or_default();
        if failed_as_a_whole && letters.len() > 1 {
            let second = letters.split_off(letters.len() / 2);
            let retries = self.patience.max_retries;
            return vec![letters, second]
                .into_iter()
                .map(|letters| Part { letters, retries })
                .collect();
        }
        let first = letters.remove(0);
        eprintln!("unfinished: {} ({}): {why}", first.key, first.origin.place);
        counts.unfinished += 1;
        self.in_a_row += 1;
        if letters.is_empty() {
            return Vec::new();
        }
        vec![Part { letters, retries: 0 }]
    }
}
