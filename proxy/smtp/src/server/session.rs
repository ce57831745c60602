//! The session machine.
//!
//! Feed one input (`feed`, `answer`, `tick`, `eof`, `shutdown`, `tls_failed`), then drain `poll` until `None`, then wait
//! for the next input or `deadline`, whichever comes first. `feed` returns how many octets it took: it stops where an
//! answer from outside is outstanding, and the rest is fed again once that answer is in. While it waits it takes
//! nothing, so a peer is held back by TCP.
//!
//! A client that goes on behind EHLO, NOOP, AUTH or another command that RFC 2920 has it wait for is served all the same:
//! what it sends is read as what it is. Behind DATA and STARTTLS that would be dangerous, and ends the session.
//!
//! This file takes the inputs in and hands each command to the file of its state; the order of all checks on a command
//! is `on_command`.

use std::sync::Arc;
use std::time::Instant;

use super::auth::Exchange;
use super::body::{ChunkBody, DataBody, RefusedChunk};
use super::budget::{Budget, Spend};
use super::connect::Hello;
use super::deadline::Deadlines;
use super::explain::AtFault;
use super::mail::Transaction;
use super::outputs::Outputs;
use super::{
    Answer, BodySink, CloseReason, Config, Identity, Notice, Output, PeerFacts, Question, Refusal, Ticket,
};
use super::{Mechanism, Recipient, TlsFacts};
use crate::wire::bdat::Chunk;
use crate::wire::command::Command;
use crate::wire::limits;
use crate::wire::line::{LineReader, LineStep};
use crate::wire::params::MailParams;
use crate::wire::path::ReversePath;
use crate::wire::reply::Reply;
use crate::wire::verb::Verb;

/// One SMTP session.
#[derive(Debug)]
pub struct Session {
    pub(super) config: Arc<Config>,
    pub(super) peer: PeerFacts,
    pub(super) state: State,
    pub(super) reader: LineReader,
    pub(super) hello: Option<Hello>,
    pub(super) identity: Option<Identity>,
    pub(super) transaction: Option<Transaction>,
    /// Set where a chunk was refused: those that were sent behind it are refused without being counted as errors.
    pub(super) has_refused_chunk: bool,
    pub(super) budget: Budget,
    pub(super) deadlines: Deadlines,
    pub(super) outputs: Outputs,
    pub(super) is_shutting_down: bool,
    /// Set where the peer closed while its mail was being stored.
    pub(super) has_peer_closed: bool,
    /// For notices: the verb that is being worked on.
    pub(super) verb: Verb,
}

/// What the next octets, or the next answer, will be taken for.
#[derive(Debug)]
pub(super) enum State {
    /// Commands.
    Command,
    /// The client's next line of an AUTH exchange.
    AuthResponse(Exchange),
    /// A body behind 354.
    Data(DataBody),
    /// A chunk that is taken.
    Chunk(ChunkBody),
    /// A chunk that is dropped.
    RefusedChunk(RefusedChunk),
    /// Nothing is taken before the answer to this ticket.
    Waiting(Ticket, Pending),
    /// `Output::Upgrade` was given out; an octet now would be plaintext behind STARTTLS.
    Upgrading,
    /// `Output::Close` was given out.
    Closed,
}

/// What an outstanding answer decides.
#[derive(Debug)]
pub(super) enum Pending {
    Authenticate(Mechanism),
    Mail(ReversePath, MailParams),
    Recipient(Recipient),
    Data,
    FirstChunk(Chunk),
    Commit { octets: u64, recipients: usize },
}

// === impl Session ===

impl Session {
    /// Feeds octets; body octets go straight to `body`. Returns how many were taken.
    #[must_use]
    pub fn feed(&mut self, now: Instant, octets: &[u8], body: &mut dyn BodySink) -> usize {
        self.deadlines.set_now(now);
        let mut rest = octets;
        if self.budget.is_spent(&self.config.limits)
            && !matches!(self.state, State::Waiting(..) | State::Closed)
        {
            self.refuse(Refusal::BudgetSpent);
        }
        while !rest.is_empty() {
            let taken = match self.state {
                State::Command | State::AuthResponse(_) => self.feed_line(rest, body),
                State::Data(_) => self.feed_data(rest, body),
                State::Chunk(_) => self.feed_chunk(rest, body),
                State::RefusedChunk(_) => self.feed_refused_chunk(rest),
                State::Waiting(..) => break,
                State::Upgrading => self.feed_upgrading(),
                // The last reply is on its way; what still comes in is dropped.
                State::Closed => rest.len(),
            };
            rest = rest.get(taken..).unwrap_or_default();
            self.close_if_shutting_down();
        }
        let taken = octets.len().saturating_sub(rest.len());
        self.budget.count_octets(taken as u64);
        taken
    }

