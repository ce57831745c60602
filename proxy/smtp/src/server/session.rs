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
//! This file takes the inputs in; `dispatch` hands each line to the file of its state.

use std::sync::Arc;
use std::time::Instant;

use super::auth::Exchange;
use super::body::{ChunkBody, DataBody, RefusedChunk};
use super::budget::{Budget, Spend};
use super::connect::Hello;
use super::deadline::Deadlines;
use super::explain::{AtFault, Explanation};
use super::extension::Blob;
use super::group::Group;
use super::mail::Transaction;
use super::outputs::Outputs;
use super::{
    Answer, BodySink, CloseReason, Config, Evidence, Identity, Mechanism, Notice, Output, PeerClass,
    PeerFacts, Question, Recipient, Refusal, Right, Rights, Ticket, TlsFacts,
};
use crate::client::{Capabilities, SizeOffer};
use crate::wire::bdat::Chunk;
use crate::wire::client_name::ClientName;
use crate::wire::limits;
use crate::wire::line::LineReader;
use crate::wire::params::MailParams;
use crate::wire::path::ReversePath;
use crate::wire::reply::Reply;
use crate::wire::token::Tokens;
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
    /// Whether the peer itself has shown a certificate that was verified.
    pub(super) has_certificate: bool,
    /// In a box, since most sessions idle without one.
    pub(super) transaction: Option<Box<Transaction>>,
    /// Set where a chunk was refused: those that were sent behind it are refused without being counted as errors.
    pub(super) has_refused_chunk: bool,
    /// Set within a series of X-LINK2STATE.
    pub(super) has_link_state: bool,
    pub(super) budget: Budget,
    pub(super) deadlines: Deadlines,
    pub(super) outputs: Outputs,
    pub(super) is_shutting_down: bool,
    /// Set where the peer closed while its mail was being stored.
    pub(super) has_peer_closed: bool,
    /// For notices: the verb that is being worked on.
    pub(super) verb: Verb,
    /// From then on a line that is no command may be a password.
    pub(super) has_tried_auth: bool,
    /// For the replies to refusals by policy.
    pub(super) tokens: Option<Tokens>,
    /// What the server behind offers, where one takes part in the session.
    pub(super) behind: Option<Capabilities>,
    /// In a box, since it is there while answers are awaited alone.
    pub(super) group: Option<Box<Group>>,
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
    /// A blob behind the 354 to XEXCH50.
    Blob(Blob),
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
    Behind(Hello),
    Authenticate(Mechanism),
    Mail(ReversePath, MailParams),
    Recipient(Recipient),
    Data,
    FirstChunk(Chunk),
    Commit { octets: u64, recipients: usize },
    Blob(u64),
    Extension,
    Xclient,
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
                State::Blob(_) => self.feed_blob(rest, body),
                State::Waiting(..) => match self.feed_group(rest) {
                    0 => break,
                    taken => taken,
                },
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
        self.go_on_waiting();
        self.deadlines.arm_command(&self.config.limits);
        match pending {
            Pending::Behind(hello) => self.behind_answered(hello, &answer),
            Pending::Authenticate(mechanism) => self.authenticate_answered(mechanism, answer),
            Pending::Mail(reverse_path, params) => {
                self.verb = Verb::Mail;
                self.mail_answered(reverse_path, params, &answer);
            }
            Pending::Recipient(recipient) => {
                self.verb = Verb::Rcpt;
                self.recipient_answered(recipient, &answer);
            }
            Pending::Data => self.data_answered(&answer),
            Pending::FirstChunk(chunk) => self.first_chunk_answered(chunk, answer),
            Pending::Commit { octets, recipients } => self.commit_answered(octets, recipients, answer),
            Pending::Blob(octets) => self.blob_answered(octets, &answer),
            Pending::Extension => self.extension_answered(&answer),
            Pending::Xclient => self.xclient_answered(answer),
        }
        self.take_held();
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

    /// The next thing to do where it is a question about a recipient: the rest of a group whose MAIL, or first RCPT, came out of
    /// `poll`. Its answers are to be fed in the order of the questions.
    #[must_use]
    pub fn poll_recipient(&mut self) -> Option<(Ticket, Question)> {
        self.outputs.pop_recipient()
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
            State::Data(_) | State::Chunk(_) | State::RefusedChunk(_) | State::Blob(_) => {
                self.deadlines.for_body()
            }
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
        self.client_name().map(ClientName::as_str)
    }

    /// The same, as what it is.
    #[must_use]
    pub fn client_name(&self) -> Option<&ClientName> {
        self.said_hello().map(|hello| &hello.name)
    }

    /// Whether the client said EHLO (for the protocol in `Received:`).
    #[must_use]
    pub fn is_esmtp(&self) -> bool {
        self.said_hello().is_some_and(|hello| hello.is_esmtp)
    }

    /// Who is authenticated.
    #[must_use]
    pub const fn identity(&self) -> Option<&Identity> {
        self.identity.as_ref()
    }

    /// What the peer is now: what its account is once it has authenticated, else what its address says.
    #[must_use]
    pub fn class(&self) -> PeerClass {
        self.identity.as_ref().map_or(self.peer.class, |identity| identity.class)
    }

    /// What it may do here and now.
    #[must_use]
    pub fn rights(&self) -> Rights {
        let rights = self.config.rights.of(self.class());
        if self.peer.may_xclient { rights.with(Right::AcceptXclient) } else { rights }
    }

    /// The largest message that it may hand in, octets.
    pub(super) fn message_octets_max(&self) -> u64 {
        let octets_max = self.config.limits.message_octets_of(self.rights());
        match self.behind.as_ref().map(|behind| behind.size) {
            Some(SizeOffer::Limit(behind)) => octets_max.min(behind),
            None | Some(SizeOffer::None | SizeOffer::Unlimited) => octets_max,
        }
    }

    /// The TLS connection, if there is one.
    #[must_use]
    pub const fn tls(&self) -> Option<&TlsFacts> {
        self.peer.tls.as_ref()
    }

    /// Also one that waits for the server behind.
    const fn said_hello(&self) -> Option<&Hello> {
        match &self.state {
            State::Waiting(_, Pending::Behind(hello)) => Some(hello),
            _ => self.hello.as_ref(),
        }
    }

    // What the files of the states use.

    pub(super) fn reply(&mut self, reply: &Reply<'_>) {
        self.outputs.reply(reply);
    }

    /// Asks, and takes nothing before the answer.
    pub(super) fn wait_for(&mut self, question: Question, pending: Pending) {
        let ticket = self.outputs.ask(question);
        self.deadlines.arm_answer();
        if matches!(self.state, State::Waiting(..)) {
            self.wait_as_well(ticket, pending);
        } else {
            self.state = State::Waiting(ticket, pending);
        }
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
        let Explanation { rule, reply, .. } = refusal.explain();
        let is_short = self.verb == Verb::Xexch50;
        // What servers say to one another has fixed replies.
        let may_have_token = refusal.carries_token() && !is_short && self.verb != Verb::XLink2State;
        let token = self.tokens.as_mut().filter(|_| may_have_token).map(Tokens::draw);
        let (verb, code, evidence) = (self.verb.name(), reply.code(), Evidence::default());
        let limit = refusal.limit(&self.config.limits, self.rights());
        let reply = if is_short { reply.within(limits::XEXCH50_REPLY_OCTETS) } else { reply };
        self.outputs.reply(&reply.with_token(token));
        self.outputs.notice(Notice::Refused { rule, verb, code, evidence, limit, token });
        if let Some(reason) = refusal.close_reason() {
            self.close(reason);
        }
    }
}
