//! A server that takes everything that is legal, and keeps it.

use std::time::Instant;

use gatepost_smtp::client::Capabilities;
use gatepost_smtp::server::{
    Answer, BodySink, CloseReason, Extension, Identity, Mechanism, Output, PeerClass, Question, Refusal,
    Session,
};
use gatepost_smtp::wire::path::{ForwardPath, ReversePath};

use super::{Setup, split_off};

/// One session with such a server.
pub(crate) struct Behind {
    session: Session,
    setup: Setup,
    now: Instant,
    sink: Sink,
    said: Vec<u8>,
    kept: Vec<Kept>,
    bodies: usize,
    closed: Option<CloseReason>,
}

/// What it has taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kept {
    /// A mail: from whom, to whom, its octets.
    Mail(String, Vec<String>, Vec<u8>),
    /// A blob behind XEXCH50.
    Blob(Vec<u8>),
    /// Another verb between servers.
    Verb(Extension),
}

/// What a session puts away, and of whom.
#[derive(Debug, Default)]
pub(super) struct Sink {
    pub(super) body: Vec<u8>,
    pub(super) blob: Vec<u8>,
    sender: String,
    recipients: Vec<String>,
}

// === impl Behind ===

impl Behind {
    pub(crate) fn new(setup: Setup, now: Instant) -> Self {
        // Nothing is behind it, so it has all that there is.
        let session = setup.open(false, now);
        let mut behind = Self {
            session,
            setup,
            now,
            sink: Sink::default(),
            said: Vec::new(),
            kept: Vec::new(),
            bodies: 0,
            closed: None,
        };
        behind.drain();
        behind
    }

    /// The same server, which has met somebody before.
    pub(super) fn keeping(self, kept: Vec<Kept>) -> Self {
        Self { kept, ..self }
    }

    /// Hears EHLO; what it has said from its greeting on.
    pub(super) fn greet(&mut self) -> Vec<u8> {
        self.hear(b"EHLO front.example\r\n");
        std::mem::take(&mut self.said)
    }

    pub(crate) fn hear(&mut self, octets: &[u8]) {
        let mut rest = octets;
        while !rest.is_empty() && self.closed.is_none() {
            let taken = self.session.feed(self.now, rest, &mut self.sink);
            rest = &rest[taken..];
            self.drain();
        }
    }

    pub(crate) fn said(&self) -> &[u8] {
        &self.said
    }

    pub(crate) const fn closed(&self) -> Option<CloseReason> {
        self.closed
    }

    pub(crate) fn kept(&self) -> &[Kept] {
        &self.kept
    }

    pub(super) fn take_kept(&mut self) -> Vec<Kept> {
        std::mem::take(&mut self.kept)
    }

    pub(super) const fn has_said(&self) -> bool {
        !self.said.is_empty()
    }

    pub(super) fn take_said(&mut self, octets_max: usize) -> Vec<u8> {
        split_off(&mut self.said, octets_max)
    }

    fn drain(&mut self) {
        while let Some(output) = self.session.poll() {
            match output {
                Output::Send(octets) => self.said.extend(octets),
                Output::Ask(ticket, question) => {
                    if let Some(answer) = self.decide(question) {
                        self.session.answer(self.now, ticket, answer);
                    }
                }
                Output::Close(reason) => self.closed = Some(reason),
                Output::Notice(_) | Output::Upgrade => {}
            }
        }
    }

    fn decide(&mut self, question: Question) -> Option<Answer> {
        Some(match question {
            Question::Abort => {
                self.sink = Sink::default();
                return None;
            }
            Question::AuthenticateAbort => return None,
            Question::Mail { reverse_path, .. } if is_nobody(&reverse_path) => {
                Answer::Refused(Refusal::SenderNotOwned)
            }
            Question::Mail { reverse_path, .. } => {
                self.sink = Sink { sender: reverse_path.to_string(), ..Sink::default() };
                Answer::Accepted
            }
            Question::Recipient { path: ForwardPath::Mailbox(mailbox), .. }
                if mailbox.local_part() == NOBODY =>
            {
                Answer::Refused(Refusal::UnknownRecipient)
            }
            Question::Recipient { path, .. } => {
                self.sink.recipients.push(path.to_string());
                Answer::Accepted
            }
            Question::Body { .. } => Answer::Accepted,
            Question::Commit => self.commit(),
            Question::Extension(extension) => {
                if !matches!(extension, Extension::Exch50(_)) {
                    self.kept.push(Kept::Verb(extension));
                }
                Answer::Accepted
            }
            Question::ExtensionEnd => {
                self.kept.push(Kept::Blob(std::mem::take(&mut self.sink.blob)));
                Answer::Accepted
            }
            Question::Authenticate { mechanism, initial_response, .. } => match initial_response {
                Some(response) => self.log_in(mechanism, response.expose()),
                None => Answer::Challenge(b"go on".to_vec()),
            },
            Question::AuthenticateContinue { response } => self.log_in(Mechanism::Plain, response.expose()),
            Question::Behind => Answer::Behind(Capabilities::default()),
            Question::Xclient(_) => Answer::Refused(Refusal::LocalError),
        })
    }

    fn commit(&mut self) -> Answer {
        let Sink { body, sender, recipients, .. } = std::mem::take(&mut self.sink);
        self.bodies += 1;
        if self.setup.refuses_bodies && body.first().is_some_and(|octet| octet % 2 == 1) {
            return Answer::Refused(Refusal::ContentRejected);
        }
        self.kept.push(Kept::Mail(sender, recipients, body));
        Answer::Stored { queue_id: "01Q".to_owned() }
    }

    /// `x` has to be asked again, `no` is nobody.
    fn log_in(&self, mechanism: Mechanism, response: &[u8]) -> Answer {
        match response {
            b"no" => Answer::Refused(Refusal::AuthenticationFailed),
            b"x" => Answer::Challenge(mechanism.name().into()),
            _ => {
                let is_server = self.setup.class == PeerClass::Server;
                let class = if is_server { PeerClass::Server } else { PeerClass::User };
                let identity = Identity { user: "joe@mx.example".to_owned(), class };
                Answer::Authenticated { identity, final_data: None }
            }
        }
    }
}

// === impl Kept ===

impl Kept {
    /// Of a mail or a blob.
    pub(crate) fn octets(&self) -> &[u8] {
        match self {
            Self::Mail(.., octets) | Self::Blob(octets) => octets,
            Self::Verb(_) => &[],
        }
    }
}

// === impl Sink ===

impl BodySink for Sink {
    fn put(&mut self, octets: &[u8]) {
        self.body.extend_from_slice(octets);
    }

    fn put_blob(&mut self, octets: &[u8]) {
        self.blob.extend_from_slice(octets);
    }
}

fn is_nobody(path: &ReversePath) -> bool {
    matches!(path, ReversePath::Mailbox(mailbox) if mailbox.local_part() == NOBODY)
}

/// Who never is.
const NOBODY: &str = "nobody";