    /// Feeds the answer to a question. A stale ticket is ignored.
    pub fn answer(&mut self, now: Instant, ticket: Ticket, answer: Answer) {
        self.deadlines.set_now(now);
        let pending = match std::mem::replace(&mut self.state, State::Command) {
            State::Waiting(awaited, pending) if awaited == ticket => pending,
            other => {
                self.state = other;
                return;
            }
        };
        self.deadlines.arm_command(&self.config.limits);
        match pending {
            Pending::Authenticate(mechanism) => self.authenticate_answered(mechanism, answer),
            Pending::Mail(reverse_path, params) => self.mail_answered(reverse_path, params, &answer),
            Pending::Recipient(recipient) => self.recipient_answered(recipient, &answer),
            Pending::Data => self.data_answered(&answer),
            Pending::FirstChunk(chunk) => self.first_chunk_answered(chunk, answer),
            Pending::Commit { octets, recipients } => self.commit_answered(octets, recipients, answer),
        }
        self.close_if_shutting_down();
    }

    /// The deadline may have passed.
    pub fn tick(&mut self, now: Instant) {
        self.deadlines.set_now(now);
        if matches!(self.state, State::Closed) || now < self.deadline() {
            return;
        }
        match self.state {
            State::Waiting(..) => self.refuse(Refusal::BackendFailed),
            // The client waits for a handshake: a reply in plaintext would be none to it.
            State::Upgrading => self.close(CloseReason::TimedOut),
            _ if now >= self.deadlines.for_session() => self.refuse(Refusal::BudgetSpent),
            _ => self.refuse(Refusal::TimedOut),
        }
    }

    /// Whether octets of a body are awaited.
    #[must_use]
    pub const fn is_receiving_body(&self) -> bool {
        matches!(self.state, State::Data(_) | State::Chunk(_) | State::RefusedChunk(_))
    }

    /// A body comes more slowly than `Limits::data_rate`: 421 4.4.2. How fast it comes is measured outside, where it is
    /// known when we were ready to read.
    pub fn too_slow(&mut self, now: Instant) {
        self.deadlines.set_now(now);
        if self.is_receiving_body() {
            self.refuse(Refusal::TooSlow);
        }
    }

