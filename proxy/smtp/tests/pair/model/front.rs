//! A server that keeps nothing, and has one behind it: as `connection/passing.rs` and `backend/pass_through/passage.rs` put the
//! two machines together, without waiting for anything.

mod asking;

use std::collections::VecDeque;
use std::time::Instant;

use gatepost_smtp::client::{self, Capabilities, Failure, Patience, Protocol, Stage, StartTls};
use gatepost_smtp::server::{
    Answer, CloseReason, Extension, Output, PeerClass, Question, Refusal, Session, Ticket,
};
use gatepost_smtp::wire::command::Command;
use gatepost_smtp::wire::reply_parse::{ReplyClass, ServerReply};

use super::behind::Sink;
use super::record::{Asked, Record};
use super::{Setup, split_off};

/// One session of a client, and the session behind.
pub(crate) struct Front {
    session: Session,
    class: PeerClass,
    now: Instant,
    /// What a server behind says from its greeting to its reply to EHLO.
    hello: Vec<u8>,
    link: Option<Link>,
    is_bound: bool,
    /// Whether a verb between servers has begun something there.
    has_series: bool,
    is_clearing: bool,
    /// Whether the client's transaction is the one behind.
    is_in_mail: bool,
    goes_in_chunks: bool,
    questions: VecDeque<(Ticket, Question)>,
    due: VecDeque<Due>,
    unfed: Vec<u8>,
    written: Vec<u8>,
    said: Vec<u8>,
    records: Vec<Record>,
    was_offended: bool,
    is_orphaned: bool,
    closed: Option<CloseReason>,
}

/// A connection to the server behind.
struct Link {
    session: client::Session,
    replies: VecDeque<ServerReply>,
    ending: Option<Failure>,
    heard: Vec<u8>,
    /// How much of it before the end of the body that was ended last.
    heard_before_end: usize,
}

/// What a question that was asked waits for.
enum Due {
    Ready(Ticket, Answer),
    Reply(Ticket, Stage),
}

// === impl Front ===

impl Front {
    pub(crate) fn new(setup: Setup, hello: &[u8], now: Instant) -> Self {
        let mut front = Self {
            session: setup.open(true, now),
            class: setup.class,
            now,
            hello: hello.to_vec(),
            link: None,
            is_bound: false,
            has_series: false,
            is_clearing: false,
            is_in_mail: false,
            goes_in_chunks: false,
            questions: VecDeque::new(),
            due: VecDeque::new(),
            unfed: Vec::new(),
            written: Vec::new(),
            said: Vec::new(),
            records: Vec::new(),
            was_offended: false,
            is_orphaned: false,
            closed: None,
        };
        // A probe has asked what it offers.
        front.dial();
        let offered = front.offered();
        front.session = front.session.before(offered);
        front.settle();
        front
    }

    /// Whether it has taken all that the client has said.
    pub(crate) fn is_hungry(&self) -> bool {
        self.unfed.is_empty()
    }

    /// A read from the client, behind one that was taken as a whole.
    pub(crate) fn hear(&mut self, octets: &[u8]) {
        assert!(self.unfed.is_empty());
        self.unfed.extend_from_slice(octets);
        self.settle();
    }

    /// A read from the server behind.
    pub(crate) fn hear_behind(&mut self, octets: &[u8]) {
        if let Some(link) = &mut self.link {
            link.heard.extend_from_slice(octets);
            link.session.feed(self.now, octets);
        }
        self.settle();
    }

    /// The server behind has closed.
    pub(crate) fn lose_behind(&mut self) {
        if let Some(link) = &mut self.link {
            link.session.eof(self.now);
        }
        self.settle();
    }

    /// What the client has heard.
    pub(crate) fn said(&self) -> &[u8] {
        &self.said
    }

    /// Whether nothing is awaited of the server behind, nor of anybody else but the client.
    pub(crate) fn is_quiet(&self) -> bool {
        self.is_hungry() && self.questions.is_empty() && self.due.is_empty()
    }

