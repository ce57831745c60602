//! The machine's inputs, what each reply answers, and the end.
//!
//! Every command that is sent leaves an `Awaited` behind, and each reply answers the oldest: commands that are pipelined
//! and commands that are not differ in when they are sent alone.

use std::collections::VecDeque;
use std::time::Instant;

use super::awaited::Awaited;
use super::contract::{Failure, Mail, Outcome, Output, Stage};
use super::hand_on_servers::Blob;
use super::introduction::{Introduced, Introduction};
use super::scram::{Exchange, Means, Proof};
use super::state::State;
use super::transaction::Transaction;
use super::{Capabilities, Config};
use crate::wire::data::LineEncoder;
use crate::wire::path::ForwardPath;
use crate::wire::reply_parse::{ReplyReader, ServerReply};

/// One session with a server.
#[derive(Debug)]
pub struct Session {
    pub(super) config: Config,
    pub(super) state: State,
    /// What the replies to come answer, oldest first.
    pub(super) awaited: VecDeque<Awaited>,
    pub(super) offered: Capabilities,
    pub(super) is_secured: bool,
    pub(super) introduced: Introduced,
    /// Whether the server has a transaction that only RSET ends.
    pub(super) is_open: bool,
    pub(super) transaction: Option<Box<Transaction>>,
    pub(super) means: Option<Means>,
    pub(super) exchange: Option<Exchange>,
    /// Of a body that is handed on behind DATA.
    pub(super) handed: Option<LineEncoder>,
    /// Of an XEXCH50 that is handed on.
    pub(super) blob: Option<Box<Blob>>,
    pub(super) reader: ReplyReader,
    outputs: VecDeque<Output>,
    now: Instant,
    deadline: Option<Instant>,
}

/// A mail was begun, or QUIT asked for, in the middle of something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the session is not between two mails")]
pub struct NotReady;

// === impl Session ===

impl Session {
    /// Over a plaintext connection that was just made.
    #[must_use]
    pub fn new(config: Config, now: Instant) -> Self {
        Self::open(config, now, false)
    }

    /// Over a connection where TLS came first.
    #[must_use]
    pub fn new_secured(config: Config, now: Instant) -> Self {
        Self::open(config, now, true)
    }

    /// After `Output::Upgrade` and the handshake: a new session that knows nothing of what was said in plaintext (RFC 3207
    /// section 4.2). The server does not greet again; we say EHLO.
    #[must_use]
    pub fn into_secured(self, now: Instant) -> Self {
        let was_asked = self.state == State::Upgrading;
        let introduced = self.introduced;
        let mut secured = Self { awaited: VecDeque::new(), introduced, ..Self::open(self.config, now, true) };
        if was_asked {
            secured.say_hello();
        } else {
            secured.fail(Failure::TlsFailed);
        }
        secured.arm();
        secured
    }

    /// Lets the session log in by SCRAM, which without them it does not. To be called before anything is fed: `means` are those
    /// of this connection.
    #[must_use]
    pub fn with_scram(self, means: Means) -> Self {
        Self { means: Some(means), ..self }
    }

    /// Has the session speak for somebody. To be called before anything is fed.
    #[must_use]
    pub fn introducing(self, introduction: Introduction) -> Self {
        Self { introduced: Introduced::not_yet(introduction), ..self }
    }

    /// Feeds octets of the server; all are taken.
    pub fn feed(&mut self, now: Instant, octets: &[u8]) {
        self.now = now;
        let mut rest = octets;
        // What came together with these octets can answer no command that they themselves give rise to.
        let mut due = self.awaited.len();
        while !rest.is_empty() {
            match self.state {
                State::Closed => return,
                State::Upgrading => return self.fail(Failure::Injected),
                State::Conversing
                | State::Proving
                | State::Idle
                | State::Body
                | State::Challenged
                | State::Blob => {}
            }
            let (taken, reply) = match self.reader.read(rest) {
                Ok(read) => read,
                Err(fault) => return self.fail(Failure::NoReply { stage: self.stage(), fault }),
            };
            rest = rest.get(taken..).unwrap_or_default();
            let Some(reply) = reply else { return };
            let is_due = due > 0;
            due = due.saturating_sub(1);
            self.replied(reply, is_due, rest.is_empty());
            // For a blob without octets nothing is sent: the reply to it may stand behind its 354.
            if due == 0 && self.awaited.front() == Some(&Awaited::HandedOn(Stage::Blob)) {
                due = 1;
            }
            self.arm();
        }
    }