    /// The next thing to do.
    #[must_use]
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop()
    }

    /// When to call `tick` at the latest.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        match self.state {
            State::Command | State::AuthResponse(_) | State::Upgrading => self.deadlines.for_command(),
            State::Data(_) | State::Chunk(_) | State::RefusedChunk(_) => self.deadlines.for_body(),
            State::Waiting(..) => self.deadlines.for_answer(),
            State::Closed => self.deadlines.for_session(),
        }
    }

    /// Whether a question is outstanding (nothing should be read meanwhile).
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        matches!(self.state, State::Waiting(..))
    }

    /// The name given in EHLO or HELO, checked against the grammar.
    #[must_use]
    pub fn helo(&self) -> Option<&str> {
        self.hello.as_ref().map(|hello| hello.name.as_str())
    }

    /// Whether the client said EHLO (for the protocol in `Received:`).
    #[must_use]
    pub fn is_esmtp(&self) -> bool {
        self.hello.as_ref().is_some_and(|hello| hello.is_esmtp)
    }

    /// Who is authenticated.
    #[must_use]
    pub const fn identity(&self) -> Option<&Identity> {
        self.identity.as_ref()
    }

    /// The TLS connection, if there is one.
    #[must_use]
    pub const fn tls(&self) -> Option<&TlsFacts> {
        self.peer.tls.as_ref()
    }

    /// Takes one line at most.
    fn feed_line(&mut self, octets: &[u8], body: &mut dyn BodySink) -> usize {
        let is_response = matches!(self.state, State::AuthResponse(_));
        let limit = |line: &[u8]| match is_response {
            true => limits::AUTH_LINE_OCTETS,
            false => Verb::split(line).0.line_octets_max(),
        };
        let (taken, step) = self.reader.read(octets, limit);
        match step {
            LineStep::Partial if self.reader.octets() > self.config.limits.drain_octets => {
                self.refuse(Refusal::DrainLimit);
            }
            LineStep::Partial => {}
            LineStep::Line(line) if is_response => self.on_response(&line),
            LineStep::Line(line) => self.on_command(&line, taken < octets.len(), body),
            LineStep::Overlong { octets, start } => self.on_overlong_line(octets, &start),
            LineStep::Fault(fault) => self.refuse(Refusal::CommandFraming(fault)),
        }
        taken
    }

    /// The order of all checks on a command: its verb, the right to it and its place in the dialog, and only then its
    /// argument. BDAT alone is read first, because the octets behind it must be skipped even where it is refused.
    fn on_command(&mut self, line: &[u8], is_followed: bool, body: &mut dyn BodySink) {
        let (verb, argument) = Verb::split(line);
        self.begin_command(verb);
        if self.budget.spend_command(&self.config.limits) == Spend::Spent {
            return self.refuse(Refusal::BudgetSpent);
        }
        if verb == Verb::Bdat {
            return self.on_bdat(argument, body);
        }
        if let Err(refusal) = self.permit(verb, is_followed) {
            return self.refuse(refusal);
        }
        match Command::parse_argument(verb, argument) {
            Ok(command) => self.execute(command),
            Err(error) => self.refuse(Refusal::Syntax(error)),
        }
    }

    /// Whether this verb may be used here and now, whatever its argument.
    fn permit(&self, verb: Verb, is_followed: bool) -> Result<(), Refusal> {
        match verb {
            Verb::Unknown => Err(Refusal::UnknownVerb),
            Verb::StartTls => self.permit_starttls(is_followed),
            Verb::Auth => self.permit_auth(),
            Verb::Mail => self.permit_submission().and_then(|()| self.permit_mail()),
            Verb::Rcpt => self.permit_submission().and_then(|()| self.permit_rcpt()),
            Verb::Data if is_followed => Err(Refusal::EarlyTalker),
            Verb::Data => self.permit_submission().and_then(|()| self.permit_data()),
            Verb::Bdat
            | Verb::Ehlo
            | Verb::Helo
            | Verb::Rset
            | Verb::Noop
            | Verb::Quit
            | Verb::Vrfy
            | Verb::Help => Ok(()),
        }
    }

    fn execute(&mut self, command: Command) {
        match command {
            Command::Ehlo(name) => self.on_ehlo(name),
            Command::Helo(name) => self.on_helo(name),
            Command::StartTls => self.on_starttls(),
            Command::Auth { mechanism, initial_response } => self.on_auth(&mechanism, initial_response),
            Command::Mail { reverse_path, params } => self.on_mail(reverse_path, params),
            Command::Rcpt { forward_path, params } => self.on_rcpt(forward_path, params),
            Command::Data => self.on_data(),
            Command::Rset => self.on_rset(),
            Command::Noop(_) => self.reply(&Reply::fixed(250, 0, 0, "OK")),
            Command::Quit => self.on_quit(),
            // Says neither yes nor no, so that nobody can harvest addresses (RFC 5321 section 7.3).
            Command::Vrfy(_) => self.reply(&Reply::fixed(252, 0, 0, "Cannot verify, but send some mail")),
            Command::Help(_) => self.reply(&Reply::fixed(214, 0, 0, "See RFC 5321")),
            // `permit` and `on_bdat` have dealt with these.
            Command::Bdat(_) | Command::Unknown { .. } => self.refuse(Refusal::UnknownVerb),
        }
    }

    fn on_overlong_line(&mut self, octets: u64, start: &[u8]) {
        if octets > self.config.limits.drain_octets {
            return self.refuse(Refusal::DrainLimit);
        }
        if matches!(self.state, State::AuthResponse(_)) {
            return self.break_off_authentication(Refusal::AuthLineTooLong);
        }
        let (verb, _) = Verb::split(start);
        self.begin_command(verb);
        self.refuse(if verb == Verb::Bdat { Refusal::ChunkSyntax } else { Refusal::LineTooLong });
    }

    fn begin_command(&mut self, verb: Verb) {
        self.verb = verb;
        self.deadlines.arm_command(&self.config.limits);
    }

    // What the files of the states use.

    pub(super) fn reply(&mut self, reply: &Reply<'_>) {
        self.outputs.reply(reply);
    }

    /// Asks, and takes nothing before the answer.
    pub(super) fn wait_for(&mut self, question: Question, pending: Pending) {
        let ticket = self.outputs.ask(question);
        self.deadlines.arm_answer();
        self.state = State::Waiting(ticket, pending);
    }

    /// Refuses a command: counts it, and answers 421 instead where the error budget is spent.
    pub(super) fn refuse(&mut self, refusal: Refusal) {
        let is_countable = refusal.explain().at_fault == AtFault::Peer && refusal.close_reason().is_none();
        if is_countable && self.budget.spend_error(&self.config.limits) == Spend::Spent {
            return self.tell_refusal(Refusal::TooManyErrors);
        }
        self.tell_refusal(refusal);
    }

    /// Refuses a whole body. It counts as well, but its reply stands: a 421 would have a final refusal sent again.
    pub(super) fn refuse_body(&mut self, refusal: Refusal) {
        if refusal.explain().at_fault == AtFault::Peer {
            let _ = self.budget.spend_error(&self.config.limits);
        }
        self.tell_refusal(refusal);
    }

    /// The reply and the notice of a refusal, and the end of the session where it has that.
    pub(super) fn tell_refusal(&mut self, refusal: Refusal) {
        let explanation = refusal.explain();
        self.outputs.reply(&explanation.reply);
        let code = explanation.reply.code();
        self.outputs.notice(Notice::Refused { rule: explanation.rule, verb: self.verb.name(), code });
        if let Some(reason) = refusal.close_reason() {
            self.close(reason);
        }
    }
}
