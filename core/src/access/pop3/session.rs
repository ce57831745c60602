//! The machine.

use std::sync::Arc;
use std::time::Instant;

use super::authorization::Authorization;
use super::contract::{Answer, CloseReason, Config, Output, Ticket};
use super::line::{LineReader, Read};
use super::outbox::Outbox;
use super::reply::Reply;
use super::transaction::{Transaction, Update};

/// One POP3 session.
///
/// Feed one input (`feed`, `answer`, `tick`, `eof`, `shutdown`), then drain `poll` until `None`, writing each `Send`
/// before the next `poll`; then wait for the next input or `deadline`. `feed` returns how many octets it took: it stops
/// behind a command whose answer is outstanding or whose message has to go out first, and the rest is fed again after
/// that.
#[derive(Debug)]
pub struct Session {
    outbox: Outbox,
    state: State,
    reader: LineReader,
    opened_at: Instant,
    /// Of the client, or of us on its behalf.
    active_at: Instant,
    is_shutting_down: bool,
}

/// RFC 1939 section 3, and what happens between its states.
#[derive(Debug)]
pub(super) enum State {
    Authorization(Authorization),
    Transaction(Transaction),
    Update(Update),
    /// STLS was answered; not one octet may come before the handshake.
    Upgrading,
    Closed,
}

// === impl Session ===

impl Session {
    /// Opens a session; the greeting is the first output. `secured`: TLS came first.
    #[must_use]
    pub fn open(config: Arc<Config>, secured: bool, now: Instant) -> Self {
        let mut session = Self::silent(Outbox::new(config, secured), now, now);
        session.outbox.reply(Reply::GREETING);
        session
    }

    /// Feeds octets. Returns how many were taken.
    #[must_use]
    pub fn feed(&mut self, now: Instant, octets: &[u8]) -> usize {
        let mut rest = octets;
        self.active_at = now;
        while !rest.is_empty() && !self.outbox.is_waiting() && !self.outbox.is_transferring() {
            match &self.state {
                // Discarded.
                State::Closed => return octets.len(),
                State::Upgrading => {
                    self.state = self.outbox.close(CloseReason::PlaintextAfterStls);
                    continue;
                }
                State::Authorization(_) | State::Transaction(_) | State::Update(_) => {}
            }
            match self.reader.read(rest, self.state.line_octets_max()) {
                Read::Incomplete => rest = &[],
                Read::Line(line, taken) => {
                    rest = rest.get(taken..).unwrap_or_default();
                    self.step(|state, outbox| state.line(outbox, &line));
                    if matches!(self.state, State::Upgrading) && rest.is_empty() {
                        self.outbox.upgrade();
                    }
                }
                Read::Bad => self.state = self.outbox.close_with(Reply::BAD_FRAMING, CloseReason::BadFraming),
            }
        }
        octets.len().saturating_sub(rest.len())
    }

    /// Feeds the answer to a question. A stale ticket is ignored.
    pub fn answer(&mut self, now: Instant, ticket: Ticket, answer: Answer) {
        if !self.outbox.take_pending(ticket) {
            return;
        }
        self.active_at = now;
        self.step(|state, outbox| state.answer(outbox, answer));
    }

    /// The deadline may have passed.
    pub fn tick(&mut self, now: Instant) {
        if now >= self.deadline() && !matches!(self.state, State::Closed) {
            self.state = self.outbox.close_with(Reply::TIMED_OUT, CloseReason::TimedOut);
        }
    }

    /// The peer has closed its side, or a read failed. Nothing is deleted; a deletion that was asked for goes on.
    pub fn eof(&mut self) {
        if !matches!(self.state, State::Closed) {
            self.state = self.outbox.close(CloseReason::PeerClosed);
        }
    }

    /// We are going down: closes, once the command at hand is answered. Messages stay marked, none is deleted.
    pub fn shutdown(&mut self) {
        self.is_shutting_down = true;
    }

