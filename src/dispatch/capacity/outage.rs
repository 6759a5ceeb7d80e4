//! When nothing comes through: the hold after an overload, and the pauses while the endpoint is down.

use std::time::Duration;

use tokio::time::Instant;

/// So many calls in a row without an answer, and nothing in flight, make the endpoint one that is down.
const DOWN: u32 = 3;
/// So many leave no hope that another attempt helps, in this invocation.
const HOPELESS: u32 = 10;
/// Pauses between calls that ask whether it is back: each that fails doubles them, each answer halves them.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LAST_PAUSE: Duration = Duration::from_secs(2);

/// Calls in a row that ended by Overload or Unreachable, and what follows from them.
#[derive(Debug)]
pub(super) struct Quiet {
    failed: u32,
    hold: Option<Hold>,
    /// The next pause while the endpoint is down.
    pause: Duration,
}

/// From such a call until something else comes back.
#[derive(Debug)]
struct Hold {
    /// No call starts before; then one at a time.
    until: Instant,
    /// Whether what is in flight when it ends shows how much the endpoint takes.
    shows_room: bool,
    is_down: bool,
}

impl Quiet {
    pub(super) fn new() -> Self {
        Self {
            failed: 0,
            hold: None,
            pause: FIRST_PAUSE,
        }
    }

    /// Whether something is waited for.
    pub(super) fn is_held(&self) -> bool {
        self.hold.is_some()
    }

    pub(super) fn is_down(&self) -> bool {
        self.hold.as_ref().is_some_and(|hold| hold.is_down)
    }

    pub(super) fn is_hopeless(&self) -> bool {
        self.failed >= HOPELESS && self.is_down()
    }

    /// Whether the last call failed.
    pub(super) fn goes_on(&self) -> bool {
        self.failed > 0
    }

    /// No call starts before this.
    pub(super) fn until(&self) -> Option<Instant> {
        self.hold.as_ref().map(|hold| hold.until)
    }

    /// A call has started, to see; the next one does so after this `wait`.
    pub(super) fn asked(&mut self, now: Instant, wait: Duration) {
        if let Some(hold) = &mut self.hold {
            hold.until = now + wait;
        }
    }

    /// No call starts before this, if something is waited for.
    pub(super) fn rest(&mut self, until: Instant) {
        if let Some(hold) = &mut self.hold {
            hold.until = hold.until.max(until);
        }
    }

    /// A call in flight was cut, so that those that are left show nothing.
    pub(super) fn was_cut(&mut self) {
        if let Some(hold) = &mut self.hold {
            hold.shows_room = false;
        }
    }

    /// A call failed while others are `in_flight`, an answer to which would come within this `wait`; if the limit had been
    /// reached, they show how much the endpoint takes. Returns whether it has just turned out to be down.
    pub(super) fn failed(&mut self, now: Instant, in_flight: usize, wait: Duration, shows_room: bool) -> bool {
        self.failed += 1;
        let last = self.hold.take();
        let shows_room = last.as_ref().map_or(shows_room, |last| last.shows_room);
        let was_down = last.is_some_and(|last| last.is_down);
        let is_down = was_down || in_flight == 0 && self.failed >= DOWN;
        let wait = if is_down {
            let pause = self.pause;
            self.pause = (pause * 2).min(LAST_PAUSE);
            // Processes that went quiet together ask at different times.
            pause.mul_f64(0.5 + fastrand::f64() / 2.0)
        } else if in_flight > 0 {
            wait
        } else {
            Duration::ZERO
        };
        self.hold = Some(Hold {
            until: now + wait,
            shows_room,
            is_down,
        });
        is_down && !was_down
    }

    /// Something else has come back. Returns whether what is in flight shows how much the endpoint takes.
    pub(super) fn heard(&mut self) -> bool {
        self.failed = 0;
        let hold = self.hold.take();
        hold.is_some_and(|hold| hold.shows_room && !hold.is_down)
    }

    /// It was an answer.
    pub(super) fn answered(&mut self) {
        self.pause = (self.pause / 2).max(FIRST_PAUSE);
    }
}
