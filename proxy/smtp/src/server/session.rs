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
use super::contract::Extension;
use super::deadline::Deadlines;
use super::explain::{AtFault, Explanation};
use super::extension::Blob;
use super::group::Group;
use super::mail::Transaction;
use super::outputs::Outputs;
use super::precedence::Asked;
use super::verb_table;
use super::{
    Answer, BodySink, CloseReason, Config, Evidence, Identity, Mechanism, Notice, Output, PeerClass,
    PeerFacts, Question, Recipient, Refusal, Right, Rights, Ticket, TlsFacts,
};
use crate::client::{Capabilities, SizeOffer};
use crate::wire::bdat::Chunk;
use crate::wire::client_name::ClientName;
use crate::wire::command::{Command, SyntaxError, quirk_space_after_colon};
use crate::wire::limits;
use crate::wire::line::{LineReader, LineStep};
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

    /// Takes one line at most.
    fn feed_line(&mut self, octets: &[u8], body: &mut dyn BodySink) -> usize {
        let is_response = matches!(self.state, State::AuthResponse(_));
        let limit = |line: &[u8]| match is_response {
            true => limits::AUTH_LINE_OCTETS,
            false => verb_table::line_octets_max(Verb::split(line).0),
        };
        let (taken, step) = self.reader.read(octets, limit);
        if self.reader.take_normalised() {
            self.outputs.notice(Notice::BARE_LF);
        }
        self.on_step(step, taken < octets.len(), body);
        taken
    }

    /// A line, or what came instead.
    pub(super) fn on_step(&mut self, step: LineStep<'_>, is_followed: bool, body: &mut dyn BodySink) {
        let drain_octets = self.config.limits.drain_octets;
        match step {
            // First, however the line ends: the same octets in one piece must hear the same.
            LineStep::Partial | LineStep::Fault(_) if self.reader.refused_octets() > drain_octets => {
                self.refuse(Refusal::DrainLimit);
            }
            LineStep::Overlong { octets, .. } if octets > drain_octets => self.refuse(Refusal::DrainLimit),
            LineStep::Partial => {}
            LineStep::Line(line) if matches!(self.state, State::AuthResponse(_)) => self.on_response(&line),
            LineStep::Line(line) => self.on_line(&line, is_followed, body),
            LineStep::Overlong { octets, start } => self.on_overlong_line(octets, &start),
            LineStep::Fault(fault) => self.refuse(Refusal::CommandFraming(fault)),
        }
    }

    /// A command, and with a refusal of it the words that were refused.
    fn on_line(&mut self, line: &[u8], is_followed: bool, body: &mut dyn BodySink) {
        let mark = self.outputs.mark();
        self.on_command(line, is_followed, body);
        let may_be_secret = self.has_tried_auth;
        self.outputs.add_evidence(mark, || Evidence::of_command(line, may_be_secret));
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
        if self.is_attack(verb) {
            self.tell_attack(verb, Evidence::of_command(line, self.has_tried_auth));
        }
        if let Err(refusal) = self.permit(Asked { verb, is_followed }) {
            return self.refuse(refusal);
        }
        match self.parse_argument(verb, argument) {
            Ok(command) => self.execute(command, is_followed),
            Err(error) => self.refuse(Refusal::Syntax(error)),
        }
    }

    fn parse_argument(&mut self, verb: Verb, argument: &[u8]) -> Result<Command, SyntaxError> {
        if self.peer.quirks.space_after_colon
            && let Some(argument) = quirk_space_after_colon(verb, argument)
        {
            self.outputs.notice(Notice::SPACE_AFTER_COLON);
            return Command::parse_argument(verb, &argument);
        }
        Command::parse_argument(verb, argument)
    }

    fn execute(&mut self, command: Command, is_followed: bool) {
        match command {
            Command::Ehlo(name) => self.on_ehlo(name),
            Command::Helo(name) => self.on_helo(name),
            Command::StartTls => self.on_starttls(),
            Command::Auth { mechanism, initial_response } => self.on_auth(&mechanism, initial_response),
            Command::Mail { reverse_path, params } => self.on_mail(reverse_path, params),
            Command::Rcpt { forward_path, params } => self.on_rcpt(forward_path, params),
            Command::Data => self.on_data(),
            Command::Rset => self.on_rset(),
            Command::XExps { mechanism, initial_response } => self.on_auth(&mechanism, initial_response),
            Command::Xexch50(exch50) => self.on_exch50(exch50, is_followed),
            Command::XLink2State(chunk) => self.on_link_state(chunk),
            Command::Xclient(xclient) => self.on_xclient(xclient),
            Command::Line { verb, argument } => self.on_extension(Extension::Line { verb, argument }),
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
        if self.is_attack(verb) {
            self.tell_attack(verb, Evidence::of(verb.name().as_bytes()));
        }
        self.refuse(match verb {
            Verb::Bdat => Refusal::ChunkSyntax,
            Verb::Http => Refusal::ForeignProtocol,
            _ => Refusal::LineTooLong,
        });
    }

    fn tell_attack(&mut self, verb: Verb, evidence: Evidence) {
        let rule = match verb {
            Verb::Forbidden(_) => Refusal::ForbiddenVerb.rule(),
            Verb::Http => Refusal::ForeignProtocol.rule(),
            _ => Refusal::ExtensionDenied.rule(),
        };
        self.outputs.notice(Notice::Attack { rule, verb: verb.name(), class: self.class(), evidence });
    }

    fn begin_command(&mut self, verb: Verb) {
        self.verb = verb;
        self.has_tried_auth |= verb.carries_secret();
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
