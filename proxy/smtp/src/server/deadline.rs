//! When the session has waited long enough, and for what.

use std::time::{Duration, Instant};

use super::config::Limits;
use crate::wire::limits::{ANSWER_TIME, RELAYED_RESPONSE_TIME};

/// The session's timers. `now` is the time of the input that is being worked on.
#[derive(Debug)]
pub(super) struct Deadlines {
    now: Instant,
    session: Instant,
    command: Instant,
    body_idle: Instant,
    body_total: Option<Instant>,
    answer: Instant,
}

// === impl Deadlines ===

impl Deadlines {
    pub(super) fn start(now: Instant, limits: &Limits) -> Self {
        let command = after(now, limits.command);
        Self {
            now,
            session: after(now, limits.session),
            command,
            body_idle: command,
            body_total: None,
            answer: command,
        }
    }

    /// For the session inside TLS: its time goes on.
    pub(super) fn secured(&self, now: Instant, limits: &Limits) -> Self {
        Self { session: self.session, ..Self::start(now, limits) }
    }

    pub(super) fn set_now(&mut self, now: Instant) {
        self.now = now;
    }

    /// Armed by: the greeting, each whole command line, each answer, each whole chunk.
    pub(super) fn arm_command(&mut self, limits: &Limits) {
        self.command = after(self.now, limits.command);
    }

    /// Armed by: a challenge of a server behind, which gives a connection to somebody who is nobody yet.
    pub(super) fn arm_relayed_response(&mut self) {
        self.command = self.command.min(after(self.now, RELAYED_RESPONSE_TIME));
    }

    /// Armed by: the 354, the first BDAT, a refused BDAT. Later chunks leave the total as it is.
    pub(super) fn arm_body(&mut self, limits: &Limits) {
        self.arm_body_idle(limits);
        self.body_total.get_or_insert(after(self.now, limits.data_total));
    }

    /// Armed by: every piece of a body.
    pub(super) fn arm_body_idle(&mut self, limits: &Limits) {
        self.body_idle = after(self.now, limits.data_idle);
    }

    /// Armed by: each question.
    pub(super) fn arm_answer(&mut self) {
        self.answer = after(self.now, ANSWER_TIME);
    }

    /// The body is over, well or not.
    pub(super) fn end_body(&mut self) {
        self.body_total = None;
    }

    /// While a command line is awaited; between chunks the body's total counts as well.
    pub(super) fn for_command(&self) -> Instant {
        self.earlier_of_total(self.session.min(self.command))
    }

    /// While body octets are awaited.
    pub(super) fn for_body(&self) -> Instant {
        self.earlier_of_total(self.session.min(self.body_idle))
    }

    /// While an answer is awaited. The session's own end waits for it: a mail that is being stored must get its reply.
    pub(super) const fn for_answer(&self) -> Instant {
        self.answer
    }

    pub(super) const fn for_session(&self) -> Instant {
        self.session
    }

    fn earlier_of_total(&self, other: Instant) -> Instant {
        self.body_total.map_or(other, |total| total.min(other))
    }
}

/// A duration that the clock cannot hold means "never" to whoever set it, but a session needs an end: now.
fn after(now: Instant, duration: Duration) -> Instant {
    now.checked_add(duration).unwrap_or(now)
}
