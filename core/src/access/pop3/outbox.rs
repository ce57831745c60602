//! What all states have in common: where outputs go, and what is counted over the whole session.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use gatepost_smtp::server::TlsMode;

use super::authorization::Authorization;
use super::contract::{CloseReason, Config, Output, Question, Ticket};
use super::multiline::Multiline;
use super::reply::Reply;
use super::session::State;

/// Outputs to come, and the budgets.
#[derive(Debug)]
pub(super) struct Outbox {
    pub(super) config: Arc<Config>,
    pub(super) secured: bool,
    /// Goes out behind `outputs`.
    transfer: Option<Multiline>,
    outputs: VecDeque<Output>,
    pending: Option<Ticket>,
    tickets: u64,
    failures: u32,
    errors: u32,
}

// === impl Outbox ===

impl Outbox {
    pub(super) fn new(config: Arc<Config>, secured: bool) -> Self {
        Self {
            config,
            secured,
            transfer: None,
            outputs: VecDeque::new(),
            pending: None,
            tickets: 0,
            failures: 0,
            errors: 0,
        }
    }

    /// For the session inside TLS: budgets stay spent, everything else is forgotten.
    pub(super) fn into_secured(self) -> Self {
        Self {
            failures: self.failures,
            errors: self.errors,
            tickets: self.tickets,
            ..Self::new(self.config, true)
        }
    }

    /// One line.
    pub(super) fn reply(&mut self, Reply(text): Reply) {
        self.line(format_args!("{text}"));
    }

    /// One line with numbers.
    pub(super) fn line(&mut self, text: fmt::Arguments<'_>) {
        self.send(format!("{text}\r\n"));
    }

    /// Whole lines.
    pub(super) fn send(&mut self, lines: String) {
        self.outputs.push_back(Output::Send(Bytes::from(lines)));
    }

    /// A message, behind everything said so far.
    pub(super) fn transfer(&mut self, message: Multiline) {
        self.transfer = Some(message);
    }

    /// Asks; nothing is read until the answer is in.
    pub(super) fn ask(&mut self, question: Question) {
        self.tickets = self.tickets.saturating_add(1);
        let ticket = Ticket(self.tickets);
        self.pending = Some(ticket);
        self.outputs.push_back(Output::Ask(ticket, question));
    }

    /// Whether this is the answer that is awaited; it is not any more.
    pub(super) fn take_pending(&mut self, ticket: Ticket) -> bool {
        let is_awaited = self.pending == Some(ticket);
        if is_awaited {
            self.pending = None;
        }
        is_awaited
    }

    /// Asks for the handshake.
    pub(super) fn upgrade(&mut self) {
        self.outputs.push_back(Output::Upgrade);
    }

    /// Ends the session.
    pub(super) fn close(&mut self, reason: CloseReason) -> State {
        self.pending = None;
        self.transfer = None;
        self.outputs.push_back(Output::Close(reason));
        State::Closed
    }

    /// Says a last line and ends the session.
    pub(super) fn close_with(&mut self, reply: Reply, reason: CloseReason) -> State {
        self.reply(reply);
        self.close(reason)
    }

    /// Refuses a command; too many of them end the session.
    pub(super) fn refuse(&mut self, reply: Reply, stay: State) -> State {
        self.errors = self.errors.saturating_add(1);
        if self.errors > self.config.limits.errors {
            return self.close_with(Reply::TOO_MANY_ERRORS, CloseReason::TooManyErrors);
        }
        self.reply(reply);
        stay
    }

    /// Refuses a password; too many of them end the session.
    pub(super) fn fail(&mut self) -> State {
        self.failures = self.failures.saturating_add(1);
        if self.failures >= self.config.limits.failures {
            return self.close_with(Reply::TOO_MANY_FAILURES, CloseReason::TooManyFailures);
        }
        self.reply(Reply::NOT_AUTHENTICATED);
        State::Authorization(Authorization::default())
    }

    /// The capabilities (RFC 2449 section 6) as they are now: no way to log in is named outside of TLS.
    pub(super) fn capabilities(&mut self) {
        let logins = if self.secured { "USER\r\nSASL PLAIN\r\n" } else { "" };
        let stls = if self.may_upgrade() { "STLS\r\n" } else { "" };
        self.send(format!("+OK capabilities follow\r\n{CAPABILITIES}{logins}{stls}.\r\n"));
    }

    /// The next thing to do.
    pub(super) fn poll(&mut self) -> Option<Output> {
        if let Some(output) = self.outputs.pop_front() {
            return Some(output);
        }
        let piece = self.transfer.as_mut()?.next_piece();
        if piece.is_none() {
            self.transfer = None;
        }
        piece.map(Output::Send)
    }

    /// Whether STLS can be used.
    pub(super) fn may_upgrade(&self) -> bool {
        !self.secured && self.config.tls == TlsMode::StartTls
    }

    /// Whether an answer is awaited.
    pub(super) const fn is_waiting(&self) -> bool {
        self.pending.is_some()
    }

    /// Whether a message is going out.
    pub(super) const fn is_transferring(&self) -> bool {
        self.transfer.is_some()
    }
}

/// Always true of us. PIPELINING: the machine takes what it is fed, one command at a time.
const CAPABILITIES: &str = "TOP\r\nUIDL\r\nRESP-CODES\r\nAUTH-RESP-CODE\r\nPIPELINING\r\nUTF8 USER\r\n";