    /// Whether a server behind was caught in saying what it must not.
    pub(crate) const fn was_offended(&self) -> bool {
        self.was_offended
    }

    pub(crate) const fn closed(&self) -> Option<CloseReason> {
        self.closed
    }

    /// Whether the client has lost a session behind that no other can stand in for.
    pub(crate) const fn is_orphaned(&self) -> bool {
        self.is_orphaned
    }

    /// How many connections to the server behind there were.
    pub(crate) fn connections(&self) -> usize {
        self.records.len()
    }

    pub(crate) fn has_written(&self) -> bool {
        !self.written.is_empty()
    }

    pub(crate) fn take_written(&mut self, octets_max: usize) -> Vec<u8> {
        split_off(&mut self.written, octets_max)
    }

    /// # Panics
    /// Where a server behind has heard anything but what was asked of it.
    pub(crate) fn check_records(&self) {
        self.records.iter().for_each(Record::check);
    }

    fn settle(&mut self) {
        while self.feed() || self.take_outputs() || self.take_replies() || self.ask() || self.answer() {}
    }

    fn feed(&mut self) -> bool {
        if self.closed.is_some() {
            self.unfed.clear();
        }
        let mut sink = Sink::default();
        let taken = self.session.feed(self.now, &self.unfed, &mut sink);
        self.unfed.drain(..taken);
        self.take_replies();
        self.put(&sink);
        taken > 0
    }

    fn take_outputs(&mut self) -> bool {
        let Some(output) = self.session.poll() else { return false };
        match output {
            Output::Send(octets) => self.said.extend(octets),
            Output::Ask(_, Question::Abort) => self.end_transaction(),
            Output::Ask(_, Question::AuthenticateAbort) => {
                self.link = None;
                // The next session behind knows of no series of this one.
                self.is_orphaned |= self.has_series;
                self.is_bound = false;
            }
            Output::Ask(ticket, question) => self.questions.push_back((ticket, question)),
            Output::Close(reason) => self.closed = Some(reason),
            Output::Notice(_) | Output::Upgrade => {}
        }
        true
    }

    fn take_replies(&mut self) -> bool {
        let Some(link) = &mut self.link else { return false };
        let Some(output) = link.session.poll() else { return false };
        match output {
            client::Output::Replied(said) if self.is_clearing => {
                self.is_clearing = false;
                if said.class() != ReplyClass::Positive {
                    self.link = None;
                }
            }
            client::Output::Replied(said) => link.replies.push_back(said),
            client::Output::Close(ending) => {
                self.is_clearing = false;
                let failure = ending.expect_err("nobody has said QUIT");
                self.was_offended |= !matches!(failure, Failure::Closed(_));
                link.ending = Some(failure);
            }
            // QUIT behind a failure, which nobody sends.
            client::Output::Send(_) | client::Output::Ready => {}
            other => panic!("out of step: {other:?}"),
        }
        true
    }

    /// Hands the next question on, if it is its turn.
    fn ask(&mut self) -> bool {
        let Some((_, question)) = self.questions.front() else { return false };
        let goes_together = matches!(question, Question::Recipient { .. }) && self.takes_groups();
        if self.is_clearing || !(self.due.is_empty() || goes_together) {
            return false;
        }
        if self.needs_rest(question) && !self.make_usable() {
            return self.is_clearing;
        }
        let (ticket, question) = self.questions.pop_front().expect("there is one");
        let due = match self.put_question(question) {
            Ok(stage) => Due::Reply(ticket, stage),
            Err(answer) => Due::Ready(ticket, answer),
        };
        self.due.push_back(due);
        true
    }