    /// The answer to `Output::Prove`. Where there is none, `abort`.
    pub fn proved(&mut self, now: Instant, proof: &Proof) {
        self.now = now;
        if self.state != State::Proving {
            return;
        }
        self.state = State::Conversing;
        self.say_proof(proof);
        self.arm();
    }

    /// Begins a mail. `Output::Done` will tell what became of it, whatever happens.
    ///
    /// # Errors
    /// Where the session is not between two mails: then nothing was begun.
    pub fn begin(&mut self, now: Instant, mail: Mail) -> Result<(), NotReady> {
        self.now = now;
        if self.state != State::Idle {
            return Err(NotReady);
        }
        self.state = State::Conversing;
        self.begin_transaction(mail);
        self.arm();
        Ok(())
    }

    /// Asks whether the server would take a mail for this recipient: MAIL from the null sender and RCPT, and no mail behind
    /// them. `Output::Done` has one outcome: `Accepted`, `Permanent` or `Temporary` by the reply to RCPT, and `Lost` where
    /// nothing was said of the recipient, such as where MAIL was refused.
    ///
    /// # Errors
    /// Where the session is not between two mails: then nothing was begun.
    pub fn verify(&mut self, now: Instant, path: ForwardPath) -> Result<(), NotReady> {
        self.now = now;
        if self.state != State::Idle {
            return Err(NotReady);
        }
        self.state = State::Conversing;
        self.begin_probe(path);
        self.arm();
        Ok(())
    }

    /// The next part of the body, as `Output::NeedBody` asked for.
    pub fn body(&mut self, now: Instant, octets: &[u8]) {
        self.now = now;
        if self.state == State::Body {
            self.body_part(octets);
            self.arm();
        }
    }

    /// Takes leave.
    ///
    /// # Errors
    /// Where the session is not between two mails.
    pub fn quit(&mut self, now: Instant) -> Result<(), NotReady> {
        self.now = now;
        if self.state != State::Idle {
            return Err(NotReady);
        }
        self.state = State::Conversing;
        self.command(Awaited::Quit, b"QUIT\r\n".to_vec());
        self.arm();
        Ok(())
    }

    /// We cannot go on, such as where the body cannot be read. The mail is not ended, so the server cannot take it.
    pub fn abort(&mut self, now: Instant) {
        self.now = now;
        self.fail(Failure::Aborted(self.stage()));
    }

    /// The handshake that `Output::Upgrade` asked for has failed.
    pub fn tls_failed(&mut self, now: Instant) {
        self.now = now;
        self.fail(Failure::TlsFailed);
    }

    /// The connection has ended, or octets could not be written.
    pub fn eof(&mut self, now: Instant) {
        self.now = now;
        match self.stage() {
            Stage::Quit => self.close(Ok(())),
            stage => self.fail(Failure::Closed(stage)),
        }
    }

    /// The deadline may have passed.
    pub fn tick(&mut self, now: Instant) {
        self.now = now;
        if self.deadline.is_none_or(|deadline| now < deadline) {
            return;
        }
        match self.stage() {
            Stage::Quit => self.close(Ok(())),
            stage => self.fail(Failure::TimedOut(stage)),
        }
    }

    /// The next thing to do.
    #[must_use]
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When `tick` is to be called. `None`: the session waits for nothing of the server.
    #[must_use]
    pub const fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// What the server offers, inside TLS if there is any.
    #[must_use]
    pub const fn capabilities(&self) -> &Capabilities {
        &self.offered
    }

    pub(super) fn set_now(&mut self, now: Instant) {
        self.now = now;
    }

    fn open(config: Config, now: Instant, is_secured: bool) -> Self {
        let mut session = Self {
            config,
            state: State::Conversing,
            awaited: VecDeque::from([Awaited::Greeting]),
            offered: Capabilities::default(),
            is_secured,
            introduced: Introduced::default(),
            is_open: false,
            transaction: None,
            means: None,
            exchange: None,
            handed: None,
            blob: None,
            reader: ReplyReader::default(),
            outputs: VecDeque::new(),
            now,
            deadline: None,
        };
        session.arm();
        session
    }