    /// The next thing to do.
    #[must_use]
    pub fn poll(&mut self, now: Instant) -> Option<Output> {
        let was_transferring = self.outbox.is_transferring();
        let output = self.outbox.poll();
        if was_transferring {
            self.active_at = now;
        }
        if output.is_some()
            || !self.is_shutting_down
            || self.is_waiting()
            || matches!(self.state, State::Closed)
        {
            return output;
        }
        self.state = self.outbox.close_with(Reply::SHUTDOWN, CloseReason::Shutdown);
        self.outbox.poll()
    }

    /// When to call `tick` at the latest.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        let limits = &self.outbox.config.limits;
        let session = self.opened_at.checked_add(limits.session);
        let other = match self.state {
            State::Authorization(_) | State::Upgrading => self.opened_at.checked_add(limits.authorization),
            // The client waits for us.
            _ if self.outbox.is_waiting() || self.outbox.is_transferring() => None,
            State::Transaction(_) | State::Update(_) | State::Closed => {
                self.active_at.checked_add(limits.idle)
            }
        };
        // A limit beyond the end of time is none: then the session's start is far enough from it anyway.
        match (session, other) {
            (Some(session), Some(other)) => session.min(other),
            (session, other) => session.or(other).unwrap_or(self.active_at),
        }
    }

    /// Whether a question is outstanding (nothing should be read meanwhile).
    #[must_use]
    pub const fn is_waiting(&self) -> bool {
        self.outbox.is_waiting()
    }

    /// Who is logged in.
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        match &self.state {
            State::Transaction(transaction) => Some(&transaction.identity.user),
            State::Authorization(_) | State::Update(_) | State::Upgrading | State::Closed => None,
        }
    }

    /// After `Output::Upgrade` and the handshake: a new session that knows nothing of the old one but its limits and
    /// what of them is spent. Sends no greeting.
    #[must_use]
    pub fn into_secured(self, now: Instant) -> Self {
        let mut session = Self::silent(self.outbox.into_secured(), self.opened_at, now);
        session.is_shutting_down = self.is_shutting_down;
        session
    }

    fn silent(outbox: Outbox, opened_at: Instant, active_at: Instant) -> Self {
        Self {
            outbox,
            state: State::default(),
            reader: LineReader::default(),
            opened_at,
            active_at,
            is_shutting_down: false,
        }
    }

    fn step(&mut self, next: impl FnOnce(State, &mut Outbox) -> State) {
        let state = std::mem::replace(&mut self.state, State::Closed);
        self.state = next(state, &mut self.outbox);
    }
}

// === impl State ===

impl Default for State {
    fn default() -> Self {
        Self::Authorization(Authorization::default())
    }
}

impl State {
    fn line(self, outbox: &mut Outbox, line: &[u8]) -> Self {
        match self {
            Self::Authorization(state) => state.line(outbox, line),
            Self::Transaction(state) => state.line(outbox, line),
            Self::Update(_) | Self::Upgrading | Self::Closed => self,
        }
    }

    fn answer(self, outbox: &mut Outbox, answer: Answer) -> Self {
        match self {
            Self::Authorization(state) => state.answer(outbox, answer),
            Self::Transaction(state) => state.answer(outbox, answer),
            Self::Update(state) => state.answer(outbox, &answer),
            Self::Upgrading | Self::Closed => self,
        }
    }

    const fn line_octets_max(&self) -> usize {
        match self {
            Self::Authorization(_) => AUTHORIZATION_LINE_OCTETS_MAX,
            Self::Transaction(_) | Self::Update(_) | Self::Upgrading | Self::Closed => LINE_OCTETS_MAX,
        }
    }
}

/// RFC 2449 section 4, with CRLF.
const LINE_OCTETS_MAX: usize = 255;
/// A name of 320 and a password of 1,024 octets, twice the name for an authorization identity, in base64, and room.
const AUTHORIZATION_LINE_OCTETS_MAX: usize = 4096;

#[cfg(test)]
mod tests;