    fn answer(&mut self) -> bool {
        let (ticket, answer) = match self.due.front() {
            None => return false,
            Some(Due::Ready(..)) => match self.due.pop_front() {
                Some(Due::Ready(ticket, answer)) => (ticket, answer),
                _ => return false,
            },
            Some(&Due::Reply(ticket, stage)) => {
                let reply = self.link.as_mut().and_then(|link| link.replies.pop_front());
                let is_lost = self.link.as_ref().is_none_or(|link| link.ending.is_some());
                let answer = match reply {
                    Some(said) => self.answer_of(stage, said),
                    None if is_lost => self.lose(),
                    None => return false,
                };
                self.due.pop_front();
                (ticket, answer)
            }
        };
        self.session.answer(self.now, ticket, answer);
        true
    }

    fn takes_groups(&self) -> bool {
        self.link.as_ref().is_some_and(|link| link.session.capabilities().pipelining)
    }

    fn offered(&self) -> Capabilities {
        self.link.as_ref().map_or_else(Capabilities::default, |link| *link.session.capabilities())
    }

    /// Whether it begins something behind, and no transaction may be left there.
    fn needs_rest(&self, question: &Question) -> bool {
        match question {
            Question::Mail { .. } | Question::Behind | Question::Authenticate { .. } => true,
            Question::Extension(Extension::Exch50(_)) => false,
            Question::Extension(_) => {
                let is_open = self.link.as_ref().is_some_and(|link| link.session.is_in_transaction());
                !(self.is_in_mail && is_open)
            }
            _ => false,
        }
    }

    /// Whether there is a session behind at rest, or none can be had.
    fn make_usable(&mut self) -> bool {
        let mut out = Vec::new();
        let is_at_rest =
            |link: &Link| link.ending.is_none() && link.replies.is_empty() && link.session.is_resting();
        if let Some(link) = self.link.as_mut().filter(|link| is_at_rest(link)) {
            if !link.session.is_in_transaction() {
                return true;
            }
            if link.session.hand_on_reset(self.now, &mut out).is_ok() {
                self.is_clearing = true;
                self.writes(Asked::Command(Command::Rset), &out);
                return false;
            }
        }
        self.take_replies();
        if self.is_bound {
            self.link = None;
            self.is_orphaned = true;
        } else {
            self.dial();
        }
        true
    }

    fn dial(&mut self) {
        let config = client::Config {
            name: "front.example".parse().unwrap(),
            protocol: Protocol::Smtp,
            starttls: StartTls::Never,
            login: None,
            patience: Patience::default(),
        };
        let mut session = client::Session::new_secured(config, self.now);
        let end = self.hello.windows(2).position(|window| window == b"\r\n").expect("a greeting") + 2;
        session.feed(self.now, &self.hello[..end]);
        session.feed(self.now, &self.hello[end..]);
        while session.poll().is_some() {}
        assert!(session.is_resting());
        self.link = Some(Link {
            session,
            replies: VecDeque::new(),
            ending: None,
            heard: Vec::new(),
            heard_before_end: 0,
        });
        self.is_clearing = false;
        self.goes_in_chunks = false;
        self.written.clear();
        self.records.push(Record::default());
    }

    /// The transaction is over: in the middle of a body the connection goes with it.
    fn end_transaction(&mut self) {
        assert!(self.due.is_empty() && self.questions.is_empty(), "nothing is awaited");
        self.is_in_mail = false;
        let is_between = |link: &Link| link.session.is_resting() && link.replies.is_empty();
        if self.goes_in_chunks || !self.link.as_ref().is_some_and(is_between) {
            self.link = None;
            self.goes_in_chunks = false;
        }
    }

    /// What is heard where the session behind is gone: what it has said at last, or that it is.
    fn lose(&mut self) -> Answer {
        // Why it has ended may not have been looked at yet.
        while self.take_replies() {}
        self.is_orphaned |= self.is_bound;
        match self.link.take().and_then(|link| link.ending) {
            Some(Failure::Refused { reply, .. } | Failure::ServiceClosing { reply, .. }) => {
                Answer::Said(reply)
            }
            _ => Answer::Refused(Refusal::BehindLost),
        }
    }
}