    fn replied(&mut self, reply: ServerReply, is_due: bool, is_alone: bool) {
        if reply.code() == SERVICE_CLOSING {
            return self.service_closing(reply);
        }
        let Some(awaited) = self.awaited.front().copied().filter(|_| is_due) else {
            return self.replied_unasked(reply);
        };
        self.awaited.pop_front();
        match awaited {
            Awaited::Greeting => self.greeted(reply),
            Awaited::Ehlo => self.ehlo_replied(reply),
            Awaited::Helo => self.helo_replied(reply),
            Awaited::StartTls => self.starttls_replied(reply, is_alone),
            Awaited::Xclient => self.xclient_replied(reply),
            Awaited::Auth(step) => self.auth_replied(step, reply),
            Awaited::Reset => self.reset_replied(reply),
            Awaited::Mail => self.mail_replied(&reply),
            Awaited::Rcpt(recipient) => self.rcpt_replied(recipient, reply),
            Awaited::Data => self.data_replied(reply),
            Awaited::Chunk => self.chunk_replied(reply),
            Awaited::End => self.end_replied(reply),
            Awaited::EmptyEnd => self.empty_end_replied(),
            Awaited::Quit => self.close(Ok(())),
            Awaited::HandedOn(stage) => self.handed_on_replied(stage, reply),
            Awaited::HandedChunk => self.handed_chunk_replied(reply),
        }
    }

    /// A server may refuse a body that it has not seen the end of; nothing else may be said unasked.
    fn replied_unasked(&mut self, reply: ServerReply) {
        if self.state == State::Body && reply.code() >= REFUSALS {
            self.body_refused(reply);
        } else if self.state == State::Blob && reply.code() >= REFUSALS {
            self.blob_refused(reply);
        } else {
            self.fail(Failure::Unsolicited(self.stage()));
        }
    }

    /// 421 at any time (RFC 5321 section 3.8): it answers whatever is still open.
    fn service_closing(&mut self, reply: ServerReply) {
        let stage = self.stage();
        if stage == Stage::Quit {
            return self.close(Ok(()));
        }
        if let Some(transaction) = &mut self.transaction {
            transaction.decide_rest(&Outcome::Temporary(reply.clone()));
        }
        self.fail(Failure::ServiceClosing { stage, reply });
    }

    // === For the files of the states ===

    /// Sends a command that will be answered.
    pub(super) fn command(&mut self, awaited: Awaited, octets: Vec<u8>) {
        self.awaited.push_back(awaited);
        self.send(octets);
    }

    pub(super) fn send(&mut self, octets: Vec<u8>) {
        self.outputs.push_back(Output::Send(octets));
    }

    pub(super) fn output(&mut self, output: Output) {
        self.outputs.push_back(output);
    }

    pub(super) fn ready(&mut self) {
        self.state = State::Idle;
        self.outputs.push_back(Output::Ready);
    }

    /// The end, without an answer for the recipients that have none yet.
    pub(super) fn fail(&mut self, failure: Failure) {
        if self.state == State::Closed {
            return;
        }
        // Not given out yet, they would promise what is over.
        self.outputs.retain(|output| !matches!(output, Output::Upgrade | Output::Prove(_) | Output::Ready));
        if let Some(transaction) = self.transaction.take() {
            let outcomes = transaction.into_outcomes(&failure);
            self.outputs.push_back(Output::Done(outcomes));
        }
        // A server that was not at fault in its protocol is told that we go; its answer is not waited for.
        if matches!(failure, Failure::Refused { .. } | Failure::NoTls | Failure::NoXclient | Failure::NoAuth)
            && self.state == State::Conversing
        {
            self.send(b"QUIT\r\n".to_vec());
        }
        self.close(Err(failure));
    }

    pub(super) const fn now(&self) -> Instant {
        self.now
    }

    /// To be called once all that the session does for now is done.
    pub(super) fn arm(&mut self) {
        self.deadline = self.gives_up_at();
    }

    fn close(&mut self, ending: Result<(), Failure>) {
        if self.state != State::Closed {
            self.state = State::Closed;
            self.awaited.clear();
            self.deadline = None;
            self.outputs.push_back(Output::Close(ending));
        }
    }
}

/// RFC 5321 section 4.2.3.
const SERVICE_CLOSING: u16 = 421;

/// From here on.
const REFUSALS: u16 = 400;
