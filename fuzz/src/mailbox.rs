//! A driver of the POP3 machine, and the rooms behind it; watches over the machine's contract.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use gatepost_core::access::pop3::{
    Answer, CloseReason, Config, Entry, Limits, Maildrop, Output, Question, Session, Ticket,
};
use gatepost_core::directory::Password;
use gatepost_smtp::server::{Identity, TlsMode};

/// One session and its driver.
pub(crate) struct Mailbox {
    session: Option<Session>,
    now: Instant,
    message: Bytes,
    question: Option<(Ticket, Question)>,
    is_secured: bool,
    has_logged_in: bool,
    pub(crate) heard: Vec<u8>,
    pub(crate) asked: usize,
    pub(crate) deleted: Vec<u32>,
    pub(crate) is_upgrading: bool,
    pub(crate) closed: Option<CloseReason>,
}

// === impl Mailbox ===

impl Mailbox {
    pub(crate) fn open(tls: TlsMode, message: &[u8]) -> Self {
        let now = Instant::now();
        let is_secured = tls == TlsMode::Implicit;
        let config = Arc::new(Config { tls, limits: Limits::default() });
        let mut mailbox = Self {
            session: Some(Session::open(config, is_secured, now)),
            now,
            message: Bytes::copy_from_slice(message),
            question: None,
            is_secured,
            has_logged_in: false,
            heard: Vec::new(),
            asked: 0,
            deleted: Vec::new(),
            is_upgrading: false,
            closed: None,
        };
        mailbox.drain();
        mailbox
    }

    /// What a driver does with one read. After the close, octets are dropped.
    pub(crate) fn feed(&mut self, octets: &[u8]) {
        let mut rest = octets;
        while !rest.is_empty() && self.closed.is_none() {
            let was_upgrading = self.is_upgrading;
            let now = self.now;
            let taken = self.session().feed(now, rest);
            rest = &rest[taken..];
            let outputs = self.drain();
            assert!(taken > 0 || outputs > 0, "no progress");
            assert!(
                !self.is_upgrading || rest.is_empty() || was_upgrading,
                "an upgrade with octets behind it"
            );
        }
    }

    pub(crate) fn secure(&mut self) {
        let session = self.session.take().unwrap();
        self.session = Some(session.into_secured(self.now));
        (self.is_secured, self.is_upgrading) = (true, false);
        self.drain();
        assert!(self.session().user().is_none(), "a fresh session");
    }

    pub(crate) fn eof(&mut self) {
        self.session().eof();
        self.drain();
        assert!(self.closed.is_some());
        let is_over = matches!(self.closed, Some(CloseReason::Quit | CloseReason::NotDeleted));
        assert!(is_over || self.deleted.is_empty(), "messages are deleted after QUIT alone");
    }

    fn session(&mut self) -> &mut Session {
        self.session.as_mut().unwrap()
    }

    fn drain(&mut self) -> usize {
        let mut count = 0;
        loop {
            let now = self.now;
            while let Some(output) = self.session().poll(now) {
                count += 1;
                self.takes(output);
            }
            let Some((ticket, question)) = self.question.take() else { return count };
            let answer = self.answers(question);
            self.session().answer(now, ticket, answer);
        }
    }

    fn takes(&mut self, output: Output) {
        assert_eq!(self.closed, None, "nothing comes behind Close: {output:?}");
        match output {
            Output::Send(octets) => {
                assert!(octets.len() <= PIECE_OCTETS_MAX, "a piece of {} octets", octets.len());
                self.heard.extend_from_slice(&octets);
            }
            Output::Ask(ticket, question) => {
                self.asked += 1;
                assert!(self.question.replace((ticket, question)).is_none(), "one question at a time");
            }
            Output::Upgrade => self.is_upgrading = true,
            Output::Close(reason) => self.closed = Some(reason),
        }
    }

    fn answers(&mut self, question: Question) -> Answer {
        match question {
            Question::Authenticate { user, password } => {
                assert!(self.is_secured, "no password is taken in plaintext");
                assert!(!self.has_logged_in, "nobody logs in twice");
                let is_right = Password::prepare(b"pencil").is_ok_and(|right| right == password);
                match user.as_str() {
                    "busy@localhost" => Answer::Unavailable,
                    "me@localhost" | "locked@localhost" if is_right => {
                        Answer::Authenticated(Identity::of_user(user))
                    }
                    _ => Answer::NotAuthenticated,
                }
            }
            Question::Open { identity } if identity.user == "locked@localhost" => Answer::InUse,
            Question::Open { .. } => {
                self.has_logged_in = true;
                Answer::Opened(Maildrop { uid_validity: 77, entries: ENTRIES.to_vec() })
            }
            Question::Fetch { uid, .. } => {
                assert!(self.has_logged_in && ENTRIES.iter().any(|entry| entry.uid == uid));
                match uid {
                    9 => Answer::Withheld,
                    _ => Answer::Message(self.message.clone()),
                }
            }
            Question::Delete { uids } => {
                assert!(self.has_logged_in && !uids.is_empty() && self.deleted.is_empty());
                self.deleted = uids;
                Answer::Deleted
            }
        }
    }
}

const ENTRIES: [Entry; 2] = [Entry { uid: 3, octets: 20 }, Entry { uid: 9, octets: 15 }];
/// A session holds one piece, so pieces have to be small.
const PIECE_OCTETS_MAX: usize = 64 * 1024 + 8;
